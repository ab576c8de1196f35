"""What slow files gave, kept until their load is in force: broken off, it goes on from there."""

from __future__ import annotations

import pickle
import shutil
from contextlib import suppress
from pathlib import Path

from kfbot.store.knowledge_rows import FileRow
from knowledge.reading import Parsed

#: Files that took less are read again in no time.
SLOW_SECONDS = 1.0


def remember(folder: Path, row: FileRow, parsed: Parsed, seconds: float) -> None:
    """Keep what a file gave, if that took long and would be the same again."""
    if seconds < SLOW_SECONDS or not row.sha256 or not parsed.is_complete:
        return
    # A disk that is full costs the time of reading again, no more.
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        file = _file(folder, row)
        written = file.with_suffix(".new")
        written.write_bytes(pickle.dumps(parsed, pickle.HIGHEST_PROTOCOL))
        written.replace(file)


def recall(folder: Path, row: FileRow) -> Parsed | None:
    """What a file gave in a load that was broken off; None: nobody knows."""
    try:
        # Written by us alone, in the data folder.
        parsed = pickle.loads(_file(folder, row).read_bytes())  # noqa: S301
    except Exception:
        # Not there, damaged, or of another version.
        return None
    return parsed if isinstance(parsed, Parsed) else None


def forget(folder: Path) -> None:
    """Drop what was kept."""
    shutil.rmtree(folder, ignore_errors=True)


def _file(folder: Path, row: FileRow) -> Path:
    return folder / f"{row.sha256}-{row.read_key}.parsed"
