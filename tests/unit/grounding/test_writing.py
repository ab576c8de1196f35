"""What of a chat model's text becomes an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from kfbot.chat_model import Usage
from kfbot.conversation import Language
from kfbot.errors import ChatModelUnavailable, CompletionInvalid, CompletionUnsupported
from kfbot.grounding.merging import merged
from kfbot.grounding.refusals import is_apology, is_refusal
from kfbot.grounding.writing import Writer, Written
from kfbot.knowledge_base import Passage
from kfbot.model_settings import AnswerSettings, ChatModelSettings
from kfbot.testing import FakeChatModel

pytestmark = pytest.mark.asyncio


def passage(name: str, text: str, title: str = "", **fields: Any) -> Passage:
    return Passage(
        knowledge_base="shop", document_id=name, chunk_id=name, kind="document",
        title=title or name, text=text, score=1.0, **fields,
    )  # fmt: skip


COSTS = passage("costs", "Standard shipping costs 5 dollars. Express shipping costs 12 dollars.")
TIMES = passage("times", "Orders arrive within 3 business days. Parcels to islands take 7 days.")
YUN = passage("运费", "标准运费为 8 元，满 99 元包邮。发货后 3 天内送达。")
ENGLISH = (COSTS, TIMES)
GOOD = "Standard shipping costs 5 dollars."
DAYS = "Orders arrive within 3 business days."


async def write(
    *texts: str,
    passages: Sequence[Passage] = ENGLISH,
    question: str = "How much is shipping?",
    language: Language = "en",
    shown: list[str] | None = None,
    **settings: Any,
) -> Written | None:
    async def on_text(text: str) -> None:
        if shown is not None:
            shown.append(text)

    writer = Writer(
        FakeChatModel(list(texts)), ChatModelSettings(base_url="http://x/v1", **settings)
    )
    return await writer.write(question, passages, language=language, usage=Usage(), on_text=on_text)


async def good(*texts: str, **how: Any) -> Written:
    written = await write(*texts, **how)
    assert written is not None
    return written


@pytest.mark.parametrize(
    "text",
    [
        f"{GOOD} [1] {DAYS} [2]",
        f"{GOOD}[1] {DAYS}[2]",
        "Standard shipping costs 5 dollars [1]. Orders arrive within 3 business days [2].",
        f"{GOOD}【1】 {DAYS}【2】",
        f"{GOOD} {DAYS}",
        f"{GOOD} [1] {DAYS} [2]\n\nSources: [1][2]",
    ],
)
async def test_marks_stand_behind_their_sentences_with_a_space_however_they_come(text: str) -> None:
    written = await good(text)
    assert written.text == f"{GOOD} [1] {DAYS} [2]"
    assert [one.document_id for one in written.passages] == ["costs", "times"]
    assert [one.quote for one in written.passages] == [GOOD, DAYS]


async def test_numbers_follow_the_order_of_the_citations() -> None:
    written = await good(f"{DAYS} [2] {GOOD} [1]")
    assert written.text == f"{DAYS} [1] {GOOD} [2]"
    assert [one.document_id for one in written.passages] == ["times", "costs"]


async def test_chinese_has_no_space_at_its_marks() -> None:
    written = await good(
        "标准运费为 8 元。 [1] 发货后 3 天内送达 [1]。",
        passages=(YUN,),
        question="运费",
        language="zh",
    )
    assert written.text == "标准运费为 8 元。[1]发货后 3 天内送达。[1]"


async def test_lists_and_paragraphs_keep_their_form() -> None:
    text = f"{GOOD} [1]\n\n- {DAYS} [2]\n- Parcels to islands take 7 days. [2]"
    assert (await good(text)).text == text


async def test_a_sentence_of_two_passages_is_checked_clause_by_clause() -> None:
    both = "Standard shipping costs 5 dollars, and orders arrive within 3 business days. [1][2]"
    assert (await good(both)).text == both
    with pytest.raises(CompletionUnsupported):
        await write(both.replace("5", "7"))


async def test_one_document_is_cited_under_one_number() -> None:
    other = passage("costs", TIMES.text)
    written = await good(f"{GOOD} [1] {DAYS} [2]", passages=(COSTS, other))
    assert written.text == f"{GOOD} [1] {DAYS} [1]"
    [cited] = written.passages
    assert cited.quote == f"{GOOD} … {DAYS}"


async def test_a_false_sentence_at_the_end_is_taken_out() -> None:
    written = await good(f"{GOOD} [1] {DAYS} [2] Express shipping costs 13 dollars. [1]")
    assert written.text == f"{GOOD} [1] {DAYS} [2]"
    assert written.dropped == ("number",)


@pytest.mark.parametrize(
    "text",
    [
        "Express shipping costs 13 dollars. [1]",
        f"Express shipping costs 13 dollars. [1] {GOOD} [1] {DAYS} [2]",
        f"{GOOD} [1] Express costs 13 dollars. [1] Islands take 9 days. [2]",
        f"- {GOOD} [1]\n- {DAYS} [2]\n- Parcels to islands take 9 days. [2]",
        f"{GOOD} [1] {DAYS} [2] However, express shipping costs 99 dollars. [1]",
        f"{GOOD} [1] {DAYS} [2] Express shipping costs 13 dollars. [1] But parcels to islands take"
        " 7 days. [2]",
        "Hello! How can I help you?",
    ],
    ids=["all", "first", "most", "list with a hole", "what takes back", "half a contrast", "none"],
)  # fmt: skip
async def test_what_would_mislead_without_its_false_sentence_is_no_answer(text: str) -> None:
    with pytest.raises(CompletionUnsupported):
        await write(text)


async def test_nothing_is_shown_any_more_once_the_rest_misleads() -> None:
    shown: list[str] = []
    with pytest.raises(CompletionUnsupported):
        await write(f"Express costs 13 dollars. [1] {GOOD} [1] {DAYS} [2] Hm.", shown=shown)
    assert shown == []


async def test_what_is_shown_grows_by_checked_sentences() -> None:
    shown: list[str] = []
    await write(f"{GOOD} [1] Express costs 13 dollars. [1] {DAYS} [2] {DAYS} [2]", shown=shown)
    assert shown == [f"{GOOD} [1]", f"{GOOD} [1] {DAYS} [2]"]


@pytest.mark.parametrize(
    "text",
    [
        "NO_ANSWER",
        "no_answer",
        "**NO_ANSWER**",
        f"{GOOD} [1] NO_ANSWER",
        "I am sorry. NO_ANSWER.",
        "No answer.",
        "The passages do not say.",
        f"{GOOD} [1] The passages do not mention how long it takes.",
        "I'm sorry, but I don't have enough information to answer that.",
        "This is not mentioned in the provided documents.",
        "根据已知信息无法回答该问题。",
        "抱歉，资料中没有提到保修期。",
        "段落中未提及退款时间。",
        "很抱歉，我无法回答这个问题。",
    ],
)
async def test_a_refusal_in_any_words_is_no_answer(text: str) -> None:
    assert await write(text) is None


async def test_what_a_document_says_is_no_refusal() -> None:
    about = passage("hotline", "We cannot answer questions about orders by phone.")
    text = "We cannot answer questions about orders by phone. [1]"
    assert (await good(text, passages=(about,))).text == text


async def test_ordinary_sentences_are_no_refusals() -> None:
    for text in (GOOD, "There is no answer key in the box.", "保修期为一年。", "不支持货到付款。"):
        assert not is_refusal(text)
        assert not is_apology(text)


async def test_half_a_sentence_at_the_limit_is_left_out() -> None:
    text = f"{GOOD} [1] {DAYS} [2] Orders arrive within"
    written = await good(text, answer_tokens=16)
    assert written.text == f"{GOOD} [1] {DAYS} [2]"
    assert written.dropped == ()
    # Where the limit is not known, the others have their full stops.
    assert (await good(text)).text == f"{GOOD} [1] {DAYS} [2]"


async def test_the_last_item_of_a_list_needs_no_full_stop_but_at_the_limit() -> None:
    accepted = passage("pay", "We accept:\n- Visa\n- PayPal\n- Mastercard")
    text = "We accept: [1]\n- Visa [1]\n- PayPal [1]\n- Mastercard"
    assert (await good(text, passages=(accepted,))).text == f"{text} [1]"
    assert "Mastercard" not in (await good(text, passages=(accepted,), answer_tokens=16)).text


async def test_a_sentence_in_another_language_is_never_shown() -> None:
    english = "Standard shipping costs 5 dollars. [1]"
    how: dict[str, Any] = {"passages": (COSTS, YUN), "question": "运费多少？", "language": "zh"}
    shown: list[str] = []
    with pytest.raises(CompletionUnsupported) as fault:
        await write(english, "YES", shown=shown, **how)
    assert (fault.value.dropped, shown) == (("language",), [])
    written = await good(f"标准运费为 8 元。[2]发货后 3 天内送达。[2]{english}", "YES", **how)
    assert written.text == "标准运费为 8 元。[1]发货后 3 天内送达。[1]"
    assert written.dropped == ("language",)
    with pytest.raises(CompletionUnsupported) as fault:
        await write("标准运费为 8 元。[2]", "YES", passages=(COSTS, YUN))
    assert fault.value.dropped == ("language",)


async def test_names_in_latin_letters_are_read_in_chinese_too() -> None:
    pay = passage("付款", "我们支持 Apple Pay、PayPal 和 Visa。请运行 pip install shop。")
    text = "我们支持 Apple Pay、PayPal 和 Visa。[1]请运行 pip install shop。[1]"
    assert (await good(text, passages=(pay,), question="支持什么？", language="zh")).text == text


async def test_the_completion_is_closed_whatever_ends_it() -> None:
    class Endless(FakeChatModel):
        async def complete(self, *_: Any, **__: Any) -> AsyncIterator[str]:
            try:
                while True:
                    yield f"{GOOD} "
            finally:
                self.closed = True

    async def on_text(_: str) -> None:
        raise RuntimeError("the channel is gone")

    model = Endless([])
    with pytest.raises(RuntimeError):
        await Writer(model).write("?", ENGLISH, language="en", usage=Usage(), on_text=on_text)
    assert model.closed


async def test_a_short_answer_without_a_full_stop_is_whole() -> None:
    assert (await good("Standard shipping costs 5 dollars")).text.endswith("5 dollars [1]")


async def test_an_endpoint_that_is_gone_is_the_callers_to_know() -> None:
    with pytest.raises(ChatModelUnavailable):
        await write()


async def test_no_room_for_a_passage_is_no_completion() -> None:
    writer = Writer(FakeChatModel(["x"], context_tokens=450))
    with pytest.raises(CompletionInvalid):
        await writer.write("How?", ENGLISH, language="en", usage=Usage())


async def test_a_chinese_sentence_on_an_english_document_needs_the_judge() -> None:
    how: dict[str, Any] = {"passages": (COSTS,), "question": "运费多少", "language": "zh"}
    text = "标准运费为 5 美元。[1]"
    assert (await good(text, "YES", **how)).text == text
    for verdict in ("NO", "", "Maybe"):
        with pytest.raises(CompletionUnsupported):
            await write(text, verdict, **how)
    with pytest.raises(CompletionUnsupported):
        await write(text, "YES", judge="never", **how)
    # What can be compared is compared first.
    with pytest.raises(CompletionUnsupported):
        await write("标准运费为 6 美元。[1]", "YES", **how)


async def test_a_judge_that_is_always_asked_can_refuse_what_the_rules_let_through() -> None:
    assert (await good(f"{GOOD} [1]", "YES", judge="always")).text == f"{GOOD} [1]"
    with pytest.raises(CompletionUnsupported):
        await write(f"{GOOD} [1]", "NO", judge="always")


@pytest.mark.parametrize(("length", "most"), [("short", 160), ("normal", 400), ("detailed", 512)])
async def test_the_length_bounds_the_tokens(length: Any, most: int) -> None:
    assert Writer(FakeChatModel([]), style=AnswerSettings(length=length)).max_tokens == most
    few = ChatModelSettings(base_url="http://x/v1", answer_tokens=64)
    assert Writer(FakeChatModel([]), few, AnswerSettings(length=length)).max_tokens == 64


async def test_the_same_text_of_two_documents_is_one_passage_with_both_titles() -> None:
    copy = passage("copy", "**Standard shipping** costs 5 dollars.", title="Prices")
    [one] = merged((COSTS, copy))
    assert (one.document_id, one.title) == ("costs", "costs / Prices")
    other = passage("other", "Standard shipping costs 6 dollars.")
    assert merged((COSTS, other)) == (COSTS, other)
