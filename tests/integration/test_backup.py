"""`kfbot db backup`: whole while another process writes, never half there, one line if it fails."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kfbot.cli import run
from kfbot.errors import BackupFailed
from kfbot.places import owning
from kfbot.settings import load_settings
from kfbot.store.backup import back_up
from kfbot.store.schema import find_schema

#: At every line commits one row into each of two tables, and says so.
WRITER = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30) as connection:
    for line in sys.stdin:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO secret VALUES ('key-' || ?, 'x')", (line,))
        connection.execute("INSERT INTO channel VALUES ('name-' || ?, '2026-01-05')", (line,))
        connection.execute("COMMIT")
        print(line, end="", flush=True)
"""


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


@pytest.fixture
def database_file(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def fill(file: Path) -> None:
    """Make a database so large that it is copied in several steps."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executemany(
            "INSERT INTO customer (channel, platform_user, display_name, created_at)"
            " VALUES ('shop', ?, ?, '2026-01-05')",
            ((f"user-{number}", "n" * 3000) for number in range(4000)),
        )


@pytest.fixture
def commit(database_file: Path) -> Iterator[Callable[[], None]]:
    """Has another process commit something; it keeps the database open all the time."""
    command = [sys.executable, "-c", WRITER, str(database_file)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        numbers = iter(range(1000))

        def commit() -> None:
            line = f"{next(numbers)}\n"
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == line

        yield commit
        process.stdin.close()


def count(file: Path, table: str) -> int:
    with closing(sqlite3.connect(file)) as connection:
        [number] = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(number)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# While others write


def test_backup_ends_with_one_state_although_another_process_commits_at_every_step(
    url: str, database_file: Path, tmp_path: Path, commit: Callable[[], None]
) -> None:
    fill(database_file)
    commit()
    file, steps = tmp_path / "copy.sqlite3", []

    def progress(stage: str, done: int, total: int) -> None:
        steps.append(done)
        assert len(steps) < 100, "the backup starts again and again"
        commit()

    back_up(url, file, progress)
    assert len(steps) > 4
    assert count(file, "secret") == count(file, "channel") == 1
    assert count(file, "customer") == 4000
    assert count(database_file, "secret") == 1 + len(steps)
    assert asyncio.run(find_schema(f"sqlite:///{file}")).state == "current"


def test_command_backs_up_a_data_folder_that_a_server_owns(
    database_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_file(tmp_path)
    with owning(load_settings(settings)):
        assert run(["db", "backup", "--settings", str(settings)]) == 0
    [file] = (tmp_path / "backups").iterdir()
    assert re.fullmatch(r"kfbot-\d{8}-\d{6}\.sqlite3", file.name)
    size = file.stat().st_size / 1_000_000
    said = capsys.readouterr().out.strip()
    assert re.fullmatch(re.escape(f"{file}: {size:.1f} MB in ") + r"\d+\.\d s", said)
    assert count(file, "customer") == 0


def settings_file(folder: Path) -> Path:
    file = folder / "kfbot.toml"
    file.write_text('data_dir = "."\n')
    return file


def test_backup_is_one_file_that_only_its_owner_reads(url: str, tmp_path: Path) -> None:
    file = tmp_path / "made" / "for it" / "copy?.sqlite3"
    back_up(url, file)
    assert files(file.parent) == {file.name}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_file_is_taken_from_the_working_directory(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    back_up(url, Path("copy.sqlite3"))
    assert files(tmp_path / "here") == {"copy.sqlite3"}


# What fails leaves nothing behind


def refused(url: str, file: Path) -> str:
    with pytest.raises(BackupFailed) as caught:
        back_up(url, file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_file_that_exists_is_never_overwritten(url: str, tmp_path: Path) -> None:
    file = tmp_path / "old.sqlite3"
    file.write_text("older")
    assert refused(url, file) == f"{file} exists already: name another file"
    assert file.read_text() == "older"


def test_file_that_appears_meanwhile_is_never_overwritten(url: str, tmp_path: Path) -> None:
    file = tmp_path / "new.sqlite3"
    with pytest.raises(BackupFailed, match="exists already"):
        back_up(url, file, lambda *_: file.write_text("theirs"))
    assert file.read_text() == "theirs"
    assert "new.sqlite3.partial" not in files(tmp_path)


def test_another_backup_to_the_same_file_is_left_alone(url: str, tmp_path: Path) -> None:
    partial = tmp_path / "copy.sqlite3.partial"
    partial.write_text("theirs")
    assert "another backup is being written" in refused(url, tmp_path / "copy.sqlite3")
    assert partial.read_text() == "theirs"


@pytest.mark.parametrize("stage", ["copying", "checking"])
def test_ctrl_c_leaves_nothing(url: str, tmp_path: Path, stage: str) -> None:
    def progress(now: str, done: int, total: int) -> None:
        assert stat.S_IMODE((folder / "copy.sqlite3.partial").stat().st_mode) == 0o600
        if now == stage:
            raise KeyboardInterrupt

    folder = tmp_path / "backups"
    with pytest.raises(KeyboardInterrupt):
        back_up(url, folder / "copy.sqlite3", progress)
    assert files(folder) == set()


def test_disk_that_takes_no_more_is_one_line(database_file: Path, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    settings = settings_file(tmp_path)
    result = subprocess.run(
        [sys.executable, "-m", "kfbot", "db", "backup", "--settings", str(settings)],
        capture_output=True,
        text=True,
        preexec_fn=limit,
        env={name: value for name, value in os.environ.items() if not name.startswith("KFBOT_")},
    )
    assert result.returncode == 1
    assert re.fullmatch(r"kfbot: .*kfbot\.sqlite3 cannot be copied to .*\n", result.stderr)
    assert files(tmp_path / "backups") == set()


def test_missing_database_is_named_and_not_made(tmp_path: Path) -> None:
    file = tmp_path / "none.sqlite3"
    said = refused(f"sqlite:///{file}", tmp_path / "copy.sqlite3")
    assert said == f"there is no database at {file}: kfbot serve makes it"
    assert files(tmp_path) == set()


def test_folder_that_is_none_is_named(url: str, database_file: Path) -> None:
    said = refused(url, database_file / "copy.sqlite3")
    assert said == f"{database_file} is no folder: name another file"


def test_file_that_cannot_be_made_is_named(url: str) -> None:
    said = refused(url, Path("/proc/self/copy.sqlite3"))
    assert said.startswith("/proc/self/copy.sqlite3 cannot be written: ")


def test_database_of_something_else_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.sqlite3")) as connection:
        connection.execute("CREATE TABLE inbox (id INTEGER)")
    said = refused(f"sqlite:///{tmp_path / 'other.sqlite3'}", tmp_path / "copy.sqlite3")
    assert "no schema of kfbot's" in said
    assert files(tmp_path) == {"other.sqlite3"}


def test_copy_of_a_damaged_database_is_not_kept(
    url: str, database_file: Path, tmp_path: Path
) -> None:
    with database_file.open("r+b") as opened:
        opened.seek(10 * 4096)
        opened.write(b"\xa5" * 4096 * 10)
    assert "kfbot check" in refused(url, tmp_path / "copy.sqlite3")
    assert files(tmp_path) == {"kfbot.sqlite3"}


# PostgreSQL


@pytest.mark.parametrize(
    ("url", "command"),
    [
        (
            "postgresql+asyncpg://me:top-secret@db.example:5433/shop",
            "pg_dump --format=custom --host=db.example --port=5433 --username=me"
            " --file=kfbot.dump shop",
        ),
        (
            "postgresql://me:top-secret@/shop?host=/run/a socket",
            "pg_dump --format=custom '--host=/run/a socket' --username=me --file=kfbot.dump shop",
        ),
    ],
)
def test_for_postgresql_the_command_to_use_is_told_without_the_password(
    url: str, command: str, tmp_path: Path
) -> None:
    said = refused(url, tmp_path / "backups" / "kfbot.sqlite3")
    assert said == f"PostgreSQL is backed up by its own tool: {command}"
    assert files(tmp_path) == set()
