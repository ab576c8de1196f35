"""The command line: help, wrong use, errors in one line, what it prints, the desk's commands."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import kfbot.cli
from kfbot.cli import run
from kfbot.cli.app import app
from kfbot.cli.chatting import TerminalChat, typed
from kfbot.cli.client import Client, find_server
from kfbot.cli.desk_terminal import TerminalDesk
from kfbot.cli.evaluate import named
from kfbot.cli.local import ParkedChannel
from kfbot.cli.output import one_line, say_json, shown, since
from kfbot.errors import ChannelUnavailable, ServerRefused
from kfbot.messages import ConversationId, MessageReceived, OutboundMessage, Sender
from kfbot.testing import FakeAdapter

HEAVY = ("llama_index", "onnxruntime", "sqlalchemy", "aiohttp", "httpx", "pydantic_settings")


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    inside = getattr(command, "commands", {})
    if path and (not inside or getattr(command, "invoke_without_command", False)):
        yield path, command
    for name, one in inside.items():
        yield from leaves(one, (*path, name))


COMMANDS = dict(leaves(typer.main.get_command(app)))


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    file = tmp_path / "kfbot.toml"
    file.write_text('[knowledge.shop]\nsources = ["docs"]\n')
    return file


# Help and wrong use


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_shows_examples_and_takes_settings(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*path, "--help"]) == 0
    help_text = capsys.readouterr().out
    assert f"\n    kfbot {' '.join(path)}" in help_text
    assert "--settings FILE" in help_text


@pytest.mark.parametrize("group", sorted({path[:-1] for path in COMMANDS}), ids=" ".join)
def test_what_a_command_does_is_told_whole_in_the_list_of_commands(
    group: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*group, "--help"]) == 0
    help_text = capsys.readouterr().out
    assert "Examples:" in help_text
    assert "..." not in help_text.partition("Commands:")[2].partition("Examples:")[0]


def test_commands_are_those_of_the_design() -> None:
    assert {" ".join(path) for path in COMMANDS} == {
        *("serve", "chat", "ask", "check", "evaluate", "calibrate", "db upgrade"),
        *("db backup", "db restore"),
        *(f"knowledge {name}" for name in ("load", "reload", "rollback", "status")),
        *("knowledge search", "knowledge inspect"),
        *("desk", "desk list", "desk show", "desk claim", "desk reply", "desk handback"),
        *("desk resolve", "load"),
        *(f"replay {name}" for name in ("list", "show", "run", "discard")),
        *(f"events {name}" for name in ("list", "retry", "test")),
        *(f"users {name}" for name in ("add", "list", "reset")),
        *(f"customer {name}" for name in ("list", "export", "erase")),
        *(f"model {name}" for name in ("serve", "check", "tune", "tune-embedding")),
        *(f"model data {name}" for name in ("build", "export")),
    }


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from kfbot.cli import run; run(['--help']);"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stderr == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nope"], "nope"),
        (["ask"], "question"),
        (["ask", "hi", "--nope"], "--nope"),
        (["serve", "--port", "70000"], "--port"),
        (["desk", "show", "seven"], "ID"),
        (["replay", "show", "seven"], "in-12"),
        (["replay", "run", "in-1", "out"], "in-12"),
        (["replay", "run"], "--all"),
        (["replay", "run", "in-1", "--all"], "--all"),
        (["replay", "run", "in-1", "--channel", "shop"], "--all"),
        (["replay", "discard"], "--all"),
        (["replay", "list", "--limit", "101"], "--limit"),
        (["evaluate", "--questions", "q.jsonl"], "--knowledge"),
        (["evaluate", "--knowledge", "a", "--questions", "b", "--max-wrong", "0"], "--max-wrong"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("kfbot: ")
    assert output.err.count("\n") == 1
    assert reason in output.err


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"kfbot {kfbot.__version__}\n"


# Errors


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_wrong_settings_are_one_line_and_status_1(
    path: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\n"))
    file = tmp_path / "kfbot.toml"
    file.write_text("[web]\nprot = 1\n")
    arguments = {name: ["1"] for name in ("show", "claim", "handback", "resolve")} | {
        "ask": ["q"],
        "search": ["q"],
        "rollback": ["shop"],
        "restore": ["copy.sqlite3"],
        "inspect": ["a.md"],
        "reply": ["1", "x"],
        "run": ["--all"],
        "discard": ["--all"],
        "add": ["anna", "--password-stdin"],
        "reset": ["anna", "--password-stdin"],
    }
    needed = {("events", "retry"): ["1"], ("events", "test"): ["crm"]}.get(path)
    needed = arguments.get(path[-1], []) if needed is None else needed
    if path == ("evaluate",):
        needed = ["--knowledge", "a", "--questions", "b"]
    if path == ("replay", "show"):
        needed = ["in-1"]
    if path in {("customer", "export"), ("customer", "erase")}:
        needed = ["shop", "7", *(["--yes"] if path[-1] == "erase" else [])]
    if path[:2] in {("model", "tune"), ("model", "tune-embedding"), ("model", "data")}:
        needed = ["--out", "out", *(() if path[-1] == "build" else ("folder",))]
    assert run([*path, *needed, "--settings", str(file)]) == 1
    output = capsys.readouterr()
    said = output.out if path == ("check",) else output.err
    assert "unknown setting web.prot, did you mean port?" in said
    if path != ("check",):
        assert (output.out, output.err.count("\n")) == ("", 1)


def test_settings_come_from_the_environment_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KFBOT_SETTINGS", str(tmp_path / "absent.toml"))
    assert run(["ask", "q"]) == 1
    expected = f"kfbot: settings file {tmp_path}/absent.toml does not exist\n"
    assert capsys.readouterr().err == expected


def test_what_must_not_happen_is_one_line_with_its_traceback_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    group = ExceptionGroup("tasks", [ExceptionGroup("inner", [ValueError("two\nlines")])])
    assert kfbot.cli._failed(group) == 1
    said = capsys.readouterr().err
    assert said.startswith("kfbot: unexpected ValueError (details in ")
    assert said.count("\n") == 1
    (kept,) = tmp_path.glob("kfbot-error-*.txt")
    assert "ValueError: two" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_check_names_every_fault(
    settings_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings_file.write_text("data_dri = 1\n[web]\nport = 70000\n")
    assert run(["check", "--settings", str(settings_file)]) == 1
    said = capsys.readouterr().out
    assert "data_dri" in said
    assert "web.port" in said
    assert said.count("✗") == 2


# Finding the server


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"url": 5}', '{"url": "http://127.0.0.1:1", "token": "t"}']
)
def test_server_file_that_nobody_stands_behind_counts_for_nothing(
    content: str, tmp_path: Path
) -> None:
    (tmp_path / "server.json").write_text(content)
    assert asyncio.run(find_server(tmp_path)) is None


def test_without_a_server_file_there_is_no_server(tmp_path: Path) -> None:
    assert asyncio.run(find_server(tmp_path / "absent")) is None


# Output


def test_terminal_gets_nothing_that_it_would_obey() -> None:
    assert shown("a\x1b[31mb\x9bc\u202ed\r\n\te") == "a␛[31mb\ufffdc\ufffdd\n\te"
    assert one_line("one\n two " + "x" * 80, 12) == "one two xxx…"


def test_json_output_is_plain_and_valid(capsys: pytest.CaptureFixture[str]) -> None:
    say_json({"text": "退货 \ud800"})
    said = capsys.readouterr().out
    assert "退货" in said
    assert json.loads(said) == {"text": "退货 \ud800"}


def test_times_are_told_in_their_largest_unit() -> None:
    assert since("2020-01-01T00:00:00+00:00").endswith(" d")


def test_knowledge_is_named_before_the_equals_sign_unless_that_is_its_path(tmp_path: Path) -> None:
    odd = tmp_path / "a=b.jsonl"
    odd.touch()
    assert named(["shop=x.jsonl", str(odd), "y.jsonl", "shop=z"]) == {
        "shop": ["x.jsonl", "z"],
        "default": [str(odd), "y.jsonl"],
    }


@pytest.mark.asyncio
async def test_parked_channel_leaves_messages_for_the_server() -> None:
    parked = ParkedChannel(FakeAdapter("shop"))
    message = OutboundMessage(conversation=ConversationId("shop", "1"), id="1", text="t")
    with pytest.raises(ChannelUnavailable, match="channel shop: only `kfbot serve` sends here"):
        await parked.send(message)


# The desk and the chat, with a server that is none


class FakeServer(Client):
    """Remembers calls; one conversation waits."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.waiting: list[dict[str, Any]] = [waiting(7, "my kettle is broken")]
        self.transcript = [message(1, "customer", "my kettle is broken")]

    async def conversations(self) -> list[dict[str, Any]]:
        return self.waiting

    async def find_conversation(self, chat: str) -> dict[str, Any] | None:
        return {"id": 7}

    async def conversation(self, number: int, *, after: int = 0) -> dict[str, Any]:
        if number != 7:
            raise ServerRefused(f"there is no conversation {number}")
        said = [one for one in self.transcript if one["id"] > after]
        return waiting(7, "") | {"transcript": said}

    async def change(self, number: int, change: str, agent: str) -> dict[str, Any]:
        self.calls.append((change, number, agent))
        return waiting(7, "") | {"state": "agent", "agent": agent}

    async def reply(self, number: int, agent: str, text: str, *, internal: bool = False) -> None:
        self.calls.append(("note" if internal else "reply", number, agent, text))

    async def ask(self, query: str, conversation: str | None = None) -> dict[str, Any]:
        number = len(self.transcript) + 1
        self.transcript += [
            message(number, "customer", query),
            message(number + 1, "bot", f"about {query}?"),
        ]
        choices = [{"id": "a", "label": "Returns"}, {"id": "b", "label": "Repairs"}]
        return {"decision": "clarify", "choices": choices}


def waiting(number: int, words: str) -> dict[str, Any]:
    case = {
        "id": 1, "reason": "unsure", "question": words, "draft": "Descale it.",
        "opened_at": "2026-01-05T09:00:00+00:00",
    }  # fmt: skip
    return {
        "id": number, "channel": "web", "customer": "", "state": "waiting", "agent": None,
        "last_text": words, "updated_at": "2026-01-05T09:00:00+00:00", "case": case,
    }  # fmt: skip


def message(number: int, role: str, text: str, *, internal: bool = False) -> dict[str, Any]:
    return {
        "id": number, "role": role, "name": "", "kind": "message", "text": text,
        "internal": internal, "citations": [], "created_at": "2026-01-05T09:00:00+00:00",
    }  # fmt: skip


async def lines_of(*lines: str | None) -> AsyncIterator[str | None]:
    for line in lines:
        yield line


def work(server: FakeServer, *lines: str | None) -> None:
    asyncio.run(TerminalDesk(server, "Anna").run(lines_of(*lines)))


def test_desk_shows_who_waits_and_what_the_bot_would_have_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    work(FakeServer(), "open 7", "quit", "claim")
    said = capsys.readouterr().out
    assert "bot not sure" in said
    assert "customer: my kettle is broken" in said
    assert "The bot would have said: Descale it." in said


def test_desk_commands_reach_the_open_conversation() -> None:
    server = FakeServer()
    lines = ("claim", "open 7", "reply We call you.", "note no answer", "resolve", "handback")
    work(server, *lines, "reply", "back", "resolve")
    assert server.calls == [
        ("reply", 7, "Anna", "We call you."),
        ("note", 7, "Anna", "no answer"),
        ("resolve", 7, "Anna"),
        ("handback", 7, "Anna"),
    ]


def test_desk_survives_a_refusal_and_an_unknown_word(capsys: pytest.CaptureFixture[str]) -> None:
    work(FakeServer(), "open 8", "opne 7", "open x", "list")
    said = capsys.readouterr().out
    assert "kfbot: there is no conversation 8" in said
    assert "reply TEXT" in said
    assert said.count("my kettle is broken") == 2


def test_desk_tells_what_is_new_while_it_waits(capsys: pytest.CaptureFixture[str]) -> None:
    server = FakeServer()

    async def lines() -> AsyncIterator[str | None]:
        yield "open 7"
        server.waiting.append(waiting(9, "anybody there?"))
        server.transcript.append(message(2, "customer", "still broken"))
        yield None
        yield None

    asyncio.run(TerminalDesk(server, "Anna").run(lines()))
    said = capsys.readouterr().out
    assert said.count("new: 9 (web, bot not sure): anybody there?") == 1
    assert said.count("customer: still broken") == 1


def event(text: str) -> MessageReceived:
    from datetime import UTC, datetime

    return MessageReceived(
        event_id=text,
        conversation=ConversationId("terminal", "terminal"),
        message_id=text,
        sender=Sender("terminal"),
        sent_at=datetime(2026, 1, 5, tzinfo=UTC),
        text=text,
    )


class Typed(FakeAdapter):
    """A terminal at which some lines are typed, and then no more."""

    def __init__(self, *lines: str) -> None:
        super().__init__("terminal")
        self._lines = lines

    async def listen(self) -> AsyncIterator[Any]:
        for line in self._lines:
            yield event(line)


@pytest.mark.asyncio
async def test_typed_lines_come_in_order_until_the_end() -> None:
    assert [line async for line in typed(Typed("a", "b"), poll_seconds=60)] == ["a", "b"]


@pytest.mark.asyncio
async def test_chat_prints_what_others_say_and_offers_the_choices_until_it_is_left() -> None:
    server, terminal = FakeServer(), Typed("kettle", " /quit", "repairs")
    server.transcript = [message(1, "agent", "secret", internal=True)]
    await TerminalChat(server, terminal).run(poll_seconds=60)
    (sent,) = terminal.sent
    assert sent.text == "about kettle?"
    assert [button.label for button in sent.buttons] == ["Returns", "Repairs"]
    # A pressed button comes back as its token: the words that the server knows it by.
    assert sent.buttons[0].token == "Returns"


def test_unknown_knowledge_base_is_named_with_those_there_are(
    settings_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["knowledge", "load", "bank", "--settings", str(settings_file)]) == 1
    assert "there is no knowledge base bank, only shop" in capsys.readouterr().err
