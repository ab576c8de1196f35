"""Copies of the database that erasure does not reach: backups, and who is in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kfbot.store.integrity import open_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A file that `kfbot db backup` wrote where it writes by itself, or that lies there."""

    file: Path
    #: In bytes.
    size: int
    written_at: datetime
    #: Whether the customer is in it; None: nobody can tell.
    holds: bool | None


def backups_with(folder: Path, channel: str, platform_user: str) -> list[Backup]:
    """The files of a folder of backups, by name; empty where there is no folder. Reads files."""
    if not folder.is_dir():
        return []
    found = []
    for file in sorted(one for one in folder.iterdir() if one.is_file() and not _is_part(one)):
        seen = file.stat()
        found.append(
            Backup(
                file=file,
                size=seen.st_size,
                written_at=datetime.fromtimestamp(seen.st_mtime, UTC),
                holds=_holds(file, channel, platform_user),
            )
        )
    return found


def _holds(file: Path, channel: str, platform_user: str) -> bool | None:
    query = "SELECT 1 FROM customer WHERE channel = ? AND platform_user = ?"
    try:
        with _reading(file) as connection:
            return connection.execute(query, (channel, platform_user)).fetchone() is not None
    except sqlite3.Error:
        return None


def _is_part(file: Path) -> bool:
    """True for what SQLite keeps beside a database that is there: it is read with that."""
    name, dash, ending = file.name.rpartition("-")
    return f"{dash}{ending}" in ("-wal", "-shm") and file.with_name(name).exists()


@contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    """Open a copy with what was not yet in its file when it was put aside, and leave it so.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    if not file.with_name(f"{file.name}-wal").exists():
        with closing(open_file(file, immutable=True)) as connection:
            yield connection
        return
    index = file.with_name(f"{file.name}-shm")
    is_ours = not index.exists()
    try:
        # Who may write would move the -wal into the file on closing.
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            yield connection
    finally:
        if is_ours:
            index.unlink(missing_ok=True)
