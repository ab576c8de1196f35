"""`/kb add` and `/kb remove`: what admins teach the bot from the chat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from kfbot.adapter import AdapterSettings, Capabilities
from kfbot.admin.entries import LONGEST_ANSWER, LONGEST_QUESTION, entry_id
from kfbot.errors import EntryRejected, KnowledgeBaseUnavailable
from kfbot.knowledge_base import Entry, KnowledgeStatus
from kfbot.messages import ConversationId, Sender
from kfbot.store.audit import AuditStore
from kfbot.store.engine import Database
from kfbot.testing import FakeAdapter
from kfbot.texts import command_texts
from tests.dialogues.conftest import Stage

pytestmark = pytest.mark.asyncio

ADMIN = Sender("7", display_name="Ada")
QUESTION, ANSWER = "Do you gift-wrap parcels?", "Yes, for **2 euros**:\n\n- paper\n- ribbon"
ID = entry_id(QUESTION)
SAYS = command_texts("en")


@pytest.fixture
def channel() -> FakeAdapter:
    return FakeAdapter(
        settings=AdapterSettings(platform="fake", admins=("7",)),
        capabilities=Capabilities(buttons=True),
    )


async def admin_says(stage: Stage, text: str) -> str:
    [sent] = await stage.customer_says(text, sender=ADMIN)
    return sent.text


async def test_what_an_admin_adds_is_answered_at_once_and_can_be_taken_back(stage: Stage) -> None:
    [before] = await stage.customer_says(QUESTION)
    assert before.kind == "handoff"
    told = await admin_says(stage, f"/kb add {QUESTION} | {ANSWER}")
    assert told == SAYS.add_done.format(name="fake", question=QUESTION, answer=ANSWER, id=ID)
    other = Sender("customer-2")
    chat = ConversationId("shop", "chat-2")
    [answer] = await stage.customer_says(QUESTION, sender=other, chat=chat)
    assert answer.text == ANSWER
    assert f"/kb remove {ID}" in told
    assert await admin_says(stage, f"/kb remove {ID}") == SAYS.remove_done.format(
        name="fake", id=ID
    )
    [after] = await stage.customer_says(QUESTION, sender=other, chat=chat)
    assert after.kind == "handoff"


async def test_the_same_question_again_replaces_its_answer(stage: Stage) -> None:
    await admin_says(stage, f"/kb add {QUESTION} | No.")
    told = await admin_says(stage, f"/kb add {QUESTION.upper()} ｜ Yes.")
    assert told.startswith("Replaced in **fake**")
    assert [one.answer for one in await stage.knowledge.added("fake")] == ["Yes."]


async def test_other_ways_to_ask_are_stored_with_the_first(stage: Stage) -> None:
    told = await admin_says(stage, "/kb add 能包装礼品吗？ / 有礼品袋吗？｜可以，2 元。")
    [entry] = await stage.knowledge.added("fake")
    assert (entry.question, entry.variants) == ("能包装礼品吗？", ("有礼品袋吗？",))
    assert "> 能包装礼品吗？\n> 有礼品袋吗？" in told
    assert told.startswith("已存入")


async def test_the_reply_shows_what_was_stored_with_private_data_masked(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def added(name: str) -> tuple[Entry, ...]:
        return (Entry(id=ID, question=QUESTION, answer="Call [mobile]."),)

    monkeypatch.setattr(stage.knowledge, "added", added)
    told = await admin_says(stage, f"/kb add {QUESTION} | Call 13800138000.")
    assert "Call [mobile]." in told
    assert "13800138000" not in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (QUESTION, SAYS.add_usage),
        ("| yes", SAYS.add_usage),
        (f"{QUESTION} |", SAYS.add_usage),
        ("??? | yes", SAYS.add_usage),
        (f"{QUESTION} | …", SAYS.add_usage),
        ("Q" * 501 + " | yes", SAYS.add_too_long.format(length=501, most=LONGEST_QUESTION)),
        ("Q / " + "v" * 501 + "| A", SAYS.add_too_long.format(length=501, most=LONGEST_QUESTION)),
        ("Q | " + "A" * 4001, SAYS.add_too_long.format(length=4001, most=LONGEST_ANSWER)),
    ],
)
async def test_what_is_no_entry_is_refused_with_what_to_write(
    stage: Stage, words: str, told: str
) -> None:
    assert await admin_says(stage, f"/kb add {words}") == told
    assert await stage.knowledge.added("fake") == ()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (EntryRejected("a document has this id"), "Not stored: a document has this id"),
        (KnowledgeBaseUnavailable("it loads now"), "Nothing was changed: it loads now"),
    ],
)
async def test_what_the_knowledge_base_does_not_take_is_said_with_its_reason(
    stage: Stage, error: Exception, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(stage.knowledge, "add_entry", refuse)
    assert await admin_says(stage, f"/kb add {QUESTION} | yes") == told


async def test_of_several_knowledge_bases_one_has_to_be_named(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    [one] = await stage.knowledge.status()
    stored: list[tuple[str, Entry]] = []

    async def status() -> tuple[KnowledgeStatus, ...]:
        return (one, KnowledgeStatus(name="faq", documents=0, chunks=0, generation=1,
                                     loaded_at=None))  # fmt: skip

    async def add(name: str, entry: Entry, *, source: str) -> None:
        stored.append((name, entry))

    async def added(name: str) -> Sequence[Entry]:
        return ()

    for name, replacement in (("status", status), ("add_entry", add), ("added", added)):
        monkeypatch.setattr(stage.knowledge, name, replacement)
    told = await admin_says(stage, f"/kb add {QUESTION} | Yes.")
    assert told == SAYS.add_which.format(name="fake", names="fake, faq")
    await admin_says(stage, f"/kb add faq: {QUESTION} | Yes.")
    [(name, entry)] = stored
    assert (name, entry.id, entry.question) == ("faq", ID, QUESTION)


async def test_removing_asks_for_an_id_and_says_when_there_is_none(stage: Stage) -> None:
    assert await admin_says(stage, "/kb remove") == SAYS.remove_usage
    assert await admin_says(stage, "/kb remove chat-0") == SAYS.remove_unknown.format(id="chat-0")


async def test_nobody_else_teaches_the_bot(stage: Stage) -> None:
    [reply] = await stage.customer_says(f"/kb add {QUESTION} | Yes.")
    assert reply.text == SAYS.refused
    [reply] = await stage.customer_says("/kb remove chat-0")
    assert reply.text == SAYS.refused
    assert await stage.knowledge.added("fake") == ()


async def test_it_is_on_record_who_taught_what_without_the_words(
    stage: Stage, database: Database
) -> None:
    await admin_says(stage, f"/kb add {QUESTION} | Yes.")
    await admin_says(stage, f"/kb remove {ID}")
    deeds = await AuditStore(database, stage.clock).list()
    assert [(one.actor, one.action, one.target) for one in deeds] == [
        ("shop/7", "entry_removed", f"fake/{ID}"),
        ("shop/7", "entry_added", f"fake/{ID}"),
    ]
