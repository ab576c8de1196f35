"""The command line as processes of their own, with the real model and the real knowledge base."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cache import MODEL_CACHE

FAQ = [
    {"id": "return", "question": "How do I return a parcel?", "answer": "Use the form in it."},
    {"id": "hours", "question": "你们几点开门？", "answer": "早上九点。", "variants": ["营业时间"]},
]
QUESTIONS = [
    {"text": "How can I send a parcel back?", "gold_ids": ["return"], "kb": "shop"},
    {"text": "早上几点营业？", "gold_ids": ["hours", "gone"], "kb": "shop"},
    {
        "question": "And on Sundays?",
        "gold_ids": [],
        "history": [{"role": "customer", "text": "Are you open today?"}],
    },
]
TIMEOUT_SECONDS = 180


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Settings, a knowledge base, and a model cache that is warm where it can be."""
    docs = tmp_path / "docs"
    docs.mkdir()
    write_lines(docs / "faq.jsonl", FAQ)
    (docs / "warranty.md").write_text("# Warranty\n\nThe warranty is two years.\n")
    (tmp_path / "kfbot.toml").write_text(
        'data_dir = "var"\n[web]\nport = 0\n[knowledge.shop]\nsources = ["docs"]\n'
    )
    (tmp_path / "var").mkdir()
    MODEL_CACHE.mkdir(exist_ok=True)
    (tmp_path / "var" / "models").symlink_to(MODEL_CACHE.resolve())
    return tmp_path


def write_lines(file: Path, rows: list[Any]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    file.write_text(text, encoding="utf-8")


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KFBOT_")}
    return kept | {"KFBOT_SETTINGS": str(folder / "kfbot.toml"), "PYTHONUTF8": "1"}


def kfbot(folder: Path, *arguments: str, status: int = 0, typed: str = "") -> str:
    """Run a command in a process of its own; returns what it printed."""
    result = subprocess.run(
        [sys.executable, "-m", "kfbot", *arguments],
        # Nothing may depend on where a command is started.
        cwd="/",
        env=environment(folder),
        input=typed,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert result.returncode == status, result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout if status == 0 else result.stderr


def kfbot_json(folder: Path, *arguments: str) -> Any:
    return json.loads(kfbot(folder, *arguments, "--json"))


@pytest.mark.slow
def test_first_question_loads_the_knowledge_base_by_itself(folder: Path) -> None:
    data = kfbot_json(folder, "ask", "How do I return a parcel?")
    assert data["decision"] == "answer"
    assert data["text"] == "Use the form in it."
    assert not (folder / "var" / "server.json").exists()
    (state,) = kfbot_json(folder, "knowledge", "status")
    assert (state["name"], state["documents"]) == ("shop", 3)


@pytest.mark.slow
def test_a_command_that_searches_nothing_does_not_wait_for_what_searches(folder: Path) -> None:
    code = (
        "import sys; from kfbot.cli import run; status = run(['knowledge', 'status']);"
        "sys.exit(status or 'llama_index' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_load_names_what_is_unreadable_and_loads_the_rest(folder: Path) -> None:
    (folder / "docs" / "logo.xyz").write_bytes(b"\x00\x01")
    result = kfbot_fails(folder, "knowledge", "load")
    assert "shop: 3 added, 0 changed, 0 removed, 0 unchanged" in result
    assert "logo.xyz: " in result
    (folder / "docs" / "logo.xyz").unlink()
    (folder / "docs" / "warranty.md").write_text("# Warranty\n\nThree years.\n")
    said = kfbot(folder, "knowledge", "reload", "shop")
    assert said == "shop: 0 added, 1 changed, 0 removed, 2 unchanged\n"


def kfbot_fails(folder: Path, *arguments: str) -> str:
    """What a command prints that ends with status 1, although it did most of its work."""
    result = subprocess.run(
        [sys.executable, "-m", "kfbot", *arguments],
        cwd="/",
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert result.returncode == 1, result.stderr
    return result.stdout


@pytest.mark.slow
def test_conversation_outlives_the_command_that_held_it(folder: Path) -> None:
    kfbot(folder, "ask", "a real person please", "--conversation", "c1")
    (case,) = kfbot_json(folder, "desk", "list")
    assert case["case"]["reason"] == "asked_for_person"
    typed = f"open {case['id']}\nreply Here I am.\nquit\n"
    said = kfbot(folder, "desk", "--agent", "Anna", typed=typed)
    assert "customer: a real person please" in said
    transcript = kfbot_json(folder, "desk", "show", str(case["id"]))["transcript"]
    assert transcript[-1]["text"] == "Here I am."


@pytest.mark.slow
def test_chat_answers_what_is_typed(folder: Path) -> None:
    said = kfbot(folder, "chat", typed="How do I return a parcel?\n")
    assert "Use the form in it." in said


def test_a_taken_port_is_told_before_anything_is_loaded(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = kfbot(folder, "serve", "--port", port, status=1)
    assert said == (
        f"kfbot: [web] cannot listen at 127.0.0.1, port {port}: address already in use;"
        " set another [web] port, or --port\n"
    )
    assert not (folder / "var" / "kfbot.sqlite3").exists()


@pytest.mark.slow
def test_check_tells_a_fresh_folder_from_a_loaded_one(folder: Path) -> None:
    said = kfbot(folder, "check")
    assert "empty: made at the first start" in said
    assert "✗" not in said
    assert not (folder / "var" / "kfbot.sqlite3").exists()
    assert kfbot(folder, "db", "upgrade").startswith("Upgraded: empty → ")
    assert kfbot(folder, "db", "upgrade").startswith("The schema is up to date: ")
    kfbot(folder, "knowledge", "load")
    assert "shop: 3 documents and entries" in kfbot(folder, "check")
    (folder / "docs").rename(folder / "moved")
    assert run_check(folder)[0] == 1


def run_check(folder: Path) -> tuple[int, str]:
    result = subprocess.run(
        [sys.executable, "-m", "kfbot", "check"],
        cwd="/",
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    return result.returncode, result.stdout


@pytest.mark.slow
def test_evaluate_writes_predictions_report_and_page(folder: Path) -> None:
    write_lines(folder / "questions.jsonl", QUESTIONS)
    said = kfbot(
        folder,
        *("evaluate", "--knowledge", f"shop={folder / 'docs'}"),
        *("--questions", str(folder / "questions.jsonl")),
        *("--predictions", str(folder / "out.jsonl"), "--report", str(folder / "out.json")),
        *("--html", str(folder / "out.html")),
    )
    assert "hit@1" in said
    assert "1 gold ids are not in the knowledge." in said
    assert f"Written to {folder / 'out.html'}\n" in said
    lines = (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["text"] for row in rows] == [
        "How can I send a parcel back?",
        "早上几点营业？",
        "And on Sundays?",
    ]
    assert [row["ranked_ids"][0] for row in rows[:2]] == ["return", "hours"]
    assert {row["kb"] for row in rows} == {"shop"}
    for row in rows:
        assert row["decision"] in ("answer", "clarify", "handoff")
        assert 0 <= row["confidence"] <= 1
        assert len(set(row["ranked_ids"])) == len(row["ranked_ids"]) == 3
    report = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    assert report["all"]["in_scope"]["hit_at_1"] == 1
    assert report["all"]["routed_right"] == 1
    # Nothing but the model cache was touched.
    assert [path.name for path in (folder / "var").iterdir()] == ["models"]


@pytest.mark.slow
def test_evaluate_fails_by_its_demands_after_it_has_written_and_compared(folder: Path) -> None:
    write_lines(folder / "questions.jsonl", QUESTIONS)
    arguments = (
        *("evaluate", "--knowledge", f"shop={folder / 'docs'}"),
        *("--questions", str(folder / "questions.jsonl")),
    )
    kfbot(folder, *arguments, "--predictions", str(folder / "old.jsonl"))
    demands = ("--require", "hit@1>=1", "--require", "hit@1>1", "--require", "wrong<0")
    said = kfbot(
        folder,
        *(*arguments, *demands, "--compare", str(folder / "old.jsonl")),
        *("--report", str(folder / "new.json")),
        status=1,
    )
    assert "--require hit@1>1 is not met: it is 1" in said
    assert "--require wrong<0 is not met" in said
    assert "hit@1>=1 is" not in said
    report = json.loads((folder / "new.json").read_text(encoding="utf-8"))
    assert [one["met"] for one in report["require"]] == [True, False, False]
    assert report["comparison"]["mcnemar"]["hit@1"] == {"gained": 0, "lost": 0, "p": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("knowledge", "reason"),
    [
        ('{"id": 1, "question": "a"}\n{"id": 1, "question": "b"}\n', "used twice"),
        ('{"id": 1, "question": "a"}\n{"id"\n', "line 2: not JSON"),
        ("\n", "empty"),
    ],
)
def test_evaluate_names_bad_knowledge(folder: Path, knowledge: str, reason: str) -> None:
    write_lines(folder / "questions.jsonl", QUESTIONS)
    (folder / "kb.jsonl").write_text(knowledge)
    said = kfbot(
        folder,
        *("evaluate", "--knowledge", str(folder / "kb.jsonl")),
        *("--questions", str(folder / "questions.jsonl")),
        status=1,
    )
    assert reason in said
    assert said.count("\n") == 1


# A server as a process


class Serving:
    """`kfbot serve` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "var" / "server.json"
        self._log = (folder / "serve.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kfbot", "serve", "--port", "0"],
            cwd="/",
            env=environment(folder),
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self.log = folder / "serve.log"

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not condition():
                assert self.process.poll() is None, self.log.read_text()
                await asyncio.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()


@pytest.fixture
def serving(folder: Path) -> Iterator[Serving]:
    started = Serving(folder)
    yield started
    started.close()


@pytest.mark.slow
@pytest.mark.asyncio
async def test_commands_use_the_running_server_which_stops_gracefully(
    folder: Path, serving: Serving
) -> None:
    await serving.until(serving.file.exists)
    assert serving.file.stat().st_mode & 0o777 == 0o600
    token = json.loads(serving.file.read_text())["token"]
    assert kfbot_json(folder, "ask", "How do I return a parcel?")["decision"] == "answer"
    kfbot(folder, "ask", "a person please", "--conversation", "c1")
    (case,) = kfbot_json(folder, "desk", "list")
    kfbot(folder, "desk", "reply", str(case["id"]), "Here I am.")
    (folder / "docs" / "more.md").write_text("# Gifts\n\nGift wrapping is free.\n")
    assert kfbot(folder, "knowledge", "reload").startswith("shop: 1 added")
    assert "running at http://127.0.0.1:" in kfbot(folder, "check")
    assert serving.stop() == 0
    assert not serving.file.exists()
    log = serving.log.read_text()
    assert "kfbot is ready" in log
    assert token not in log


@pytest.mark.slow
@pytest.mark.asyncio
async def test_ctrl_c_stops_the_server_as_gracefully(folder: Path, serving: Serving) -> None:
    await serving.until(serving.file.exists)
    assert serving.stop(signal.SIGINT) == 0
    assert not serving.file.exists()


@pytest.mark.slow
@pytest.mark.asyncio
async def test_server_that_was_killed_leaves_nothing_in_the_way(
    folder: Path, serving: Serving
) -> None:
    await serving.until(serving.file.exists)
    assert serving.stop(signal.SIGKILL) == -signal.SIGKILL
    assert serving.file.exists()
    assert kfbot_json(folder, "ask", "How do I return a parcel?")["decision"] == "answer"


@pytest.mark.slow
@pytest.mark.asyncio
async def test_stop_during_the_first_load_is_heard(folder: Path, serving: Serving) -> None:
    await serving.until((folder / "var" / "kfbot.sqlite3").exists)
    assert serving.stop() == 0
