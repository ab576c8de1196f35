"""Platforms that are busy, broken or silent, and rates: nobody else waits, and order is kept."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from kfbot.adapter import AdapterSettings
from kfbot.bootstrap import wire
from kfbot.conversation import State
from kfbot.errors import ChannelError, ChannelUnavailable
from kfbot.messages import (
    ConversationId,
    DeliveryReceipt,
    OutboundMessage,
    OwnershipChanged,
    Sender,
)
from kfbot.outbox import GIVEN_UP_AFTER
from kfbot.settings import Settings
from kfbot.store import tables
from kfbot.store.dead_letters import DeadLetterStore
from kfbot.store.engine import Database
from kfbot.store.messages import MessageStore
from kfbot.store.presence import Presence, new_owner
from kfbot.testing import FakeAdapter, FakeDesk, FakeKnowledgeBase
from tests.conftest import Clock
from tests.dialogues.conftest import CHAT, ENTRIES, Stage, staged
from tests.integration.stores import states

pytestmark = pytest.mark.asyncio
REFUND = "When will my refund arrive?"
RETURN = "How do I return an item?"
KEEP = "How long do I have to return an item?"
OTHER = ConversationId("shop", "chat-2")


@pytest.fixture
def database_url(url: str) -> str:
    """On both databases."""
    return url


@pytest_asyncio.fixture
async def stage(database: Database, clock: Clock) -> AsyncIterator[Stage]:
    async with staged(database, clock, FakeAdapter()) as opened:
        yield opened


@pytest.fixture
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever held it would be noticed."""
    monkeypatch.setattr("kfbot.inbox.WORKERS", 1)


def logged(caplog: pytest.LogCaptureFixture) -> set[str]:
    return {getattr(record, "event", "") for record in caplog.records}


def texts(stage: Stage) -> list[str]:
    return [message.text for message in stage.channel.sent]


async def later(stage: Stage, **by: float) -> None:
    """Let time pass, and what is due then be done."""
    stage.clock.advance(**by)
    stage.application.inbox.wake()
    await stage.sent_out()


async def outbox(database: Database) -> list[sa.Row[Any]]:
    query = sa.select(tables.outbox).order_by(tables.outbox.c.id)
    return await database.read(lambda c: list(c.execute(query)))


def busy(seconds: float | None) -> ChannelError:
    return ChannelUnavailable("shop", "busy", retry_after_seconds=seconds)


# Busy, broken, silent


@pytest.mark.usefixtures("one_worker")
async def test_a_busy_platform_is_waited_for_and_no_worker_waits_with_it(
    stage: Stage, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    stage.channel.failures = [busy(300)]
    await stage.customer_says(REFUND)
    started = stage.clock.now
    await stage.customer_says(RETURN)
    [reply] = await stage.customer_says(KEEP, chat=OTHER)
    assert reply.text == ENTRIES[KEEP]
    [first, second, _] = await outbox(database)
    assert (first.state, first.attempts, second.attempts) == ("new", 1, 0)
    assert "busy" in first.error
    assert first.retry_at - started > timedelta(seconds=290)
    await later(stage, seconds=280)
    assert len(stage.channel.sent) == 1
    await later(stage, seconds=21)
    assert texts(stage) == [ENTRIES[KEEP], ENTRIES[REFUND], ENTRIES[RETURN]]
    assert "message_postponed" in logged(caplog)


async def test_a_broken_platform_is_tried_less_and_less_often_and_order_is_kept(
    stage: Stage, database: Database
) -> None:
    stage.channel.failures = [busy(None) for _ in range(6)]
    for text in (REFUND, RETURN, KEEP):
        await stage.accept(stage.message(text))
    await stage.sent_out()
    pauses = []
    while stage.channel.failures:
        [first, *behind] = await outbox(database)
        assert {row.attempts for row in behind} <= {0}
        pauses.append(first.retry_at - stage.clock.now)
        await later(stage, seconds=pauses[-1].total_seconds())
    # Doubling, of which chance takes up to a half.
    for attempts, pause in enumerate(pauses, start=1):
        longest = timedelta(seconds=2**attempts)
        assert longest / 2 - timedelta(seconds=1) < pause <= longest
    await later(stage, minutes=5)
    assert texts(stage) == [ENTRIES[REFUND], ENTRIES[RETURN], ENTRIES[KEEP]]


class SilentPlatform(FakeAdapter):
    """Answers nobody, until it does."""

    is_silent = True

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        if self.is_silent:
            await asyncio.Event().wait()
        return await super().send(message)


async def test_a_silent_platform_is_given_up_for_now_and_at_last_for_good(
    database: Database,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("kfbot.outbox.SEND_TIMEOUT_SECONDS", 0.01)
    channel = SilentPlatform()
    async with staged(database, clock, channel) as stage:
        await stage.accept(stage.message(REFUND))
        await stage.sent_out()
        [row] = await outbox(database)
        assert (row.state, row.attempts) == ("new", 1)
        assert "no answer in time" in row.error
        clock.now = row.created_at + GIVEN_UP_AFTER - timedelta(minutes=1)
        await later(stage, seconds=0)
        assert await states(database, tables.outbox) == ["new"]
        await later(stage, minutes=11)
        assert await states(database, tables.outbox) == ["dead"]
        assert "message_dead" in logged(caplog)
        [letter] = (await DeadLetterStore(database, clock).list()).letters
        assert (letter.attempts, letter.text) == (3, ENTRIES[REFUND])
        channel.is_silent = False
        [reply] = await stage.customer_says(RETURN)
        assert reply.text == ENTRIES[RETURN]


# Rates


class TimedAdapter(FakeAdapter):
    """Notes when it took a message, by the clock of the test."""

    def __init__(self, clock: Clock, rate_per_second: float) -> None:
        settings = AdapterSettings(platform="fake", rate_per_second=rate_per_second)
        super().__init__(settings=settings)
        self.clock = clock
        self.times: list[datetime] = []

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        self.times.append(self.clock.now)
        return await super().send(message)

    def keeps(self, rate: float) -> bool:
        """True where no stretch of time has more than its share and one second's worth."""
        return all(
            count <= rate * (end - start).total_seconds() + rate
            for first, start in enumerate(self.times)
            for count, end in enumerate(self.times[first:], start=1)
        )


@asynccontextmanager
async def replica(url: str, clock: Clock, *channels: FakeAdapter) -> AsyncIterator[Stage]:
    """A process on this database; its stage is that of its first channel."""
    knowledge, desk, owner = FakeKnowledgeBase(ENTRIES), FakeDesk(), new_owner()
    served = {channel.channel: channel for channel in channels}
    async with Database(url) as database, Presence(database, owner):
        application = wire(
            Settings(), database, knowledge, channels=served, desks=[desk], clock=clock, owner=owner
        )
        running = asyncio.create_task(application.run())
        try:
            yield Stage(application, channels[0], knowledge, desk, clock)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.mark.usefixtures("one_worker")
async def test_replicas_together_keep_the_rate_and_the_order_of_every_conversation(
    url: str, clock: Clock
) -> None:
    channel = TimedAdapter(clock, rate_per_second=4)
    async with replica(url, clock, channel) as one, replica(url, clock, channel) as other:
        chats = [ConversationId("shop", f"chat-{number}") for number in range(6)]
        for text in (REFUND, RETURN, KEEP):
            for number, chat in enumerate(chats):
                await (one, other)[number % 2].accept(one.message(text, chat=chat))
        started = clock.now
        while len(channel.sent) < 18:
            clock.advance(milliseconds=100)
            for stage in (one, other):
                stage.application.inbox.wake()
                await stage.sent_out()
            assert clock.now - started < timedelta(seconds=10)
    assert channel.keeps(4)
    said = defaultdict(list)
    for message in channel.sent:
        said[message.conversation].append(message.text)
    in_order = [ENTRIES[text] for text in (REFUND, RETURN, KEEP)]
    assert said == dict.fromkeys(chats, in_order)


@pytest.mark.usefixtures("one_worker")
async def test_who_waits_for_a_rate_holds_up_no_other_channel(url: str, clock: Clock) -> None:
    slow, quick = TimedAdapter(clock, rate_per_second=0.1), FakeAdapter("quick")
    async with replica(url, clock, quick, slow) as stage:
        for number in range(4):
            chat = ConversationId("shop", f"chat-{number}")
            await stage.accept(stage.message(REFUND, chat=chat))
        await stage.sent_out()
        assert len(slow.sent) == 1
        [reply] = await stage.customer_says(REFUND, chat=ConversationId("quick", "chat"))
        assert reply.text == ENTRIES[REFUND]


async def test_times_that_were_kept_free_before_a_standstill_are_given_out_anew(
    database: Database, clock: Clock
) -> None:
    channel = TimedAdapter(clock, rate_per_second=2)
    async with staged(database, clock, channel) as stage:
        for number in range(12):
            chat = ConversationId("shop", f"chat-{number}")
            await stage.accept(stage.message(REFUND, chat=chat))
        await stage.sent_out()
    # Every message has its time by now, and all of them are over.
    clock.advance(hours=1)
    async with staged(database, clock, channel) as stage:
        await stage.sent_out()
        for _ in range(60):
            await later(stage, milliseconds=100)
    assert len(channel.sent) == 12
    assert channel.keeps(2)


async def test_replicas_that_send_a_channels_first_messages_at_once_both_get_a_time(
    url: str, clock: Clock
) -> None:
    async with Database(url) as first, staged(first, clock, FakeAdapter()) as stage:
        stage.channel.failures = [busy(60), busy(60)]
        await stage.customer_says(REFUND)
        await stage.customer_says(REFUND, chat=OTHER)
        async with Database(url) as second:
            stores = [MessageStore(database, clock) for database in (first, second)]
            clock.advance(minutes=2)
            lanes = await stores[0].claim("one", limit=2, lease_seconds=30)
            waiting = [(await stores[0].work(lane)).unsent[0] for lane in lanes]
            pairs = zip(stores, waiting, strict=True)
            slots = await asyncio.gather(
                *(store.reserve(stored, rate_per_second=1) for store, stored in pairs)
            )
    assert timedelta(milliseconds=999) < abs(slots[0] - slots[1]) < timedelta(milliseconds=1001)


async def test_an_agent_who_comes_while_a_time_is_kept_free_is_not_talked_over(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = TimedAdapter(clock, rate_per_second=1)
    async with staged(database, clock, channel) as stage:
        reserve = MessageStore.reserve

        async def interrupted(self: MessageStore, *stored: Any, **rate: Any) -> datetime:
            slot = await reserve(self, *stored, **rate)
            claim = OwnershipChanged(
                event_id="claim", conversation=CHAT, change="claimed",
                agent=Sender("7", "agent", "ann"), sent_at=clock(),
            )  # fmt: skip
            await stage.accept(claim)
            return slot

        monkeypatch.setattr(MessageStore, "reserve", interrupted)
        await stage.customer_says(REFUND)
        assert (await stage.conversation()).state is State.AGENT
        assert channel.sent == []
        assert await states(database, tables.outbox) == ["cancelled"]
