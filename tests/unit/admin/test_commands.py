"""Which texts are commands, and what they say; the bot's replies to them in every language."""

from __future__ import annotations

import string
from dataclasses import fields
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfbot import confidence
from kfbot.admin.commands import Command, CommandName, days_in, parse
from kfbot.conversation import Decision, HandoffReason, Language
from kfbot.knowledge_base import PassageKind
from kfbot.texts import CommandTexts, command_texts

LANGUAGES = get_args(Language)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/help", Command("help")),
        ("/HELP", Command("help")),
        ("  /start payload_42 ", Command("start", "payload_42")),
        ("/kb@shop_bot reload", Command("kb", "reload")),
        ("/kb   search\nhow do I\n return it?", Command("kb", "search how do I return it?")),
        ("／kb status", Command("kb", "status")),
        ("/kb add Q | A", Command("kb", "add Q | A")),
        ("/kb add 问｜答", Command("kb", "add 问｜答")),
        ("/kb remove chat-1", Command("kb", "remove chat-1")),
        ("/stats 7d", Command("stats", "7d")),
        ("/why", Command("why")),
        ("/kb why", Command("why")),
        ("/kb bot pause", Command("bot", "pause")),
        ("/kb Stats 7d", Command("stats", "7d")),
    ],
)
def test_a_known_command_is_read(text: str, command: Command) -> None:
    assert parse(text) == command


@pytest.mark.parametrize(
    "text",
    ["", "/", "help", "/helpme", "/kb/status", "what does /help do?", "/ kb", "//kb", "/unknown",
     "/退货", "/bot@", "/order 7"],
)  # fmt: skip
def test_anything_else_is_no_command(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    "text",
    ["/why is my parcel late?", "/help me with my return", "/bot are you a bot?",
     "/kb how do I return it?", "/kb why is it late?", "/kb status of my order", "/stats of what?",
     "/kb add my order please", "/kb remove it from my order", "/start my return",
     "/handoff of my parcel failed", "/resume my order"],
)  # fmt: skip
def test_a_question_behind_the_name_of_a_command_is_no_command(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/bot dance", Command("bot", "dance")),
        ("/kb add Q, A", Command("kb", "add Q, A")),
        ("/stats yesterday", Command("stats", "yesterday")),
        ("/why is my parcel late?", None),
        ("/kb why is it late?", None),
    ],
)
def test_what_is_mistyped_is_read_where_that_is_wanted(text: str, command: Command | None) -> None:
    assert parse(text, mistyped=True) == command


@given(st.text())
def test_reading_a_text_never_fails(text: str) -> None:
    assert parse(text) is None or text.strip()[0] in "/／"


@pytest.mark.parametrize(
    ("words", "verb"),
    [("", ("", "")), ("Status", ("status", "")), ("search a b", ("search", "a b"))],
)
def test_the_first_word_behind_a_command_is_its_verb(words: str, verb: tuple[str, str]) -> None:
    assert Command("kb", words).verb() == verb


@pytest.mark.parametrize(
    ("words", "days"),
    [("", 7), ("1", 1), ("7d", 7), ("30 D", 30), ("90d", 90), ("3天", 3), ("0d", None),
     ("91d", None), ("-1", None), ("a week", None), ("7 days", None), ("²", None)],
)  # fmt: skip
def test_days_are_read(words: str, days: int | None) -> None:
    assert days_in(words, default=7, most=90) == days


def slots(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def plain(says: CommandTexts) -> dict[str, str]:
    texts = {field.name: getattr(says, field.name) for field in fields(says)}
    return {name: text for name, text in texts.items() if isinstance(text, str)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_replies_to_commands_with_the_same_slots(language: Language) -> None:
    english, other = plain(command_texts("en")), plain(command_texts(language))
    assert all(other.values())
    assert {name: slots(text) for name, text in other.items()} == {
        name: slots(text) for name, text in english.items()
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_list_for_admins_names_every_command(language: Language) -> None:
    listed = command_texts(language).admin_help
    assert all(f"/{name}" in listed for name in get_args(CommandName) if name != "start")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_decision_reason_and_signal_has_words(language: Language) -> None:
    says = command_texts(language)
    assert {*get_args(Decision), *get_args(HandoffReason)} <= set(says.names)
    signals = {
        name
        for kind in get_args(PassageKind)
        for name in confidence.model(kind, "first").match.signals
    }
    assert signals <= set(says.signals)
