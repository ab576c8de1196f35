"""What a passage says, and what it only seems to say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfbot.grounding.support import check, states_nothing

PLANS = "Plans\nBasic costs $5 a month, Pro costs $9 a month. It includes 20 seats."
CHAIR = "A chair costs 80 euros and can be returned within 6 days."
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
        ("您有 15 天时间申请退款。", "怎么申请退款\nYou have 15 days to ask for it.", "foreign"),
        ("椅子可在6天内退货。", "椅子售价80欧元，并可在6天内退货。", "supported"),
        ("A chair can be returned within 6 days.", CHAIR, "supported"),
        ("A chair can be returned within 80 days.", CHAIR, "number"),
        ("A table can be returned within 6 days.", CHAIR, "words"),
        ("A chair costs 80 euros.", CHAIR.replace("chair", "chair cover"), "order"),
        ("A chair can be returned within 6 days.", CHAIR.replace("chair", "chair cover"), "order"),
        ("Basic can be cancelled.", "Basic costs 5, Pro costs 9 and can be cancelled.", "order"),
        ("Pro costs 5.", "Basic costs 5, Pro costs 9.", "order"),
        ("Pro costs 5.", "Basic costs 5 and Pro costs 9.", "order"),
        ("A chair costs 80 euros.", "\n\n", "words"),
    ],
)
def test_a_sentence_has_its_verdict(sentence: str, passage: str, verdict: str) -> None:
    assert check(sentence, passage) == verdict


@pytest.mark.parametrize(
    ("sentence", "passage"),
    [
        ("You pay the return shipping.", "We pay the return shipping."),
        ("We pay the return shipping.", "You pay the return shipping."),
        ("运费由您承担。", "运费由我们承担。"),
        ("运费由我们承担。", "运费由您承担。"),
        ("You can return gift cards.", "You can return all items other than gift cards."),
        ("Chargers are included.", "Chargers used to be included."),
        ("本店支持货到付款。", "本店曾经支持货到付款。"),
        (
            "Members get free shipping and returns.",
            "Members get free shipping. Returns cost 5 dollars.",
        ),
        ("价格从8元降到10元。", "价格从10元降到8元。"),
        ("我们会打电话给您。", "您会打电话给我们。"),
        ("Dogs are welcome.", "Are dogs welcome? No."),
        ("Dogs are welcome.", "Rules\nAre dogs welcome?\nNo, they are not."),
        ("宠物可以入内。", "宠物可以入内吗？不可以。"),
        # The number is of the sentence that "it" points to.
        ("The battery weighs ten grams.", "The battery has ten grams of lead. It weighs a lot."),
        ("Returns are free.", "Returns are free. False."),
        ("Returns are free.", "## Myths\nReturns are free.\n## Rules\nA return costs 5 euros."),
        ("我们的发票由您开具。", "您的发票由我们开具。"),
        ("你联系客服。", "客服联系你。"),
        ("A chair must be returned within 6 days.", f"{CHAIR[:7]} must be washed{CHAIR[22:]}"),
    ],
)
def test_a_small_word_makes_another_statement(sentence: str, passage: str) -> None:
    assert check(sentence, passage) not in ("supported", "foreign")


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


_ANY_TEXT = st.text(max_size=60) | st.text(" \n。.:：，,a1是退款的|-#并且\u3000\x00", max_size=40)


@given(_ANY_TEXT, _ANY_TEXT)
def test_any_text_gets_a_verdict(sentence: str, passage: str) -> None:
    assert check(sentence, passage, said=passage)
