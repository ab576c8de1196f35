"""Why a question went wrong: every class of mistake, and how mistakes are put together."""

from __future__ import annotations

from typing import Any

import pytest

from kfbot.conversation import HistoryMessage
from kfbot.knowledge_base import Passage, Retrieval
from kfbot.store.knowledge_rows import ChunkRow, DocumentRow, StoredDocument
from kfbot.testing import FakeKnowledgeBase, evidence_for
from knowledge.evaluation.asking import Asked, Prediction, score
from knowledge.evaluation.mistakes import QUESTIONS, Known, look_up, mistakes_of
from knowledge.evaluation.questions import Question
from knowledge.evaluation.reasons import REASONS, Entry, signals_of


def passage(id: str, question: str, text: str = "", score: float = 0.9) -> Passage:
    return Passage(
        knowledge_base="shop", document_id=id, chunk_id=id, kind="faq", title="",
        question=question, text=text or f"About {id}.", score=score,
    )  # fmt: skip


def entry(id: str, question: str, text: str = "") -> Entry:
    return Entry(id, "shop", "faq", question, text or f"About {id}.")


def asked(
    text: str,
    *passages: Passage,
    decision: Any = "answer",
    confidence: float = 0.9,
    taken_for: str = "",
    searched: str = "",
    at_dial: Any = None,
    **labels: Any,
) -> Asked:
    question = Question(text=text, **({"in_scope": True, "gold_ids": ("right",)} | labels))
    prediction = Prediction(
        text=text,
        decision=decision,
        confidence=confidence,
        ranked_ids=tuple(one.document_id for one in passages),
    )
    found = Retrieval(query=text, passages=passages, evidence={"faq": evidence_for("answer")})
    return Asked(
        question=question,
        prediction=prediction,
        scored=score(question, prediction, at_dial),
        searched=searched or text,
        taken_for=taken_for,
        found=found if passages else None,
    )


RIGHT = entry("right", "How long is the warranty?")
KNOWN = Known({"right": [RIGHT]}, {})
CLOSED = passage("closed", "Where is the shop?")


def reason(each: Asked, known: Known = KNOWN) -> tuple[str, str]:
    found = mistakes_of([each], known)
    [group] = found["wrong"] + found["missed"]
    assert [one["reason"] for one in found["reasons"]] == [group["reason"]]
    return group["reason"], group["questions"][0]["detail"]


# Reasons


def test_right_entry_that_nobody_loaded_is_named() -> None:
    each = asked("How long?", CLOSED, gold_ids=("gone",))
    assert reason(each, Known({}, {})) == ("unknown_gold", "gone")


def test_entries_of_one_answer_are_to_be_merged() -> None:
    same = passage("copy", "Is there a warranty?", RIGHT.text)
    assert reason(asked("Warranty?", same))[0] == "same_text"


def test_entry_that_is_found_for_the_right_ones_own_question_asks_nearly_the_same() -> None:
    known = Known({"right": [RIGHT]}, {RIGHT.key: frozenset({("shop", "closed")})})
    assert reason(asked("Warranty?", CLOSED), known)[0] == "alike"
    elsewhere = Known({"right": [RIGHT]}, {RIGHT.key: frozenset({("bank", "closed")})})
    assert reason(asked("Warranty?", CLOSED), elsewhere)[0] == "not_found"


def test_entries_of_nearly_the_same_words_are_alike() -> None:
    like = passage("like", "How long is the warranty for lamps?")
    assert reason(asked("Warranty?", like))[0] == "alike"


def test_second_close_behind_is_told_from_a_far_one() -> None:
    near = passage("right", RIGHT.name, score=0.88)
    assert reason(asked("Warranty?", CLOSED, near)) == ("close_second", "0.020 behind")
    far = passage("right", RIGHT.name, score=0.5)
    assert reason(asked("Warranty?", CLOSED, far)) == ("outranked", "place 2")


def test_right_entry_that_was_not_found_is_said_so() -> None:
    assert reason(asked("Warranty?", CLOSED))[0] == "not_found"


def test_question_in_another_language_than_the_right_entry() -> None:
    assert reason(asked("保修多久？", CLOSED))[0] == "other_language"


def test_question_that_leans_on_the_history() -> None:
    each = asked(
        "And for lamps?",
        CLOSED,
        history=(HistoryMessage("customer", "Where?"),),
        searched="Where?\nAnd for lamps?",
    )
    assert reason(each)[0] == "follow_up"


def test_out_of_scope_question_shares_words_or_meaning() -> None:
    shares = asked("Where is the moon shop?", CLOSED, in_scope=False, gold_ids=())
    assert reason(shares) == ("shares_words", "shop")
    near = asked("Which street are you in?", CLOSED, in_scope=False, gold_ids=())
    assert reason(near)[0] == "near_meaning"


def test_missed_question_tells_from_which_dial_it_would_be_answered() -> None:
    first = passage("right", RIGHT.name)
    answered = asked("Warranty?", first).scored
    each = asked("Warranty?", first, decision="handoff", at_dial={7.0: answered, 15.0: answered})
    assert reason(each) == ("unsure", "answered from dial 7")
    assert reason(asked("Warranty?", first, decision="handoff"))[1] == "answered at no dial"


def test_wish_for_a_person_and_small_talk_are_named() -> None:
    each = asked("A person!", CLOSED, decision="handoff", taken_for="asked_for_person")
    assert reason(each) == ("taken_for_talk", "asked for person")


def test_missed_question_without_gold_and_with_nothing_found() -> None:
    each = asked("Anything?", decision="handoff", gold_ids=())
    assert reason(each) == ("no_gold", "")


@pytest.mark.parametrize("found", REASONS.values(), ids=REASONS)
def test_every_reason_says_in_one_line_what_to_do(found: Any) -> None:
    assert found.title
    assert found.advice.endswith(".")
    assert "\n" not in found.advice


def test_signals_of_a_wrong_answer_speak_for_it() -> None:
    said = signals_of(asked("Warranty?", CLOSED))
    assert 0 < len(said) <= 3
    assert all("(+" in one for one in said)


# The list


def test_mistakes_between_two_entries_stand_together_and_the_worst_first() -> None:
    lamp = passage("lamp", "Where are the lamps?")
    many = [asked(f"Warranty {at}?", lamp, confidence=0.6) for at in range(QUESTIONS + 2)]
    once = asked("Warranty once?", CLOSED, confidence=0.99)
    found = mistakes_of([once, *many], KNOWN)
    assert [(one["answered"]["id"], one["count"]) for one in found["wrong"]] == [
        ("lamp", QUESTIONS + 2),
        ("closed", 1),
    ]
    assert len(found["wrong"][0]["questions"]) == QUESTIONS
    assert found["wrong"][0]["right"][0]["name"] == RIGHT.name
    assert found["missed"] == []
    assert found["reasons"][0]["wrong"] == QUESTIONS + 3


def test_right_decisions_are_no_mistakes() -> None:
    fine = asked("Warranty?", passage("right", RIGHT.name))
    refused = asked("Moon?", CLOSED, decision="handoff", in_scope=False, gold_ids=())
    assert mistakes_of([fine, refused], KNOWN)["reasons"] == []


@pytest.mark.asyncio
async def test_right_entries_are_read_and_asked_by_their_own_question() -> None:
    base = FakeKnowledgeBase({"Where is the shop?": "There.", "When is it open?": "Now."})
    read: list[tuple[str, list[str]]] = []

    async def stored(name: str, ids: Any) -> Any:
        read.append((name, sorted(ids)))
        row = DocumentRow(document_id="entry-0", kind="faq", content_hash="", answer="There.")
        chunk = ChunkRow(id="", position=0, heading="", text="Where is the shop?", vector=b"",
                         terms={})  # fmt: skip
        yield StoredDocument(row, (chunk,))

    wrong = asked("Shop?", passage("entry-1", "When is it open?"), gold_ids=("entry-0",))
    known = await look_up([wrong], base, ["fake"], stored)
    assert read == [("fake", ["entry-0"])]
    assert known.entries["entry-0"] == [
        Entry("entry-0", "fake", "faq", "Where is the shop?", "There.")
    ]
    assert known.nearest == {("fake", "entry-0"): frozenset({("fake", "entry-1")})}
