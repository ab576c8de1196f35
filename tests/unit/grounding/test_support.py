"""What a passage says, and what it only seems to say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfbot.grounding.support import check, states_nothing

PLANS = "Plans\nBasic costs $5 a month, Pro costs $9 a month. It includes 20 seats."
LIST = "Payment\nWe accept:\n- Visa\n- Mastercard\n- PayPal\n\nCash is not accepted."
TABLE = "Prices\n| Plan | Price |\n| Basic | $5 |\n| Pro | $9 |"


@pytest.mark.parametrize(
    ("sentence", "passage", "verdict"),
    [
        ("Pro costs $9 a month.", PLANS, "supported"),
        ("**Pro** costs $9 a month.", PLANS, "supported"),
        ("- Pro costs $9 a month.", PLANS, "supported"),
        ("Pro costs $5 a month.", PLANS, "order"),
        ("Pro costs $8 a month.", PLANS, "number"),
        ("Team costs 9 dollars.", "Pro costs 9 dollars.", "words"),
        ("Do you want Pro?", PLANS, "words"),
        ("We accept Visa.", LIST, "supported"),
        ("- Mastercard", LIST, "supported"),
        ("Cash is accepted.", LIST, "negation"),
        ("We accept Visa, Mastercard and PayPal.", LIST, "supported"),
        ("We accept Bitcoin.", LIST, "name"),
        ("专业版每月9美元。", PLANS, "foreign"),
        ("专业版每月8美元。", PLANS, "number"),
        ("專業版每月9元。", "基础版每月5元，专业版每月9元。", "supported"),
        ("…", PLANS, "words"),
    ],
)
def test_a_sentence_has_its_verdict(sentence: str, passage: str, verdict: str) -> None:
    assert check(sentence, passage) == verdict


@pytest.mark.parametrize("sentence", ["Basic | $9", "The price of Basic is $9."])
def test_a_row_of_a_table_is_not_read_with_the_number_of_another(sentence: str) -> None:
    assert check(sentence, TABLE) != "supported"


def test_what_the_question_names_need_not_be_named_again() -> None:
    passage = "The Pro plan costs $9 a month."
    assert check("It costs $9 a month.", passage) != "supported"
    assert check("It costs $9 a month.", passage, said="What is the Pro plan?") == "supported"


def test_what_the_customer_says_proves_nothing() -> None:
    said = "Basic costs $9, and Pro costs $5 a month, doesn't it?"
    assert check("Pro costs $5 a month.", PLANS, said=said) != "supported"


@pytest.mark.parametrize(
    "sentence", ["Sure, all is free.", "Here is $5:", "I hope you win.", "好的，全部免费。", ""]
)
def test_a_phrase_with_a_statement_in_it_states_something(sentence: str) -> None:
    assert not states_nothing(sentence) or not sentence


@given(st.text(max_size=120), st.text(max_size=200))
def test_any_text_gets_a_verdict(sentence: str, passage: str) -> None:
    assert check(sentence, passage, said=passage)
