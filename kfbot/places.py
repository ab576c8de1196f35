"""Where a process keeps what is its own: the data folder, or a replica's place inside it.

On SQLite one process works in a data folder. On PostgreSQL several may share one: each has a
place with its lock, its index and its server.json. What they share lies in the database, and
the model cache in the data folder itself.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING

from kfbot.errors import AlreadyRunning, SettingsError

if TYPE_CHECKING:
    from kfbot.settings import Settings

#: So many processes share a data folder, at most.
LIMIT = 64


def is_shared(settings: Settings) -> bool:
    """True where several processes may work on the database: PostgreSQL."""
    return settings.database_url.startswith("postgresql")


def places(data_dir: Path) -> list[Path]:
    """Every place that a process may have; the first is the data folder itself."""
    return [data_dir, *(data_dir / f"replica-{number}" for number in range(2, LIMIT + 1))]


@contextmanager
def owning(settings: Settings) -> Iterator[Path]:
    """Own a place, which is made if need be, for as long as the block runs; yields it.

    On PostgreSQL it is the first that no other process has, so that whoever starts again finds
    an index there.

    Raises:
        AlreadyRunning: Another process owns the data folder, or there is no place left.
        SettingsError: The folder cannot be made or written to.
    """
    shared = is_shared(settings)
    for place in places(settings.data_dir)[: LIMIT if shared else 1]:
        lock = _lock(place)
        if lock is not None:
            with lock, _database_lock(settings):
                yield place
            return
    who = f"{LIMIT} processes are" if shared else "another kfbot is"
    raise AlreadyRunning(
        f"{who} working in {settings.data_dir}: stop {'one' if shared else 'it'},"
        " or set another data_dir"
    )


def _database_lock(settings: Settings) -> AbstractContextManager[object]:
    """The lock of an SQLite file that lies elsewhere: two data folders may name the same one."""
    url = settings.database_url
    file = Path(url.partition(":///")[2].partition("?")[0])
    if is_shared(settings) or file.parent == settings.data_dir or not file.parent.is_dir():
        return nullcontext()
    lock = _locked(file.with_name(f"{file.name}.lock"))
    if lock is None:
        raise AlreadyRunning(f"another kfbot is working on {file}: stop it, or set another url")
    return lock


def _lock(place: Path) -> IO[str] | None:
    """The lock of a place, which ends when it is closed; None where another process has it."""
    try:
        # It holds what customers wrote: for its owner alone.
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"data_dir {place} cannot be used: {error.strerror}") from error
    return _locked(place / "lock")


def _locked(file: Path) -> IO[str] | None:
    try:
        lock = file.open("a")
    except OSError as error:
        raise SettingsError(f"{file.parent} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock
