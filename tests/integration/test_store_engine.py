"""What the engine promises of groups, readers, closing and errors; on both databases."""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from kfbot.errors import SettingsError, StoreUnavailable
from kfbot.store import tables
from kfbot.store.connections import PostgresConnections
from kfbot.store.engine import Database, Operation
from tests.integration.stores import adding, listening, names, statements

asynchronous = pytest.mark.asyncio
COUNTER = "counter"


@pytest.fixture
def database_url(url: str) -> str:
    """On both databases."""
    return url


def add_all(connection: sa.Connection, names: Sequence[str]) -> list[str]:
    """The same for many at once: one statement, whose rows are all written or none."""
    connection.execute(tables.knowledge_base.insert(), [{"name": name} for name in names])
    return [f"{name} of {len(names)}" for name in names]


def count(connection: sa.Connection) -> int:
    """Read, then write what was read: two of these at once must not lose one."""
    table = tables.knowledge_base
    query = sa.select(table.c.generation).where(table.c.name == COUNTER).with_for_update()
    seen: int = connection.execute(query).scalar_one()
    connection.execute(table.update().where(table.c.name == COUNTER).values(generation=seen + 1))
    return seen


# Groups


@asynchronous
async def test_operations_that_wait_together_share_a_commit(database: Database) -> None:
    commits: list[object] = []
    with listening("commit", commits.append):
        await asyncio.gather(*(database.write(adding(f"kb-{number:02}")) for number in range(50)))
    assert len(commits) < 10
    assert len(await names(database)) == 50


@asynchronous
async def test_things_of_one_kind_share_their_statements(database: Database) -> None:
    wanted = [f"kb-{number:02}" for number in range(50)]
    with statements() as executed:
        told = await asyncio.gather(*(database.write_together(add_all, name) for name in wanted))
    assert told == [f"{name} of 50" for name in wanted]
    assert len([one for one in executed if one.startswith("INSERT")]) == 1
    assert await names(database) == wanted


@asynchronous
async def test_kinds_do_not_mix_and_each_keeps_its_order(database: Database) -> None:
    ran: list[str] = []

    def first(connection: sa.Connection, items: Sequence[int]) -> Sequence[None]:
        ran.extend(f"first {item}" for item in items)
        return [None] * len(items)

    def second(connection: sa.Connection, items: Sequence[int]) -> Sequence[None]:
        ran.extend(f"second {item}" for item in items)
        return [None] * len(items)

    kinds = [first, second, first, second, first]
    await asyncio.gather(
        *(database.write_together(kind, number) for number, kind in enumerate(kinds))
    )
    assert ran == ["first 0", "first 2", "first 4", "second 1", "second 3"]


@asynchronous
async def test_a_failing_operation_does_not_touch_its_neighbours(database: Database) -> None:
    def failing(connection: sa.Connection) -> None:
        adding("half")(connection)
        raise LookupError("on purpose")

    outcomes = await asyncio.gather(
        database.write(adding("a")),
        database.write(failing),
        database.write(adding("b")),
        database.write(adding("a")),
        database.write(adding("c")),
        return_exceptions=True,
    )
    assert [type(one) for one in outcomes] == [
        type(None), LookupError, type(None), IntegrityError, type(None),
    ]  # fmt: skip
    assert await names(database) == ["a", "b", "c"]


@asynchronous
async def test_what_no_database_can_write_fails_alone_and_is_not_quoted(
    database: Database,
) -> None:
    words = "my secret half \ud83d"
    outcomes = await asyncio.gather(
        *(database.write(adding(name)) for name in ("a", words, "b")), return_exceptions=True
    )
    assert outcomes[0] is outcomes[2] is None
    assert isinstance(outcomes[1], Exception)
    assert "secret" not in "".join(traceback.format_exception(outcomes[1]))
    assert await names(database) == ["a", "b"]


@asynchronous
async def test_one_of_a_kind_that_fails_is_run_apart_and_only_it_fails(database: Database) -> None:
    outcomes = await asyncio.gather(
        *(database.write_together(add_all, name) for name in ("a", "b", "a", "c")),
        database.write(adding("d")),
        return_exceptions=True,
    )
    assert outcomes[:2] == ["a of 1", "b of 1"]
    assert isinstance(outcomes[2], IntegrityError)
    assert outcomes[3:] == ["c of 1", None]
    assert await names(database) == ["a", "b", "c", "d"]


@asynchronous
async def test_an_error_that_a_kind_returns_is_raised_to_its_own_item_alone(
    database: Database,
) -> None:
    def judged(connection: sa.Connection, items: Sequence[str]) -> list[str | Exception]:
        add_all(connection, [item for item in items if item != "bad"])
        return [LookupError(item) if item == "bad" else item for item in items]

    outcomes = await asyncio.gather(
        *(database.write_together(judged, item) for item in ("a", "bad", "b")),
        return_exceptions=True,
    )
    assert [str(one) for one in outcomes] == ["a", "bad", "b"]
    assert isinstance(outcomes[1], LookupError)
    assert await names(database) == ["a", "b"]


@asynchronous
async def test_more_than_one_group_holds_is_written_in_order(database_url: str) -> None:
    ran: list[int] = []

    def noting(number: int) -> Operation[None]:
        return lambda connection: ran.append(number)

    async with Database(database_url, group_size=4) as database:
        commits: list[object] = []
        with listening("commit", commits.append):
            await asyncio.gather(*(database.write(noting(number)) for number in range(10)))
    assert ran == list(range(10))
    assert len(commits) >= 3


@asynchronous
async def test_two_hundred_operations_that_read_and_then_write_all_count(
    database: Database,
) -> None:
    await database.write(adding(COUNTER))
    seen = await asyncio.gather(*(database.write(count) for _ in range(200)))
    assert sorted(seen) == list(range(200))


@asynchronous
async def test_two_writers_on_one_database_do_not_lock_each_other_out(
    database: Database, database_url: str
) -> None:
    await database.write(adding(COUNTER))
    async with Database(database_url) as other:
        seen = await asyncio.gather(
            *(one.write(count) for _ in range(100) for one in (database, other)),
            *(names(one) for _ in range(50) for one in (database, other)),
        )
    assert sorted(number for number in seen if isinstance(number, int)) == list(range(200))


# Readers, and those who do not wait


@asynccontextmanager
async def holding_up(database: Database) -> AsyncIterator[tuple[Operation[None], asyncio.Event]]:
    """An operation that stays in its transaction for as long as the block, and whether it does.

    On SQLite it waits in the writer's thread. On PostgreSQL that would hold up the loop: there
    it waits for a lock.
    """
    loop, inside, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    lock = sa.select(sa.func.pg_advisory_xact_lock(1))

    def stay(connection: sa.Connection) -> None:
        loop.call_soon_threadsafe(inside.set)
        if database.is_sqlite:
            assert go_on.wait(timeout=30)
        else:
            connection.execute(lock)

    async with AsyncExitStack() as stack:
        if isinstance(database.connections, PostgresConnections):
            engine = database.connections.engine
            await (await stack.enter_async_context(engine.connect())).execute(lock)
        stack.callback(go_on.set)
        yield stay, inside


@asynchronous
async def test_a_reader_sees_what_was_committed_and_nothing_else(database: Database) -> None:
    async with holding_up(database) as (stay, inside):

        def slow(connection: sa.Connection) -> None:
            adding("slow")(connection)
            stay(connection)

        writing = asyncio.create_task(database.write(slow))
        await inside.wait()
        assert await names(database) == []
    await writing
    assert await names(database) == ["slow"]


@asynchronous
async def test_who_stops_waiting_undoes_nothing(database: Database) -> None:
    async with holding_up(database) as (stay, inside):

        def slow(connection: sa.Connection) -> None:
            stay(connection)
            adding("slow")(connection)

        impatient = asyncio.create_task(database.write(slow))
        await inside.wait()
        queued = [asyncio.create_task(database.write(adding(name))) for name in ("a", "b")]
        await asyncio.sleep(0)
        impatient.cancel()
        queued[0].cancel()
        outcomes = await asyncio.gather(impatient, queued[0], return_exceptions=True)
        assert [type(one) for one in outcomes] == [asyncio.CancelledError] * 2
    await queued[1]
    assert await names(database) == ["a", "b", "slow"]


@asynchronous
async def test_a_stream_is_one_snapshot_in_pieces(database: Database) -> None:
    await asyncio.gather(*(database.write(adding(f"kb-{number}")) for number in range(5)))
    name = tables.knowledge_base.c.name
    seen: list[list[str]] = []
    async for rows in database.stream(sa.select(name).order_by(name), 2):
        seen.append([row.name for row in rows])
        await database.write(adding(f"later-{len(seen)}"))
    assert seen == [["kb-0", "kb-1"], ["kb-2", "kb-3"], ["kb-4"]]
    assert len(await names(database)) == 8


# Closing


@asynchronous
async def test_closing_commits_what_was_waiting(database_url: str) -> None:
    async with Database(database_url) as database:
        writes = [asyncio.create_task(database.write(adding(name))) for name in "abc"]
        await asyncio.sleep(0)
    await asyncio.gather(*writes)
    async with Database(database_url) as database:
        assert await names(database) == ["a", "b", "c"]


@asynchronous
async def test_what_comes_while_it_closes_is_stored_or_refused(database_url: str) -> None:
    """Nobody is left waiting."""
    stored: list[str] = []

    async def write_on(database: Database) -> None:
        for number in range(1_000_000):
            await database.write(adding(f"{number:07}"))
            stored.append(f"{number:07}")

    async with Database(database_url) as database:
        writing = asyncio.create_task(write_on(database))
        await database.write(adding("first"))
    async with asyncio.timeout(60):
        with pytest.raises(StoreUnavailable, match="closed"):
            await writing
    async with Database(database_url) as database:
        assert await names(database) == [*stored, "first"]


@asynchronous
async def test_a_closed_database_takes_nothing(database_url: str) -> None:
    database = Database(database_url)
    with pytest.raises(StoreUnavailable, match="closed"):
        await database.write(adding("a"))
    async with database:
        pass
    with pytest.raises(StoreUnavailable, match="closed"):
        await database.write(adding("a"))


# Trouble


@asynchronous
async def test_the_writer_outlives_an_operation_that_spoils_its_transaction(
    database: Database,
) -> None:
    def spoiling(connection: sa.Connection) -> None:
        connection.rollback()

    outcomes = await asyncio.gather(
        database.write(adding("a")),
        database.write(spoiling),
        database.write(adding("b")),
        return_exceptions=True,
    )
    assert all(isinstance(one, StoreUnavailable) for one in outcomes)
    await database.write(adding("c"))
    assert await names(database) == ["c"]


@asynchronous
async def test_an_error_shows_none_of_the_stored_words(database: Database) -> None:
    words = "my secret words"
    await database.write(adding(words))
    with pytest.raises(IntegrityError) as caught:
        await database.write(adding(words))
    assert "secret" not in "".join(traceback.format_exception(caught.value))


# Addresses


@pytest.mark.parametrize(
    ("url", "is_sqlite"),
    [
        ("sqlite:////data/kfbot.sqlite3", True),
        ("sqlite+aiosqlite:////data/kfbot.sqlite3", True),
        ("sqlite:///relative.sqlite3", True),
        ("sqlite:///file:/data/kfbot.sqlite3?mode=ro&uri=true", True),
        ("postgresql://u:p@db/kfbot", False),
        ("postgresql+asyncpg://u:p@db:5433/kfbot", False),
    ],
)
def test_a_url_of_either_database_is_taken(url: str, is_sqlite: bool) -> None:
    assert Database(url).is_sqlite is is_sqlite


@asynchronous
async def test_the_driver_in_a_url_makes_no_difference(database_url: str) -> None:
    url = sa.make_url(database_url)
    backend = url.get_backend_name()
    driver = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}[backend]
    for number, drivername in enumerate((backend, driver), start=1):
        same = url.set(drivername=drivername).render_as_string(hide_password=False)
        async with Database(same) as database:
            await database.write(adding(drivername))
            assert len(await names(database)) == number


@pytest.mark.parametrize(
    "url",
    ["nonsense", "", "postgres://u:hunter2@db/kfbot", "mysql+aiomysql://u:hunter2@db/kfbot",
     "postgresql+psycopg2://u:hunter2@db/kfbot", "postgresql+asyncpg://u:hunter2@db:port/kfbot",
     "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite+aiosqlite:///:memory:",
     "sqlite+pysqlcipher:///x.db", "sqlite://u:hunter2@host/x.db"],
)  # fmt: skip
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^\[database\] url: ") as caught:
        Database(url)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)
