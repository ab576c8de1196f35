"""Copies of the database that erasure does not reach: backups, and who is in them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
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
    for file in sorted(one for one in folder.iterdir() if one.is_file()):
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
        with closing(open_file(file, immutable=True)) as connection:
            return connection.execute(query, (channel, platform_user)).fetchone() is not None
    except sqlite3.Error:
        return None
