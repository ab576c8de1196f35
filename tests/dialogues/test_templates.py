"""Answers with slots: filled with what the customer said, or asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kfbot.actions.slot_settings import SlotSettings
from kfbot.adapter import Capabilities
from kfbot.settings import Settings
from kfbot.store.engine import Database
from kfbot.testing import FakeAdapter
from tests.dialogues.conftest import Stage, staged

pytestmark = pytest.mark.asyncio

ASK = "Please tell me your order number; it looks like AB123456."
ASK_ZH = "请告诉我您的订单号，格式如 AB123456。"
TRACK = "Order {{order}} is shown at https://shop.example/track?order={{order}}"
SLOTS = {
    "order": SlotSettings(pattern=r"[A-Z]{2}\d{6}", ask_en=ASK, ask_zh=ASK_ZH),
    "postcode": SlotSettings(
        pattern=r"\d{5}", ask_en="Which postcode does it go to?", ask_zh="寄到哪个邮编？"
    ),
}


@pytest_asyncio.fixture
async def shop(database: Database, clock: Any) -> AsyncIterator[Stage]:
    channel = FakeAdapter(capabilities=Capabilities(buttons=True))
    async with staged(database, clock, channel, Settings(slots=SLOTS)) as stage:
        stage.knowledge.entries = {
            **stage.knowledge.entries,
            "Where is my parcel?": TRACK,
            "我的包裹在哪里": "订单 {{order}} 的物流：https://shop.example/track?order={{order}}",
            "How long will delivery take?": "{{order}} reaches {{postcode}} in 3 days.",
        }
        yield stage


async def test_what_the_customer_said_fills_the_slot(shop: Stage) -> None:
    [answer] = await shop.customer_says("Where is my parcel AB123456?")
    assert answer.text == "Order AB123456 is shown at https://shop.example/track?order=AB123456"
    assert "{{" not in answer.citations[0].quote


async def test_a_missing_value_is_asked_for_and_then_answers_the_question(shop: Stage) -> None:
    [asked] = await shop.customer_says("Where is my parcel?")
    assert asked.text == ASK
    assert [button.action for button in asked.buttons] == ["person"]
    [answer] = await shop.customer_says("It is ab654321, thanks")
    assert answer.text.startswith("Order ab654321 is shown at")


async def test_it_is_asked_for_in_the_customers_language(shop: Stage) -> None:
    [asked] = await shop.customer_says("我的包裹在哪里")
    assert asked.text == ASK_ZH
    [answer] = await shop.customer_says("AB123456")
    assert answer.text.startswith("订单 AB123456 的物流")


async def test_two_missing_values_are_asked_for_one_after_the_other(shop: Stage) -> None:
    [first] = await shop.customer_says("How long will delivery take?")
    assert first.text == ASK
    [second] = await shop.customer_says("AB123456")
    assert second.text == "Which postcode does it go to?"
    [answer] = await shop.customer_says("90210")
    assert answer.text == "AB123456 reaches 90210 in 3 days."


async def test_what_was_said_earlier_is_not_asked_for_again(shop: Stage) -> None:
    await shop.customer_says("Where is my parcel AB123456?")
    [answer] = await shop.customer_says("Where is my parcel?")
    assert answer.text.startswith("Order AB123456")


async def test_another_question_instead_of_the_value_is_answered(shop: Stage) -> None:
    await shop.customer_says("Where is my parcel?")
    [answer] = await shop.customer_says("How long do I have to return an item?")
    assert answer.text == "You have 15 days."


async def test_who_asks_for_a_person_instead_gets_one(shop: Stage) -> None:
    await shop.customer_says("Where is my parcel?")
    [reply] = await shop.customer_says("I want to talk to a person")
    assert reply.kind == "handoff"


async def test_the_value_answers_what_was_chosen_among_choices(shop: Stage) -> None:
    offered = await shop.customer_says("parcel where")
    if not any(button.label == "Where is my parcel?" for button in offered[0].buttons):
        raise AssertionError(offered[0])
    [asked] = await shop.customer_presses("Where is my parcel?")
    assert asked.text == ASK
    [answer] = await shop.customer_says("AB123456")
    assert answer.text.startswith("Order AB123456")
