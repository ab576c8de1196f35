"""`kfbot calibrate` as an operator uses it: shown first, applied when asked for, taken back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cache import MODEL_CACHE
from tests.integration.cli_here import kfbot, kfbot_json
from tests.integration.test_cli import write_lines

pytestmark = pytest.mark.slow

TOPICS = (
    "parcel", "refund", "invoice", "password", "warranty", "discount", "delivery", "gift card",
    "newsletter", "size chart",
)  # fmt: skip
WAYS = (
    "Where do I find the {}?", "my {} is wrong", "Tell me about the {}", "problem with {}",
    "How does the {} work?", "can somebody help me with a {}",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Settings, an FAQ that has variants, and a model cache that is warm where it can be."""
    rows = [
        {
            "id": topic,
            "question": f"What about the {topic}?",
            "variants": [way.format(topic) for way in WAYS],
            "answer": f"All about the {topic}.",
        }
        for topic in TOPICS
    ]
    write_lines(tmp_path / "faq.jsonl", rows)
    (tmp_path / "kfbot.toml").write_text(
        'data_dir = "var"\n[web]\nport = 0\n[knowledge.shop]\nsources = ["faq.jsonl"]\n'
    )
    (tmp_path / "var").mkdir()
    MODEL_CACHE.mkdir(exist_ok=True)
    (tmp_path / "var" / "models").symlink_to(MODEL_CACHE.resolve())
    return tmp_path


def calibration_of(folder: Path) -> Any:
    (state,) = kfbot_json(folder, "knowledge", "status")
    return state["calibration"]


def test_it_is_shown_then_applied_then_taken_back(folder: Path) -> None:
    said = kfbot(folder, "calibrate", status=1)
    assert said == "kfbot: nothing is loaded yet: kfbot knowledge load\n"
    kfbot(folder, "knowledge", "load")
    (shown,) = kfbot_json(folder, "calibrate")
    assert shown["kinds"]["faq"]["questions"] == {"in": 54, "near": 35, "far": 120}
    assert [row["dial"] for row in shown["kinds"]["faq"]["dials"]] == [1, 2, 3, 5, 7, 10]
    assert calibration_of(folder) is None
    assert "now → after" in kfbot(folder, "calibrate", "shop", "--apply")
    found = calibration_of(folder)
    assert (found["questions"], found["source"]) == (209, "knowledge base")
    assert "from 209 questions" in kfbot(folder, "check")
    kfbot(folder, "calibrate", "--reset")
    assert calibration_of(folder) is None


def test_what_labelled_questions_gave_stays_until_it_is_replaced(folder: Path) -> None:
    labelled = folder / "questions.jsonl"
    asked = ("I have a question on my {}", "what is wrong with the {}", "{} help", "my {}?")
    write_lines(
        labelled,
        [{"text": way.format(topic), "gold_ids": [topic]} for topic in TOPICS for way in asked]
        + [{"text": f"Who won match {n} of the cup?", "gold_ids": []} for n in range(10)],
    )
    kfbot(folder, "knowledge", "load")
    given = ("--questions", str(labelled), "--out-of-scope", "50")
    kfbot(folder, "calibrate", *given, "--apply")
    assert (calibration_of(folder)["source"], calibration_of(folder)["questions"]) == (
        "operator", 50,
    )  # fmt: skip
    said = kfbot(folder, "calibrate", "--apply")
    assert "faq: stays as your labelled questions have it; --replace takes this" in said
    assert calibration_of(folder)["source"] == "operator"
    kfbot(folder, "calibrate", "--replace", "--apply")
    assert (calibration_of(folder)["source"], calibration_of(folder)["questions"]) == (
        "knowledge base", 209,
    )  # fmt: skip


def test_files_are_measured_without_any_settings_of_theirs(folder: Path) -> None:
    labelled = folder / "questions.jsonl"
    write_lines(
        labelled,
        [{"text": f"I have a question on my {topic}", "gold_ids": [topic]} for topic in TOPICS],
    )
    given = ("--knowledge", str(folder / "faq.jsonl"), "--questions", str(labelled))
    (shown,) = kfbot_json(folder, "calibrate", *given)
    assert shown["calibration"] is None
    assert shown["notes"] == ["faq: 10 labelled questions; at least 30 are needed; as shipped"]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("nobody",), 1, "there is no knowledge base nobody, only shop"),
        (("--questions", "/gone.jsonl"), 1, "questions /gone.jsonl: No such file or directory"),
        (("--knowledge", "/gone"), 1, "knowledge /gone does not exist"),
        (("--apply", "--reset"), 2, "--apply goes with neither --knowledge nor --reset"),
        (("--replace", "--reset"), 2, "--replace goes with neither --questions nor --reset"),
    ],
)
def test_faults_are_told_in_one_line(
    folder: Path, arguments: tuple[str, ...], status: int, says: str
) -> None:
    said = kfbot(folder, "calibrate", *arguments, status=status)
    assert says in " ".join(said.split())


@pytest.mark.data
def test_banking_keeps_to_the_dial_once_it_is_calibrated(folder: Path, shared_data: Path) -> None:
    banking = shared_data / "faq_en_banking77"
    lines = (banking / "queries.jsonl").read_text("utf-8").splitlines()
    # Every sixteenth: in scope and out of it as many as there are.
    (folder / "asked.jsonl").write_text("\n".join(lines[::16]), encoding="utf-8")
    report = folder / "report.json"
    kfbot(
        folder, "evaluate", "--knowledge", str(banking / "kb_10shot.jsonl"), "--calibrate",
        "--questions", str(folder / "asked.jsonl"), "--report", str(report),
    )  # fmt: skip
    measures = json.loads(report.read_text("utf-8"))["all"]["measures"]
    assert measures["wrong"]["value"] <= 7
    assert measures["answered"]["value"] >= 0.5
