"""`kfbot db backup` and `kfbot db restore`: the database in one file."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from kfbot.cli.output import progress_bar, say
from kfbot.places import owning
from kfbot.settings import Settings
from kfbot.store import backup

_MB = 1_000_000


def back_up(settings: Settings, file: Path | None) -> None:
    """Copy the database to `file`, and print its name, its size and the time that it took.

    Not on an event loop: Ctrl-C is to break it off in the middle.

    Raises:
        BackupFailed: There is no backup, and why.
    """
    file = (
        file or settings.data_dir / "backups" / f"kfbot-{datetime.now(UTC):%Y%m%d-%H%M%S}.sqlite3"
    )
    started = time.monotonic()
    with progress_bar() as bar:
        backup.back_up(
            settings.database_url,
            file,
            lambda stage, done, total: bar(stage, done // _MB, total // _MB),
        )
    seconds = time.monotonic() - started
    say(f"{file}: {file.stat().st_size / _MB:.1f} MB in {seconds:.1f} s")


def restore(settings: Settings, file: Path) -> None:
    """Put a backup in the place of the database, and print where that lies now.

    Raises:
        AlreadyRunning: A server owns the data folder.
        BackupFailed: The backup cannot be copied.
        RestoreFailed: The backup is not sound, or the database is PostgreSQL.
    """
    with owning(settings), progress_bar() as bar:
        before = backup.restore(
            settings.database_url,
            file.absolute(),
            datetime.now(UTC),
            lambda stage, done, total: bar(stage, done // _MB, total // _MB),
        )
    say(f"Restored {file}. Start kfbot: it makes the index anew and goes on with what waits.")
    say("Customers who were erased after it was made are in it again: erase them once more.")
    if before is not None:
        say(f"What was there before: {before}")
