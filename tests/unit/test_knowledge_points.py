"""Which passages together answer a question that asks for two things."""

from __future__ import annotations

import pytest

from kfbot.knowledge_base import Passage
from kfbot.knowledge_points import knowledge_points


def passage(name: str, text: str, score: float, quote: str = "") -> Passage:
    return Passage(
        knowledge_base="shop", document_id=name, chunk_id=name, kind="document", title=name,
        text=text, quote=quote, score=score,
    )  # fmt: skip


COSTS = passage("costs", "Delivery costs 4 dollars.", 0.9)
TIMES = passage("times", "The usual delivery time is two days.", 0.88)
RETURNS = passage("returns", "Returns are free for 15 days.", 0.87)
FAR = passage("far", "Delivery times in winter.", 0.7)


def names(question: str, *passages: Passage) -> list[str]:
    return [point.document_id for point in knowledge_points(question, passages)]


def test_what_the_first_passage_does_not_say_is_added_from_one_close_behind() -> None:
    asked = "What are the delivery costs and times?"
    assert names(asked, COSTS, RETURNS, TIMES) == ["costs", "times"]


def test_chinese_pairs_are_known_too() -> None:
    first = passage("运费", "运费 8 元。", 0.9)
    second = passage("时效", "配送时效为两天。", 0.88)
    assert names("运费和时效是怎样的？", first, second) == ["运费", "时效"]


@pytest.mark.parametrize(
    "question",
    [
        "What does delivery cost?",
        "What is the difference between costs and times?",
        "运费与时效有什么区别？",
        "What are the delivery costs and duties?",
    ],
)
def test_a_question_for_one_thing_gets_one_passage(question: str) -> None:
    assert names(question, COSTS, TIMES) == ["costs"]


def test_a_passage_far_behind_adds_nothing() -> None:
    assert names("delivery costs and times", COSTS, FAR) == ["costs"]


def test_a_passage_that_says_both_is_enough() -> None:
    both = passage("both", "Delivery costs 4 dollars, the time is two days.", 0.9)
    assert names("delivery costs and times", both, TIMES) == ["both"]


def test_what_is_shown_already_is_not_shown_again() -> None:
    again = passage("times", TIMES.text, 0.89, quote="Delivery costs 4 dollars.")
    assert names("delivery costs and times", COSTS, again) == ["costs"]
