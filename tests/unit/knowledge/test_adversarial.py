"""Questions made by rule that their passage does not answer; zh and en."""

from __future__ import annotations

import random

import pytest

from knowledge.adversarial import adversarial

ENGLISH = (
    "The railway to Norwich was opened in 1844 by George Hudson, who sold the largest mill.",
    "When was the railway to Norwich opened by George Hudson?",
)
CHINESE = (
    "南京的铁路于1908年由张謇修建，通往上海，车站位于城市北部，后来运送煤炭和粮食。",
    "南京的铁路是谁修建的？",
)


def made(passage: str, question: str, seed: int) -> str | None:
    return adversarial(question, passage, ["It was closed in 1966."], random.Random(seed))


@pytest.mark.parametrize(("passage", "question"), [ENGLISH, CHINESE])
def test_another_question_is_made_in_the_same_language(passage: str, question: str) -> None:
    found = {made(passage, question, seed) for seed in range(30)} - {None}
    assert len(found) >= 3
    assert question not in found
    assert all(one is not None and one.isascii() == question.isascii() for one in found)
    assert all(one is not None and one.endswith(question[-1]) for one in found)


@pytest.mark.parametrize(("passage", "question"), [ENGLISH, CHINESE])
def test_the_same_chance_makes_the_same_question(passage: str, question: str) -> None:
    assert [made(passage, question, seed) for seed in range(5)] == [
        made(passage, question, seed) for seed in range(5)
    ]


@pytest.mark.parametrize(
    ("passage", "question", "rule"),
    [
        (*ENGLISH, "When was not the railway to Norwich opened by George Hudson?"),
        (*CHINESE, "南京的铁路不是谁修建的？"),
        ("It sold the mill.", "What is the largest?", "What is the smallest?"),
        ("Built in 1844.", "What was built in 1966?", "What was built in 1844?"),
        ("开张。", "北部有什么？", "南部有什么？"),
    ],
)
def test_negation_opposites_and_numbers_are_among_what_is_made(
    passage: str, question: str, rule: str
) -> None:
    assert rule in {made(passage, question, seed) for seed in range(60)}


def test_nothing_is_made_where_no_rule_fits() -> None:
    assert adversarial("Hm?", "", [], random.Random(0)) is None
