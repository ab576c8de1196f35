"""Slots in answers: what fills them, and how it is written."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from kfbot.actions.slot_settings import SlotSettings
from kfbot.conversation import HistoryMessage, Turn
from kfbot.errors import SettingsError
from kfbot.settings import load_settings
from kfbot.templates import asked, filled

SLOTS = {
    "order": SlotSettings(pattern=r"[A-Z]{2}\d{6}", ask_en="Which order?", ask_zh="哪个订单？"),
    "word": SlotSettings(pattern=r"\S+!", ask_en="Which word?", ask_zh="哪个词？"),
}


def answer(text: str) -> Turn:
    return Turn(question="?", decision="answer", confidence=0.9, text=text)


@pytest.mark.parametrize(
    ("said", "order"),
    [
        ("AB123456", "AB123456"),
        ("my order is ab123456.", "ab123456"),
        ("订单号AB123456谢谢", "AB123456"),
    ],
)
def test_a_value_is_found_wherever_it_stands(said: str, order: str) -> None:
    assert filled(answer("no. {{ order }}"), [said], SLOTS, "en").text == f"no. {order}"


@pytest.mark.parametrize("said", ["XAB123456", "AB1234567", "AB12345", "", "x" * 2000 + "AB123456"])
def test_a_part_of_something_longer_is_no_value(said: str) -> None:
    asks = filled(answer("{{order}}"), [said], SLOTS, "en")
    assert (asks.decision, asks.text) == ("clarify", "Which order?")


def test_the_newest_value_counts() -> None:
    turn = filled(answer("{{order}}"), ["it is BB222222", "AA111111"], SLOTS, "en")
    assert turn.text == "BB222222"


def test_values_are_plain_text_and_quoted_in_addresses() -> None:
    turn = filled(
        answer("{{word}} https://a.example/?q={{word}}&x=1"), ["<b>[a](b)*&!"], SLOTS, "en"
    )
    assert turn.text == r"\<b\>\[a\](b)\*&! https://a.example/?q=%3Cb%3E%5Ba%5D%28b%29%2A%26%21&x=1"


def test_braces_that_are_no_slot_stay() -> None:
    turn = answer("Write {{name}} into the template, {order} too.")
    assert filled(turn, ["AB123456"], SLOTS, "en") == turn


def test_only_answers_have_slots() -> None:
    turn = Turn(question="?", decision="handoff", confidence=0.1, text="{{order}}")
    assert filled(turn, ["AB123456"], SLOTS, "en") == turn


def test_a_value_without_the_bots_question_is_a_question_of_its_own() -> None:
    history = [HistoryMessage("customer", "Where is it?"), HistoryMessage("bot", "There.")]
    assert asked("AB123456", history, SLOTS).question == "AB123456"


def test_a_burst_of_asking_ends_at_the_first_message() -> None:
    history = [HistoryMessage("bot", "Which order?")]
    assert asked("AB123456", history, SLOTS).question == "AB123456"


def test_the_last_turn_knows_better_than_the_message_before() -> None:
    history = [HistoryMessage("customer", "parcel"), HistoryMessage("bot", "Which order?")]
    found = asked("AB123456", history, SLOTS, "earlier\nWhere is my parcel?")
    assert found.question == "Where is my parcel?"
    assert found.words[0] == "AB123456"


@pytest.mark.parametrize("pattern", ["[", "x*", "", "(a"])
def test_a_pattern_that_cannot_work_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError):
        SlotSettings(pattern=pattern, ask_en="?", ask_zh="？")


def test_a_slot_that_no_template_could_name_is_refused() -> None:
    slot = {"pattern": "x", "ask_en": "?", "ask_zh": "？"}
    with pytest.raises(SettingsError, match="letters, digits and _"):
        load_settings(overrides={"slots": {"order number": slot}})
