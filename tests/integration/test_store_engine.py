"""The database engine: groups that commit together, locks, full disks, and what is promised."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from kfbot.errors import SettingsError, StoreUnavailable
from kfbot.store import tables
from kfbot.store.engine import Database, Operation

asynchronous = pytest.mark.asyncio
COUNTER = "counter"


def adding(name: str) -> Operation[None]:
    async def operation(connection: AsyncConnection) -> None:
        await connection.execute(tables.knowledge_base.insert().values(name=name))

    return operation


async def names(database: Database) -> list[str]:
    query = sa.select(tables.knowledge_base.c.name).order_by(tables.knowledge_base.c.name)
    return list(await database.read(lambda c: c.execute(query).scalars()))


async def count(connection: AsyncConnection) -> int:
    """Read, then write what was read: two of these at once must not lose one."""
    table = tables.knowledge_base
    query = sa.select(table.c.generation).where(table.c.name == COUNTER)
    seen: int = (await connection.execute(query)).scalar_one()
    await connection.execute(
        table.update().where(table.c.name == COUNTER).values(generation=seen + 1)
    )
    return seen


@contextmanager
def listening(event: str, listener: Callable[..., None]) -> Iterator[None]:
    """Hear what all engines do."""
    sa.event.listen(sa.Engine, event, listener)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, event, listener)


@contextmanager
def full_disk(database_url: str) -> Iterator[None]:
    """No file of a database opened inside can grow by more than four pages."""
    file = sa.make_url(database_url).database
    with sqlite3.connect(str(file)) as connection:
        [pages] = connection.execute("PRAGMA page_count").fetchone()
    connection.close()

    def limit(connection: Any, record: Any) -> None:
        connection.cursor().execute(f"PRAGMA max_page_count={pages + 4}")

    with listening("connect", limit):
        yield


@contextmanager
def locked_by_another_process(database_url: str) -> Iterator[None]:
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN IMMEDIATE');"
        "print('locked', flush=True); sys.stdin.read()"
    )
    file = str(sa.make_url(database_url).database)
    process = subprocess.Popen(
        [sys.executable, "-c", code, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield
        process.communicate()


# Promises


@asynchronous
@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)]
)
async def test_sqlite_is_set_up_for_many_readers_and_lost_power(
    database: Database, pragma: str, value: object
) -> None:
    async def read(connection: AsyncConnection) -> object:
        return (await connection.exec_driver_sql(f"PRAGMA {pragma}")).scalar_one()

    assert await database.write(read) == value
    async with database.reading() as connection:
        assert await read(connection) == value


@asynchronous
async def test_operations_that_wait_together_share_a_commit(database: Database) -> None:
    commits: list[object] = []
    with listening("commit", commits.append):
        await asyncio.gather(*(database.write(adding(f"kb-{number:02}")) for number in range(50)))
    assert len(commits) < 10
    assert len(await names(database)) == 50


@asynchronous
async def test_a_failing_operation_does_not_touch_its_neighbours(database: Database) -> None:
    async def failing(connection: AsyncConnection) -> None:
        await adding("half")(connection)
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
async def test_two_hundred_operations_that_read_and_then_write_all_count(
    database: Database,
) -> None:
    await database.write(adding(COUNTER))
    seen = await asyncio.gather(*(database.write(count) for _ in range(200)))
    assert sorted(seen) == list(range(200))


@asynchronous
async def test_two_writers_on_one_file_do_not_lock_each_other_out(
    database: Database, database_url: str
) -> None:
    await database.write(adding(COUNTER))
    async with Database(database_url) as other:
        seen = await asyncio.gather(
            *(one.write(count) for _ in range(100) for one in (database, other)),
            *(names(one) for _ in range(50) for one in (database, other)),
        )
    assert sorted(number for number in seen if isinstance(number, int)) == list(range(200))


@asynchronous
async def test_a_reader_sees_what_was_committed_and_nothing_else(database: Database) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def slow(connection: AsyncConnection) -> None:
        await adding("slow")(connection)
        inside.set()
        await go_on.wait()

    writing = asyncio.create_task(database.write(slow))
    await inside.wait()
    assert await names(database) == []
    go_on.set()
    await writing
    assert await names(database) == ["slow"]


@asynchronous
async def test_who_stops_waiting_undoes_nothing(database: Database) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def slow(connection: AsyncConnection) -> None:
        inside.set()
        await go_on.wait()
        await adding("slow")(connection)

    impatient = asyncio.create_task(database.write(slow))
    await inside.wait()
    queued = [asyncio.create_task(database.write(adding(name))) for name in ("a", "b")]
    await asyncio.sleep(0)
    impatient.cancel()
    queued[0].cancel()
    await asyncio.gather(impatient, queued[0], return_exceptions=True)
    go_on.set()
    await queued[1]
    assert await names(database) == ["a", "b", "slow"]


@asynchronous
async def test_closing_commits_what_was_waiting(database_url: str) -> None:
    async with Database(database_url) as database:
        writes = [asyncio.create_task(database.write(adding(name))) for name in "abc"]
        await asyncio.sleep(0)
    await asyncio.gather(*writes)
    async with Database(database_url) as database:
        assert await names(database) == ["a", "b", "c"]


# Trouble


@asynchronous
async def test_a_lock_held_by_another_process_is_said_and_nothing_is_stored(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfbot.store.engine.BUSY_TIMEOUT_SECONDS", 0.01)
    async with Database(database_url) as database:
        with locked_by_another_process(database_url):
            with pytest.raises(StoreUnavailable, match="locked"):
                await database.write(adding("a"))
            assert await names(database) == []
        await database.write(adding("b"))
        assert await names(database) == ["b"]


@asynchronous
async def test_a_full_disk_is_said_and_what_was_acknowledged_is_kept(database_url: str) -> None:
    acknowledged: list[str] = []

    async def fill(database: Database) -> None:
        for number in range(1000):
            name = f"{number:04}" + "x" * 1000
            await database.write(adding(name))
            acknowledged.append(name)

    with full_disk(database_url):
        async with Database(database_url) as database:
            with pytest.raises(StoreUnavailable, match="full"):
                await fill(database)
            with pytest.raises(StoreUnavailable):
                await asyncio.gather(*(database.write(adding("y" * 99_000)) for _ in range(5)))
            assert await names(database) == acknowledged
    async with Database(database_url) as database:
        assert await names(database) == acknowledged
        await database.write(adding("z"))


@asynchronous
async def test_a_database_that_may_only_be_read_refuses_to_store(database_url: str) -> None:
    file = sa.make_url(database_url).database
    async with Database(f"sqlite:///file:{file}?mode=ro&uri=true") as database:
        with pytest.raises(StoreUnavailable, match="readonly"):
            await database.write(adding("a"))
        assert await names(database) == []


@asynchronous
async def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    file = tmp_path / "kfbot.sqlite3"
    file.write_bytes(b"this is no database " * 1000)
    async with Database(f"sqlite:///{file}") as database:
        with pytest.raises(StoreUnavailable, match="not a database"):
            await database.upgrade()
        with pytest.raises(StoreUnavailable):
            await names(database)


@asynchronous
async def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path}/none/kfbot.sqlite3") as database:
        with pytest.raises(StoreUnavailable, match="unable to open"):
            await database.write(adding("a"))


@asynchronous
async def test_the_writer_outlives_an_operation_that_spoils_its_transaction(
    database: Database,
) -> None:
    async def spoiling(connection: AsyncConnection) -> None:
        await connection.rollback()

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
async def test_a_closed_database_takes_nothing(database_url: str) -> None:
    async with Database(database_url) as database:
        pass
    with pytest.raises(StoreUnavailable, match="closed"):
        await database.write(adding("a"))


@asynchronous
async def test_an_error_shows_none_of_the_stored_words(database: Database) -> None:
    await database.write(adding("my secret words"))
    with pytest.raises(IntegrityError) as caught:
        await database.write(adding("my secret words"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["nonsense", "", "postgres://u:hunter2@db/kfbot", "mysql+aiomysql://u:hunter2@db/kfbot",
     "postgresql+asyncpg://u:hunter2@db:port/kfbot", "sqlite://",
     "sqlite:///:memory:", "sqlite:///x.db"],
)  # fmt: skip
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^\[database\] url: ") as caught:
        Database(url)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)
