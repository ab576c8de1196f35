"""An evaluation with a chat model: what it wrote is predicted, and what came of it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kfbot.actions.slot_settings import SlotSettings
from kfbot.answer import Answering, answer_question
from kfbot.conversation import Turn
from kfbot.grounding.writing import Writer
from kfbot.knowledge_base import LoadReport, Progress
from kfbot.testing import FakeChatModel, FakeKnowledgeBase
from knowledge import evaluation
from knowledge.evaluation.asking import DIAL, Asked, ask_all
from knowledge.evaluation.memory import Memory
from knowledge.evaluation.page import html_of
from knowledge.evaluation.questions import Question
from knowledge.evaluation.tables import tables_of
from knowledge.evaluation.writing import writing_of
from tests.unit.knowledge.test_evaluation import nothing_stored, silent

pytestmark = pytest.mark.asyncio

RETURNS, OPENING = "How long may I return a kettle?", "When does the shop open?"
ENTRIES = {
    RETURNS: "You can return a kettle within 30 days. The parcel is free.",
    OPENING: "The shop opens at nine.",
}
WRITTEN = "You can return a kettle within 30 days. [1]"


class Documents(FakeKnowledgeBase):
    """A knowledge base of documents, loaded."""

    async def load(self, names: Any = None, *, progress: Progress | None = None) -> Any:
        return (LoadReport(knowledge_base="default", added=2, unreadable=()),)


def documents() -> Documents:
    return Documents(ENTRIES, kind="document")


def writer(*completions: str) -> Writer:
    return Writer(FakeChatModel(list(completions)))


async def asked(text: str, *completions: str, **labels: Any) -> Asked:
    question = Question(text=text, **labels)
    [one] = await ask_all(Answering(documents(), writer=writer(*completions)), [question], silent)
    return one


async def test_the_answer_that_is_predicted_is_the_one_that_was_written() -> None:
    one = await asked(RETURNS, WRITTEN)
    assert one.prediction.answer == WRITTEN
    assert one.prediction.decision == "answer"
    assert one.prediction.ranked_ids[0] == "entry-0"
    assert one.usage["outcome"] == "written"


async def test_the_model_is_asked_once_whatever_the_dial() -> None:
    model = FakeChatModel([WRITTEN] * 20)
    [one] = await ask_all(
        Answering(documents(), writer=Writer(model)), [Question(text=RETURNS)], silent
    )
    assert len(model.prompts) == 1
    assert tuple(one.scored.at_dial) == DIAL
    assert {at.answer for at in one.scored.at_dial.values()} == {ENTRIES[RETURNS]}


async def test_a_refusal_of_the_model_is_a_missed_question_with_its_own_reason(
    tmp_path: Path,
) -> None:
    report = await evaluated(tmp_path, "NO_ANSWER", WRITTEN)
    assert [one["reason"] for one in report["mistakes"]["reasons"]] == ["model_refused"]
    assert report["mistakes"]["missed"][0]["questions"][0]["decision"] == "handoff"


async def test_what_the_model_cites_comes_first_and_its_passage_is_found_again() -> None:
    base = Documents(
        {OPENING: "Shops keep hours.", f"{OPENING} ": "The shop opens at nine."}, kind="document"
    )
    question = Question(text=OPENING, gold_ids=("other",), in_scope=True)
    write = writer("The shop opens at nine. [2]")
    [one] = await ask_all(Answering(base, writer=write), [question], silent)
    assert one.prediction.answer == "The shop opens at nine. [1]"
    assert one.prediction.ranked_ids == ("entry-1", "entry-0")
    assert one.found is not None
    assert [passage.document_id for passage in one.found.passages] == ["entry-1", "entry-0"]


async def test_what_was_found_is_put_in_the_order_of_the_turn() -> None:
    memory = Memory(documents())
    turn = await answer_question(RETURNS, Answering(memory))
    other = Turn(
        question=RETURNS, decision="answer", confidence=1, text="", ranked=turn.ranked[::-1]
    )
    found = memory.behind(other)
    assert found is not None
    assert found.passages[0].document_id == turn.ranked[-1][1]
    assert len(found.passages) == len(turn.ranked)


async def test_slots_are_filled_as_for_customers() -> None:
    base = FakeKnowledgeBase({"Where is my order?": "Order {{number}} is on its way."})
    slots = {"number": SlotSettings(pattern=r"\d{6}", ask_en="Which?", ask_zh="哪个？")}
    questions = [Question(text="Where is my order 123456?"), Question(text="Where is my order?")]
    filled, open_ = await ask_all(Answering(base, slots=slots), questions, silent)
    assert filled.prediction.answer == "Order 123456 is on its way."
    assert (open_.prediction.decision, open_.prediction.answer) == ("clarify", "Which?")
    assert {at.decision for at in open_.scored.at_dial.values()} == {"clarify"}


async def evaluated(folder: Path, *completions: str) -> dict[str, Any]:
    rows = [{"text": text, "gold_ids": [f"entry-{at}"]} for at, text in enumerate(ENTRIES)]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (folder / "questions.jsonl").write_text(lines, "utf-8")
    (folder / "docs").mkdir()
    task = evaluation.prepare(
        {"default": [str(folder / "docs")]}, folder / "questions.jsonl",
        {"html": folder / "out.html"},
    )  # fmt: skip
    answering = Answering(documents(), writer=writer(*completions) if completions else None)
    return await evaluation.evaluate(
        task, answering, stored=nothing_stored, progress=silent, report=lambda line: None
    )


async def test_report_table_and_page_say_what_the_model_did(tmp_path: Path) -> None:
    report = await evaluated(tmp_path, f"{WRITTEN} It costs 5 EUR. [1]", "It is blue. [1]")
    found = report["chat_model"]
    assert (found["written"], found["quoted_unproved"], found["refused"]) == (1, 1, 0)
    assert sum(found["sentences_taken_out"].values()) == 2
    assert found["completion_tokens"] > 10
    [table] = [one for one in tables_of(report) if one.title == "The chat model (fake)"]
    assert ("  written", "1") in table.rows
    page = (tmp_path / "out.html").read_text("utf-8")
    assert page == html_of(report)
    assert '<h2 id="chat-model">The chat model (fake)</h2>' in page


async def test_a_model_that_fails_is_told_and_what_it_was_to_write_is_quoted(
    tmp_path: Path,
) -> None:
    report = await evaluated(tmp_path, WRITTEN)
    assert (report["chat_model"]["written"], report["chat_model"]["quoted_after_fault"]) == (1, 1)


async def test_without_a_model_nothing_is_said_of_one(tmp_path: Path) -> None:
    report = await evaluated(tmp_path)
    assert "chat_model" not in report
    assert not [one for one in tables_of(report) if "chat model" in one.title]
    assert "chat-model" not in html_of(report)


async def test_waiting_for_the_first_token_is_told_of_those_that_got_one() -> None:
    usages: list[dict[str, Any]] = [{"first_token_ms": 100.0, "requests": 1}, {"requests": 1}, {}]
    found = writing_of(usages)
    assert found["first_token_ms"] == {"p50": 100.0, "p95": 100.0}
    assert found["requests"] == 2
    assert writing_of([])["first_token_ms"] == {"p50": None, "p95": None}
