"""Numbers mean the same however they are written, and only then."""

from __future__ import annotations

import pytest

from kfbot.grounding.quantities import quantities
from kfbot.grounding.vocabulary import folded


def read(text: str) -> list[tuple[tuple[str, ...], str, str]]:
    return [
        (tuple(str(value) for value in one.values), one.unit, one.bound)
        for one in quantities(folded(text))
    ]


@pytest.mark.parametrize(
    "same",
    [
        ("1,200 yuan", "1200元", "一千二百元", "１２００元", "1.2千元"),
        ("5%", "5 percent", "百分之五", "5 per cent"),
        ("30 days", "三十天", "thirty days", "30天"),
        ("3–5 days", "3 to 5 days", "3至5天", "三到五天", "between 3 and 5 days"),
        ("at least 10 days", "至少10天", "no less than ten days", "10天以上"),
        ("up to 3 kg", "不超过3公斤", "at most three kilograms"),
        ("$5", "5 dollars", "5美元", "USD 5"),
        ("2 million dollars", "200万美元", "$2,000,000"),
        ("twelve eggs", "a dozen eggs", "12 eggs"),
        ("at 17:00", "at 5 p.m.", "下午5点", "5:00 pm"),
        ("two hours", "两个小时", "2小时"),
        ("5 business days", "5个工作日", "five working days"),
        ("5折", "五折", "半价"),
    ],
)
def test_spellings_of_one_number_are_one(same: tuple[str, ...]) -> None:
    [first] = read(same[0])
    assert [read(one) for one in same[1:]] == [[first]] * (len(same) - 1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5 days", "5 hours"),
        ("$5", "€5"),
        ("5元", "5美元"),
        ("5 days", "5 business days"),
        ("3–5 days", "3 days"),
        ("3–5 days", "5 days"),
        ("at least 5", "at most 5"),
        ("over 50 dollars", "50 dollars"),
        ("about 50 dollars", "50 dollars"),
        ("5万元", "5亿元"),
        ("5 thousand", "5 million"),
        ("5月", "5个月"),
        ("9:00", "21:00"),
        ("5折", "5%"),
        ("第3次", "3次"),
        ("30天以内", "30天以上"),
        ("2024年5月", "2025年5月"),
        ("400-123-4567", "400-123-4576"),
    ],
)
def test_what_is_another_number_stays_another(one: str, other: str) -> None:
    assert read(one) != read(other)


@pytest.mark.parametrize("text", ["十分好", "万一有问题", "一起", "一个办法", "千万不要", "no one"])
def test_words_that_hold_numerals_are_no_numbers(text: str) -> None:
    assert read(text) == []
