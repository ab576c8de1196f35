"""Which questions lean on earlier ones."""

from __future__ import annotations

import pytest

from kfbot.conversation import HistoryMessage
from kfbot.follow_up import carried, leans


@pytest.mark.parametrize(
    "question",
    [
        "and to Canada?", "what about lamps?", "how much does it cost", "can I return that?",
        "are they free", "express?", "那国外呢", "它多少钱", "这个能退吗", "运费呢？", "国外",
        "要是坏了怎么办",
    ],
)  # fmt: skip
def test_these_lean_on_what_was_asked_before(question: str) -> None:
    assert leans(question)


@pytest.mark.parametrize(
    "question",
    [
        "Do you rent out furniture by the month?", "how do I return a lamp", "where is my order",
        "你们招人吗", "发票怎么开", "退货运费谁出", "能开专用发票吗", "can I pay with PayPal",
    ],
)  # fmt: skip
def test_these_stand_on_their_own(question: str) -> None:
    assert not leans(question)


def test_only_the_customers_last_questions_are_carried_and_no_small_talk() -> None:
    history = [
        HistoryMessage("customer", "one?"),
        HistoryMessage("customer", "two?"),
        HistoryMessage("bot", "an answer"),
        HistoryMessage("customer", "thanks"),
        HistoryMessage("customer", "three?"),
        HistoryMessage("customer", "four?"),
    ]
    assert carried("and there?", history) == "two?\nthree?\nfour?\nand there?"
    assert carried("how do I return a lamp", history) == "how do I return a lamp"
