"""What a server does beside its work: it purges, and it notices that the clock was set."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import pytest_asyncio

from kfbot import upkeep
from kfbot.errors import StoreUnavailable
from kfbot.privacy import Privacy
from kfbot.settings import Settings
from kfbot.store import tables
from kfbot.store.clock import DatabaseClock
from kfbot.store.engine import Database
from kfbot.store.messages import MessageStore
from kfbot.store.purge import BATCH, purge
from kfbot.testing import FakeKnowledgeBase
from kfbot.upkeep import Upkeep
from tests.conftest import Clock
from tests.integration.conftest import Served
from tests.integration.stores import count, message
from tests.integration.test_purge import KEEP, LATER, column, inbox_rows, write

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with Database(url) as opened:
        yield opened


@pytest_asyncio.fixture
async def conversation_id(messages: MessageStore, clock: Clock) -> int:
    """A conversation whose first event waits to be worked on."""
    return (await messages.accept(message(clock, 0))).conversation_id


def new_upkeep(
    database: Database,
    messages: MessageStore,
    clock: Callable[[], datetime],
    kind: type[Upkeep] = Upkeep,
) -> Upkeep:
    privacy = Privacy(database, FakeKnowledgeBase({}), clock, settings=Settings(), keep_days={})
    return kind(database, messages, clock, keep=KEEP, privacy=privacy)


@pytest.fixture
def keeper(database: Database, messages: MessageStore, clock: Clock) -> Upkeep:
    return new_upkeep(database, messages, clock)


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.event for record in caplog.records if hasattr(record, "event")]


async def test_purge_is_logged_with_its_counts_where_there_was_something_to_do(
    database: Database,
    clock: Clock,
    conversation_id: int,
    keeper: Upkeep,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "kfbot")
    await keeper.purge()
    assert events(caplog) == []
    await write(database, tables.inbox.insert(), inbox_rows(conversation_id, clock(), ["done"]))
    clock.advance(**LATER)
    await keeper.purge()
    [record] = caplog.records
    assert record.levelno == logging.INFO
    assert record.event == "rows_purged"
    assert {table: rows for table, rows in record.removed.items() if rows} == {"inbox": 1}


class SteppingClock(DatabaseClock):
    """A database clock that has to be moved by what the test says."""

    step = timedelta()

    async def synchronise(self) -> timedelta:
        step, self.step = self.step, timedelta()
        return step


class Hastened(MessageStore):
    """Counts how often all that waits was let go."""

    times = 0
    unavailable = False

    async def hasten(self) -> None:
        if self.unavailable:
            raise StoreUnavailable("the database is gone")
        self.times += 1


@pytest.mark.parametrize(
    ("step", "logged", "hastened"),
    [
        (timedelta(seconds=-2), ["clock_went_back"], 1),
        (timedelta(seconds=-0.5), [], 0),
        (timedelta(seconds=50), [], 0),
        (timedelta(seconds=70), ["clock_jumped"], 0),
    ],
)
async def test_clock_that_was_set_is_told_and_if_back_nothing_waits_for_its_time(
    step: timedelta,
    logged: list[str],
    hastened: int,
    database_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = Database(database_url)
    clock = SteppingClock(database)
    messages = Hastened(database, clock)
    clock.step = step
    keeper = new_upkeep(database, messages, clock)
    await keeper.keep_time()
    await keeper.keep_time()
    assert (events(caplog), messages.times) == (logged, hastened)
    assert {record.levelno for record in caplog.records} <= {logging.WARNING}


async def test_what_waits_is_let_go_once_the_database_is_back(database_url: str) -> None:
    database = Database(database_url)
    clock = SteppingClock(database)
    messages = Hastened(database, clock)
    keeper = new_upkeep(database, messages, clock)
    clock.step, messages.unavailable = timedelta(days=-1), True
    with pytest.raises(StoreUnavailable):
        await keeper.keep_time()
    messages.unavailable = False
    await keeper.keep_time()
    assert messages.times == 1


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for its time."""
    for name in ("CLOCK_SECONDS", "PURGE_SECONDS", "FIRST_PURGE_SECONDS", "AGAIN_SECONDS"):
        monkeypatch.setattr(upkeep, name, 0)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (StoreUnavailable("the database is gone"), "store_unavailable"),
        (ValueError("a fault of ours"), "upkeep_failed"),
    ],
)
async def test_what_fails_is_logged_and_tried_again(
    error: Exception,
    logged: str,
    database: Database,
    messages: MessageStore,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing(Upkeep):
        attempts = 0

        async def purge(self) -> None:
            self.attempts += 1
            if self.attempts == 1:
                raise error
            again.set()

    again = asyncio.Event()
    running = asyncio.create_task(new_upkeep(database, messages, clock, Failing).run())
    async with asyncio.timeout(60):
        await again.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
    assert events(caplog) == [logged]


@pytest.mark.usefixtures("at_once")
async def test_clock_of_the_database_is_followed(
    database: Database, messages: MessageStore
) -> None:
    class Followed(SteppingClock):
        async def synchronise(self) -> timedelta:
            followed.set()
            return timedelta()

    followed = asyncio.Event()
    keeper = new_upkeep(database, messages, Followed(database))
    running = asyncio.create_task(keeper.run())
    async with asyncio.timeout(60):
        await followed.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_cancelling_ends_it_in_the_middle_of_a_purge(
    database: Database,
    clock: Clock,
    conversation_id: int,
    keeper: Upkeep,
    at_once: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # After the first batch it would pause for longer than any test runs.
    monkeypatch.setattr(upkeep, "purge", partial(purge, pause_seconds=3600))
    rows = inbox_rows(conversation_id, clock(), ["done"] * (BATCH + 1))
    await write(database, tables.inbox.insert(), rows)
    clock.advance(**LATER)
    running = asyncio.create_task(keeper.run())
    async with asyncio.timeout(60):
        while await count(database, tables.inbox) > BATCH:
            pass
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert await count(database, tables.inbox) == 2 + 1


@pytest.mark.usefixtures("at_once")
async def test_server_keeps_finished_rows_as_long_as_its_settings_say(served: Served) -> None:
    async with served(database={"keep_finished_days": 5}) as bot:
        now = datetime.now(UTC)
        await bot.ask("How do I return an item?", "c1")
        conversation_id = await bot.id_of("c1")
        for days in (4, 6):
            rows = inbox_rows(conversation_id, now - timedelta(days=days), ["done"], f"{days}-")
            await write(bot.database, tables.inbox.insert(), rows)
        async with asyncio.timeout(60):
            while "6-done-0" in (kept := await column(bot.database, tables.inbox.c.event_id)):
                pass
        assert "4-done-0" in kept
