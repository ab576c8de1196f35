"""SQLite alone: its settings, a file that is locked, full, damaged, only to be read or absent."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kfbot.errors import StoreUnavailable
from kfbot.store.engine import Database
from kfbot.store.messages import MessageStore
from tests.conftest import Clock
from tests.integration.stores import adding, claimed, listening, message, names

pytestmark = pytest.mark.asyncio


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


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock is not waited for."""
    monkeypatch.setattr("kfbot.store.connections.BUSY_TIMEOUT_SECONDS", 0.01)


@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)]
)
async def test_sqlite_is_set_up_for_many_readers_and_lost_power(
    database: Database, pragma: str, value: object
) -> None:
    def look(connection: sa.Connection) -> object:
        return connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one()

    assert await database.write(look) == value
    assert await database.read(look) == value


@pytest.mark.usefixtures("impatient")
async def test_a_lock_held_by_another_process_is_said_and_nothing_is_stored(
    database_url: str,
) -> None:
    async with Database(database_url) as database:
        with locked_by_another_process(database_url):
            with pytest.raises(StoreUnavailable, match="locked"):
                await database.write(adding("a"))
            assert await names(database) == []
        await database.write(adding("b"))
        assert await names(database) == ["b"]


@pytest.mark.usefixtures("impatient")
async def test_an_event_that_cannot_be_stored_is_not_acknowledged(
    database_url: str, clock: Clock
) -> None:
    async with Database(database_url) as database:
        messages = MessageStore(database, clock)
        with locked_by_another_process(database_url), pytest.raises(StoreUnavailable):
            await messages.accept(message(clock, 1))
        assert not (await messages.accept(message(clock, 1))).repeated


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


async def test_on_a_full_disk_exactly_the_acknowledged_events_are_kept(
    database_url: str, clock: Clock
) -> None:
    kept = []
    with full_disk(database_url):
        async with Database(database_url) as database:
            messages = MessageStore(database, clock)
            events = [message(clock, number, text="x" * 2000) for number in range(40)]
            for event in events:
                try:
                    await messages.accept(event)
                except StoreUnavailable:
                    break
                kept.append(event)
    assert 0 < len(kept) < 40
    async with Database(database_url) as database:
        messages = MessageStore(database, clock)
        [lane] = await claimed(messages)
        assert [stored.event for stored in (await messages.work(lane)).waiting] == kept


async def test_a_database_that_may_only_be_read_refuses_to_store(database_url: str) -> None:
    file = sa.make_url(database_url).database
    async with Database(f"sqlite:///file:{file}?mode=ro&uri=true") as database:
        with pytest.raises(StoreUnavailable, match="readonly"):
            await database.write(adding("a"))
        assert await names(database) == []


async def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    file = tmp_path / "kfbot.sqlite3"
    file.write_bytes(b"this is no database " * 1000)
    async with Database(f"sqlite:///{file}") as database:
        with pytest.raises(StoreUnavailable, match="not a database"):
            await database.upgrade()
        with pytest.raises(StoreUnavailable, match="not a database"):
            await names(database)


async def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path}/none/kfbot.sqlite3") as database:
        with pytest.raises(StoreUnavailable, match="unable to open"):
            await database.write(adding("a"))
        with pytest.raises(StoreUnavailable, match="unable to open"):
            await names(database)
