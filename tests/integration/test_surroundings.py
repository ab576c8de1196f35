"""`kfbot check` as a doctor: what it finds around the bot, each with what to do."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from kfbot.cli import surroundings
from kfbot.cli.findings import Finding
from kfbot.settings import Settings, load_settings
from kfbot.store.engine import Database
from kfbot.store.messages import MessageStore
from tests.conftest import Clock
from tests.integration.stores import message

pytestmark = pytest.mark.asyncio
STRONG = "Zk3v9q-Rr7wX0aTtY5bNc2Lm"
SECRET = "whsec_bm90IGEgc2VjcmV0LCBvbmx5IGZvciB0ZXN0cw=="


def settings_of(folder: Path, **given: Any) -> Settings:
    file = folder / "kfbot.toml"
    file.touch()
    return load_settings(file, overrides={"data_dir": str(folder), **given})


async def all_of(
    look: Callable[[Settings], AsyncIterator[Finding]], settings: Settings
) -> list[tuple[str, str, str]]:
    return [(one.what, one.state, one.text) async for one in look(settings)]


async def test_versions_and_room_are_told(tmp_path: Path) -> None:
    [versions, disk] = await all_of(surroundings.look_at_machine, settings_of(tmp_path))
    assert versions[:2] == ("versions", "ok")
    assert "SQLite 3." in versions[2]
    assert (disk[0], "GB free" in disk[2]) == ("disk", True)


@pytest.mark.parametrize(
    ("free", "state"), [(1_000_000, "wrong"), (900_000_000, "note"), (9_000_000_000, "ok")]
)
async def test_a_disk_is_full_nearly_full_or_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str
) -> None:
    usage = type(shutil.disk_usage(tmp_path))(10**12, 10**12 - free, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    settings = settings_of(tmp_path, data_dir=str(tmp_path / "not" / "there"))
    [_, disk] = await all_of(surroundings.look_at_machine, settings)
    assert disk[:2] == ("disk", state)


@pytest.mark.parametrize(
    ("web", "states"),
    [
        ({}, []),
        ({"tokens": ["secret"]}, ["note"]),
        ({"tokens": [STRONG]}, []),
        ({"host": "0.0.0.0", "tokens": [STRONG]}, ["note"]),
        ({"host": "0.0.0.0", "tokens": [STRONG, "hunter2"]}, ["note", "wrong"]),
        ({"host": "0.0.0.0", "tokens": ["a" * 40]}, ["note", "wrong"]),
        ({"metrics_token": "look"}, ["note"]),
        ({"trusted_proxies": ["0.0.0.0/0"]}, ["wrong"]),
        ({"trusted_proxies": ["::/0"]}, ["wrong"]),
        ({"trusted_proxies": ["10.0.0.0/8"]}, []),
    ],
)
async def test_settings_that_expose_the_bot_are_told_without_their_secrets(
    tmp_path: Path, web: dict[str, Any], states: list[str]
) -> None:
    found = await all_of(surroundings.look_at_exposure, settings_of(tmp_path, web=web))
    assert [state for _, state, _ in found] == states
    assert not any("hunter2" in text for _, _, text in found)


@pytest.mark.parametrize(
    ("text", "mode", "state"),
    [
        ('[web]\ntokens = ["x"]', 0o644, "note"),
        ('[channels.shop]\nbot_token = "x"', 0o640, "note"),
        ('[channels.shop]\nbot_token = "x"', 0o600, "ok"),
        ('[database]\nurl = "postgresql://kim:pass@db/kfbot"', 0o644, "note"),
        ('[database]\nurl = "postgresql://db/kfbot"\n[web]\nport = 1', 0o644, None),
        ('[chat_model]\napi_key = ""', 0o644, None),
    ],
)
async def test_a_settings_file_with_secrets_is_for_its_owner(
    tmp_path: Path, text: str, mode: int, state: str | None
) -> None:
    file = tmp_path / "with-secrets.toml"
    file.write_text(text)
    file.chmod(mode)
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    settings = settings_of(tmp_path, data_dir=str(data))
    found = list(surroundings.secrets_findings(file, settings))
    assert [one.state for one in found] == ([] if state is None else [state])
    if state == "note":
        assert f"chmod 600 {file}" in found[0].text
    data.chmod(0o755)
    assert "chmod 700" in next(surroundings.secrets_findings(None, settings)).text


async def test_a_clock_that_was_set_back_is_found(
    tmp_path: Path, database: Database, clock: Clock
) -> None:
    settings = settings_of(tmp_path)
    messages = MessageStore(database, clock)
    await messages.accept(message(clock, 1))
    assert (await all_of(surroundings.look_at_clock, settings))[0][1] == "ok"
    clock.advance(days=36_500)
    await messages.accept(message(clock, 2))
    [(_, state, text)] = await all_of(surroundings.look_at_clock, settings)
    assert state == "wrong"
    assert "behind what was stored last" in text


async def test_the_clock_of_postgresql_is_compared(postgres_url: str, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, database={"url": postgres_url})
    [(what, state, _)] = await all_of(surroundings.look_at_clock, settings)
    assert (what, state) == ("clock", "ok")


async def test_the_age_of_the_newest_backup_is_told(tmp_path: Path, database_url: str) -> None:
    settings = settings_of(tmp_path)
    [(_, state, text)] = await all_of(surroundings.look_at_backups, settings)
    assert (state, "kfbot db backup" in text) == ("note", True)
    folder = tmp_path / "backups"
    folder.mkdir()
    for name, days in (("old", 30), ("new", 2)):
        file = folder / f"{name}.sqlite3"
        file.touch()
        os.utime(file, times=(time.time() - days * 86_400,) * 2)
    [(_, state, text)] = await all_of(surroundings.look_at_backups, settings)
    assert (state, "2 days old" in text) == ("ok", True)
    (folder / "new.sqlite3").unlink()
    [(_, state, text)] = await all_of(surroundings.look_at_backups, settings)
    assert (state, "30 days old" in text) == ("note", True)


async def test_what_the_bot_calls_is_tried_and_nothing_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = socket.getaddrinfo

    def known(host: str, *given: Any, **further: Any) -> Any:
        if host == "no.such.host":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return look_up(host, *given, **further)

    monkeypatch.setattr(socket, "getaddrinfo", known)
    heard: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    webhooks = {
        "near": {"url": f"http://127.0.0.1:{port}/hook?key=4711", "secret": SECRET},
        "away": {"url": "http://127.0.0.1:9/hook?key=4711", "secret": SECRET},
    }
    settings = settings_of(
        tmp_path, event_webhooks=webhooks, tracing={"endpoint": "http://no.such.host"}
    )
    async with server:
        found = await all_of(surroundings.look_at_peers, settings)
        async with asyncio.timeout(60):
            while not heard:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.01)
    assert [state for _, state, _ in found] == ["ok", "note", "note"]
    assert "takes no connection at port 9" in found[1][2]
    assert "no.such.host is a name that nobody knows" in found[2][2]
    assert heard == [b""]
    assert not any("4711" in text for _, _, text in found)
