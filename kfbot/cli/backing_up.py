"""`kfbot db backup`: the database in one file."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from kfbot.cli.output import progress_bar, say
from kfbot.settings import Settings
from kfbot.store.backup import back_up as copy_database

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
        copy_database(
            settings.database_url,
            file,
            lambda stage, done, total: bar(stage, done // _MB, total // _MB),
        )
    seconds = time.monotonic() - started
    say(f"{file}: {file.stat().st_size / _MB:.1f} MB in {seconds:.1f} s")
