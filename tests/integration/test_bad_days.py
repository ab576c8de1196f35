"""The whole bot on either database when its surroundings fail: what is logged, seen and mended."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from kfbot.adapter import Capabilities
from kfbot.conversation import State
from kfbot.inbox import MAX_CRASHES, MAX_UNREADABLE
from kfbot.knowledge_base import Retrieval
from kfbot.messages import ConversationId
from kfbot.store import clock as clock_module
from kfbot.store import connections, lanes, tables
from kfbot.store.clock import DatabaseClock
from kfbot.store.engine import Database
from kfbot.store.messages import MessageStore
from kfbot.testing import FakeAdapter, FakeKnowledgeBase
from tests.conftest import Clock
from tests.dialogues.conftest import CHAT, Stage, staged
from tests.integration.stores import states

pytestmark = pytest.mark.asyncio
REFUND = "When will my refund arrive?"
RETURN = "How do I return an item?"
ANSWERS = {REFUND: "Within 2 business days.", RETURN: "Open the order and press Return."}


@pytest.fixture
def database_url(url: str) -> str:
    """On both databases."""
    return url


@pytest_asyncio.fixture
async def stage(database: Database, clock: Clock) -> AsyncIterator[Stage]:
    async with staged(database, clock, FakeAdapter()) as opened:
        yield opened


def texts(stage: Stage) -> list[str]:
    return [message.text for message in stage.channel.sent]


def logged(caplog: pytest.LogCaptureFixture) -> set[str]:
    return {getattr(record, "event", "") for record in caplog.records}


async def later(stage: Stage, **by: float) -> None:
    """Let time pass, and what is due then be done."""
    stage.clock.advance(**by)
    stage.application.inbox.wake()
    await stage.sent_out()


async def change(database: Database, statement: sa.Update) -> None:
    await database.write(lambda connection: connection.execute(statement).rowcount)


# The database is gone


class Interrupted(FakeKnowledgeBase):
    """Stands still in its first search, until it is let go on."""

    reached: asyncio.Event
    go_on: asyncio.Event

    async def search(self, query: str, **options: Any) -> Retrieval:
        self.reached.set()
        await self.go_on.wait()
        return await super().search(query, **options)


def interrupt(stage: Stage) -> Interrupted:
    knowledge = Interrupted(stage.knowledge.entries)
    knowledge.reached, knowledge.go_on = asyncio.Event(), asyncio.Event()
    dialogue = stage.application.inbox._dialogue
    dialogue._answering = replace(dialogue._answering, knowledge=knowledge)
    return knowledge


async def shut(server: str, name: str, *, shut: bool) -> None:
    """What a stop of PostgreSQL is to those who use a database of it; and the start after it."""
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    async with Database(server) as other:
        for statement in (f"ALTER DATABASE {name} ALLOW_CONNECTIONS {not shut}", end):
            await other.read(lambda c, text=statement: c.execute(sa.text(text)).closed)  # type: ignore[misc]


@asynccontextmanager
async def gone(url: str, server: str | None) -> AsyncIterator[None]:
    """The database does not answer inside."""
    parsed = sa.make_url(url)
    if server is not None:
        await shut(server, str(parsed.database), shut=True)
        yield
        await shut(server, str(parsed.database), shut=False)
        return
    with closing(sqlite3.connect(str(parsed.database))) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.rollback()


async def test_a_database_that_is_gone_in_mid_turn_costs_no_answer_and_doubles_none(
    request: pytest.FixtureRequest,
    url: str,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(connections, "BUSY_TIMEOUT_SECONDS", 0.1)
    server = None if url.startswith("sqlite") else request.getfixturevalue("server")
    async with Database(url) as database, staged(database, clock, FakeAdapter()) as stage:
        knowledge = interrupt(stage)
        await stage.accept(stage.message(REFUND))
        await stage.accept(stage.message(RETURN))
        async with asyncio.timeout(60):
            await knowledge.reached.wait()
        async with gone(url, server):
            knowledge.go_on.set()
            async with asyncio.timeout(60):
                while "store_unavailable" not in logged(caplog):  # noqa: ASYNC110  # nothing tells
                    await asyncio.sleep(0.01)
        async with asyncio.timeout(60):
            while len(stage.channel.sent) < 2:
                # Whoever waits for the clock to go on must see it go on.
                stage.clock.advance(seconds=1)
                stage.application.inbox.wake()
                await asyncio.sleep(0.05)
        await stage.sent_out()
        assert texts(stage) == [ANSWERS[REFUND], ANSWERS[RETURN]]
        assert await states(database, tables.inbox) == ["done", "done"]
        assert await states(database, tables.outbox) == ["sent", "sent"]


# Rows that cannot be read, messages that kill


async def test_an_event_that_cannot_be_read_is_given_up_and_the_lane_goes_on(
    stage: Stage, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    stage.application.inbox._wake.clear()
    knowledge = interrupt(stage)
    # The lane is busy, so that what follows is not read before it is spoilt.
    await stage.accept(stage.message("How long do I have to return an item?"))
    await knowledge.reached.wait()
    spoilt = await stage.accept(stage.message(REFUND))
    await stage.accept(stage.message(RETURN))
    row = tables.inbox.c.id == spoilt.inbox_id
    payload = {"type": "OfTheFuture", "text": REFUND}
    await change(database, tables.inbox.update().where(row).values(payload=payload))
    knowledge.go_on.set()
    await stage.sent_out()
    assert texts(stage) == ["You have 15 days."]
    for _ in range(MAX_UNREADABLE):
        await later(stage, minutes=10)
    assert texts(stage) == ["You have 15 days.", ANSWERS[RETURN]]
    assert await states(database, tables.inbox) == ["done", "dead", "done"]
    assert "row_unreadable" in logged(caplog)
    assert REFUND not in caplog.text


async def test_a_message_that_cannot_be_read_is_given_up_and_the_next_is_sent(
    stage: Stage, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    stage.channel.capabilities = Capabilities(rate_per_second=0.01)
    await stage.customer_says(REFUND)
    stage.channel.sent.clear()
    # The rate lets the second wait.
    await stage.customer_says(RETURN)
    assert await states(database, tables.outbox) == ["sent", "new"]
    waits = tables.outbox.c.state == "new"
    await change(database, tables.outbox.update().where(waits).values(payload={"text": 7}))
    stage.channel.capabilities = Capabilities()
    await later(stage, minutes=10)
    assert await states(database, tables.outbox) == ["sent", "dead"]
    [sent] = await stage.customer_says(REFUND)
    assert sent.text == ANSWERS[REFUND]
    assert "row_unreadable" in logged(caplog)


async def test_a_message_that_kills_its_process_again_and_again_gets_a_person(
    stage: Stage, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    knowledge = interrupt(stage)
    await stage.accept(stage.message("How long do I have to return an item?"))
    await knowledge.reached.wait()
    killer = await stage.accept(stage.message(REFUND))
    died = tables.inbox.update().where(tables.inbox.c.id == killer.inbox_id)
    await change(database, died.values(crashes=MAX_CRASHES))
    knowledge.go_on.set()
    await stage.sent_out()
    assert REFUND not in knowledge.searched
    assert (await stage.conversation()).state is State.WAITING
    assert stage.channel.sent[-1].kind == "handoff"
    assert "turn_crashed" in logged(caplog)


async def test_a_process_that_died_is_counted_for_the_event_that_it_was_at(
    database: Database, clock: Clock
) -> None:
    messages = MessageStore(database, clock)
    async with staged(database, clock, FakeAdapter()) as quiet:
        first, second = quiet.message("a?"), quiet.message("b?")
    for event in (first, second):
        await messages.accept(event)
    for _ in range(2):
        await messages.claim("one that dies", limit=1, lease_seconds=30)
        assert await messages.free_all() == 1
    inbox = tables.inbox.c
    query = sa.select(inbox.crashes).order_by(inbox.id)
    assert await database.read(lambda c: list(c.execute(query).scalars())) == [2, 0]


# Clocks


async def test_a_clock_set_back_before_a_start_lets_nothing_wait_for_it(
    database: Database, clock: Clock
) -> None:
    messages = MessageStore(database, clock)
    async with staged(database, clock, FakeAdapter()) as quiet:
        event = quiet.message("a?")
    await messages.accept(event)
    [lane] = await messages.claim("one", limit=1, lease_seconds=30)
    await messages.release(lane, ready_at=clock() + timedelta(minutes=5))
    clock.advance(hours=-1)
    assert await messages.claim("one", limit=1, lease_seconds=30) == ()
    await messages.free_all()
    assert len(await messages.claim("one", limit=1, lease_seconds=30)) == 1


async def test_setting_this_machines_clock_moves_nothing_until_the_next_look(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SetBack(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> SetBack:
            return cls.fromtimestamp(datetime.now(tz).timestamp() - 3600, tz)

    clock = DatabaseClock(database)
    await clock.synchronise()
    before = clock()
    monkeypatch.setattr(clock_module, "datetime", SetBack)
    assert timedelta() < clock() - before < timedelta(minutes=1)
    step = await clock.synchronise()
    # PostgreSQL's clock is another one: it was not set.
    moved = timedelta(hours=1) if database.is_sqlite else timedelta()
    assert abs(step + moved) < timedelta(minutes=1)
    assert abs(clock() + moved - datetime.now(UTC)) < timedelta(minutes=1)


# Channels that take only so much, and leases that grow old


async def test_a_channel_with_a_rate_gets_no_more_and_holds_up_nobody_else(
    database: Database, clock: Clock
) -> None:
    channel = FakeAdapter(capabilities=Capabilities(rate_per_second=2))
    async with staged(database, clock, channel) as stage:
        started = clock.now
        chats = [ConversationId("shop", f"chat-{number}") for number in range(7)]
        for chat in chats:
            await stage.accept(stage.message(REFUND, chat=chat))
        await stage.sent_out()
        # A second's worth may go at once; the turns are over all the same.
        assert len(channel.sent) == 2
        assert await states(database, tables.inbox) == ["done"] * 7
        while len(channel.sent) < 7:
            await later(stage, milliseconds=250)
            passed = (clock.now - started).total_seconds()
            assert len(channel.sent) <= 2 + 2 * passed
            assert passed < 4, "slower than the rate"
        assert {message.conversation for message in channel.sent} == set(chats)


async def test_times_kept_free_long_ago_are_not_used_all_at_once(
    database: Database, clock: Clock
) -> None:
    channel = FakeAdapter(capabilities=Capabilities(rate_per_second=2))
    async with staged(database, clock, channel) as stage:
        for number in range(7):
            chat = ConversationId("shop", f"chat-{number}")
            await stage.accept(stage.message(REFUND, chat=chat))
        await stage.sent_out()
        await later(stage, hours=1)
        assert len(channel.sent) <= 4


async def test_a_lane_whose_lease_is_old_sends_nothing_and_the_next_one_sends_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kfbot")
    knowledge = interrupt(stage)
    await stage.accept(stage.message(REFUND))
    await knowledge.reached.wait()
    asleep = lanes.elapsed_seconds() + 25
    # The process stood still for most of its lease, in the middle of the turn.
    monkeypatch.setattr(lanes, "elapsed_seconds", lambda: asleep)
    knowledge.go_on.set()
    async with asyncio.timeout(60):
        while "lane_lost" not in logged(caplog):  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)
    assert texts(stage) == []
    monkeypatch.undo()
    await later(stage, seconds=1)
    assert texts(stage) == [ANSWERS[REFUND]]
    assert stage.channel.sent[0].conversation == CHAT
