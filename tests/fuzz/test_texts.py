# ruff: noqa: E501 - payloads and fragments, as they come
"""What anybody may write: read without an error, in linear work, and never grown without bound."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import strategies as st

from adapters.signatures import StandardWebhook
from kfbot.actions.answers import FieldMissing, field_of, filled_with
from kfbot.actions.phrases import meaning_of
from kfbot.actions.slot_settings import SlotSettings
from kfbot.actions.values import find_values
from kfbot.admin.commands import parse
from kfbot.admin.entries import read as read_entry
from kfbot.cases.posts import command_in, goes_to_customer, note_in
from kfbot.conversation import Choice
from kfbot.etiquette import complete
from kfbot.grounding.passages import sentences_of
from kfbot.grounding.prompting import inert
from kfbot.grounding.quantities import quantities
from kfbot.grounding.rewriting import standalone
from kfbot.grounding.sentences import SentenceStream, sentences
from kfbot.grounding.statements import statement
from kfbot.grounding.support import check
from kfbot.handoff.grievances import complains, is_angry
from kfbot.language import language_of
from kfbot.messages import (
    Attachment,
    Button,
    ButtonPressed,
    Citation,
    ConversationId,
    MessageReceived,
    OutboundMessage,
    Sender,
)
from kfbot.shaping import split
from kfbot.store.events import (
    decode_event,
    decode_message,
    encode_event,
    encode_message,
    storable_event,
)
from kfbot.templates import hidden
from kfbot.texts import small_talk, wants_person
from kfbot.understanding.clarification import chosen
from kfbot.understanding.correction import correction
from kfbot.understanding.follow_up import leans
from kfbot.understanding.several_questions import questions_in
from knowledge.cleaning.masking import KINDS, find_private
from knowledge.markup import read_markdown
from knowledge.sentences import split_sentences
from knowledge.terms import tokenise
from tests.fuzz.mutation import HOSTILE
from tests.fuzz.profile import IS_DEEP, fuzz
from tests.fuzz.test_patterns import limited
from tests.fuzz.test_rendering import FRAGMENTS
from tests.fuzz.work import check_linear

_SLOTS = {
    "order": SlotSettings(pattern=r"[A-Z]{2}\d{6}", ask_en="Which?", ask_zh="哪个？", private=True),
    "size": SlotSettings(choices={"s": "small/小", "l": "large"}, ask_en="Size?", ask_zh="多大？"),
}
_OFFERED = (Choice("a", "Returns"), Choice("b", "退货"))
#: What people and models write, and what parsers look for.
WORDS = (
    *FRAGMENTS, "no ", "not ", "15 days", "$1,299.50", "1年", "第三", "1/2", "12:30", "2026-01-05", "三十",
    "twenty-one ", "if ", "and ", "what is ", "?", "？", "！", "吗", "转人工", "不是", "我是说", "AB123456",
    "ann@a.example", "+86 13800138000", "《a》", "“", "e.g. ", "Mr. ", "1. ", "[1, 2]", "【1】", "no answer",
    "NO_ANSWER", "/kb add ", "/bot ", "！note:", "//", "\u3000", "...", "……", "hello ", "谢谢", "()", "-7",
)  # fmt: skip
#: Halves of characters never get here: adapters, store, API and the model's endpoint take them out.
TEXTS = (
    st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=8)), max_size=30)
    .map("".join)
    .map(lambda text: text.encode("utf-8", "replace").decode())
)
#: Every reading of a text that takes nothing but it.
READERS: dict[str, Callable[[str], Any]] = {
    "command": parse,
    "entry": lambda text: read_entry(text, ["shop", "a b"]),
    "agent's note": note_in,
    "agent's command": command_in,
    "agent's words": goes_to_customer,
    "completeness": complete,
    "anger": is_angry,
    "complaint": complains,
    "language": language_of,
    "small talk": small_talk,
    "wish for a person": wants_person,
    "choice": lambda text: chosen(text, _OFFERED),
    "correction": lambda text: correction(text, ()),
    "follow-up": leans,
    "questions": questions_in,
    "values": lambda text: find_values(text, _SLOTS),
    "hiding": lambda text: hidden(text, _SLOTS),
    "wish": meaning_of,
    "private data": lambda text: find_private(text, KINDS),
    "words": tokenise,
    "splitting": lambda text: split(text, 500),
    "document's sentences": split_sentences,
    "Markdown": read_markdown,
    "prompt": inert,
    "model's sentences": sentences,
    "model's question": lambda text: standalone(text, "refund?", ()),
    "quantities": quantities,
    # Without what they remember.
    "statement": statement.__wrapped__,
    "passage": sentences_of.__wrapped__,
}
#: Read sentence by sentence, of what a model writes within its limit of tokens.
_SENTENCES = ("statement", "quantities", "model's sentences", "passage")


@pytest.mark.parametrize("reader", READERS)
@fuzz(25, text=TEXTS)
def test_any_text_is_read(reader: str, text: str) -> None:
    READERS[reader](text)


@pytest.mark.parametrize("reader", READERS)
def test_a_text_twice_as_long_takes_twice_the_work_to_read(reader: str) -> None:
    for unit in WORDS if IS_DEEP else WORDS[::3]:
        if unit.isprintable():
            check_linear(READERS[reader], unit, 20 if reader in _SENTENCES else 60)


@fuzz(40, text=TEXTS, passage=TEXTS)
def test_any_sentence_is_judged_by_any_passage(text: str, passage: str) -> None:
    check(text, passage, said=text)


@fuzz(100, text=TEXTS, cuts=st.lists(st.integers(1, 20), max_size=30))
def test_a_completion_is_cut_the_same_way_however_its_pieces_come(
    text: str, cuts: list[int]
) -> None:
    stream, found, at = SentenceStream(), [], 0
    for size in cuts:
        found += stream.feed(text[at : at + size])
        at += size
    found += [*stream.feed(text[at:]), *stream.close()]
    assert found == sentences(text)
    assert "".join(found).strip() == text.strip()


def test_a_completion_of_blank_lines_is_cut_in_a_moment() -> None:
    text = "\n" * 30_000 + "It works."
    with limited(2.0):
        assert sentences(text) == [text]


@fuzz(100, text=TEXTS, limit=st.integers(20, 200))
def test_nothing_but_blanks_is_lost_where_a_text_is_split(text: str, limit: int) -> None:
    parts = split(text, limit)
    assert all(len(part) <= limit for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


_PLAIN = st.one_of(
    st.sampled_from([one for one in HOSTILE if not isinstance(one, list | dict)]), st.text()
)
_FLAT = _PLAIN | st.lists(_PLAIN, max_size=4)
_JSON = (
    _FLAT | st.dictionaries(st.text(max_size=4), _FLAT, max_size=4) | st.lists(_FLAT, max_size=4)
)
_NAMES = st.lists(st.sampled_from(["a", "0", "1", "²", "9" * 400, "", "id"]), max_size=4).map(
    ".".join
)


@fuzz(150, answer=_JSON, name=_NAMES)
def test_a_systems_answer_has_a_field_or_it_is_said_that_it_has_none(
    answer: Any, name: str
) -> None:
    wrapped = {"a": answer, "id": [answer]}
    try:
        value = field_of(wrapped, name)
    except FieldMissing:
        return
    assert value
    assert "\n" not in value
    value.encode("utf-8")


@fuzz(100, answer=TEXTS, slot=TEXTS)
def test_what_a_system_answers_is_no_markup_in_what_the_customer_reads(
    answer: str, slot: str
) -> None:
    template = "Order {{order}} is {a} at https://shop.example/{a}"
    try:
        filled = filled_with(template, {"a": answer}, {"order": slot})
    except FieldMissing:
        return
    page = read_markdown(filled.text)
    assert len(filled.text) < 20 * (len(answer) + len(slot)) + 200
    assert len(page.sections) <= 1


_SOMEBODY = st.builds(Sender, st.text(max_size=9), st.sampled_from(["customer", "agent"]), TEXTS)
_PLACES = st.builds(
    ConversationId, st.just("shop"), st.text(max_size=9), st.none() | st.text(max_size=9)
)
_TIMES = st.datetimes(timezones=st.just(UTC))
_EVENTS = st.one_of(
    st.builds(
        MessageReceived,
        event_id=st.text(), conversation=_PLACES, message_id=st.text(), sender=_SOMEBODY,
        sent_at=_TIMES, text=TEXTS, in_reply_to=st.none() | st.text(),
        attachments=st.lists(st.builds(Attachment, st.text(), st.text()), max_size=3).map(tuple),
        raw=st.just({}),
    ),
    st.builds(
        ButtonPressed,
        event_id=st.text(), conversation=_PLACES, token=st.text(), sender=_SOMEBODY, sent_at=_TIMES,
    ),
)  # fmt: skip


def test_what_no_database_takes_is_taken_out_of_names_and_ids_but_not_of_the_address() -> None:
    event = MessageReceived(
        event_id="1\0",
        conversation=ConversationId("shop", "chat\0"),
        message_id="m",
        sender=Sender("7", display_name="A\ud83d"),
        sent_at=datetime(2026, 1, 5, tzinfo=UTC),
        text="hi",
        attachments=(Attachment("https://a.example/\0", name="a\0.png"),),
    )
    kept = storable_event(event)
    assert isinstance(kept, MessageReceived)
    assert (kept.event_id, kept.sender.display_name) == ("1", "A?")
    assert kept.attachments == (Attachment("https://a.example/", name="a.png"),)
    assert kept.conversation == event.conversation


@fuzz(80, event=_EVENTS)
def test_an_event_is_read_from_its_row_as_it_was_stored(event: Any) -> None:
    kept = storable_event(event)
    assert decode_event(json.loads(json.dumps(encode_event(kept)))) == kept


@fuzz(60, text=TEXTS, name=TEXTS)
def test_a_message_is_read_from_its_row_as_it_was_stored(text: str, name: str) -> None:
    message = OutboundMessage(
        conversation=ConversationId("shop", "1"),
        id="1",
        text=text,
        citations=(Citation(id=name, title=text, score=0.5),),
        buttons=(Button("token", name),),
    )
    encodable = text.encode("utf-8", "replace").decode() == text == text.replace("\0", "")
    if encodable and name.encode("utf-8", "replace").decode() == name:
        assert decode_message(json.loads(json.dumps(encode_message(message)))) == message


_WEBHOOK = StandardWebhook("whsec_" + "c2VjcmV0" * 4)


@fuzz(100, body=st.text(max_size=50), message_id=st.text(min_size=1, max_size=20))
def test_what_is_signed_is_verified_and_no_other_body(body: str, message_id: str) -> None:
    sent = body.encode("utf-8", "replace")
    text = sent.decode()
    headers = _WEBHOOK.headers(message_id, text, datetime.now(UTC))
    assert _WEBHOOK.fault(headers, sent) is None
    assert _WEBHOOK.fault(headers, sent + b" ") is not None


_HEADER_TEXTS = st.one_of(
    st.sampled_from([one for one in HOSTILE if isinstance(one, str)]),
    st.text(max_size=30),
    st.binary(max_size=30).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    st.text("v1,= abcXYZ+/", max_size=60),
)


@fuzz(
    150,
    headers=st.fixed_dictionaries(
        {},
        optional={
            "webhook-id": _HEADER_TEXTS,
            "webhook-timestamp": _HEADER_TEXTS | st.integers(0, 2**70).map(str),
            "webhook-signature": _HEADER_TEXTS,
        },
    ),
    body=st.binary(max_size=40),
)
def test_headers_that_nobody_signed_are_refused(headers: dict[str, str], body: bytes) -> None:
    assert _WEBHOOK.fault(headers, body)
