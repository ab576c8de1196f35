"""`kfbot load` against a bot that is being served: every way in, and what it cannot do."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from kfbot import cli
from kfbot.store import tables
from tests.faults.servers import free_port
from tests.integration.conftest import ENTRIES, Served

pytestmark = pytest.mark.asyncio
SECRET = "whsec_bG9hZC1sb2FkLWxvYWQtbG9hZC1sb2Fk"
SETTINGS = """
data_dir = "."
[channels.crm]
platform = "webhook"
secret = "{secret}"
callback_url = "http://127.0.0.1:{port}/hook"
[channels.asked]
platform = "webhook"
secret = "{secret}"
reply = "response"
[channels.far]
platform = "webhook"
secret = "{secret}"
callback_url = "http://far.invalid/hook"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Settings with three channels."""
    text = SETTINGS.format(secret=SECRET, port=free_port())
    (tmp_path / "kfbot.toml").write_text(text)
    (tmp_path / "questions.txt").write_text("\n".join(ENTRIES) + '\n{"text": "怎么开发票"}\n')
    return tmp_path / "kfbot.toml"


def bring_near(file: Path, port: str) -> None:
    """Have the channel that is far away call here."""
    text = file.read_text()
    file.write_text(text.replace("http://far.invalid", f"http://127.0.0.1:{port}"))


async def load(file: Path, *arguments: str) -> int:
    """Run the command; its exit status."""
    named = ["load", "--settings", str(file), *arguments]
    return await asyncio.to_thread(cli.run, named)


async def test_every_way_in_is_driven_and_answered(
    file: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--questions", str(file.with_name("questions.txt")), "--conversations", "2"]
    channels = [word for name in ("api", "web", "crm", "asked") for word in ("--channel", name)]
    async with served() as bot:
        assert await load(file, "--rate", "30", "--seconds", "2", *asked, *channels, "--json") == 0
        printed = capsys.readouterr()
        found = json.loads(printed.out)
        stored = await bot.count(tables.conversation)
    total = found["total"]
    assert total["offered"] == total["taken"] == total["answered"] > 30
    assert found["channels"].keys() == {"api", "web", "crm", "asked"}
    for one in found["channels"].values():
        assert one["answered"] == one["offered"] > 5
        assert one["unanswered"] == one["further_messages"] == 0
        assert one["refusals"] == {}
    assert found["channels"]["api"]["ack_ms"] is None
    # Two each, and more only while all of them waited.
    assert 8 <= stored <= total["offered"]
    assert found["run"] in printed.err
    assert SECRET not in printed.out + printed.err


async def test_where_the_replies_go_elsewhere_only_acknowledgements_are_measured(
    file: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    async with served():
        assert await load(file, "--rate", "20", "--seconds", "1", "--channel", "far") == 0
    printed = capsys.readouterr()
    assert "far: its callback_url is elsewhere; only acks are measured." in printed.err
    assert "answered" in printed.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--channel", "nobody"], "--channel nobody: there is only api, web, crm, asked, far"),
        (["--questions", "missing.txt"], "--questions missing.txt: "),
    ],
)
async def test_what_cannot_be_driven_is_named(
    file: Path,
    served: Served,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    async with served():
        assert await load(file, *arguments) == 1
    assert says in capsys.readouterr().err


async def test_without_a_server_it_says_so(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await load(file) == 1
    assert "start `kfbot serve` first" in capsys.readouterr().err


async def test_a_port_that_is_taken_is_named(
    file: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    async with served() as bot:
        port = bot.url.rpartition(":")[2]
        bring_near(file, port)
        assert await load(file, "--channel", "far", "--seconds", "1") == 1
    assert f"cannot listen at port {port}" in capsys.readouterr().err
