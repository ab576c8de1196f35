"""What a transaction tells is heard after its commit: in its process once, and in the others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from kfbot.changes import EVERYTHING
from kfbot.errors import StoreUnavailable
from kfbot.store import tables
from kfbot.store.engine import Database, Operation
from kfbot.store.messages import MessageStore
from kfbot.store.notices import LANE, chat_notice, conversation_notice, notify
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.presence import Presence, new_owner
from tests.conftest import Clock
from tests.integration.stores import CHAT, claimed, listening, message

pytestmark = pytest.mark.asyncio


@pytest.fixture
def database_url(url: str) -> str:
    """On both databases."""
    return url


@pytest.fixture
def told(database: Database) -> list[str]:
    """What is told from now on."""
    heard: list[str] = []
    database.subscribe(heard.append)
    return heard


def telling(*notices: str, then: Exception | None = None) -> Operation[None]:
    def operation(connection: sa.Connection) -> None:
        for notice in notices:
            notify(connection, notice)
        if then is not None:
            raise then

    return operation


# In one process


async def test_a_notice_is_told_once_the_transaction_is_committed_and_before_it_is_answered(
    database: Database,
) -> None:
    order: list[str] = []
    database.subscribe(order.append)

    def operation(connection: sa.Connection) -> None:
        notify(connection, "news")
        order.append("written")

    with listening("commit", lambda connection: order.append("commits")):
        await database.write(operation)
    order.append("answered")
    assert order == ["written", "commits", "news", "answered"]


async def test_the_same_notice_is_told_once_a_group(database: Database, told: list[str]) -> None:
    await asyncio.gather(
        database.write(telling("a", "b", "a")),
        database.write(telling("b", "c")),
    )
    assert told == ["a", "b", "c"]
    await database.write(telling("a"))
    assert told == ["a", "b", "c", "a"]


async def test_what_did_not_happen_is_not_told(database: Database, told: list[str]) -> None:
    outcomes = await asyncio.gather(
        database.write(telling("a")),
        database.write(telling("failed", then=LookupError())),
        database.write(telling("a", "b")),
        return_exceptions=True,
    )
    assert [type(one) for one in outcomes] == [type(None), LookupError, type(None)]
    assert told == ["a", "b"]


async def test_where_the_commit_fails_nothing_is_told_then_or_later(
    database: Database, told: list[str]
) -> None:
    def fail(connection: Any) -> None:
        raise sa.exc.OperationalError("COMMIT", None, OSError("disk full"))

    with listening("commit", fail), pytest.raises(StoreUnavailable):
        await database.write(telling("lost"))
    assert told == []
    await database.write(telling("kept"))
    assert told == ["kept"]


async def test_what_was_to_be_told_when_the_database_failed_is_not_told_later(
    database: Database, told: list[str]
) -> None:
    failed = sa.exc.OperationalError("INSERT", None, OSError("disk full"))
    with pytest.raises(StoreUnavailable):
        await database.write(telling("lost", then=failed))
    await database.write(telling("kept"))
    assert told == ["kept"]


async def test_who_listens_can_read_what_was_told(database: Database) -> None:
    reading: list[asyncio.Task[list[str]]] = []
    table = tables.knowledge_base

    def read(connection: sa.Connection) -> list[str]:
        return list(connection.execute(sa.select(table.c.name)).scalars())

    database.subscribe(lambda _: reading.append(asyncio.create_task(database.read(read))))

    def operation(connection: sa.Connection) -> None:
        connection.execute(table.insert().values(name="kb"))
        notify(connection, "news")

    await database.write(operation)
    assert await asyncio.gather(*reading) == [["kb"]]


# Of events and outcomes


async def test_an_event_tells_of_its_conversation_and_a_lane_only_if_it_gets_ready(
    messages: MessageStore, told: list[str], clock: Clock
) -> None:
    number = (await messages.accept(message(clock, 1))).conversation_id
    assert sorted(told) == sorted([LANE, chat_notice(CHAT), conversation_notice(number)])
    told.clear()
    await messages.accept(message(clock, 2))
    await claimed(messages)
    await messages.accept(message(clock, 3))
    assert told == [conversation_notice(number)] * 2
    told.clear()
    await messages.accept(message(clock, 3))
    assert told == []


async def test_a_lane_that_waited_for_its_time_is_told_of_when_something_comes(
    messages: MessageStore, told: list[str], clock: Clock
) -> None:
    await messages.accept(message(clock, 1))
    [lane] = await claimed(messages)
    clock.advance(seconds=1)
    await messages.release(lane, ready_at=clock.now.replace(year=2027))
    told.clear()
    await messages.accept(message(clock, 2))
    assert LANE in told


async def test_a_lane_that_is_handed_back_ready_is_told_of(
    messages: MessageStore, told: list[str], clock: Clock
) -> None:
    await messages.accept(message(clock, 1))
    [lane] = await claimed(messages)
    told.clear()
    await messages.release(lane, ready_at=clock())
    assert told == [LANE]


@pytest.mark.parametrize(("pushed", "tells_of_work"), [(True, True), (False, False)])
async def test_an_agents_words_tell_of_work_if_they_are_to_be_sent(
    messages: MessageStore,
    outcomes: OutcomeStore,
    told: list[str],
    clock: Clock,
    pushed: bool,
    tells_of_work: bool,
) -> None:
    accepted = await messages.accept(message(clock, 1))
    told.clear()
    await outcomes.agent_says(accepted.conversation_id, "ann", "Hi", pushed=pushed)
    assert conversation_notice(accepted.conversation_id) in told
    assert (LANE in told) is tells_of_work


# Among processes


async def next_of(heard: asyncio.Queue[str], number: int) -> list[str]:
    async with asyncio.timeout(60):
        return [await heard.get() for _ in range(number)]


async def test_a_notice_reaches_other_processes_and_its_own_not_again(postgres_url: str) -> None:
    heard: dict[Database, asyncio.Queue[str]] = {}
    async with (
        Database(postgres_url) as one,
        Database(postgres_url) as other,
        Presence(one, new_owner()),
        Presence(other, new_owner()),
    ):
        for database in (one, other):
            heard[database] = asyncio.Queue()
            database.subscribe(heard[database].put_nowait)
        await one.write(telling("a", "b"))
        # PostgreSQL delivers in the order of the commits: behind these nothing can follow.
        await other.write(telling("c"))
        await one.write(telling("d"))
        for database in (one, other):
            assert sorted(await next_of(heard[database], 4)) == ["a", "b", "c", "d"]
            assert heard[database].empty()


async def test_who_may_have_missed_notices_is_told_so_and_hears_again(postgres_url: str) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with (
        Database(postgres_url) as one,
        Database(postgres_url) as other,
        Presence(one, new_owner()),
    ):
        one.subscribe(heard.put_nowait)
        end_session = sa.text(
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON oid = database"
            " WHERE locktype = 'advisory' AND datname = current_database()"
        )
        ended = await other.write(lambda connection: connection.execute(end_session).all())
        assert len(ended) == 1
        assert await next_of(heard, 1) == [EVERYTHING]
        await other.write(telling("news"))
        assert await next_of(heard, 1) == ["news"]
