"""Commands beside a running server: everything goes over HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kfbot.bootstrap import wire
from kfbot.channels import open_channels
from kfbot.cli import run
from kfbot.places import owning
from kfbot.settings import Settings, load_settings
from kfbot.store.engine import Database
from kfbot.testing import FakeKnowledgeBase
from kfbot.web.server import serving

ANSWER = "Use the **form** in it."


@dataclass
class Server:
    """A server in a thread of its own, and its settings file."""

    settings: Settings
    file: Path
    ready: threading.Event
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event

    def run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        knowledge = FakeKnowledgeBase({"How do I return a parcel?": ANSWER})
        with owning(self.settings):
            async with Database(self.settings.database_url) as database:
                channels = open_channels(self.settings)
                application = wire(self.settings, database, knowledge, channels=channels)
                running = asyncio.create_task(application.run())
                async with serving(application):
                    self.ready.set()
                    await self.stop.wait()
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[Server]:
    file = tmp_path / "kfbot.toml"
    file.write_text(
        f'data_dir = "."\n[web]\nport = 0\n[database]\nurl = "{database_url}"\n'
        '[knowledge.fake]\nsources = ["."]\n'
    )
    loop = asyncio.new_event_loop()
    made = Server(load_settings(file), file, threading.Event(), loop, asyncio.Event())
    thread = threading.Thread(target=made.run)
    thread.start()
    assert made.ready.wait(60)
    yield made
    loop.call_soon_threadsafe(made.stop.set)
    thread.join(60)
    assert not (tmp_path / "server.json").exists()


class Shell:
    """Runs commands on the server's settings and gives back what they print."""

    def __init__(self, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
        self._server = server
        self._capsys = capsys
        self.err = ""

    def __call__(self, *arguments: str, status: int = 0) -> str:
        self._capsys.readouterr()
        got = run([*arguments, "--settings", str(self._server.file)])
        output = self._capsys.readouterr()
        self.err = output.err
        assert got == status, output.err
        return output.out

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))


@pytest.fixture
def kfbot(server: Server, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(server, capsys)


def test_ask_prints_the_answer_with_its_source(kfbot: Shell) -> None:
    said = kfbot("ask", "How do I return a parcel?")
    assert said == "Use the form in it.\n[1] How do I return a parcel?\n"


def test_ask_prints_the_data_of_the_api(kfbot: Shell) -> None:
    data = kfbot.json("ask", "How do I return a parcel?")
    assert list(data) == [
        "text", "context", "question", "decision", "confidence", "choices", "citations",
    ]  # fmt: skip
    assert (data["decision"], data["text"]) == ("answer", ANSWER)


def test_without_a_conversation_nothing_waits_for_an_agent(kfbot: Shell) -> None:
    assert kfbot.json("ask", "Do you sell elephants?")["decision"] == "handoff"
    assert kfbot.json("desk", "list") == []
    assert kfbot("desk", "list") == "Nobody waits.\n"


def test_desk_commands_carry_a_case_from_claim_to_resolve(kfbot: Shell) -> None:
    kfbot("ask", "Do you sell elephants?", "--conversation", "customer-1")
    (case,) = kfbot.json("desk", "list")
    number = str(case["id"])
    assert (case["channel"], case["state"]) == ("api", "waiting")
    assert "Do you sell elephants?" in kfbot("desk", "list")

    assert "with Anna" in kfbot("desk", "claim", number, "--agent", "Anna")
    kfbot("desk", "reply", number, "Only small ones.", "--agent", "Anna")
    kfbot("desk", "reply", number, "He laughed.", "--note", "--agent", "Anna")
    kfbot("desk", "reply", number, "Me too!", "--agent", "Ben", status=1)
    assert kfbot.err == f"kfbot: conversation {number} is Anna's\n"

    said = kfbot("desk", "show", number)
    assert "Anna: Only small ones." in said
    assert "Anna (note): He laughed." in said
    assert kfbot("ask", "And now?", "--conversation", "customer-1").startswith("(An agent has")

    kfbot("desk", "handback", number)
    assert kfbot.json("desk", "show", number)["state"] == "bot"
    kfbot("desk", "resolve", number)
    assert kfbot.json("desk", "show", number)["case"] is None
    kfbot("desk", "resolve", number, status=1)
    assert kfbot.err == f"kfbot: conversation {number} is closed already\n"


def test_conversation_that_is_not_there_is_one_line(kfbot: Shell) -> None:
    kfbot("desk", "show", "99", status=1)
    assert kfbot.err == "kfbot: there is no conversation 99\n"


def test_knowledge_is_loaded_looked_at_and_searched(kfbot: Shell) -> None:
    assert kfbot("knowledge", "load") == "fake: 0 added, 0 changed, 0 removed, 1 unchanged\n"
    assert kfbot("knowledge", "reload", "fake").startswith("fake: ")
    (state,) = kfbot.json("knowledge", "status")
    assert (state["name"], state["documents"]) == ("fake", 1)
    assert "fake" in kfbot("knowledge", "status")
    found = kfbot.json("knowledge", "search", "return a parcel")
    assert found["passages"][0]["id"] == "entry-0"
    assert "entry-0" in kfbot("knowledge", "search", "return a parcel")


def test_second_server_is_refused_in_one_line(kfbot: Shell) -> None:
    kfbot("serve", status=1)
    assert kfbot.err.startswith("kfbot: another kfbot is working in ")
    assert kfbot.err.count("\n") == 1


def test_upgrade_waits_until_the_server_is_stopped(kfbot: Shell) -> None:
    kfbot("db", "upgrade", status=1)
    assert "another kfbot is working" in kfbot.err
