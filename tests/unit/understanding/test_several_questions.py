"""Telling several questions in one message apart, and answering them together."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfbot.conversation import Turn
from kfbot.messages import Citation
from kfbot.understanding.several_questions import MOST_QUESTIONS, answered_together, questions_in


@pytest.mark.parametrize(
    ("message", "questions"),
    [
        (
            "How do I return a lamp? And how long does the refund take?",
            ("How do I return a lamp?", "And how long does the refund take?"),
        ),
        (
            "I bought a kettle. Can I return it? Do you ship to Canada? Thanks!",
            ("I bought a kettle. Can I return it?", "Do you ship to Canada? Thanks!"),
        ),
        (
            "what's the delivery cost and how long does it take",
            ("what's the delivery cost", "how long does it take"),
        ),
        ("请问退货要多久，运费谁出？", ("请问退货要多久", "运费谁出？")),
        ("怎么开发票\n多久能到货", ("怎么开发票", "多久能到货")),
        ("退货运费谁出？另外多久能退款", ("退货运费谁出？", "多久能退款")),
        ("怎么退货 另外几天能退款", ("怎么退货", "几天能退款")),
    ],
)
def test_questions_are_told_apart_with_what_leads_up_to_them(
    message: str, questions: tuple[str, ...]
) -> None:
    assert questions_in(message) == questions


@pytest.mark.parametrize(
    "message",
    [
        "如果商品坏了，怎么退货？",
        "How do I know if and when my parcel arrives?",
        "What is the difference between a gift card and a voucher?",
        "When was the treaty signed and by whom?",
        "My order 3.5 days ago has not come. Where is it?",
        "Hello",
        "When traveling, can I top up?",
        "Which player got a penalty, which gave them a new start?",
        "Who was the main enemy in Italy, the Empire and Armenia?",
        "在哪些地区，所有汽车的号码都是同一类型的？",
        "是吗？清华大学在什么位置啊？",
        "Really? What about asphalt?",
        "我的订单还没到，帮我查一下，谢谢",
        "",
    ],
)
def test_one_question_stays_whole(message: str) -> None:
    assert questions_in(message) == (message,)


def test_a_flood_of_questions_comes_to_a_few() -> None:
    found = questions_in("怎么退货？" * 50)
    assert len(found) == MOST_QUESTIONS
    assert "".join(found).count("怎么退货？") == 50


@pytest.mark.parametrize("hostile", [" ," * 5000, "，" * 5000, "呢" + " " * 9000 + "x"])
def test_a_hostile_message_is_not_looked_through(hostile: str) -> None:
    assert questions_in(hostile) == (hostile,)


@given(st.text(alphabet="how is?，。and 吗怎么\n.!", max_size=60))
def test_no_word_is_lost_but_what_joins_two_questions(message: str) -> None:
    joined = "".join(questions_in(message))
    kept = [character for character in message if character in "hwi吗怎么"]
    assert [character for character in joined if character in "hwi吗怎么"] == kept


def turn(question: str, decision: str, document: str = "a", text: str = "") -> Turn:
    return Turn(
        question=question,
        decision=decision,  # type: ignore[arg-type]
        confidence=0.9,
        text=text or f"Answer {document}.",
        citations=(Citation(id=document, title=document, quote=text, score=0.9),),
        ranked=(("shop", document), ("shop", "z")),
    )


WHOLE = turn("One? Two?", "handoff", "c", "A person comes.")


def test_two_answers_are_given_in_the_order_of_the_questions() -> None:
    made = answered_together(WHOLE, [turn("One?", "answer"), turn("Two?", "answer", "b")], "en")
    assert made.decision == "answer"
    assert made.text == "Answer a.\n\nAnswer b."
    assert [citation.id for citation in made.citations] == ["a", "b"]
    assert made.ranked == (("shop", "a"), ("shop", "b"), ("shop", "z"), ("shop", "c"))
    assert made.question == "One? Two?"


def test_two_questions_with_one_answer_get_it_once() -> None:
    both = [turn("One?", "answer"), turn("Two?", "answer")]
    assert answered_together(WHOLE, both, "en").text == "Answer a."
    whole = turn("One? Two?", "answer")
    assert answered_together(whole, both, "en") == whole


def test_what_only_a_person_can_answer_is_named_behind_what_the_bot_can() -> None:
    parts = [turn("One?", "answer"), turn("earlier\nTwo?", "handoff", "c", "…")]
    made = answered_together(WHOLE, parts, "en")
    assert (made.decision, made.reason) == ("handoff", "unsure")
    assert made.text.startswith("Answer a.\n\n")
    assert "“Two?”" in made.text
    assert "“Two?”" in answered_together(WHOLE, parts, "zh").text


def test_questions_that_are_sides_of_one_get_its_answer() -> None:
    whole = turn("One? Two?", "answer", "a")
    parts = [turn("One?", "answer", "b"), turn("Two?", "handoff")]
    assert answered_together(whole, parts, "en") == whole


def test_a_question_that_the_answer_to_the_whole_is_not_about_is_named() -> None:
    whole = turn("One? Two?", "answer", "a")
    parts = [turn("One?", "answer", "a"), turn("Two?", "clarify", "b", "Which?")]
    made = answered_together(whole, parts, "en")
    assert (made.decision, made.reason, made.question) == ("handoff", "unsure", "One? Two?")
    assert made.text.startswith("Answer a.\n\n")
    assert "“Two?”" in made.text
    assert made.ranked[0] == ("shop", "a")


def test_the_whole_is_answered_where_no_part_is_and_what_leads_elsewhere_is_named() -> None:
    whole = turn("One? Two?", "answer", "a")
    parts = [turn("One?", "clarify", "a", "Which?"), turn("Two?", "handoff", "b", "…")]
    made = answered_together(whole, parts, "en")
    assert made.text.startswith("Answer a.\n\n")
    assert "“Two?”" in made.text
    assert "One?" not in made.text
    nothing_found = replace(parts[1], ranked=())
    assert "“Two?”" in answered_together(whole, [parts[0], nothing_found], "en").text


def test_what_the_answer_also_cites_is_not_named() -> None:
    whole = replace(
        turn("One? Two?", "answer", "a"),
        citations=tuple(Citation(id=id, title=id, quote="", score=0.9) for id in "az"),
    )
    parts = [turn("One?", "answer", "a"), turn("Two?", "clarify", "z", "Which?")]
    assert answered_together(whole, parts, "en") == whole


def test_each_of_the_questions_that_a_person_gets_is_named() -> None:
    parts = [
        turn("One?", "answer"),
        turn("Two?", "handoff", "b", "…"),
        turn("Three?", "clarify", "c", "…"),
    ]
    assert "“Two? / Three?”" in answered_together(WHOLE, parts, "en").text


def test_small_talk_beside_a_question_is_no_question() -> None:
    parts = [turn("How are you?", "smalltalk"), turn("Two?", "answer", "b")]
    made = answered_together(WHOLE, parts, "en")
    assert (made.decision, made.text) == ("answer", "Answer b.")


def test_where_nothing_can_be_answered_the_message_counts_as_one() -> None:
    parts = [turn("One?", "handoff"), turn("Two?", "clarify")]
    assert answered_together(WHOLE, parts, "en") == WHOLE
