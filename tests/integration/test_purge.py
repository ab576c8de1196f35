"""Rows that have done their work go by age, in small batches, and nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.messages import MessageStore
from kfbot.store.purge import BATCH, purge
from tests.conftest import Clock
from tests.integration.stores import count, listening, message

pytestmark = pytest.mark.asyncio
KEEP = timedelta(days=30)
LATER = {"days": 31}


@pytest_asyncio.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with Database(url) as opened:
        yield opened


@pytest_asyncio.fixture
async def conversation_id(messages: MessageStore, clock: Clock) -> int:
    """A conversation whose first event waits to be worked on, however old it gets."""
    return (await messages.accept(message(clock, 0))).conversation_id


async def write(database: Database, statement: sa.Executable, *values: Any) -> None:
    await database.write(lambda c: c.execute(statement, *values) and None)


async def purged(database: Database, clock: Clock, keep: timedelta = KEEP) -> dict[str, int]:
    return await purge(database, clock(), keep, pause_seconds=0)


async def column(database: Database, column: sa.Column[Any]) -> set[Any]:
    query = sa.select(column)
    return set(await database.read(lambda c: c.execute(query).scalars().all()))


def inbox_rows(
    conversation_id: int, at: datetime, states: Sequence[str], prefix: str = ""
) -> list[dict[str, Any]]:
    return [
        {
            "channel": "shop",
            "event_id": f"{prefix}{state}-{number}",
            "conversation_id": conversation_id,
            "payload": {},
            "state": state,
            "received_at": at,
        }
        for number, state in enumerate(states)
    ]


def outbox_rows(
    conversation_id: int, message_id: int, at: datetime, states: Sequence[str], prefix: str = ""
) -> list[dict[str, Any]]:
    return [
        {
            "conversation_id": conversation_id,
            "message_id": message_id,
            "idempotency_key": f"{prefix}{state}",
            "payload": {},
            "state": state,
            "created_at": at,
        }
        for state in states
    ]


def button_row(conversation_id: int, token: str, at: datetime, **values: Any) -> dict[str, Any]:
    fixed = {"action": "choice", "pressed_at": None}
    return {
        "token": token,
        "conversation_id": conversation_id,
        "expires_at": at,
        **fixed,
        **values,
    }


async def dangling(database: Database) -> list[Any]:
    """Rows whose foreign key points nowhere; PostgreSQL allows none in the first place."""
    if not database.is_sqlite:
        return []
    pragma = sa.text("PRAGMA foreign_key_check")
    return list(await database.read(lambda c: c.execute(pragma).all()))


# What goes and what stays


async def test_finished_events_go_when_they_are_old_enough(
    database: Database, clock: Clock, conversation_id: int
) -> None:
    states = ("done", "dead", "discarded", "new")
    await write(database, tables.inbox.insert(), inbox_rows(conversation_id, clock(), states))
    clock.advance(**LATER)
    young = inbox_rows(conversation_id, clock(), states, "young-")
    await write(database, tables.inbox.insert(), young)
    assert (await purged(database, clock))["inbox"] == 2
    assert await column(database, tables.inbox.c.event_id) == {
        *("event-0", "dead-1", "new-3"),
        *(row["event_id"] for row in young),
    }


async def test_finished_messages_go_and_their_transcript_stays(
    database: Database, clock: Clock, conversation_id: int
) -> None:
    states = ("sent", "cancelled", "discarded", "new", "sending", "dead")
    [message_id] = await column(database, tables.message.c.id)
    insert = tables.outbox.insert()
    await write(database, insert, outbox_rows(conversation_id, message_id, clock(), states))
    clock.advance(**LATER)
    young = outbox_rows(conversation_id, message_id, clock(), states, "young-")
    await write(database, insert, young)
    assert (await purged(database, clock))["outbox"] == 3
    assert await column(database, tables.outbox.c.idempotency_key) == {
        *("new", "sending", "dead"),
        *(row["idempotency_key"] for row in young),
    }
    assert await column(database, tables.message.c.id) == {message_id}
    assert await dangling(database) == []


async def test_buttons_go_once_they_expired_but_not_what_customers_thought_of_an_answer(
    database: Database, clock: Clock, conversation_id: int
) -> None:
    past, future = clock() - timedelta(seconds=1), clock() + timedelta(seconds=1)
    pressed = {"pressed_at": past}
    rows = [
        button_row(conversation_id, "expired", past),
        button_row(conversation_id, "chosen", past, **pressed),
        button_row(conversation_id, "helpful", past, action="helpful", **pressed),
        button_row(conversation_id, "not_helpful", past, action="not_helpful", **pressed),
        button_row(conversation_id, "unpressed", past, action="helpful"),
        button_row(conversation_id, "works", future),
    ]
    await write(database, tables.button.insert(), rows)
    assert (await purged(database, clock))["button"] == 3
    assert await column(database, tables.button.c.token) == {"helpful", "not_helpful", "works"}


async def test_jobs_that_are_over_go_when_they_are_old_enough(
    database: Database, clock: Clock
) -> None:
    def job(name: str, state: str) -> dict[str, Any]:
        return {"id": name, "owner": "one", "state": state, "created_at": clock()}

    old = [job(state, state) for state in ("done", "failed", "running")]
    await write(database, tables.job.insert(), old)
    clock.advance(**LATER)
    await write(database, tables.job.insert(), [job("young", "done")])
    assert (await purged(database, clock))["job"] == 2
    assert await column(database, tables.job.c.id) == {"running", "young"}


async def test_event_that_comes_again_is_new_only_after_its_row_went(
    database: Database, messages: MessageStore, clock: Clock
) -> None:
    first, second = message(clock, 1), message(clock, 2)
    await messages.accept(first)
    clock.advance(days=2)
    await messages.accept(second)
    await write(database, tables.inbox.update().values(state="done"))
    clock.advance(days=29)
    await purged(database, clock)
    assert not (await messages.accept(first)).repeated
    assert (await messages.accept(second)).repeated


# Batches


async def test_what_stays_does_not_keep_what_comes_after_it(
    database: Database, clock: Clock, conversation_id: int
) -> None:
    """Dead rows, more than are looked at together, and one that a wrong clock dated."""
    ahead = inbox_rows(conversation_id, clock() + timedelta(days=9000), ["done"], "ahead-")
    dead = inbox_rows(conversation_id, clock(), ["dead"] * (BATCH + 1))
    done = inbox_rows(conversation_id, clock(), ["done"])
    for rows in (ahead, dead, done):
        await write(database, tables.inbox.insert(), rows)
    clock.advance(**LATER)
    assert (await purged(database, clock))["inbox"] == 1
    assert await count(database, tables.inbox) == 1 + 1 + BATCH + 1


@contextmanager
def removals() -> Iterator[list[int]]:
    """How many rows each statement removed."""
    sizes: list[int] = []

    def listener(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("DELETE"):
            sizes.append(cursor.rowcount)

    with listening("after_cursor_execute", listener):
        yield sizes


async def test_many_rows_go_in_small_batches_while_customers_write(
    database: Database, messages: MessageStore, clock: Clock, conversation_id: int
) -> None:
    rows = inbox_rows(conversation_id, clock(), ["done"] * 20_000)
    await write(database, tables.inbox.insert(), rows)
    clock.advance(**LATER)
    with removals() as sizes:
        purging = asyncio.create_task(purged(database, clock))
        between = set()
        accepted = 0
        while not purging.done():
            accepted += 1
            await messages.accept(message(clock, accepted))
            between.add(len(sizes))
    assert (await purging)["inbox"] == 20_000
    assert sum(sizes) == 20_000
    assert max(sizes) <= BATCH
    # Customers were not kept waiting for the end.
    assert len(between) > 5
    assert await count(database, tables.inbox) == 1 + accepted
    assert await dangling(database) == []


async def test_several_processes_purge_at_the_same_time(
    url: str, database: Database, clock: Clock, conversation_id: int
) -> None:
    rows = inbox_rows(conversation_id, clock(), ["done"] * 3000)
    await write(database, tables.inbox.insert(), rows)
    clock.advance(**LATER)
    async with Database(url) as other:
        removed = await asyncio.gather(purged(database, clock), purged(other, clock))
    assert sum(one["inbox"] for one in removed) == 3000
    assert await count(database, tables.inbox) == 1


async def test_event_that_is_replayed_meanwhile_stays(
    url: str, database: Database, clock: Clock, conversation_id: int
) -> None:
    class Replayed(Database):
        async def write(self, *arguments: Any, **options: Any) -> Any:
            await write(database, tables.inbox.update().values(state="new"))
            return await super().write(*arguments, **options)

    rows = inbox_rows(conversation_id, clock(), ["discarded"])
    await write(database, tables.inbox.insert(), rows)
    clock.advance(**LATER)
    async with Replayed(url) as slow:
        assert (await purged(slow, clock))["inbox"] == 0
    assert await count(database, tables.inbox) == 2


async def test_row_that_another_replica_has_locked_is_not_waited_for(
    postgres_url: str, clock: Clock
) -> None:
    async with Database(postgres_url) as database:
        accepted = await MessageStore(database, clock).accept(message(clock, 0))
        rows = inbox_rows(accepted.conversation_id, clock(), ["done", "done"])
        await write(database, tables.inbox.insert(), rows)
        clock.advance(**LATER)
        engine = create_async_engine(postgres_url)
        async with asyncio.timeout(60), engine.begin() as other:
            locked = sa.select(tables.inbox.c.id).where(tables.inbox.c.event_id == "done-1")
            await other.execute(locked.with_for_update())
            assert (await purged(database, clock))["inbox"] == 1
        await engine.dispose()
        assert (await purged(database, clock))["inbox"] == 1


async def test_what_no_system_is_left_for_is_not_kept_for_ever(
    database: Database, clock: Clock
) -> None:
    row = {
        "webhook": "gone", "event_uid": "evt_1", "type": "feedback.given", "body": "{}",
        "state": "pending", "next_at": clock(), "created_at": clock(),
    }  # fmt: skip
    await write(database, tables.event_delivery.insert(), [row])
    number = (await MessageStore(database, clock).accept(message(clock, 0))).conversation_id
    happened = {
        "conversation_id": number, "uid": "evt_1", "type": "feedback.given", "data": {},
        "happened_at": clock(), "state": "told",
    }  # fmt: skip
    await write(database, tables.conversation_event.insert(), [happened])
    clock.advance(days=6)
    removed = await purged(database, clock, timedelta(days=1))
    # It says whose words the delivery holds.
    assert (removed["event_delivery"], removed["conversation_event"]) == (0, 0)
    clock.advance(days=2)
    assert (await purged(database, clock, timedelta(days=1)))["event_delivery"] == 1
    assert (await purged(database, clock, timedelta(days=1)))["conversation_event"] == 1
