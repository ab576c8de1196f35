"""Copies the SQLite file of a bot, also of one that is running, into one file that is sound."""

from __future__ import annotations

import errno
import os
import shlex
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from kfbot.errors import BackupFailed
from kfbot.store.integrity import is_damage, open_file, sqlite_file

#: Pages that are copied between two looks at the progress and at Ctrl-C.
_PAGES = 1000
#: Steps of SQLite's own machine between two looks at Ctrl-C.
_STEPS = 1_000_000
#: Told what is being done, "copying" or "checking", how many bytes are, and how many there will be.
Progress = Callable[[str, int, int], None]


def back_up(url: str, file: Path, progress: Progress = lambda *_: None) -> None:
    """Write all that is committed at this moment to `file`; whoever writes goes on meanwhile.

    The file is there only once it is whole and checked; one that exists is never touched. Its
    folder is made if need be.

    Raises:
        BackupFailed: There is no backup: it is PostgreSQL, nothing is there to be copied, or
            the file cannot be written.
    """
    file = file.absolute()
    source = _source(url, file)
    if file.exists():
        raise BackupFailed(f"{file} exists already: name another file")
    with _one_line(source, file), _partial(file) as partial:
        _copy(source, partial, progress)
        progress("checking", 0, 0)
        _check(partial)
        _publish(partial, file)


def _source(url: str, file: Path) -> Path:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise BackupFailed(f"[database] url: {error}") from None
    if parsed.get_backend_name() != "sqlite":
        raise BackupFailed(f"PostgreSQL is backed up by its own tool: {pg_dump(parsed, file)}")
    source = sqlite_file(url)
    if source is None:
        raise BackupFailed(f"there is no database at {parsed.database}: kfbot serve makes it")
    return source


def pg_dump(url: URL, file: Path) -> str:
    """The command that backs up a PostgreSQL database, without its password."""
    # Where the server is reached by a socket of its own the host stands in the query.
    host = url.host or url.query.get("host")
    # A name alone lies in the working directory, where pg_dump makes no folder.
    dump = file.with_suffix(".dump")
    to = dump if dump.parent.is_dir() else dump.name
    options = {"host": host, "port": url.port, "username": url.username, "file": to}
    given = [f"--{name}={value}" for name, value in options.items() if value]
    return shlex.join(["pg_dump", "--format=custom", *given, url.database or "postgres"])


@contextmanager
def _one_line(source: Path, file: Path) -> Iterator[None]:
    """Say in one line why there is no backup."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_INTERRUPT:
            # Only Ctrl-C breaks SQLite off; it comes to us as an error of the statement.
            raise KeyboardInterrupt from None
        if code == sqlite3.SQLITE_FULL:
            raise BackupFailed(_full(file)) from error
        if is_damage(error):
            raise BackupFailed(f"{source} is damaged, kfbot check says where: {error}") from error
        raise BackupFailed(f"{source} cannot be copied to {file}: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BackupFailed(_full(file)) from error
        reason = error.strerror or type(error).__name__
        raise BackupFailed(f"{file} cannot be written: {reason}: name another file") from error


def _full(file: Path) -> str:
    return f"the disk of {file.parent} is full: make room, or name a file elsewhere"


@contextmanager
def _partial(file: Path) -> Iterator[Path]:
    """The file to write to, for its owner alone; it is gone unless it was renamed."""
    partial = file.with_name(f"{file.name}.partial")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise BackupFailed(f"{file.parent} is no folder: name another file") from None
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise BackupFailed(
            f"{partial} exists: another backup is being written there, or one was killed;"
            " remove it, or name another file"
        ) from None
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _copy(source: Path, partial: Path, progress: Progress) -> None:
    with closing(open_file(source)) as live, closing(sqlite3.connect(partial)) as copy:
        # What breaks off is thrown away, so nothing has to be kept for undoing it.
        copy.execute("PRAGMA journal_mode=OFF").close()
        copy.execute("PRAGMA synchronous=OFF").close()
        [size] = live.execute("PRAGMA page_size").fetchone()
        # A backup in steps starts again whenever another process has committed in between: with
        # a server that wrote all the time 200 MB began 488 times in 20 s and never came to an
        # end. Inside a read transaction every step sees the same snapshot, and they took 1.9 s,
        # as long as all in one step, which would hear neither Ctrl-C nor show progress. In
        # return the server's -wal file grows until the copy is done.
        live.execute("BEGIN")
        live.execute("SELECT count(*) FROM sqlite_master").fetchone()
        live.backup(
            copy,
            pages=_PAGES,
            progress=lambda _, left, total: progress(
                "copying", (total - left) * size, total * size
            ),
        )


def _check(partial: Path) -> None:
    with closing(open_file(partial, immutable=True)) as copy:
        # Python looks at its signals whenever it is called.
        copy.set_progress_handler(lambda: 0, _STEPS)
        [said] = copy.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            fault = " ".join(said.split())
            raise BackupFailed(f"the copy is damaged ({fault}): is the database? See kfbot check")
        ours = "SELECT count(*) FROM sqlite_master WHERE name IN ('alembic_version', 'inbox')"
        if copy.execute(ours).fetchone() != (2,):
            raise BackupFailed("the database has no schema of kfbot's: look at [database] url")


def _publish(partial: Path, file: Path) -> None:
    """Make the copy safe from a loss of power, then give it its name."""
    _sync(partial)
    if file.exists():
        raise BackupFailed(f"{file} exists already: name another file")
    partial.rename(file)
    _sync(file.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
