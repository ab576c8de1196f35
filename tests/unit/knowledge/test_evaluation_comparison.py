"""Two runs beside each other, and demands on one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kfbot.errors import KnowledgeBaseError
from knowledge.evaluation.asking import Prediction, score
from knowledge.evaluation.comparison import compare, read_earlier
from knowledge.evaluation.intervals import with_intervals
from knowledge.evaluation.questions import Question
from knowledge.evaluation.scored import Scored
from knowledge.evaluation.thresholds import check, read_demand

QUESTIONS = [
    Question(text="Where?", gold_ids=("a",), in_scope=True),
    Question(text="When?", gold_ids=("b",), in_scope=True),
    Question(text="Moon?", in_scope=False),
]


def row(text: str, decision: str, *ranked: str) -> dict[str, Any]:
    return {"text": text, "decision": decision, "confidence": 0.5, "ranked_ids": ranked}


OLD = [row("Where?", "answer", "b"), row("When?", "answer", "b"), row("Moon?", "handoff")]


def run(*rows: dict[str, Any]) -> list[Scored]:
    return [
        score(question, Prediction(**one)) for question, one in zip(QUESTIONS, rows, strict=True)
    ]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


# Comparison


def test_gained_and_lost_questions_are_listed_with_both_outcomes() -> None:
    new = run(row("Where?", "answer", "a"), row("When?", "handoff", "b"), OLD[2])
    found = compare("last.json", run(*OLD), new)
    assert [one["text"] for one in found["gained"]] == ["Where?"]
    assert [one["text"] for one in found["lost"]] == ["When?"]
    assert found["lost"][0]["old"] == {"decision": "answer", "first": "b", "confidence": 0.5}
    assert found["mcnemar"]["hit@1"] == {"gained": 1, "lost": 0, "p": 1.0}
    measures = {one["name"]: one for one in found["measures"]}
    assert measures["hit@1"]["difference"] == pytest.approx(0.5)
    assert measures["wrong"]["difference"] == pytest.approx(-50)
    assert measures["ece"]["low"] is None


def test_run_compared_with_itself_differs_nowhere() -> None:
    found = compare("same", run(*OLD), run(*OLD))
    assert {one["difference"] for one in found["measures"] if one["old"] is not None} == {0.0}
    assert found["gained"] == found["lost"] == []


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_earlier_run_is_read_from_a_report_and_from_predictions(
    tmp_path: Path, ending: str
) -> None:
    file = tmp_path / f"old.{ending}"
    if ending == "json":
        file.write_text(json.dumps({"questions": 3, "rows": OLD}, indent=2))
    else:
        lines(file, OLD)
    assert read_earlier(file, QUESTIONS) == run(*OLD)


def test_predictions_of_a_single_question_are_no_report(tmp_path: Path) -> None:
    file = lines(tmp_path / "old.jsonl", OLD[:1])
    assert len(read_earlier(file, QUESTIONS[:1])) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (json.dumps(OLD[0]) + "\n", "1 questions there, 3 here"),
        (
            "".join(json.dumps(OLD[at]) + "\n" for at in (0, 2, 1)),
            "question 2 is “Moon\\?” there and “When\\?” here",
        ),
        ('{"questions": 3}', "a report without rows"),
        ('{"text": "Where?"}\n', "row 1 is no prediction"),
        ("what?", "neither a report nor predictions"),
    ],
)
def test_file_that_cannot_be_compared_with_is_named(
    tmp_path: Path, content: str, reason: str
) -> None:
    file = tmp_path / "old.json"
    file.write_text(content)
    with pytest.raises(KnowledgeBaseError, match=rf"old\.json: {reason}"):
        read_earlier(file, QUESTIONS)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeBaseError, match=r"absent\.json: No such file"):
        read_earlier(tmp_path / "absent.json", QUESTIONS)


# Demands


@pytest.mark.parametrize(
    ("demand", "met"),
    [
        ("hit@1>=0.5", True),
        ("hit@1>0.5", False),
        (" hit@1 <= .5 ", True),
        ("hit@1<0.5", False),
        ("wrong<=50", True),
        ("wrong<=49.9", False),
        # No question was asked back to.
        ("clarified_with_gold>=0", False),
    ],
)
def test_demand_is_met_or_not(demand: str, met: bool) -> None:
    [found] = check([read_demand(demand)], with_intervals(run(*OLD)))
    assert found["met"] is met


@pytest.mark.parametrize(
    ("demand", "reason"),
    [
        ("hit@2>=0.5", "no measure hit@2; there are .*hit@1, hit@3.*latency_p95"),
        ("hit@1=0.5", "write it like"),
        ("hit@1>=high", "write it like"),
        ("", "write it like"),
    ],
)
def test_demand_that_means_nothing_is_refused(demand: str, reason: str) -> None:
    with pytest.raises(KnowledgeBaseError, match=reason):
        read_demand(demand)
