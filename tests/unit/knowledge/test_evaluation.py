"""Questions, predictions and the whole of an evaluation, on a fake knowledge base."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kfbot.answer import Answering, answer_question
from kfbot.conversation import Choice, HistoryMessage, Turn
from kfbot.errors import KnowledgeBaseError, KnowledgeBaseUnavailable
from kfbot.knowledge_base import LoadReport, Progress, Retrieval
from kfbot.store.knowledge_rows import StoredDocument
from kfbot.testing import FakeKnowledgeBase
from knowledge import evaluation
from knowledge.calibration.asking import Kinds, ask_labelled
from knowledge.evaluation.asking import DIAL, ask_all, predict
from knowledge.evaluation.memory import Memory
from knowledge.evaluation.questions import Question, read_questions


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


async def nothing_stored(name: str, ids: Collection[str]) -> AsyncIterator[StoredDocument]:
    for never in ():
        yield never


# Predictions


def turn(decision: Any = "answer", **given: Any) -> Turn:
    fields: dict[str, Any] = {"question": "q", "confidence": 0.7, "text": "t"} | given
    return Turn(**fields, decision=decision)


@pytest.mark.parametrize("decision", ["smalltalk", "silent", "handoff"])
def test_small_talk_and_silence_are_predicted_as_handoff(decision: str) -> None:
    assert predict("q", turn(decision), 1.0).decision == "handoff"


def test_ranked_ids_are_distinct_and_ten_at_most() -> None:
    ranked = (("shop", "1"), ("bank", "1"), *(("bank", str(number)) for number in range(2, 13)))
    made = predict("q", turn(ranked=ranked), 1.0)
    assert made.ranked_ids == tuple(str(number) for number in range(1, 11))
    assert made.kb == "shop"


def test_confidence_of_nothing_is_a_zero() -> None:
    made = predict("q", turn("handoff", confidence=0.7), 1.0)
    assert (made.confidence, made.kb, made.ranked_ids) == (0.0, None, ())


def test_choices_are_ids() -> None:
    made = predict("q", turn("clarify", choices=(Choice("a", "A?"),)), 1.0)
    assert made.choices == ("a",)


# Questions


def questions(tmp_path: Path, *lines: str) -> list[Question]:
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return read_questions(file)


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
        read_questions(tmp_path / "absent.jsonl")
    with pytest.raises(KnowledgeBaseError, match="holds no question"):
        questions(tmp_path, "", "")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KnowledgeBaseError, match="not UTF-8"):
        read_questions(tmp_path / "binary.jsonl")


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
        prepared,
        Answering(base),
        stored=nothing_stored,
        progress=silent,
        report=said.append,
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


# The dial


@pytest.mark.asyncio
async def test_every_position_of_the_dial_is_told_with_one_search() -> None:
    base = FakeKnowledgeBase({"Where is my parcel?": "There."})
    [asked] = await ask_all(Answering(base), [Question(text="Where is my parcel?")], silent)
    assert base.searched == ["Where is my parcel?"]
    assert tuple(asked.scored.at_dial) == DIAL
    assert {one.decision for one in asked.scored.at_dial.values()} == {"answer"}


@pytest.mark.asyncio
async def test_what_was_found_is_kept_for_mistakes_only(tmp_path: Path) -> None:
    base = FakeKnowledgeBase({"Where is my parcel?": "There."})
    right = Question(text="Where is my parcel?", gold_ids=("entry-0",), in_scope=True)
    wrong = Question(text="Where is my parcel?", gold_ids=("other",), in_scope=True)
    asked = await ask_all(Answering(base), [right, wrong], silent)
    assert asked[0].found is None
    assert asked[1].found is not None
    assert asked[1].found.passages[0].document_id == "entry-0"


# Demands and an earlier run


@pytest.mark.asyncio
async def test_demands_are_checked_against_what_was_measured(tmp_path: Path) -> None:
    given = task(tmp_path)
    prepared = evaluation.prepare(
        given.knowledge, tmp_path / "questions.jsonl", {}, require=["hit@1>=0.9", "wrong > 1"]
    )
    report = await evaluated(prepared, Loaded({"Where?": "Here."}))
    assert [(one["demand"], one["met"]) for one in report["require"]] == [
        ("hit@1>=0.9", True),
        ("wrong>1", False),
    ]


@pytest.mark.asyncio
async def test_report_and_predictions_of_a_run_can_both_be_compared_with(tmp_path: Path) -> None:
    given = task(tmp_path)
    await evaluated(given, Loaded({"Where?": "Here."}))
    for name in ("out.json", "out.jsonl"):
        prepared = evaluation.prepare(
            given.knowledge, tmp_path / "questions.jsonl", {}, earlier=tmp_path / name
        )
        report = await evaluated(prepared, Loaded({"Where?": "Here."}))
        assert report["comparison"]["with"] == name
        assert report["comparison"]["gained"] == report["comparison"]["lost"] == []


# What says the same


class Merged(FakeKnowledgeBase):
    """Finds one document, which stands for another that says the same."""

    async def search(self, query: str, **how: Any) -> Retrieval:
        found = await super().search(query, **how)
        first = replace(found.passages[0], document_id="kept", duplicates=("merged",))
        return replace(found, passages=(first, *found.passages[1:]))


@pytest.mark.asyncio
@pytest.mark.parametrize(("gold", "right"), [("kept", True), ("merged", True), ("other", False)])
async def test_what_stands_for_a_right_document_is_right(gold: str, right: bool) -> None:
    asked = Question(text="How do I return an item?", gold_ids=(gold,), in_scope=True)
    base = Merged({"How do I return an item?": "Use the form.", "What is a kettle?": "A pot."})
    [one] = await ask_all(Answering(base), [asked], silent)
    assert one.prediction.ranked_ids[0] == "kept"
    assert one.scored.top_is_right is right
    assert all(at.top_is_right is right for at in one.scored.at_dial.values())
    memory = Memory(base)
    answered = await answer_question(asked.text, Answering(memory))
    assert memory.answers(answered, [gold]) is right
    kinds: Kinds = {"fake": {"kept": "faq"}}
    [labelled] = await ask_labelled(base, [asked], kinds, silent)
    assert labelled.right is right
