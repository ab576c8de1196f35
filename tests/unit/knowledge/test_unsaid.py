"""What a question asks for and a passage on the same topic does not say; zh and en."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from knowledge import terms
from knowledge.unsaid import content_terms, unsaid

ENGLISH = (
    "The railway to Norwich was opened in 1844. ",
    "A station was built in Cambridge by a rich brewer. ",
    "Freight was never carried on Sundays.",
)
CHINESE = (
    "通往南京的铁路于1908年通车。",
    "杭州的车站由一位商人建造。",
    "星期天不运送货物。",
)


def signals(
    question: str, sentences: Sequence[str], around: Sequence[str] = ()
) -> dict[str, float]:
    wanted = content_terms(terms.tokenise(question))
    said = [terms.tokenise(sentence) for sentence in sentences]
    weight = np.ones(len(wanted), np.float32)
    return unsaid(question, wanted, weight, sentences, said, set(around))


@pytest.mark.parametrize(
    ("question", "sentences"),
    [
        ("When was the railway to Norwich opened?", ENGLISH),
        ("Who built the station in Cambridge?", ENGLISH),
        ("南京的铁路是哪一年通车的？", CHINESE),
        ("杭州的车站是谁建造的？", CHINESE),
    ],
)
def test_a_sentence_may_say_all_that_is_asked(question: str, sentences: Sequence[str]) -> None:
    found = signals(question, sentences)
    assert found["all_words"] == 1
    assert found["unsaid_negation"] == found["opposite"] == 0


@pytest.mark.parametrize(
    ("question", "sentences"),
    [
        ("When was the railway to Liverpool opened?", ENGLISH),
        ("When was the station in Norwich built?", ENGLISH),
        ("通往昆明的铁路是哪一年通车的？", CHINESE),
        ("南京的车站是谁建造的？", CHINESE),
    ],
)
def test_a_word_that_no_sentence_or_another_one_has_is_missing(
    question: str, sentences: Sequence[str]
) -> None:
    assert signals(question, sentences)["all_words"] == 0


def test_what_the_title_says_holds_for_every_sentence() -> None:
    question = "When was the Sprucelet railway to Norwich opened?"
    assert signals(question, ENGLISH)["all_words"] == 0
    assert signals(question, ENGLISH, terms.tokenise("Sprucelet"))["all_words"] == 1


def test_the_sort_of_answer_asked_for_need_not_be_said() -> None:
    assert content_terms(terms.tokenise("In what year was the railway opened?")) == [
        "railway",
        "open",
    ]
    assert content_terms(terms.tokenise("这条铁路的名称是什么？")) == terms.tokenise("条铁路")


@pytest.mark.parametrize(
    ("question", "sentence", "expected"),
    [
        ("What was not carried on Sundays?", "Freight was carried on Sundays.", 1),
        ("What was not carried on Sundays?", "Freight was never carried on Sundays.", 0),
        ("What was carried on Sundays?", "Freight was never carried on Sundays.", 0),
        ("Who refused to carry freight?", "The brewer carried freight.", 1),
        ("Who refused to carry freight?", "The brewer would not carry freight.", 0),
        ("Who has at least two trains?", "The brewer has two trains.", 0),
        ("星期天不运送什么？", "星期天运送货物。", 1),
        ("星期天不运送什么？", "星期天不运送货物。", 0),
        ("谁拒绝运送货物？", "商人运送货物。", 1),
        ("不同的货物由谁运送？", "商人运送各种货物。", 0),
        ("非洲的货物由谁运送？", "商人运送货物。", 0),
    ],
)
def test_a_negation_in_the_question_is_looked_for_in_the_passage(
    question: str, sentence: str, expected: int
) -> None:
    assert signals(question, [sentence])["unsaid_negation"] == expected


@pytest.mark.parametrize(
    ("question", "sentence", "expected"),
    [
        ("What is the smallest station?", "Cambridge has the largest station.", 1),
        ("What is the largest station?", "Cambridge has the largest station.", 0),
        ("What is the smallest station?", "Of the largest, it is the smallest station.", 0),
        ("What is the busiest station?", "Cambridge has the largest station.", 0),
        ("最小的车站在哪里？", "最大的车站在杭州。", 1),
        ("最大的车站在哪里？", "最大的车站在杭州。", 0),
    ],
)
def test_an_opposite_in_the_passage_counts_where_the_word_itself_is_missing(
    question: str, sentence: str, expected: int
) -> None:
    assert signals(question, [sentence])["opposite"] == expected


@pytest.mark.parametrize("question", ["", "?", "什么", "Who is it?"])
def test_a_question_without_content_gives_plain_numbers(question: str) -> None:
    found = signals(question, [""])
    assert found["all_words"] == 0
    assert all(np.isfinite(value) for value in found.values())


def test_words_close_together_are_less_far_apart() -> None:
    near = signals("railway Norwich opened", ["It was long. The railway Norwich opened."])
    far = signals("railway Norwich opened", ["The railway of the old town, Norwich says, opened."])
    assert near["far_apart"] == pytest.approx(0)
    assert far["far_apart"] > 0.5
