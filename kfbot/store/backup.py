"""Copies the SQLite file of a bot, also of a running one, into one sound file; and puts it back."""

from __future__ import annotations

import errno
import os
import shlex
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from kfbot.errors import BackupFailed, RestoreFailed
from kfbot.store.integrity import is_damage, open_file, sqlite_file
from kfbot.store.schema import Schema, is_known

#: Pages that are copied between two looks at the progress and at Ctrl-C.
_PAGES = 1000
#: Steps of SQLite's own machine between two looks at Ctrl-C.
_STEPS = 1_000_000
#: Copies made before upgrades that stay.
KEPT = 3
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
        if fault := _fault(partial):
            raise BackupFailed(f"the copy is not sound ({fault}): is the database? See kfbot check")
        _publish(partial, file)


def back_up_before_upgrade(url: str, schema: Schema, now: datetime) -> Path | None:
    """Copy a database of an earlier version into backups/ beside it; the last KEPT stay.

    Returns:
        The copy; None where there is nothing to be copied, or it is PostgreSQL.

    Raises:
        BackupFailed: There is no copy, so it must not be upgraded.
    """
    source = sqlite_file(url)
    if schema.state != "behind" or source is None:
        return None
    folder = source.parent / "backups"
    file = folder / f"{source.stem}-before-{schema.newest}-{now:%Y%m%d-%H%M%S-%f}{source.suffix}"
    ours = f"{source.stem}-before-*{source.suffix}"
    # Whoever was killed in the middle left one; the next would fill the disk.
    for broken_off in folder.glob(f"{ours}.partial"):
        broken_off.unlink(missing_ok=True)
    back_up(url, file)
    copies = sorted(folder.glob(ours), key=_written_at)
    for old in copies[:-KEPT]:
        old.unlink(missing_ok=True)
    return file


def _written_at(file: Path) -> int:
    return file.stat().st_mtime_ns


def restore(
    url: str, file: Path, now: datetime, progress: Progress = lambda *_: None
) -> Path | None:
    """Put a backup in the place of the database, which nobody may have open.

    Returns:
        Where the database lies now that was there before; None: there was none.

    Raises:
        RestoreFailed: The file is no sound backup, or it is PostgreSQL.
        BackupFailed: It cannot be copied; the database is as it was.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise RestoreFailed(f"PostgreSQL is restored by its own tool: {pg_restore(parsed, file)}")
    if not file.is_file():
        raise RestoreFailed(f"there is no file {file}: name one that kfbot db backup has made")
    target = Path(parsed.database).absolute()
    with _one_line(file, target), _partial(target) as partial:
        # Beside a plain copy of a database may lie what was not yet in its file.
        is_alone = not file.with_name(f"{file.name}-wal").exists()
        _copy(file, partial, progress, immutable=is_alone)
        progress("checking", 0, 0)
        if fault := _fault(partial):
            raise RestoreFailed(f"{file} is no sound backup ({fault}): take another one")
        _sync(partial)
        aside = _put_aside(target, now)
        partial.rename(target)
        _sync(target.parent)
    return aside


def _put_aside(target: Path, now: datetime) -> Path | None:
    """Move a database to backups/, with what was not yet in its file."""
    # A -wal that is alone goes too: SQLite would write it over the database that comes.
    parts = [
        (part, ending)
        for ending in ("", "-wal", "-shm")
        if (part := target.with_name(f"{target.name}{ending}")).exists()
    ]
    if not parts:
        return None
    name = f"{target.stem}-replaced-{now:%Y%m%d-%H%M%S-%f}{target.suffix}"
    aside = target.parent / "backups" / name
    _make_folder(aside.parent)
    for part, ending in parts:
        part.rename(aside.with_name(f"{aside.name}{ending}"))
    _sync(aside.parent)
    return aside if aside.exists() else None


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
    # A name alone lies in the working directory, where pg_dump makes no folder.
    dump = file.with_suffix(".dump")
    to = dump if dump.parent.is_dir() else dump.name
    given = [*_server(url), f"--file={to}", url.database or "postgres"]
    return shlex.join(["pg_dump", "--format=custom", *given])


def pg_restore(url: URL, file: Path) -> str:
    """The command that restores what `pg_dump` wrote, all of it or nothing, without a password."""
    how = ["--clean", "--if-exists", "--single-transaction"]
    into = f"--dbname={url.database or 'postgres'}"
    return shlex.join(["pg_restore", *how, *_server(url), into, str(file)])


def _server(url: URL) -> list[str]:
    # Where the server is reached by a socket of its own the host stands in the query.
    host = url.host or url.query.get("host")
    options = {"host": host, "port": url.port, "username": url.username}
    return [f"--{name}={value}" for name, value in options.items() if value]


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
        _make_folder(file.parent)
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
        _own_as_folder(partial)
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """For its owner alone, as are the folders above it that are not there either."""
    if folder.is_dir():
        return
    if not folder.parent.exists():
        _make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _own_as_folder(folder)


def _own_as_folder(path: Path) -> None:
    """Give what root makes to the owner of its folder: the bot, which runs as another user."""
    if os.geteuid() == 0:
        folder = path.parent.stat()
        os.chown(path, folder.st_uid, folder.st_gid)


def _copy(source: Path, partial: Path, progress: Progress, *, immutable: bool = False) -> None:
    live_file = open_file(source, immutable=immutable)
    with closing(live_file) as live, closing(sqlite3.connect(partial)) as copy:
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


def _fault(partial: Path) -> str:
    """Why a file is no sound database of ours that this version can read; "": it is one."""
    with closing(open_file(partial, immutable=True)) as copy:
        # Python looks at its signals whenever it is called.
        copy.set_progress_handler(lambda: 0, _STEPS)
        [said] = copy.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            return " ".join(said.split())
        ours = "SELECT count(*) FROM sqlite_master WHERE name IN ('alembic_version', 'inbox')"
        if copy.execute(ours).fetchone() != (2,):
            return "it has no schema of kfbot's"
        [revision] = copy.execute("SELECT version_num FROM alembic_version").fetchone()
        return "" if is_known(revision) else f"a newer kfbot made it: revision {revision}"


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
