"""One process at a time writes a copy in the cache; replicas on a machine share it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The file in each folder that is held.
LOCK = ".lock"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold a folder of the cache, made if need be, until the end; waits for whoever holds it.

    Raises:
        OSError: The folder cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released by closing, also by a kill
        yield
