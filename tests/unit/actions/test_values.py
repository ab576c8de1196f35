"""What fills the slots of an action."""

from __future__ import annotations

import pytest

from kfbot.actions.slot_settings import SlotSettings
from kfbot.actions.values import chosen_value, find_values

SLOTS = {
    "order": SlotSettings(pattern=r"\d{6,12}", ask_en="?", ask_zh="？"),
    "phone": SlotSettings(pattern=r"1\d{10}", ask_en="?", ask_zh="？"),
    "to": SlotSettings(
        choices={"card": "My card / 原卡", "balance": "Balance / 余额"}, ask_en="?", ask_zh="？"
    ),
}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("13800138000 and 20240001", {"order": "20240001", "phone": "13800138000"}),
        ("20240001，13800138000", {"order": "20240001", "phone": "13800138000"}),
        ("to my CARD please", {"to": "card"}),
        ("退到余额", {"to": "balance"}),
        ("nothing", {}),
        ("x" * 2000 + " 20240001", {}),
    ],
)
def test_no_part_of_a_message_is_used_twice(text: str, values: dict[str, str]) -> None:
    assert find_values(text, SLOTS) == values


def test_of_a_private_slot_nobody_else_says_what_it_is() -> None:
    slots = {"phone": SLOTS["phone"].model_copy(update={"private": True})}
    told = {"phone": "13900139000"}
    assert find_values("13800138000 or 13900139000", slots, told=told) == {"phone": "13800138000"}
    assert find_values("13800138000 or 13900139000", SLOTS, told=told)["phone"] == "13900139000"


def test_what_was_asked_for_chooses_first() -> None:
    assert find_values("13800138000", SLOTS, first="order") == {"order": "13800138000"}


def test_what_is_known_already_chooses_last() -> None:
    found = find_values("13800138000", SLOTS, taken=["phone"])
    assert found == {"order": "13800138000"}


@pytest.mark.parametrize(
    ("text", "value"),
    [("2", "balance"), ("the first one", "card"), ("第二个", "balance"), ("neither", None)],
)
def test_a_choice_may_be_named_by_its_place(text: str, value: str | None) -> None:
    assert chosen_value(text, SLOTS["to"]) == value
