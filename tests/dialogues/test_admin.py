"""Commands in the chat: what admins can do with them, and how others are turned away."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest
import sqlalchemy as sa

from kfbot.adapter import AdapterSettings, Capabilities
from kfbot.conversation import State
from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.knowledge_base import LoadReport, Progress
from kfbot.messages import ConversationId, ConversationMoved, MessageEdited, Sender
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.testing import FakeAdapter
from kfbot.texts import command_texts, texts
from tests.dialogues.conftest import CHAT, Stage, staged

pytestmark = pytest.mark.asyncio

GROUP = ConversationId("shop", "group-1")
ADMIN = Sender("7", display_name="Ada")
SURE = "How do I return an item?"
SAYS = command_texts("en")


@pytest.fixture
def channel() -> FakeAdapter:
    return FakeAdapter(
        settings=AdapterSettings(platform="fake", admins=("7",)),
        capabilities=Capabilities(buttons=True),
    )


async def admin_says(stage: Stage, text: str, **fields: Any) -> list[str]:
    sent = await stage.customer_says(text, **{"sender": ADMIN} | fields)
    return [message.text for message in sent]


async def rows(database: Database, table: sa.Table) -> int:
    query = sa.select(sa.func.count()).select_from(table)
    return int(await database.read(lambda connection: connection.execute(query).scalar_one()))


# Who may


@pytest.mark.parametrize(
    "text", ["/kb status", "/kb reload", "/bot pause", "/handoff", "/resume", "/why", "/stats 7d"]
)
async def test_a_customer_is_refused_politely_and_it_is_logged(
    stage: Stage, database: Database, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    [reply] = await stage.customer_says(text)
    assert SAYS.refused in reply.text
    [record] = [one for one in caplog.records if getattr(one, "event", "") == "admin_refused"]
    assert record.sender == "customer-1"  # type: ignore[attr-defined]
    assert record.command == text.split()[0].strip("/")  # type: ignore[attr-defined]
    assert (await stage.conversation()).state is State.BOT
    assert await rows(database, tables.turn) == await rows(database, tables.job) == 0


async def test_a_refusal_is_in_the_customers_language(stage: Stage) -> None:
    await stage.customer_says("运费是多少")
    [reply] = await stage.customer_says("/stats")
    assert reply.text == command_texts("zh").refused


async def test_who_starts_is_greeted_in_both_languages_until_one_is_known(stage: Stage) -> None:
    [reply] = await stage.customer_says("/start")
    assert reply.text == f"{texts('en').chat_greeting}\n\n{texts('zh').chat_greeting}"
    await stage.customer_says("运费是多少")
    [reply] = await stage.customer_says("/help")
    assert reply.text == command_texts("zh").help


async def test_other_words_with_a_slash_are_questions(stage: Stage) -> None:
    [reply] = await stage.customer_says("/how do I return an item?")
    assert reply.text == "Open the order and press Return."


@pytest.mark.parametrize(
    "text", ["/help how do I return an item?", "/bot how do I return an item?"]
)
async def test_what_a_customer_asks_behind_a_command_is_answered(stage: Stage, text: str) -> None:
    [reply] = await stage.customer_says(text)
    assert reply.text == "Open the order and press Return."


async def test_why_with_more_words_is_a_question_of_admins_too(stage: Stage) -> None:
    text = "/why how do I return an item?"
    assert await admin_says(stage, text) == ["Open the order and press Return."]


async def test_nobody_is_turned_away_while_an_agent_talks(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.customer_says("A person please")
    assert await stage.customer_says("/stats") == []
    assert "admin_refused" in [getattr(one, "event", "") for one in caplog.records]


async def test_a_command_that_is_meant_for_another_bot_is_left_alone(stage: Stage) -> None:
    fields = {"chat": GROUP, "in_group": True, "addressed_to_bot": False}
    assert await admin_says(stage, "/bot pause", **fields) == []
    assert len(await stage.customer_says(SURE, chat=GROUP)) == 1


async def test_help_lists_every_command_to_admins(stage: Stage) -> None:
    [reply] = await admin_says(stage, "/help")
    assert all(name in reply for name in ("/kb", "/bot", "/handoff", "/resume", "/why", "/stats"))


@pytest.mark.parametrize("text", ["/kb", "/kb ad Q | A", "/bot", "/bot dance", "/start"])
async def test_what_an_admin_gets_wrong_is_answered_with_the_list(stage: Stage, text: str) -> None:
    assert await admin_says(stage, text) == [SAYS.admin_help.strip()]


# What stays out of the conversation


async def test_commands_and_their_replies_are_no_context_and_no_turns(
    stage: Stage, database: Database
) -> None:
    await stage.customer_says(SURE, sender=ADMIN)
    for text in ("/kb status", "/kb search refund", "/why", "/stats", "/help"):
        assert len(await admin_says(stage, text)) == 1
    conversation = await stage.conversation()
    context = await stage.application.transcripts.context(conversation.id)
    assert [one.text for one in context.history] == [SURE, "Open the order and press Return."]
    assert await rows(database, tables.turn) == 1
    assert await rows(database, tables.case) == 0
    shown = await stage.application.transcripts.transcript(conversation.id)
    assert [one.kind for one in shown] == ["message"] * 2 + ["command"] * 10


async def test_a_command_never_becomes_part_of_a_burst(stage: Stage) -> None:
    before = await stage.accept(stage.message("Hello", sender=ADMIN))
    await stage.accept(stage.message("/kb status", sender=ADMIN))
    after = await stage.accept(stage.message("When will my refund arrive?", sender=ADMIN))
    await stage.settle(before)
    await stage.settle(after)
    assert stage.knowledge.searched == ["Hello", "When will my refund arrive?"]
    assert len(stage.channel.sent) == 3


async def test_a_command_that_comes_again_is_carried_out_once(stage: Stage) -> None:
    command = stage.message("/kb status", sender=ADMIN)
    for _ in range(3):
        await stage.settle(await stage.accept(command))
    assert len(stage.channel.sent) == 1


async def test_admins_are_never_limited(stage: Stage) -> None:
    for _ in range(70):
        accepted = await stage.accept(stage.message("/kb status", sender=ADMIN))
    await stage.settle(accepted)
    assert len(stage.channel.sent) == 70


async def test_a_command_that_fails_gets_no_person(stage: Stage, database: Database) -> None:
    async def broken() -> Any:
        raise RuntimeError("no status")

    stage.knowledge.status = broken  # type: ignore[method-assign]
    accepted = await stage.accept(stage.message("/kb status", sender=ADMIN))
    for _ in range(4):
        await stage.sent_out()
        stage.clock.advance(seconds=60)
        stage.application.inbox.wake()
    assert await stage.application.inbox.settled(accepted, timeout_seconds=60)
    await stage.sent_out()
    assert [message.text for message in stage.channel.sent] == [SAYS.failed]
    assert await rows(database, tables.case) == 0


# The knowledge base


async def test_status_names_every_knowledge_base_with_its_counts(stage: Stage) -> None:
    [reply] = await admin_says(stage, "/kb status")
    assert reply == "- **fake**: 5 documents, 5 passages, generation 1, loaded never"


async def test_search_shows_passages_with_their_scores(stage: Stage) -> None:
    [reply] = await admin_says(stage, "/kb search When will my refund arrive?")
    first = reply.split("\n")[0]
    assert first == "1. When will my refund arrive? – 1.000 (fake)"
    assert "Within 2 business days." in reply


async def test_search_asks_for_a_question_and_tells_what_fails(stage: Stage) -> None:
    assert await admin_says(stage, "/kb search") == [SAYS.search_usage]
    stage.knowledge.broken = True
    assert await admin_says(stage, "/kb search refund") == [SAYS.search_fails]


async def told(stage: Stage, count: int) -> list[str]:
    """Until so many messages were sent."""
    async with asyncio.timeout(60):
        while len(stage.channel.sent) < count:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0)
    await stage.sent_out()
    return [message.text for message in stage.channel.sent]


async def test_a_reload_is_begun_at_once_and_its_counts_are_told_at_the_end(stage: Stage) -> None:
    go_on = asyncio.Event()

    async def slow(
        names: Collection[str] | None = None, *, progress: Progress | None = None
    ) -> tuple[LoadReport, ...]:
        await go_on.wait()
        assert names == ("fake",)
        return (LoadReport(knowledge_base="fake", added=2, unchanged=5, unreadable=("a: bad",)),)

    stage.knowledge.load = slow  # type: ignore[method-assign]
    assert await admin_says(stage, "/kb reload fake") == [SAYS.reload_began]
    # The lane is not held up meanwhile.
    assert len(await admin_says(stage, SURE)) == 1
    go_on.set()
    *_, result = await told(stage, 3)
    assert result == (
        "Loaded **fake**: 2 added, 0 changed, 0 removed, 5 unchanged.\n"
        "1 could not be read, the first: a: bad"
    )
    assert await stage.application.jobs.asked() == ()


async def test_a_reload_that_fails_says_why(stage: Stage) -> None:
    async def broken(names: object = None, *, progress: object = None) -> tuple[LoadReport, ...]:
        raise KnowledgeBaseUnavailable("the folder is gone")

    stage.knowledge.load = broken  # type: ignore[method-assign]
    await admin_says(stage, "/kb reload")
    assert (await told(stage, 2))[1] == "Nothing was loaded: the folder is gone"


async def test_an_unknown_knowledge_base_is_named_beside_those_there_are(stage: Stage) -> None:
    assert await admin_says(stage, "/kb reload faek") == [
        "There is no knowledge base “faek”, only: fake."
    ]
    assert await stage.application.jobs.asked() == ()


# Silence


async def test_a_paused_chat_is_silent_until_it_is_resumed(
    stage: Stage, database: Database
) -> None:
    assert await admin_says(stage, "/bot pause", chat=GROUP) == [SAYS.paused]
    assert await admin_says(stage, "/bot pause", chat=GROUP) == [SAYS.paused]
    assert await stage.customer_says(SURE, chat=GROUP) == []
    assert await stage.customer_says("/help", chat=GROUP) == []
    topic = ConversationId("shop", "group-1", "topic-1")
    assert await stage.customer_says("A person please", chat=topic) == []
    assert len(await stage.customer_says(SURE)) == 1
    assert await rows(database, tables.case) == len(stage.desk.opened) == 0
    assert await admin_says(stage, "/bot resume", chat=GROUP) == [SAYS.resumed]
    assert len(await stage.customer_says(SURE, chat=GROUP)) == 1


async def test_edits_and_buttons_do_not_break_the_silence(stage: Stage) -> None:
    asked = stage.message(SURE)
    await stage.settle(await stage.accept(asked))
    await admin_says(stage, "/bot pause")
    edit = MessageEdited(
        event_id="edit", conversation=CHAT, message_id=asked.message_id,
        sender=asked.sender, sent_at=stage.clock(), text="When will my refund arrive?",
    )  # fmt: skip
    before = len(stage.channel.sent)
    await stage.settle(await stage.accept(edit))
    assert await stage.customer_presses("A person please") == []
    assert len(stage.channel.sent) == before
    assert stage.desk.opened == []


async def test_what_was_pressed_in_the_silence_may_be_pressed_again(stage: Stage) -> None:
    await stage.customer_says("How long do I have to keep a broken item?")
    label = "How long do I have to return an item?"
    await admin_says(stage, "/bot pause")
    assert await stage.customer_presses(label) == []
    await admin_says(stage, "/bot resume")
    assert [message.text for message in await stage.customer_presses(label)] == [
        "You have 15 days."
    ]


async def test_a_pause_survives_a_restart_and_a_move(
    database: Database, clock: Any, channel: FakeAdapter
) -> None:
    async with staged(database, clock, channel) as before:
        await admin_says(before, "/bot pause", chat=GROUP)
    elsewhere = ConversationId("shop", "supergroup-1")
    async with staged(database, clock, channel) as after:
        assert await after.customer_says(SURE, chat=GROUP) == []
        moved = ConversationMoved(
            event_id="moved", conversation=GROUP, moved_to=elsewhere, sent_at=clock()
        )
        await after.settle(await after.accept(moved))
        assert await after.customer_says(SURE, chat=elsewhere) == []


# Persons


async def test_an_admin_hands_a_conversation_to_a_person_and_takes_it_back(stage: Stage) -> None:
    await stage.customer_says(SURE)
    assert await admin_says(stage, "/handoff") == [texts("en").handoff_asked]
    assert stage.desk.opened[0].question == SURE
    assert await admin_says(stage, "/handoff") == [SAYS.with_person]
    assert await stage.customer_says(SURE) == []
    assert await admin_says(stage, "/resume") == [texts("en").handback]
    assert [case.id for case in stage.desk.closed] == [stage.desk.opened[0].id]
    assert await admin_says(stage, "/resume") == [SAYS.with_bot]
    assert len(await stage.customer_says(SURE)) == 1


async def test_commands_work_while_an_agent_owns_the_conversation(stage: Stage) -> None:
    await stage.customer_says("A person please")
    conversation = await stage.conversation()
    await stage.application.handoff.claim(conversation.id, "Ana")
    assert len(await admin_says(stage, "/kb status")) == 1
    assert (await stage.conversation()).agent == "Ana"
    assert await admin_says(stage, "/resume") == [texts("en").handback]
    assert (await stage.conversation()).state is State.BOT


# Accounts


async def test_why_explains_the_answer_that_is_replied_to(stage: Stage) -> None:
    [answer] = await stage.customer_says(SURE, chat=GROUP)
    assert answer is stage.channel.sent[0]
    await stage.customer_says("When will my refund arrive?", chat=GROUP)
    mine = ConversationId("shop", "group-1", member="7")
    [reply] = await admin_says(stage, "/why", chat=mine, in_reply_to="fake-1")
    assert f"Searched for: {SURE}\nDecision: answer\nProbability" in reply
    assert "Found for it now:\n1. How do I return an item? – 1.000 (fake)" in reply
    signals = reply.split(SAYS.why_signals)[1].split("\n\n")[0].strip().split("\n")
    assert len(signals) == 3
    assert "To be answered it takes 0.88" in reply


async def test_why_explains_the_last_answer_of_the_chat_where_none_is_named(stage: Stage) -> None:
    assert await admin_says(stage, "/why", chat=GROUP) == [SAYS.why_nothing]
    await stage.customer_says("When will my refund arrive?", chat=GROUP)
    mine = ConversationId("shop", "group-1", member="7")
    [reply] = await admin_says(stage, "/why", chat=mine)
    assert "Searched for: When will my refund arrive?" in reply


async def test_why_never_tells_of_another_chat(stage: Stage) -> None:
    await stage.customer_says(SURE, chat=ConversationId("shop", "private"))
    assert await admin_says(stage, "/why", chat=GROUP, in_reply_to="fake-1") == [SAYS.why_nothing]


async def test_stats_count_turns_and_handoffs_of_the_last_days(stage: Stage) -> None:
    await stage.customer_says("A person please", chat=ConversationId("shop", "long ago"))
    stage.clock.advance(days=8)
    await stage.customer_says(SURE)
    await stage.customer_says("Hello!")
    await stage.customer_says(SURE, chat=GROUP)
    await stage.customer_says("Do you sell coffee machines?", chat=GROUP)
    [reply] = await admin_says(stage, "/stats")
    assert reply == (
        "The last 7 days: 4 turns\n- answer: 2\n- handoff: 1\n- small talk: 1\n\n"
        "Handoffs: 1 (not sure: 1); 1 still open"
    )
    [longer] = await admin_says(stage, "/stats 9d")
    assert "The last 9 days: 5 turns" in longer


async def test_stats_explain_what_they_take(stage: Stage) -> None:
    assert await admin_says(stage, "/stats yesterday") == [
        "Give the days as in /stats 7d, 1 to 90."
    ]


async def test_a_command_is_answered_though_an_agent_takes_the_conversation_meanwhile(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.customer_says(SURE)
    number, status = (await stage.conversation()).id, stage.knowledge.status

    async def interrupted() -> Any:
        await stage.application.handoff.claim(number, "ana")
        return await status()

    monkeypatch.setattr(stage.knowledge, "status", interrupted)
    [reply] = await admin_says(stage, "/kb status")
    assert "fake" in reply
    assert (await stage.conversation()).agent == "ana"
