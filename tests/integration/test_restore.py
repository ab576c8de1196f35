"""`kfbot db restore`, copies before upgrades, and the drill: a bot that lost its data folder."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from alembic import command
from standardwebhooks import Webhook

from kfbot.cli import run
from kfbot.errors import BackupFailed, RestoreFailed
from kfbot.opening import open_database
from kfbot.places import owning
from kfbot.settings import Settings, load_settings
from kfbot.store.backup import KEPT, back_up, restore
from kfbot.store.schema import Schema
from tests.cache import MODEL_CACHE
from tests.faults.faq import QUESTIONS, write_faq
from tests.faults.servers import Server
from tests.faults.waiting import until
from tests.integration.test_migrations import alembic
from tests.platforms.webhook_receiver import Answer, WebhookReceiver

NOW = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
SECRET = "whsec_a2Zib3QtYS1zZWNyZXQtZm9yLXRlc3RzLW9ubHk="


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


@pytest.fixture
def live(url: str) -> Path:
    """The database, which knows "Ann"."""
    file = Path(url.removeprefix("sqlite:///"))
    note(file, "Ann")
    return file


@pytest.fixture
def backup(url: str, live: Path, tmp_path: Path) -> Path:
    """A backup that knows "Ann"; the database knows "Bob" too by now."""
    file = tmp_path / "safe" / "copy.sqlite3"
    back_up(url, file)
    note(live, "Bob")
    return file


def note(file: Path, name: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(
            "INSERT INTO customer (channel, platform_user, display_name, created_at)"
            f" VALUES ('shop', '{name}', '{name}', '2026-01-05')"
        )


def known(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT display_name FROM customer ORDER BY 1").fetchall()
    return [name for [name] in rows]


# Restoring


def test_a_backup_takes_the_place_of_the_database_which_is_kept(
    url: str, live: Path, backup: Path
) -> None:
    with closing(sqlite3.connect(live)) as unfinished:
        # What a killed process leaves: a part of the database that is not yet in its file.
        unfinished.execute("PRAGMA journal_mode=WAL").close()
        note(live, "Cai")
        aside = restore(url, backup, NOW)
    assert known(live) == ["Ann"]
    assert aside == live.parent / "backups" / "kfbot-replaced-20260105-093000-000000.sqlite3"
    assert known(aside) == ["Ann", "Bob", "Cai"]
    assert not live.with_name("kfbot.sqlite3-wal").exists()
    assert not list(live.parent.glob("*.partial"))


def test_a_plain_copy_is_restored_with_what_lies_beside_it(
    url: str, live: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(live)) as open_all_the_time:
        open_all_the_time.execute("PRAGMA journal_mode=WAL").close()
        note(live, "Bob")
        for file in live.parent.glob("kfbot.sqlite3*"):
            shutil.copy(file, tmp_path / file.name.replace("kfbot", "copy"))
    assert (tmp_path / "copy.sqlite3-wal").stat().st_size
    restore(url, tmp_path / "copy.sqlite3", NOW)
    assert known(live) == ["Ann", "Bob"]


def test_a_restore_that_was_broken_off_can_be_made_again(
    url: str, live: Path, backup: Path
) -> None:
    live.unlink()
    assert restore(url, backup, NOW) is None
    assert known(live) == ["Ann"]


def test_what_a_lost_database_left_is_not_written_over_the_backup(
    url: str, live: Path, backup: Path
) -> None:
    with closing(sqlite3.connect(live)) as killed:
        killed.execute("PRAGMA journal_mode=WAL").close()
        note(live, "Cai")
        left = live.with_name("kfbot.sqlite3-wal")
        unfinished = left.read_bytes()
    live.unlink()
    left.write_bytes(unfinished)
    assert restore(url, backup, NOW) is None
    assert known(live) == ["Ann"]
    assert [one.read_bytes() for one in (live.parent / "backups").iterdir()] == [unfinished]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_restores_belongs_to_the_bot(url: str, live: Path, backup: Path) -> None:
    os.chown(live.parent, 4321, 4321)
    aside = restore(url, backup, NOW)
    assert aside is not None
    by_hand = live.parent / "more" / "backups" / "copy.sqlite3"
    back_up(url, by_hand)
    made = (live, aside.parent, by_hand.parent.parent, by_hand.parent, by_hand)
    assert {one.stat().st_uid for one in made} == {4321}


def damaged(backup: Path) -> None:
    size = backup.stat().st_size
    with backup.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (size - 8192))


def of_something_else(backup: Path) -> None:
    backup.unlink()
    with closing(sqlite3.connect(backup)) as connection:
        connection.execute("CREATE TABLE song (title TEXT)")


def of_a_newer_version(backup: Path) -> None:
    with closing(sqlite3.connect(backup)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (damaged, "damaged|no sound backup"),
        (of_something_else, "it has no schema of kfbot's"),
        (of_a_newer_version, "a newer kfbot made it: revision 9999"),
        (lambda backup: backup.write_text("no database"), "damaged|no sound backup"),
        (lambda backup: backup.unlink(), "there is no file"),
    ],
)
def test_what_is_no_sound_backup_changes_nothing(
    url: str, live: Path, backup: Path, change: object, said: str
) -> None:
    assert callable(change)
    change(backup)
    with pytest.raises((RestoreFailed, BackupFailed), match=said):
        restore(url, backup, NOW)
    assert known(live) == ["Ann", "Bob"]
    assert not list(live.parent.glob("*.partial"))


def test_the_command_refuses_while_a_server_runs_and_restores_after_it(
    live: Path, backup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "kfbot.toml"
    file.write_text('data_dir = "."\n')
    restoring = ["db", "restore", str(backup), "--settings", str(file)]
    with owning(load_settings(file)):
        assert run(restoring) == 1
    assert "another kfbot is working" in capsys.readouterr().err
    assert run(restoring) == 0
    assert known(live) == ["Ann"]
    told = capsys.readouterr().out
    assert "What was there before" in told
    assert "erase them once more" in told


def test_for_postgresql_the_command_to_use_is_told_without_the_password() -> None:
    url = "postgresql+asyncpg://me:top-secret@db.example:5433/shop"
    with pytest.raises(RestoreFailed) as caught:
        restore(url, Path("kfbot.dump"), NOW)
    assert str(caught.value) == (
        "PostgreSQL is restored by its own tool: pg_restore --clean --if-exists"
        " --single-transaction --host=db.example --port=5433 --username=me --dbname=shop kfbot.dump"
    )


# Before an upgrade


@pytest.fixture
def earlier(tmp_path: Path) -> Settings:
    """Settings whose database is of an earlier version, and knows "Ann"."""
    file = tmp_path / "kfbot.toml"
    file.write_text('data_dir = "var"\n')
    settings = load_settings(file)
    settings.data_dir.mkdir()
    alembic(settings.database_url, command.upgrade, "0009")
    note(settings.data_dir / "kfbot.sqlite3", "Ann")
    return settings


async def opened(settings: Settings, said: list[str]) -> None:
    async with open_database(settings, said.append):
        pass


def test_a_database_is_copied_before_it_is_upgraded_and_only_then(earlier: Settings) -> None:
    said: list[str] = []
    asyncio.run(opened(earlier, said))
    [copy] = (earlier.data_dir / "backups").iterdir()
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0009",)
    assert known(copy) == ["Ann"]
    [line] = said
    assert line.startswith("The schema is upgraded from 0009 to ")
    assert line.endswith(f"; before: {copy}")
    asyncio.run(opened(earlier, said))
    assert list((earlier.data_dir / "backups").iterdir()) == [copy]
    assert len(said) == 1


def test_going_back_is_restoring_the_copy(earlier: Settings) -> None:
    asyncio.run(opened(earlier, []))
    [copy] = (earlier.data_dir / "backups").iterdir()
    note(earlier.data_dir / "kfbot.sqlite3", "Bob")
    restore(earlier.database_url, copy, NOW)
    # As the earlier version, which refuses a newer schema, finds it.
    with closing(sqlite3.connect(earlier.data_dir / "kfbot.sqlite3")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0009",)
    asyncio.run(opened(earlier, []))
    assert known(earlier.data_dir / "kfbot.sqlite3") == ["Ann"]


def test_without_a_copy_nothing_is_upgraded(earlier: Settings) -> None:
    (earlier.data_dir / "backups").write_text("no folder")
    with pytest.raises(BackupFailed, match="is no folder"):
        asyncio.run(opened(earlier, []))
    with closing(sqlite3.connect(earlier.data_dir / "kfbot.sqlite3")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0009",)


def test_the_last_copies_before_upgrades_stay_and_backups_by_hand_too(url: str, live: Path) -> None:
    from kfbot.store.backup import back_up_before_upgrade

    by_hand = live.parent / "backups" / "kfbot-20260101-000000.sqlite3"
    back_up(url, by_hand)
    (by_hand.parent / "kfbot-before-0002-20260104-000000-000000.sqlite3.partial").touch()
    behind = Schema("0001", "0002")
    made = [
        back_up_before_upgrade(url, behind, NOW + timedelta(days=day)) for day in range(KEPT + 2)
    ]
    assert set(by_hand.parent.iterdir()) == {by_hand, *made[2:]}


# The drill


@dataclass
class Sender:
    """A customer-service system; what it was acknowledged must not be lost."""

    url: str
    http: aiohttp.ClientSession

    async def send(self, number: int) -> str:
        """Send a question of one of eight customers until it is acknowledged; returns its id."""
        event = f"event-{number}"
        customer = f"customer-{number % 8}"
        body = json.dumps(
            {
                "conversation": customer,
                "message_id": event,
                "text": QUESTIONS[number % len(QUESTIONS)],
                "sender": {"id": customer, "name": customer, "role": "customer"},
            }
        )
        now = datetime.now(UTC)
        headers = {
            "webhook-id": event,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(SECRET).sign(event, now, body),
            "content-type": "application/json",
        }
        async with self.http.post(self.url, data=body, headers=headers) as response:
            assert response.status in (200, 202), await response.text()
        return event


class Shut(WebhookReceiver):
    """A platform that takes nothing until it is opened."""

    is_open = False

    async def answer_to(self, *_: object) -> Answer:
        return Answer() if self.is_open else Answer(503)

    def asked_and_answered(self) -> int:
        """How many customers have got a message."""
        return len({message["conversation"] for message in self.kept.values()})


@pytest.mark.slow
@pytest.mark.asyncio
async def test_after_a_restore_everything_that_was_acknowledged_before_the_backup_is_there(
    tmp_path: Path,
) -> None:
    async with Shut(SECRET) as platform, aiohttp.ClientSession() as http:
        server = served(tmp_path, platform)
        sender = Sender(f"{server.url}/webhooks/shop", http)
        await server.start()
        try:
            # Copied in the middle of it, the bot goes on undisturbed …
            under_way = asyncio.gather(*(sender.send(number) for number in range(40)))
            await backed_up(tmp_path, "early.sqlite3")
            acknowledged = await under_way
            # … and copied after the last of them, nothing may be missing.
            await backed_up(tmp_path, "late.sqlite3")
            await server.kill()
            assert not platform.kept
            wiped(tmp_path / "var")
            assert await command_of(tmp_path, "db", "restore", "late.sqlite3") == 0
            assert stored(tmp_path / "var" / "kfbot.sqlite3") == sorted(acknowledged)
            assert set(stored(tmp_path / "early.sqlite3")) <= set(acknowledged)
            platform.is_open = True
            await server.start()
            # Sent again by a platform that does not know, it is known all the same.
            await sender.send(0)
            assert await until(lambda: platform.asked_and_answered() == 8, 60)
            assert stored(tmp_path / "var" / "kfbot.sqlite3") == sorted(acknowledged)
        finally:
            await server.close()


def served(folder: Path, platform: Shut) -> Server:
    server = Server("drill", folder)
    (folder / "docs").mkdir()
    write_faq(folder / "docs" / "faq.jsonl")
    wiped(folder / "var")
    (folder / "kfbot.toml").write_text(
        f'data_dir = "var"\n[web]\nport = {server.port}\n[knowledge.shop]\nsources = ["docs"]\n'
        f'[channels.shop]\nplatform = "webhook"\nsecret = "{SECRET}"\n'
        f'callback_url = "{platform.url}"\n'
    )
    return server


def wiped(data_dir: Path) -> None:
    """An empty data folder, but for the model, which would only be unpacked again."""
    shutil.rmtree(data_dir, ignore_errors=True)
    data_dir.mkdir()
    MODEL_CACHE.mkdir(exist_ok=True)
    (data_dir / "models").symlink_to(MODEL_CACHE.resolve())


async def command_of(folder: Path, *arguments: str) -> int:
    made = [sys.executable, "-m", "kfbot", *arguments, "--settings", "kfbot.toml"]
    running = await asyncio.create_subprocess_exec(*made, cwd=folder)
    return await running.wait()


async def backed_up(folder: Path, name: str) -> None:
    assert await command_of(folder, "db", "backup", name) == 0


def stored(file: Path) -> Sequence[str]:
    """The ids of all events that a database has, in order."""
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT event_id FROM inbox ORDER BY event_id").fetchall()
    return [event for [event] in rows]
