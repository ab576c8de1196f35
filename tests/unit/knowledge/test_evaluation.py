"""The numbers of an evaluation on hand-made predictions, and faults of its input."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import roc_auc_score

from kfbot.conversation import Choice, HistoryMessage, Turn
from kfbot.errors import KnowledgeBaseError, KnowledgeBaseUnavailable
from kfbot.knowledge_base import LoadReport, Progress
from kfbot.testing import FakeKnowledgeBase
from knowledge import evaluation
from knowledge.evaluation_measures import (
    Scored,
    auroc,
    measures_of,
    percentile,
    reliability,
    report_of,
    risk_coverage,
)
from knowledge.evaluation_report import html_of, rows_of


def scored(decision: str, confidence: float, *ranked: str, **labels: Any) -> Scored:
    given: dict[str, Any] = {"text": "q", "latency_ms": 1.0} | labels
    return Scored(
        **given,
        decision=decision,
        confidence=confidence,
        ranked_ids=ranked,
    )


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


MIXED = [
    scored("answer", 0.9, "a", "b", gold_ids=("a",), in_scope=True, kb="shop", predicted_kb="shop"),
    scored("answer", 0.8, "b", "a", gold_ids=("a",), in_scope=True, kb="shop", predicted_kb="bank"),
    scored("clarify", 0.6, *"bcda", gold_ids=("a",), in_scope=True, choices=("b", "a"), kb="other"),
    scored("clarify", 0.5, *"bcdefa", gold_ids=("a",), in_scope=True, choices=("b", "c")),
    scored("handoff", 0.4, "a", gold_ids=("a", "z"), in_scope=True),
    scored("answer", 0.7, "a", in_scope=True),
    scored("handoff", 0.2, in_scope=False, kb=None),
    scored("answer", 0.3, "a", in_scope=False),
    scored("answer", 0.95, "a"),
]


# Measures


def test_in_scope_questions_are_counted_by_what_came_of_them() -> None:
    measured = measures_of(MIXED)["in_scope"]
    assert measured == {
        "questions": 5,
        "hit_at_1": 2 / 5,
        "hit_at_5": 4 / 5,
        "answered_right": 1 / 5,
        "answered_wrong": 1 / 5,
        "clarified_with_gold": 1 / 5,
        "clarified_without_gold": 1 / 5,
        "handed_off": 1 / 5,
    }


def test_out_of_scope_questions_should_be_handed_off() -> None:
    assert measures_of(MIXED)["out_of_scope"] == {
        "questions": 2,
        "answered": 0.5,
        "clarified": 0,
        "handed_off": 0.5,
    }


def test_wrong_per_100_answers_counts_what_is_known_to_be_wrong() -> None:
    # Answers: right, wrong, in scope without gold, out of scope. The unlabelled one is left out.
    measured = measures_of(MIXED)
    assert (measured["answers"], measured["wrong_answers"]) == (4, 2)
    assert measured["wrong_per_100_answers"] == 50


def test_without_answers_there_is_no_share_of_wrong_ones() -> None:
    assert measures_of([scored("handoff", 0.1, in_scope=True)])["wrong_per_100_answers"] is None


def test_routing_is_measured_where_the_label_names_a_knowledge_base() -> None:
    assert measures_of(MIXED, names={"shop", "bank"})["routed_right"] == 0.5
    assert measures_of(MIXED, names={"default"})["routed_right"] is None


def test_auroc_of_a_known_case() -> None:
    # 4 pairs: 0.8 beats both, 0.4 ties with one and loses to the other.
    assert auroc([(0.8, True), (0.4, True), (0.6, False), (0.4, False)]) == 2.5 / 4
    assert auroc([(0.1, True), (0.9, True)]) is None


def test_auroc_equals_that_of_scikit_learn() -> None:
    chance = random.Random(5)
    pairs = [(round(chance.random(), 1), chance.random() < 0.4) for _ in range(200)]
    expected = roc_auc_score([right for _, right in pairs], [score for score, _ in pairs])
    assert auroc(pairs) == pytest.approx(expected)


def test_risk_coverage_takes_the_surest_first_and_ties_together() -> None:
    pairs = [(0.5, False), (0.9, True), (0.5, True), (0.1, False)]
    assert risk_coverage(pairs) == [(0.25, 0, 0.9), (0.75, 1 / 3, 0.5), (1, 0.5, 0.1)]


def test_reliability_bins_hold_their_edges() -> None:
    bins = reliability([(0.0, False), (0.95, True), (1.0, True), (0.5, True), (0.5, False)])
    assert [(one["from"], one["count"], one["right"]) for one in bins] == [
        (0, 1, 0),
        (0.5, 2, 0.5),
        (0.9, 2, 1),
    ]


def test_percentile_lies_between_neighbours() -> None:
    assert percentile([4, 1, 3, 2], 50) == 2.5
    assert percentile([7], 95) == 7
    assert percentile([], 50) is None


def test_report_groups_by_language_and_label_and_counts_unknown_gold() -> None:
    questions = [*MIXED, scored("handoff", 0.1, text="怎么退货", in_scope=False)]
    report = report_of(questions, known_ids={"a", "b"}, names={"shop"})
    assert report["unknown_gold_ids"] == 1
    assert {name: group["questions"] for name, group in report["by_language"].items()} == {
        "en": 9,
        "zh": 1,
    }
    assert {name: group["questions"] for name, group in report["by_kb"].items()} == {
        "(none)": 1,
        "other": 1,
        "shop": 2,
    }
    assert [one["answered_from"] for one in report["wrong_answers"]] == ["b", "a"]


def test_rows_of_nothing_are_left_out_of_the_table() -> None:
    rows = rows_of({"all": measures_of([scored("answer", 1, "a", gold_ids=("a",), in_scope=True)])})
    labels = [row[0].strip() for row in rows]
    assert "Out of scope" not in labels
    assert ("  right entry first (hit@1)", "100.0 %") in rows


# The page


def page(*questions: Scored) -> str:
    report = report_of(questions, known_ids={"a"}, names=())
    return html_of(
        report | {"max_wrong_percent": 5.0, "knowledge": [{"name": "<kb>", "documents": 1}]}
    )


def test_page_escapes_everything_that_came_from_outside() -> None:
    evil = "<script>alert(1)</script>"
    html = page(
        scored(
            "answer", 0.9, evil, text=evil, answer=evil, gold_ids=(evil,), in_scope=True, kb=evil
        ),
        scored("answer", 0.9, evil, text=evil, answer=evil, in_scope=False, kb=evil),
    )
    assert "<script" not in html
    assert "<kb>" not in html
    assert "&lt;script&gt;alert(1)" in html


def test_page_stands_alone_with_both_plots() -> None:
    html = page(*MIXED)
    assert html.count("<svg") == 2
    assert not re.search(r"https?://|src=|@import|url\(", html)


def test_page_of_nothing_that_can_be_judged_is_still_a_page() -> None:
    assert "None." in page(scored("handoff", 0.0))


# Predictions


def turn(decision: Any = "answer", **given: Any) -> Turn:
    fields: dict[str, Any] = {"question": "q", "confidence": 0.7, "text": "t"} | given
    return Turn(**fields, decision=decision)


@pytest.mark.parametrize("decision", ["smalltalk", "silent", "handoff"])
def test_small_talk_and_silence_are_predicted_as_handoff(decision: str) -> None:
    assert evaluation.predict("q", turn(decision), 1.0).decision == "handoff"


def test_ranked_ids_are_distinct_and_ten_at_most() -> None:
    ranked = (("shop", "1"), ("bank", "1"), *(("bank", str(number)) for number in range(2, 13)))
    made = evaluation.predict("q", turn(ranked=ranked), 1.0)
    assert made.ranked_ids == tuple(str(number) for number in range(1, 11))
    assert made.kb == "shop"


def test_confidence_of_nothing_is_a_zero() -> None:
    made = evaluation.predict("q", turn("handoff", confidence=0.7), 1.0)
    assert (made.confidence, made.kb, made.ranked_ids) == (0.0, None, ())


def test_choices_are_ids() -> None:
    made = evaluation.predict("q", turn("clarify", choices=(Choice("a", "A?"),)), 1.0)
    assert made.choices == ("a",)


# Questions


def questions(tmp_path: Path, *lines: str) -> list[evaluation.Question]:
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return evaluation.read_questions(file)


def test_questions_are_read_in_order_whatever_else_they_hold(tmp_path: Path) -> None:
    read = questions(
        tmp_path,
        '\ufeff{"text": "a", "gold_ids": [1, "x"], "kind": "faq", "lang": null}',
        "",
        '{"question": "b", "text": null, "history": [{"role": "bot", "text": "hi"}]}',
    )
    assert [one.text for one in read] == ["a", "b"]
    assert read[0].gold_ids == ("1", "x")
    assert read[1].history == (HistoryMessage("bot", "hi"),)


@pytest.mark.parametrize(
    ("row", "in_scope"),
    [
        ({"gold_ids": ["a"]}, True),
        ({"gold_ids": []}, False),
        ({"gold_ids": ["a"], "in_scope": False}, False),
        ({"in_scope": True}, True),
        ({"kb": "shop"}, True),
        ({"kb": None}, False),
        ({}, None),
    ],
)
def test_scope_is_as_said_else_by_gold_else_by_label(
    tmp_path: Path, row: dict[str, Any], in_scope: bool | None
) -> None:
    assert questions(tmp_path, json.dumps({"text": "q"} | row))[0].in_scope is in_scope


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"id": 1}', "neither text nor question is a text"),
        ('{"text": "q", "gold_ids": "a"}', "gold_ids is no list of ids"),
        ('{"text": "q", "gold_ids": [true]}', "gold_ids is no list of ids"),
        ('{"text": "q", "in_scope": "yes"}', "in_scope is neither true nor false"),
        ('{"text": "q", "history": {}}', "history is no list"),
        ('{"text": "q", "history": [{"role": "bot"}]}', "history holds a message without text"),
        ('{"text": "q", "history": [{"role": "me", "text": ""}]}', "history: role is one of"),
        ('{"text": "q", "kb": 5}', "kb is no text"),
    ],
)
def test_malformed_line_is_named_with_its_number(tmp_path: Path, line: str, reason: str) -> None:
    with pytest.raises(KnowledgeBaseError, match=rf"questions\.jsonl line 3: {re.escape(reason)}"):
        questions(tmp_path, '{"text": "fine"}', "", line)


def test_missing_empty_and_binary_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeBaseError, match="No such file"):
        evaluation.read_questions(tmp_path / "absent.jsonl")
    with pytest.raises(KnowledgeBaseError, match="holds no question"):
        questions(tmp_path, "", "")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KnowledgeBaseError, match="not UTF-8"):
        evaluation.read_questions(tmp_path / "binary.jsonl")


def test_what_cannot_work_is_found_before_a_model_is_opened(tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text('{"text": "q"}')
    with pytest.raises(KnowledgeBaseError, match=r"absent\.jsonl does not exist"):
        evaluation.prepare({"default": [str(tmp_path / "absent.jsonl")]}, file, {})
    with pytest.raises(KnowledgeBaseError, match=r"out\.json cannot be written"):
        evaluation.prepare({}, file, {"report": tmp_path / "absent" / "out.json"})


# The whole


class Loaded(FakeKnowledgeBase):
    """A knowledge base whose load says what it is told to."""

    unreadable: tuple[str, ...] = ()

    async def load(self, names: Any = None, *, progress: Progress | None = None) -> Any:
        return (LoadReport(knowledge_base="default", added=1, unreadable=self.unreadable),)


def task(tmp_path: Path, *, folder: bool = False) -> evaluation.Task:
    (tmp_path / "kb").mkdir()
    entry = '{"id": "entry-0", "question": "Where?", "answer": "Here."}\n'
    (tmp_path / "kb" / "faq.jsonl").write_text(entry)
    (tmp_path / "questions.jsonl").write_text(
        '{"text": "Where?", "gold_ids": ["entry-0"]}\n{"text": "\\ud800 no idea", "gold_ids": []}\n'
    )
    source = tmp_path / "kb" if folder else tmp_path / "kb" / "faq.jsonl"
    outputs = {
        kind: tmp_path / f"out.{ending}"
        for kind, ending in (("predictions", "jsonl"), ("report", "json"), ("html", "html"))
    }
    return evaluation.prepare({"default": [str(source)]}, tmp_path / "questions.jsonl", outputs)


async def evaluated(
    prepared: evaluation.Task, base: FakeKnowledgeBase, said: list[str] | None = None
) -> dict[str, Any]:
    said = [] if said is None else said
    return await evaluation.evaluate(
        prepared, base, max_wrong_percent=5, progress=silent, report=said.append
    )


@pytest.mark.asyncio
async def test_evaluation_writes_one_prediction_a_question_and_all_numbers(tmp_path: Path) -> None:
    report = await evaluated(task(tmp_path), Loaded({"Where?": "Here."}))
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["text"] for row in rows] == ["Where?", "\ud800 no idea"]
    assert list(rows[0]) == [
        "text", "decision", "confidence", "ranked_ids", "choices", "kb", "answer", "latency_ms",
    ]  # fmt: skip
    assert rows[0]["ranked_ids"] == ["entry-0"]
    assert rows[0]["latency_ms"] > 0
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == report
    assert (tmp_path / "out.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert report["all"]["in_scope"]["hit_at_1"] == 1
    assert report["unknown_gold_ids"] == 0


@pytest.mark.asyncio
async def test_fault_in_a_named_file_is_bad_input(tmp_path: Path) -> None:
    base = Loaded({})
    base.unreadable = ("faq.jsonl: line 2: not JSON", "faq.jsonl: line 3: not JSON")
    with pytest.raises(KnowledgeBaseError, match=r"line 2: not JSON \(and 1 more\)"):
        await evaluated(task(tmp_path), base)
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.asyncio
async def test_unreadable_file_of_a_folder_is_told_and_left_out(tmp_path: Path) -> None:
    base, said = Loaded({}), list[str]()
    base.unreadable = ("logo.png: unknown kind of file .png",)
    await evaluated(task(tmp_path, folder=True), base, said)
    assert said == ["left out of default: logo.png: unknown kind of file .png"]


@pytest.mark.asyncio
async def test_second_document_of_an_id_is_bad_input_even_in_a_folder(tmp_path: Path) -> None:
    base = Loaded({})
    base.unreadable = ("faq.jsonl: line 2: id 1 is used twice, first in faq.jsonl",)
    with pytest.raises(KnowledgeBaseError, match="used twice"):
        await evaluated(task(tmp_path, folder=True), base)


@pytest.mark.asyncio
async def test_broken_search_fails_the_evaluation_rather_than_count_as_handoff(
    tmp_path: Path,
) -> None:
    with pytest.raises(KnowledgeBaseUnavailable, match="question 1 could not be searched for"):
        await evaluated(task(tmp_path), Loaded({}, broken=True))
