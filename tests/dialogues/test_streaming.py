"""Answers that are shown while they grow, as the customer of a platform sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from kfbot.adapter import Capabilities
from kfbot.conversation import State
from kfbot.errors import (
    ChannelUnauthorized,
    ChannelUnavailable,
    ChatModelUnavailable,
    MessageRejected,
)
from kfbot.handoff.settings import HandoffSettings
from kfbot.messages import DeliveryReceipt, OutboundMessage
from kfbot.model_settings import ChatModelSettings
from kfbot.settings import Settings
from kfbot.store import tables
from kfbot.store.acceptance import Accepted
from kfbot.store.engine import Database
from kfbot.testing import FakeAdapter
from tests.dialogues.conftest import Stage, staged
from tests.dialogues.writing import ANSWER, DOCUMENTS, FIRST, QUESTION, HeldWriter, documents

pytestmark = pytest.mark.asyncio

EDITS = Capabilities(buttons=True, edit=True, edit_interval_seconds=0, text_length=200)
LONG = ANSWER + " It costs nothing." * 20


@pytest.fixture
def channel() -> FakeAdapter:
    return FakeAdapter(capabilities=EDITS)


@pytest.fixture
def writer() -> HeldWriter:
    return HeldWriter()


@pytest_asyncio.fixture
async def stage(
    database: Database, clock: Any, channel: FakeAdapter, writer: HeldWriter
) -> AsyncIterator[Stage]:
    knowledge = documents()
    async with staged(database, clock, channel, writer=writer, knowledge=knowledge) as opened:
        yield opened


async def asked(stage: Stage, writer: HeldWriter, question: str = QUESTION) -> Accepted:
    """A question that is being answered."""
    accepted = await stage.accept(stage.message(question))
    await answering(stage, writer, question)
    return accepted


async def answering(stage: Stage, writer: HeldWriter, question: str) -> None:
    """Until a question is being answered."""
    async with asyncio.timeout(60):
        while writer.asked[-1:] != [question]:
            # A burst may not be over.
            if await stage.application.inbox.idle():
                stage.clock.advance(seconds=3)
                stage.application.inbox.wake()
            await asyncio.sleep(0)


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0)


async def settled(stage: Stage, accepted: Accepted) -> None:
    """Until a turn whose writer has ended was committed, and all that is due was sent."""
    assert await stage.application.inbox.settled(accepted, timeout_seconds=60)
    await stage.sent_out()


async def shown(stage: Stage, writer: HeldWriter, text: str = FIRST) -> Accepted:
    """A question whose answer has begun to be shown."""
    accepted, before = await asked(stage, writer), len(stage.channel.sent)
    writer.says(text)
    await until(lambda: len(stage.channel.sent) > before)
    await until_named(stage)
    return accepted


async def until_named(stage: Stage) -> None:
    """Until the platform's id of what was sent is stored."""
    async with asyncio.timeout(60):
        while not any(row.platform_ids for row in await rows(stage, tables.draft)):  # noqa: ASYNC110
            await asyncio.sleep(0)


async def rows(stage: Stage, table: sa.Table) -> list[Any]:
    """What is in a table, in order."""
    database = stage.application.transcripts._database
    query = sa.select(table).order_by(*table.primary_key)
    return list(await database.read(lambda c: c.execute(query).all()))


async def transcript(stage: Stage) -> list[tuple[str, str, bool]]:
    """Who said what, and whether agents alone see it."""
    found = await rows(stage, tables.message)
    return [(row.role, row.text, row.internal) for row in found]


async def test_an_answer_is_shown_as_it_grows_and_ends_with_its_sources(
    stage: Stage, channel: FakeAdapter, writer: HeldWriter
) -> None:
    accepted = await shown(stage, writer)
    [begun] = channel.sent
    assert (begun.text, begun.buttons, begun.citations) == (FIRST, (), ())
    writer.says(ANSWER)
    await until(lambda: channel.edited)
    assert [(of, message.text) for of, message in channel.edited] == [("fake-1", ANSWER)]
    writer.ends(ANSWER)
    await settled(stage, accepted)
    of, last = channel.edited[-1]
    assert (of, last.text) == ("fake-1", ANSWER)
    assert len(last.buttons) == 3
    assert [one.id for one in last.citations] == ["entry-0"]
    assert len(channel.sent) == 1
    assert await rows(stage, tables.draft) == []
    assert await transcript(stage) == [("customer", QUESTION, False), ("bot", ANSWER, False)]
    assert (await rows(stage, tables.message))[-1].platform_id == "fake-1"


async def test_further_parts_of_a_long_answer_are_sent_behind_it(
    stage: Stage, channel: FakeAdapter, writer: HeldWriter
) -> None:
    accepted = await shown(stage, writer, LONG)
    writer.ends(LONG)
    await settled(stage, accepted)
    first, *further = channel.sent
    assert all(len(one.text) <= 200 for one in channel.sent)
    assert [of for of, _ in channel.edited] == ["fake-1"]
    assert " ".join([first.text, *(one.text for one in further)]) == LONG
    assert [bool(one.buttons) for one in further] == [False, True]


async def test_an_agent_who_claims_stops_the_stream_and_reads_what_was_shown(
    stage: Stage, channel: FakeAdapter, writer: HeldWriter
) -> None:
    accepted = await shown(stage, writer)
    conversation = await stage.conversation()
    await stage.application.handoff.claim(conversation.id, "Ana")
    said = await transcript(stage)
    assert said == [("customer", QUESTION, False), ("bot", FIRST, False)]
    writer.says(ANSWER)
    writer.ends(ANSWER)
    await settled(stage, accepted)
    assert (len(channel.sent), channel.edited) == (1, [])
    assert await transcript(stage) == said
    assert (await stage.conversation()).state is State.AGENT
    assert await rows(stage, tables.draft) == []


async def test_an_agent_may_claim_whatever_the_platform_calls_what_was_shown(
    stage: Stage, channel: FakeAdapter, writer: HeldWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send(message: OutboundMessage) -> DeliveryReceipt:
        channel.sent.append(message)
        return DeliveryReceipt(("half \ud800",))

    monkeypatch.setattr(channel, "send", send)
    accepted = await shown(stage, writer)
    await stage.application.handoff.claim((await stage.conversation()).id, "Ana")
    writer.ends(ANSWER)
    await settled(stage, accepted)
    assert await transcript(stage) == [("customer", QUESTION, False), ("bot", FIRST, False)]


async def test_a_customer_who_writes_again_gets_both_answers_in_order(
    stage: Stage, channel: FakeAdapter, writer: HeldWriter
) -> None:
    await shown(stage, writer)
    other, reply = list(DOCUMENTS.items())[1]
    again = await stage.accept(stage.message(other))
    writer.says(ANSWER)
    writer.ends(ANSWER)
    await until(lambda: channel.edited and channel.edited[-1][1].buttons)
    await answering(stage, writer, other)
    writer.ends(reply)
    await settled(stage, again)
    assert [one.text for one in channel.sent] == [FIRST, reply]
    assert channel.edited[-1][1].text == ANSWER


async def test_a_model_that_fails_half_way_leaves_the_quoted_answer(
    stage: Stage, channel: FakeAdapter, writer: HeldWriter
) -> None:
    invented = "You have 15 days, we think."
    accepted = await shown(stage, writer, invented)
    writer.ends(ChatModelUnavailable("gone"))
    await settled(stage, accepted)
    of, last = channel.edited[-1]
    assert (of, last.text, len(channel.sent)) == ("fake-1", ANSWER, 1)
    # The customer has read it, and agents are to know.
    assert (await transcript(stage))[1:] == [("bot", invented, True), ("bot", ANSWER, False)]


async def test_a_refusal_half_way_becomes_the_handoff_in_its_place(
    stage: Stage, channel: FakeAdapter, writer: HeldWriter
) -> None:
    accepted = await shown(stage, writer)
    writer.ends(None)
    await settled(stage, accepted)
    of, last = channel.edited[-1]
    assert (of, last.kind, len(channel.sent)) == ("fake-1", "handoff", 1)
    assert (await stage.conversation()).state is State.WAITING
    assert [row[1:] for row in await transcript(stage)][1] == (FIRST, True)


@pytest.mark.parametrize(
    "refusal",
    [MessageRejected("shop", "it was deleted"), ChannelUnauthorized("shop", "no such right")],
)
async def test_an_edit_that_is_refused_is_sent_anew(
    stage: Stage, channel: FakeAdapter, writer: HeldWriter, refusal: Any
) -> None:
    accepted = await shown(stage, writer)
    channel.edit_failures.append(refusal)
    writer.ends(ANSWER)
    await settled(stage, accepted)
    assert [one.text for one in channel.sent] == [FIRST, ANSWER]
    assert len(channel.sent[-1].buttons) == 3
    assert stage.application.outbox.stopped == {}


async def test_a_platform_that_knows_no_edits_gets_whole_answers_from_then_on(
    stage: Stage, channel: FakeAdapter, writer: HeldWriter
) -> None:
    accepted = await shown(stage, writer)
    channel.edit_failures += [ChannelUnavailable("shop", "no such method")] * 3
    writer.says(ANSWER)
    await until(lambda: len(channel.edit_failures) == 2)
    writer.ends(ANSWER)
    await stage.sent_out()
    await settled(stage, accepted)
    stage.clock.advance(seconds=60)
    stage.application.inbox.wake()
    await until(lambda: len(channel.sent) == 2)
    assert [one.text for one in channel.sent] == [FIRST, ANSWER]
    other, reply = list(DOCUMENTS.items())[1]
    again = await asked(stage, writer, other)
    writer.says(reply[:10])
    writer.ends(reply)
    await settled(stage, again)
    assert [one.text for one in channel.sent[2:]] == [reply]


async def test_a_platform_that_is_down_for_the_last_edit_gets_it_later(
    stage: Stage, channel: FakeAdapter, writer: HeldWriter
) -> None:
    accepted = await shown(stage, writer)
    channel.edit_failures.append(ChannelUnavailable("shop", "busy", retry_after_seconds=5))
    writer.ends(ANSWER)
    await settled(stage, accepted)
    stage.clock.advance(seconds=10)
    stage.application.inbox.wake()
    await until(lambda: channel.edited)
    assert (len(channel.sent), channel.edited[-1][1].text) == (1, ANSWER)


async def test_a_first_text_that_does_not_arrive_ends_the_stream_and_the_answer_is_sent(
    stage: Stage, channel: FakeAdapter, writer: HeldWriter
) -> None:
    accepted = await asked(stage, writer)
    channel.failures.append(ChannelUnavailable("shop", "down"))
    writer.says(FIRST)
    await until(lambda: not channel.failures)
    writer.says(ANSWER)
    writer.ends(ANSWER)
    await settled(stage, accepted)
    assert [one.text for one in channel.sent] == [ANSWER]
    assert channel.edited == []


@pytest.mark.parametrize(
    ("capabilities", "stream"),
    [(Capabilities(buttons=True), True), (EDITS, False)],
    ids=["no-edits", "switched-off"],
)
async def test_a_channel_that_does_not_stream_gets_one_message(
    database: Database, clock: Any, capabilities: Capabilities, stream: bool
) -> None:
    channel, writer = FakeAdapter(capabilities=capabilities), HeldWriter()
    settings = Settings(
        chat_model=ChatModelSettings(base_url="http://127.0.0.1:9/v1", stream=stream)
    )
    knowledge = documents()
    async with staged(
        database, clock, channel, settings, writer=writer, knowledge=knowledge
    ) as stage:
        accepted = await asked(stage, writer)
        writer.says(FIRST)
        writer.ends(ANSWER)
        await settled(stage, accepted)
        assert ([one.text for one in channel.sent], channel.edited) == ([ANSWER], [])


async def test_a_stop_in_mid_stream_hands_back_and_the_next_process_replaces_what_was_shown(
    database: Database, clock: Any, channel: FakeAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfbot.inbox.DRAIN_SECONDS", 0.0)
    knowledge = documents()
    writer = HeldWriter()
    async with staged(database, clock, channel, writer=writer, knowledge=knowledge) as stage:
        accepted = await shown(stage, writer, ANSWER)
    writer = HeldWriter()
    async with staged(database, clock, channel, writer=writer, knowledge=knowledge) as stage:
        stage.application.inbox.wake()
        await until(lambda: writer.asked)
        # No less is shown than was.
        writer.says(FIRST)
        writer.ends(f"{ANSWER} It costs nothing.")
        await settled(stage, accepted)
    assert [one.text for one in channel.sent] == [ANSWER]
    assert [(of, one.text) for of, one in channel.edited] == [
        ("fake-1", f"{ANSWER} It costs nothing.")
    ]


async def test_a_turn_that_fails_for_good_takes_the_place_of_what_was_shown(
    stage: Stage, channel: FakeAdapter, writer: HeldWriter
) -> None:
    accepted = await shown(stage, writer)
    for _ in range(3):
        writer.ends(RuntimeError("a fault of ours"))
    async with asyncio.timeout(60):
        while not await stage.application.inbox.settled(accepted, timeout_seconds=0.01):
            stage.clock.advance(seconds=60)
            stage.application.inbox.wake()
    await until(lambda: channel.edited)
    assert (channel.edited[-1][1].kind, len(channel.sent)) == ("handoff", 1)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (f"Lawyer: {QUESTION}", "keyword"),
        (f"Fuck you! {QUESTION}", "angry"),
        ("That did not help", "not_helpful"),
        (QUESTION, "repeated_question"),
    ],
)
async def test_nothing_is_written_for_who_gets_a_person_anyway(
    database: Database, clock: Any, channel: FakeAdapter, words: str, reason: str
) -> None:
    writer = HeldWriter()
    settings = Settings(handoff=HandoffSettings(keywords=("lawyer",), repetitions=1))
    knowledge = documents()
    async with staged(
        database, clock, channel, settings, writer=writer, knowledge=knowledge
    ) as stage:
        accepted = await asked(stage, writer)
        writer.ends(ANSWER)
        await settled(stage, accepted)
        clock.advance(minutes=1)
        [handoff] = await stage.customer_says(words)
        assert (handoff.kind, [one.reason for one in stage.desk.opened]) == ("handoff", [reason])
        assert (writer.asked, len(channel.sent), channel.edited) == ([QUESTION], 2, [])
        if QUESTION in words:
            # The agent has what the bot would have quoted.
            assert stage.desk.opened[0].draft == ANSWER
