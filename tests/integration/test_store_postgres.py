"""PostgreSQL alone: deadlocks, the order of locks, values that it refuses, a session that ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.util.concurrency import await_only as await_

from kfbot.errors import StoreUnavailable
from kfbot.messages import ConversationId
from kfbot.store import connections, tables
from kfbot.store.engine import Database, Operation
from kfbot.store.messages import MessageStore
from kfbot.store.notices import notify
from tests.conftest import Clock
from tests.integration.stores import CHAT, adding, message, names, statements

pytestmark = pytest.mark.asyncio
ONE, TWO = "one", "two"


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


@pytest_asyncio.fixture
async def rival(database_url: str) -> AsyncIterator[AsyncConnection]:
    """A connection of somebody else's."""
    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


def raising(name: str) -> sa.Update:
    table = tables.knowledge_base
    return table.update().where(table.c.name == name).values(generation=table.c.generation + 1)


async def generations(database: Database) -> dict[str, int]:
    table = tables.knowledge_base.c
    query = sa.select(table.name, table.generation)
    return {
        row.name: row.generation for row in await database.read(lambda c: c.execute(query).all())
    }


# Deadlocks


@pytest.mark.parametrize("has_bad_neighbour", [False, True])
async def test_what_is_undone_for_a_deadlock_is_run_again_and_told_once(
    database: Database,
    rival: AsyncConnection,
    caplog: pytest.LogCaptureFixture,
    has_bad_neighbour: bool,
) -> None:
    caplog.set_level("INFO")
    told: list[str] = []
    database.subscribe(told.append)
    await asyncio.gather(*(database.write(adding(name)) for name in (ONE, TWO)))
    has_one, runs = asyncio.Event(), 0

    def crossing(connection: sa.Connection) -> str:
        nonlocal runs
        runs += 1
        notify(connection, "crossed")
        connection.execute(raising(ONE))
        has_one.set()
        connection.execute(raising(TWO))
        return "done"

    def failing(connection: sa.Connection) -> None:
        # Before the other in the first run, so that the group is run one by one from then on.
        raise LookupError("on purpose")

    # Whoever waits longer than this looks for a deadlock, and is undone if there is one.
    await rival.execute(sa.text("SET LOCAL deadlock_timeout = '1min'"))
    await rival.execute(raising(TWO))
    operations: list[Operation[object]] = [adding("neighbour"), crossing]
    if has_bad_neighbour:
        operations.insert(0, failing)
    writing = asyncio.gather(*map(database.write, operations), return_exceptions=True)
    await has_one.wait()
    await rival.execute(raising(ONE))
    await rival.commit()
    outcomes = await writing
    assert outcomes[-2:] == [None, "done"]
    assert runs == 2
    assert told == ["crossed"]
    assert await generations(database) == {ONE: 2, TWO: 2, "neighbour": 0}
    undone = [one for one in caplog.records if getattr(one, "event", "") == "transaction_undone"]
    assert len(undone) == 1


async def test_two_processes_that_write_the_same_lanes_never_wait_in_a_circle(
    database_url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with (
        Database(database_url, group_size=1) as one,
        Database(database_url, group_size=1) as other,
    ):
        messages = MessageStore(one, clock)
        chats = [CHAT, ConversationId("shop", "chat-2")]
        accepted = [
            await messages.accept(message(clock, number, chat)) for number, chat in enumerate(chats)
        ]
        first, second = (stored.conversation_id for stored in accepted)

        def through(*lanes: int) -> Operation[None]:
            def operation(connection: sa.Connection) -> None:
                lane = tables.lane
                for number in lanes:
                    connection.execute(
                        lane.update()
                        .where(lane.c.conversation_id == number)
                        .values(epoch=lane.c.epoch + 1)
                    )

            return operation

        there, back = through(first, second), through(second, first)
        await asyncio.gather(
            *(one.write(there, lanes=(first, second)) for _ in range(50)),
            *(other.write(back, lanes=(second, first)) for _ in range(50)),
        )
        epochs = await one.read(lambda c: c.execute(sa.select(tables.lane.c.epoch)).scalars().all())
    assert epochs == [100, 100]
    assert [getattr(one, "event", "") for one in caplog.records] == []


async def test_a_group_locks_the_lanes_of_all_its_operations_first_and_in_order(
    database: Database,
) -> None:
    def nothing(connection: sa.Connection, items: Sequence[int]) -> Sequence[None]:
        return [None] * len(items)

    with statements() as executed:
        await asyncio.gather(
            *(database.write_together(nothing, number, lanes=(number,)) for number in (3, 1, 2))
        )
    [locking] = executed
    assert "ORDER BY lane.conversation_id FOR UPDATE" in locking


# Values


@pytest.mark.parametrize(
    "name", ["not for PostgreSQL \0", "too long for an index: " + " ".join(map(str, range(9999)))]
)
async def test_a_value_that_postgresql_refuses_fails_alone(database: Database, name: str) -> None:
    outcomes = await asyncio.gather(
        *(database.write(adding(one)) for one in ("a", name, "b")), return_exceptions=True
    )
    assert outcomes[0] is outcomes[2] is None
    assert isinstance(outcomes[1], DBAPIError)
    assert await names(database) == ["a", "b"]


async def test_a_chat_whose_name_is_too_long_for_a_notice_is_stored_with_its_neighbours(
    database: Database, clock: Clock
) -> None:
    messages = MessageStore(database, clock)
    chats = (CHAT, ConversationId("shop", "好" * 9000), ConversationId("shop", "chat-2"))
    accepted = await asyncio.gather(
        *(messages.accept(message(clock, number, chat)) for number, chat in enumerate(chats))
    )
    assert len({one.conversation_id for one in accepted}) == 3


# Sessions


async def end_sessions(rival: AsyncConnection) -> None:
    """End all sessions of kfbot."""
    ended = sa.text(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'kfbot'"
    )
    await rival.execute(ended)
    await rival.commit()


async def test_a_write_whose_session_ends_is_run_again_and_stored_once(
    database: Database, rival: AsyncConnection
) -> None:
    await database.write(adding(ONE))
    await rival.execute(raising(ONE))
    inside = asyncio.Event()

    def waiting(connection: sa.Connection) -> None:
        adding("kept")(connection)
        inside.set()
        connection.execute(raising(ONE))

    writes = [asyncio.create_task(database.write(one)) for one in (waiting, adding("neighbour"))]
    await inside.wait()
    await end_sessions(rival)
    await asyncio.gather(*writes)
    assert await names(database) == ["kept", "neighbour", ONE]
    assert await generations(database) == {"kept": 0, "neighbour": 0, ONE: 2}


async def test_a_commit_whose_session_ends_is_refused_and_not_run_again(
    database: Database, rival: AsyncConnection
) -> None:
    """Whether it was stored, nobody can tell: whoever asked has to look."""
    runs = []

    def ended_before_its_commit(connection: sa.Connection) -> None:
        runs.append(adding(ONE)(connection))
        await_(end_sessions(rival))

    with pytest.raises(StoreUnavailable):
        await database.write(ended_before_its_commit)
    assert len(runs) == 1
    await database.write(adding("kept"))
    assert await names(database) == ["kept"]


async def test_a_session_that_was_ended_but_not_closed_is_not_noticed(
    database_url: str, tmp_path: Path, rival: AsyncConnection
) -> None:
    """A proxy may hold the connection open, and a busy machine is late with closing it."""
    async with half_open(database_url, tmp_path) as url, Database(url) as database:
        await database.write(adding(ONE))
        await end_sessions(rival)
        await database.write(adding("kept"))
        assert await names(database) == ["kept", ONE]


@asynccontextmanager
async def half_open(database_url: str, folder: Path) -> AsyncIterator[str]:
    """The address of a proxy that never hangs up on its own."""
    server_folder = str(sa.make_url(database_url).query["host"])
    name = ".s.PGSQL.5432"

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while part := await reader.read(65536):
                writer.write(part)
                await writer.drain()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(f"{server_folder}/{name}")
        back = asyncio.create_task(pass_on(server_reader, writer))
        await pass_on(reader, server_writer)
        for one in (server_writer, writer):
            one.close()
        await back

    async with await asyncio.start_unix_server(connected, folder / name):
        url = sa.make_url(database_url).update_query_dict({"host": str(folder)})
        yield url.render_as_string(hide_password=False)


async def test_a_process_that_stands_still_before_a_statement_keeps_no_lock_for_long(
    database: Database,
) -> None:
    def bound(connection: sa.Connection) -> list[str]:
        known = "SELECT setting || unit FROM pg_settings WHERE name = 'transaction_timeout'"
        return list(connection.execute(sa.text(known)).scalars())

    # Servers before 17 do not know it.
    seconds = connections.TRANSACTION_TIMEOUT_SECONDS
    assert await database.write(bound) in ([f"{seconds * 1000}ms"], [])
    # A journey through a large table may take its time.
    assert await database.read(bound) in (["0ms"], [])


async def test_sessions_that_end_while_nothing_happens_are_not_noticed(
    database: Database, rival: AsyncConnection
) -> None:
    await database.write(adding(ONE))
    assert await names(database) == [ONE]
    await end_sessions(rival)
    await database.write(adding("kept"))
    assert await names(database) == ["kept", ONE]
