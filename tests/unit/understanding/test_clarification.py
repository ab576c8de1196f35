"""Which of the offered choices a written message means."""

from __future__ import annotations

import pytest

from kfbot.conversation import Choice
from kfbot.understanding.clarification import chosen

OFFERED = (
    Choice("return", "How do I return an item?"),
    Choice("abroad", "How long do I have to return an international item?"),
    Choice("运费", "国际运费是多少"),
)


@pytest.mark.parametrize(
    ("message", "choice"),
    [
        ("1", "return"), ("first", "return"), ("the first question please", "return"),
        ("2.", "abroad"), ("the second one", "abroad"), ("no. 2", "abroad"), ("第二个", "abroad"),
        ("我要第二个吧", "abroad"), ("3", "运费"), ("选第3个", "运费"), ("the last one", "运费"),
        ("最后一个", "运费"), ("the international one", "abroad"),
        ("the one about the international item", "abroad"), ("国际运费那个", "运费"),
        ("how do i return an item", "return"), ("国际运费是多少？", "运费"),
    ],
)  # fmt: skip
def test_a_choice_is_named_by_its_place_or_its_words(message: str, choice: str) -> None:
    found = chosen(message, OFFERED)
    assert isinstance(found, Choice)
    assert found.id == choice


@pytest.mark.parametrize(
    "message", ["none of these", "None", "neither", "no one", "都不是", "以上都不是！"]
)
def test_a_customer_may_want_none_of_them(message: str) -> None:
    assert chosen(message, OFFERED) == "none"


@pytest.mark.parametrize(
    "message",
    [
        "what about Canada?", "one more thing", "4", "第五个", "0", "the item one", "", "😀",
        "second hand phones?", "我要退两个", "the cheap one", "3个", "两个", "我想问一个问题",
        "One question please", "I want two", "选" * 100, "我选" * 60 + "那个颜色好",
    ],
)  # fmt: skip
def test_what_names_no_choice_is_a_question(message: str) -> None:
    assert chosen(message, OFFERED) is None


def test_the_last_of_two_is_the_second() -> None:
    found = chosen("后一个", OFFERED[:2])
    assert isinstance(found, Choice)
    assert found.id == "abroad"


def test_without_an_offer_nothing_is_chosen() -> None:
    assert chosen("2", ()) is None
    assert chosen("none of these", ()) is None
