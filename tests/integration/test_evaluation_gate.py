"""What the bot must reach through `kfbot evaluate`, with what is shipped and nothing tuned."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from kfbot.texts import texts
from tests.cache import MODEL_CACHE

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

CHECKOUT = Path(__file__).parents[2]
SAMPLES = CHECKOUT / "knowledge" / "samples"
LABELLED = CHECKOUT / "tests" / "evaluation"
#: Questions asked of a large set: enough for the gate, few enough to wait for.
SAMPLED = 600


async def evaluate(folder: Path, knowledge: Path, questions: list[dict[str, Any]]) -> Any:
    """The report and the predictions of one run of the command."""
    asked, report = folder / "questions.jsonl", folder / "report.json"
    predictions = folder / "predictions.jsonl"
    asked.write_text("\n".join(json.dumps(row) for row in questions), encoding="utf-8")
    # The model that other tests have made serves this one too.
    data = folder / "data"
    data.mkdir()
    (data / "models").symlink_to(MODEL_CACHE)
    MODEL_CACHE.mkdir(exist_ok=True)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kfbot", "evaluate", "--knowledge", str(knowledge),
        "--questions", str(asked), "--report", str(report), "--predictions", str(predictions),
        env=_environment(data),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(child.communicate(), 600)
    assert child.returncode == 0, said.decode()
    rows = [json.loads(line) for line in predictions.read_text("utf-8").splitlines()]
    assert len(rows) == len(questions)
    return json.loads(report.read_text("utf-8")), rows


def _environment(data: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if "KFBOT" not in name}
    return {**inherited, "KFBOT_DATA_DIR": str(data)}


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def sample(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return random.Random(0).sample(rows, min(SAMPLED, len(rows)))


def far_that_pass(questions: list[dict[str, Any]], rows: list[dict[str, Any]]) -> float:
    """Share of far out-of-scope questions above the score that 95 % of the others reach."""
    scores = [row["confidence"] for row in rows]
    pairs = list(zip(questions, scores, strict=True))
    inside = sorted(score for question, score in pairs if question["in_scope"])
    least = inside[len(inside) // 20]
    far = [score for question, score in pairs if not question["in_scope"]]
    return sum(score >= least for score in far) / len(far)


async def test_the_sample_shop(tmp_path: Path) -> None:
    questions = [
        {**row, "kb": name}
        for name in ("sample_everyday", "sample_questions")
        for row in rows_of(LABELLED / f"{name}.jsonl")
    ]
    found, _ = await evaluate(tmp_path, SAMPLES, questions)
    everyday, roundabout = (
        found["by_kb"][name] for name in ("sample_everyday", "sample_questions")
    )
    inside = everyday["in_scope"]
    # Measured: 132 right and 27 offered of 172, 81 of 88 handed off, 3 of 135 answers wrong. The
    # int8 model differs in the last digits from one kind of processor to the next, which moves
    # those that lie at a threshold: two questions may turn out worse, one answer and one handoff.
    assert inside["answered_right"] >= 130 / 172
    assert inside["answered_right"] + inside["clarified_with_gold"] >= 157 / 172
    assert everyday["out_of_scope"]["handed_off"] >= 80 / 88
    assert everyday["wrong_per_100_answers"] <= 3
    # Told as stories, most are too much for a small model: what counts is that it knows. Measured:
    # 1 of 34 answers wrong, 85 of 88 handed off.
    assert roundabout["wrong_per_100_answers"] <= 5
    assert roundabout["out_of_scope"]["handed_off"] >= 84 / 88


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "knowledge", "least"),
    [("faq_en_covid", "kb.jsonl", 0.71), ("faq_en_banking77", "kb_10shot.jsonl", 0.84)],
)
async def test_public_faq_sets(
    tmp_path: Path, shared_data: Path, folder: str, knowledge: str, least: float
) -> None:
    every = rows_of(shared_data / folder / "queries.jsonl")
    far = [row for row in every if not row["in_scope"]]
    questions = sample([row for row in every if row["in_scope"]]) + far
    found, rows = await evaluate(tmp_path, shared_data / folder / knowledge, questions)
    assert found["all"]["in_scope"]["hit_at_1"] >= least
    assert far_that_pass(questions, rows) <= 0.03
    # Nearly every message asks one thing: in hardly any a second question is passed on. Measured
    # on all 3,280 of banking77: in 0.34 %, on all of covid in none.
    passed_on = texts("en").handoff_rest.partition("{")[0]
    assert sum(passed_on in row["answer"] for row in rows) <= 0.01 * len(rows)


@pytest.mark.data
async def test_public_chinese_documents(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "docs_zh_cmrc2018"
    # Every third passage: embedding all of them takes minutes.
    passages = rows_of(folder / "passages.jsonl")[::3]
    part = tmp_path / "passages.jsonl"
    part.write_text("\n".join(json.dumps(row) for row in passages), encoding="utf-8")
    known = {row["id"] for row in passages}
    asked = [row for row in rows_of(folder / "questions.jsonl") if known & set(row["gold_ids"])]
    found, _ = await evaluate(tmp_path, part, sample(asked))
    assert found["all"]["in_scope"]["hit_at_1"] >= 0.96
