"""Whether a database is sound: damaged files, and what kfbot promises about its rows."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from kfbot.cli import checking, run
from kfbot.errors import StoreUnavailable
from kfbot.messages import ConversationId
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.integrity import MOST, find_broken_promises, find_damage
from kfbot.store.messages import MessageStore
from tests.conftest import Clock
from tests.integration.stores import message

asynchronous = pytest.mark.asyncio
PAGE = 4096


@pytest_asyncio.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with Database(url) as opened:
        yield opened


async def accept(messages: MessageStore, clock: Clock, number: int = 1) -> int:
    """A question that waits for its answer; returns the conversation."""
    event = message(clock, number, ConversationId("shop", f"chat-{number}"))
    return (await messages.accept(event)).conversation_id


async def change(database: Database, statement: sa.Executable) -> None:
    await database.write(lambda connection: connection.execute(statement) and None)


async def add_message(database: Database, clock: Clock, conversation_id: int, state: str) -> None:
    """A message of the bot's in transcript and outbox."""

    def operation(connection: sa.Connection) -> None:
        fixed: dict[str, Any] = {"conversation_id": conversation_id, "created_at": clock()}
        said = connection.execute(
            tables.message.insert().values(role="bot", text="Here.", **fixed)
        ).inserted_primary_key
        assert said is not None
        connection.execute(
            tables.outbox.insert().values(
                message_id=said[0], idempotency_key="key", payload={}, state=state, **fixed
            )
        )

    await database.write(operation)


# What kfbot promises


@asynchronous
async def test_conversation_that_is_worked_on_keeps_every_promise(
    database: Database, messages: MessageStore, clock: Clock
) -> None:
    assert await find_broken_promises(database) == []
    await accept(messages, clock)
    assert await find_broken_promises(database) == []
    [lane] = await messages.claim("me", limit=1, lease_seconds=30)
    assert await find_broken_promises(database) == []
    await change(database, tables.lane.update().values(ready_at=None))
    assert await find_broken_promises(database) == []
    await messages.release(lane, ready_at=clock())
    assert await find_broken_promises(database) == []
    await change(database, tables.inbox.update().values(state="done"))
    await change(database, tables.lane.update().values(ready_at=None))
    assert await find_broken_promises(database) == []


ASLEEP: dict[str, Callable[[], sa.Executable]] = {
    "idle": lambda: tables.lane.update().values(ready_at=None),
    "missing": lambda: tables.lane.delete(),
}


@asynchronous
@pytest.mark.parametrize("asleep", ASLEEP.values(), ids=ASLEEP)
async def test_question_whose_lane_sleeps_is_found(
    database: Database,
    messages: MessageStore,
    clock: Clock,
    asleep: Callable[[], sa.Executable],
) -> None:
    conversation_id = await accept(messages, clock)
    await change(database, asleep())
    [fault] = await find_broken_promises(database)
    assert fault.startswith(f"conversation {conversation_id}: there is something to do")


@asynchronous
@pytest.mark.parametrize(("state", "found"), [("new", 1), ("sent", 0), ("dead", 0)])
async def test_message_whose_lane_sleeps_is_found_unless_it_is_not_to_be_sent(
    database: Database, messages: MessageStore, clock: Clock, state: str, found: int
) -> None:
    conversation_id = await accept(messages, clock)
    await change(database, tables.inbox.update().values(state="done"))
    await change(database, tables.lane.update().values(ready_at=None))
    await add_message(database, clock, conversation_id, state)
    assert len(await find_broken_promises(database)) == found


@asynchronous
async def test_conversation_with_two_addresses_or_none_is_found(
    database: Database, messages: MessageStore, clock: Clock
) -> None:
    alias = tables.conversation_alias
    none, two, moved = [await accept(messages, clock, number) for number in (1, 2, 3)]
    first = alias.c.conversation_id == none
    await change(database, alias.update().where(first).values(current=False))
    for number, current in ((two, True), (moved, False)):
        further = alias.insert().values(
            channel="shop", chat=f"further-{number}", conversation_id=number, current=current
        )
        await change(database, further)
    faults = await find_broken_promises(database)
    assert [fault.split(" current")[0] for fault in faults] == [
        f"conversation {none} has 0",
        f"conversation {two} has 2",
    ]


@asynchronous
async def test_only_the_first_findings_of_a_kind_are_told(
    database: Database, messages: MessageStore, clock: Clock
) -> None:
    for number in range(MOST + 3):
        await accept(messages, clock, number)
    await change(database, tables.lane.update().values(ready_at=None))
    assert len(await find_broken_promises(database)) == MOST


# The file


@pytest.fixture
def file(template_database: Path, tmp_path: Path) -> Path:
    """A database with some hundred pages of customers."""
    file = tmp_path / "kfbot.sqlite3"
    shutil.copy(template_database, file)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executemany(
            "INSERT INTO customer (channel, platform_user, display_name, created_at)"
            " VALUES ('shop', ?, ?, '2026-01-05')",
            ((f"user-{number}", "n" * 1000) for number in range(1000)),
        )
    return file


def test_sound_file_is_not_touched(file: Path) -> None:
    before = file.read_bytes()
    assert asyncio.run(find_damage(file)) == []
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@asynchronous
async def test_file_is_looked_at_while_somebody_writes(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM customer")
        assert await find_damage(file) == []
        writer.execute("ROLLBACK")


def overwrite(file: Path, first: int, count: int) -> None:
    """Put noise over some pages."""
    with file.open("r+b") as opened:
        opened.seek(first * PAGE)
        opened.write(b"\xa5" * PAGE * count)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "header": lambda file: overwrite(file, 0, 1),
    "schema": lambda file: overwrite(file, 1, 30),
    "middle": lambda file: overwrite(file, 150, 40),
    "end": lambda file: os.truncate(file, 200 * PAGE),
}


@asynchronous
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_damage_is_told_in_one_line_with_what_to_do(
    file: Path, damage: Callable[[Path], None]
) -> None:
    damage(file)
    [fault] = await find_damage(file)
    assert fault.startswith(f"{file} is damaged: ")
    assert fault.endswith(": stop kfbot and restore a backup")
    assert "\n" not in fault
    assert "***" not in fault


@asynchronous
async def test_rows_that_belong_to_nothing_are_told(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executemany(
            "INSERT INTO button VALUES (?, 77, NULL, 'helpful', '', '', '2026-01-05', NULL)",
            ((f"token-{number}",) for number in range(30)),
        )
    faults = await find_damage(file)
    assert len(faults) == MOST
    assert all(" belongs to a conversation that is not there: stop" in fault for fault in faults)


@asynchronous
async def test_file_that_cannot_be_opened_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await find_damage(tmp_path)


# kfbot check


@pytest.fixture
def settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings of which everything but the database is in order."""

    async def check_embedding(*_: object) -> tuple[str, int]:
        return "model", 384

    # Preparing the model would take most of the time, and shows nothing here.
    monkeypatch.setattr(checking, "check_embedding", check_embedding)
    file = tmp_path / "kfbot.toml"
    file.write_text('data_dir = "."\n')
    return file


def check(
    settings_file: Path, capsys: pytest.CaptureFixture[str], *, status: int = 0
) -> tuple[list[str], str]:
    """The lines about the database's inside, and what was told meanwhile."""
    assert run(["check", "--settings", str(settings_file)]) == status
    said = capsys.readouterr()
    return [line for line in said.out.splitlines() if " integrity " in line], said.err


def test_check_says_that_a_database_is_sound(
    file: Path, settings_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [line], told = check(settings_file, capsys)
    assert line.startswith("✓")
    assert "Checking the database file" not in told


def test_check_says_that_a_large_file_takes_long(
    file: Path,
    settings_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checking, "LARGE_BYTES", file.stat().st_size - 1)
    _, told = check(settings_file, capsys)
    assert "Checking the database file…" in told


def test_check_has_nothing_to_say_of_a_database_that_is_not_there(
    settings_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines, _ = check(settings_file, capsys)
    assert lines == []


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_check_names_damage(
    file: Path,
    settings_file: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
) -> None:
    damage(file)
    lines, told = check(settings_file, capsys, status=1)
    assert lines
    assert all(line.startswith("✗") for line in lines)
    assert "Traceback" not in told
    assert "unexpected" not in told


def test_check_names_a_broken_promise(
    file: Path, settings_file: Path, capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    async def put_to_sleep() -> None:
        async with Database(f"sqlite:///{file}") as database:
            await accept(MessageStore(database, clock), clock)
            await change(database, tables.lane.update().values(ready_at=None))

    asyncio.run(put_to_sleep())
    [line], _ = check(settings_file, capsys, status=1)
    assert line.startswith("✗")
    assert "conversation 1: there is something to do" in line
