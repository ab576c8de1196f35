"""Looks whether a database is sound, without changing anything: its file, and what kfbot promises.

Every finding is one line: what is wrong, and what to do.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from kfbot.errors import StoreUnavailable
from kfbot.store import tables
from kfbot.store.connections import BUSY_TIMEOUT_SECONDS
from kfbot.store.engine import Database
from kfbot.store.erasure import ERASED, ERASING

#: So many findings of one kind are told; the next ones would not say more.
MOST = 10
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_RESTORE = "stop kfbot and restore a backup"
_WAKE = "the next message in it wakes it, for example kfbot desk reply; please report this"


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL, if it is there; None for PostgreSQL too."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return None
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    file = Path(parsed.database).absolute()
    return file if file.is_file() else None


def open_file(file: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """Open an SQLite file that is there, for reading; any thread may use the connection.

    Args:
        immutable: Nobody else has it open: no lock is taken and nothing is put beside it.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    # Not mode=ro: such a connection leaves a -wal and a -shm behind where no server runs.
    how = "mode=ro&immutable=1" if immutable else "mode=rw"
    return sqlite3.connect(
        f"{file.as_uri()}?{how}",
        uri=True,
        timeout=BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


async def find_damage(file: Path) -> list[str]:
    """What is wrong with an SQLite file; a server may be working on it. Reads all of it.

    Raises:
        StoreUnavailable: It cannot be opened, or is locked.
    """
    try:
        connection = open_file(file)
        try:
            return await asyncio.to_thread(_examine, connection, file)
        except asyncio.CancelledError:
            # A thread cannot be cancelled; it may be over just now.
            with suppress(sqlite3.ProgrammingError):
                connection.interrupt()
            raise
    except sqlite3.Error as error:
        if is_damage(error):
            return [f"{file} is damaged: {error}: {_RESTORE}"]
        raise StoreUnavailable(f"{file} cannot be read: {error}") from error


def is_damage(error: sqlite3.Error) -> bool:
    """True where the file holds what SQLite cannot understand."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def _examine(connection: sqlite3.Connection, file: Path) -> list[str]:
    with closing(connection):
        said = [row[0] for row in connection.execute(f"PRAGMA integrity_check({MOST})")]
        # One row may hold several lines, under a headline.
        lines = [line for text in said for line in text.splitlines() if not line.startswith("*")]
        if lines != ["ok"]:
            more = ", and more" if len(lines) > 1 else ""
            return [f"{file} is damaged: {lines[0]}{more}: {_RESTORE}"]
        dangling = connection.execute("PRAGMA foreign_key_check").fetchmany(MOST)
        return [
            f"{table} row {row} belongs to a {parent} that is not there: {_RESTORE}"
            for table, row, parent, _ in dangling
        ]


async def find_broken_promises(database: Database) -> list[str]:
    """Conversations that are not as they always are at the end of a transaction.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    return [
        *(
            f"conversation {row.conversation_id}: there is something to do, but nothing will"
            f" start it: {_WAKE}"
            for row in await _rows(database, _asleep())
        ),
        *(
            f"conversation {row.id} has {row.addresses} current addresses instead of one:"
            f" nothing can be sent there; {_RESTORE}"
            for row in await _rows(database, _lost())
        ),
    ]


async def _rows(database: Database, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
    return await database.read(lambda c: c.execute(query.limit(MOST)).all())


def _asleep() -> sa.Select[Any]:
    """Conversations with work, whose lanes nobody has and nobody will claim."""
    lane, inbox, outbox = tables.lane, tables.inbox.c, tables.outbox.c
    work = sa.union(
        sa.select(inbox.conversation_id).where(tables.is_waiting),
        sa.select(outbox.conversation_id).where(tables.is_unsent),
    ).subquery()
    return (
        sa.select(work.c.conversation_id)
        .join_from(work, lane, lane.c.conversation_id == work.c.conversation_id, isouter=True)
        # Where there is no row at all, both are NULL too.
        .where(lane.c.ready_at.is_(None), lane.c.owner.is_(None))
        .order_by(work.c.conversation_id)
    )


def _lost() -> sa.Select[Any]:
    """Conversations without a current address, or with several."""
    conversation, alias = tables.conversation, tables.conversation_alias
    addresses = sa.func.count(alias.c.conversation_id).label("addresses")
    of_it = sa.and_(alias.c.conversation_id == conversation.c.id, alias.c.current)
    return (
        sa.select(conversation.c.id, addresses)
        .join_from(conversation, alias, of_it, isouter=True)
        # Nothing is to be sent there any more.
        .where(conversation.c.state.not_in((ERASING, ERASED)))
        .group_by(conversation.c.id)
        .having(addresses != 1)
        .order_by(conversation.c.id)
    )
