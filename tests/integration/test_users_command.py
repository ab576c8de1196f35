"""`kfbot users`: who may sign in at the desk, also beside a running server."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import pytest

from kfbot.cli import run
from tests.integration.conftest import ServedBot
from tests.integration.desk_client import CONVERSATIONS, PASSWORD, SESSION, DeskClient

NEW = "another one, long enough"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "kfbot.toml"
    file.write_text('data_dir = "."\n[knowledge.fake]\nsources = ["."]\n')
    return file


def users(
    monkeypatch: pytest.MonkeyPatch, file: Path, *arguments: str, password: str = PASSWORD
) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
    return run(["users", *arguments, "--settings", str(file)])


def test_a_user_is_added_listed_and_not_added_twice(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add = ("add", "Anna", "--role", "admin", "--password-stdin")
    assert users(monkeypatch, file, *add) == 0
    assert users(monkeypatch, file, *add) == 1
    assert "there is an agent anna already" in capsys.readouterr().err
    assert users(monkeypatch, file, "list", "--json") == 0
    [anna] = json.loads(capsys.readouterr().out)
    assert (anna["name"], anna["display_name"], anna["role"]) == ("anna", "Anna", "admin")
    assert users(monkeypatch, file, "list") == 0
    assert capsys.readouterr().out.split()[-5:] == ["anna", "Anna", "admin", "-", "yes"]


def test_where_there_is_no_admin_yet_agents_are_changed_all_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert users(monkeypatch, file, "add", "bo", "--password-stdin") == 0
    assert users(monkeypatch, file, "reset", "bo", "--password-stdin", password=NEW) == 0


@pytest.mark.parametrize(
    ("arguments", "password", "fault"),
    [
        (("add", "a/b", "--password-stdin"), PASSWORD, "a name has"),
        (("add", "bo", "--password-stdin"), "short", "at least 10"),
        (("add", "bo", "--password-stdin", "--team", "x"), PASSWORD, "there is no team x"),
        (("add", "bo"), PASSWORD, "--password-stdin"),
        (("add", "bo", "--role", "boss"), PASSWORD, "boss"),
        (("reset", "bo", "--password-stdin"), PASSWORD, "there is no user bo"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    password: str,
    fault: str,
) -> None:
    assert users(monkeypatch, file, *arguments, password=password) != 0
    said = capsys.readouterr().err
    assert fault in said
    assert said.count("\n") == 1
    assert password not in said.replace("--password-stdin", "")


@pytest.mark.asyncio
async def test_beside_a_running_server_users_are_added_and_reset(
    bot: ServedBot, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = ("add", "anna", "--role", "admin", "--password-stdin")
    assert await asyncio.to_thread(users, monkeypatch, file, *add) == 0
    anna = DeskClient(bot)
    await anna.sign_in("anna")
    wrong = {"name": "anna", "password": "wrong wrong wrong"}
    for _ in range(6):
        status, _ = await anna.call("POST", SESSION, wrong)
    assert status == 429
    reset = ("reset", "anna", "--password-stdin")
    assert await asyncio.to_thread(users, monkeypatch, file, *reset, password=NEW) == 0
    assert (await anna.call("GET", CONVERSATIONS))[0] == 401
    await anna.sign_in("anna", NEW)
