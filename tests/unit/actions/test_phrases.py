"""What begins an action, and what only sounds like it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kfbot.actions.phrases import Phrases, says_nothing_more
from kfbot.actions.slot_settings import SlotSettings

DATA = Path(__file__).parents[4] / "shared" / "data"
QUESTIONS = Path(__file__).parents[2] / "evaluation"
ORDER = SlotSettings(pattern=r"[A-Z]{2}\d{6}", ask_en="?", ask_zh="？").expression
PHONE = SlotSettings(pattern=r"1\d{10}", ask_en="?", ask_zh="？").expression
ACTIONS: Any = {
    "status": SimpleNamespace(
        phrases=(
            "Where is my order?", "track my order", "order status", "when will my order arrive",
            "我的订单到哪了", "查订单", "查物流", "订单什么时候到", "怎么还没发货",
        )
    ),
    "cancel": SimpleNamespace(phrases=("cancel my order", "取消订单")),
}  # fmt: skip
PHRASES = Phrases(ACTIONS)


@pytest.mark.parametrize(
    "text",
    [
        "where is my order", "Where's my order??", "wheres my order AB123456",
        "hi, can you tell me where my order is please?", "WHERE IS MY ORDR",
        "my order, where is it",
        "I want to track my order", "where is my order, order number is AB123456",
        "where is my order number AB123456", "Hi! I ordered a shirt last week. Where is my order?",
        "my order status please", "请问我的订单到哪里了？", "我的订单现在到哪儿了呀",
        "帮我查一下订单AB123456", "我的订单AB123456到哪了", "我的订单号AB123456到哪了",
        "我的訂單到哪裡了", "查一下物流", "为什么还没发货", "怎么还没有发货啊",
        "订单到哪了，订单号是AB123456，电话13800138000", "where is my order 13800138000 AB123456",
    ],
)  # fmt: skip
def test_a_wish_is_known_however_politely_it_is_put(text: str) -> None:
    found = PHRASES.find(text, [ORDER, PHONE])
    assert found is not None
    assert found.action == "status"


@pytest.mark.parametrize(
    "text",
    [
        "what is your return policy for orders", "where do I order?", "where is the order form",
        "where can I find my order number", "how do I cancel my order", "怎么取消订单",
        "can I cancel my order after it shipped?", "可以取消订单吗", "订单取消后多久退款",
        "订单号在哪里看", "how long does an order take", "where is my order confirmation email",
        "订单到哪了可以退货吗", "where is my number", "order", "订单", "AB123456", "",
        "where is my order " * 40,
    ],
)  # fmt: skip
def test_a_question_that_merely_mentions_an_order_begins_nothing(text: str) -> None:
    assert PHRASES.find(text, [ORDER, PHONE]) is None


def test_what_else_the_message_says_is_kept() -> None:
    found = PHRASES.find("Where is my order? And how do I return an item?")
    assert found is not None
    assert found.rest == "And how do I return an item?"


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("where is my order from last week", "status"),
        ("可以取消我的订单吗", "cancel"),
        ("what is your return policy", None),
        ("order form", None),
        ("单", None),
    ],
)
def test_what_holds_all_words_of_a_phrase_is_near_it(text: str, action: str | None) -> None:
    assert PHRASES.near(text) == action


@pytest.mark.parametrize(
    "text", ["AB123457", "and AB123457?", "那AB123457呢", "no, it is AB123457"]
)
def test_a_value_may_stand_alone(text: str) -> None:
    assert says_nothing_more(text, [ORDER])


@pytest.mark.parametrize("text", ["return AB123457", "AB123457怎么退货", "is AB123457 blue?"])
def test_a_value_in_a_question_does_not(text: str) -> None:
    assert not says_nothing_more(text, [ORDER])


def questions(file: Path) -> list[str]:
    rows = (json.loads(line) for line in file.read_text("utf-8").splitlines())
    return [row.get("text") or row.get("question") or "" for row in rows]


@pytest.mark.parametrize("name", ["sample_questions.jsonl", "sample_everyday.jsonl"])
def test_no_sample_question_begins_an_action(name: str) -> None:
    asked = questions(QUESTIONS / name)
    assert len(asked) > 200
    assert [text for text in asked if PHRASES.find(text, [ORDER, PHONE])] == []


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
def test_of_the_public_questions_none_begins_an_action() -> None:
    files = [*DATA.glob("*/queries.jsonl"), *DATA.glob("*/questions*.jsonl")]
    asked = [text for file in files for text in questions(file)]
    assert len(asked) > 10_000
    assert [text for text in asked if PHRASES.find(text, [ORDER, PHONE])] == []
