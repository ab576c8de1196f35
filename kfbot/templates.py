"""Answers with slots: `{{order_number}}` stands for what the customer said, or is asked for.

An operator names slots in `[slots.<name>]` and writes them into the answers of FAQ entries. No
model is asked: what fills a slot is what its pattern finds in the customer's own words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from urllib.parse import quote

from kfbot.actions.slot_settings import SlotSettings
from kfbot.conversation import HistoryMessage, Language, Turn

#: So much of a message is looked through, in characters.
READ_LENGTH = 2000
#: Stands for a private value.
HIDDEN = "•••"

_SLOT = re.compile(r"\{\{\s*([A-Za-z][A-Za-z0-9_]{0,39})\s*\}\}")
_ADDRESS = re.compile(r"https?://\S*$")
_MARKS = re.compile(r"([*\[\]<>`\\])")

Slots = Mapping[str, SlotSettings]
NO_SLOTS: Slots = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Asked:
    """A question whose answer may have slots, and the words that may fill them."""

    question: str
    history: tuple[HistoryMessage, ...]
    #: What the customer said, the newest first.
    words: tuple[str, ...]


def asked(
    question: str, history: Sequence[HistoryMessage], slots: Slots, last_question: str | None = None
) -> Asked:
    """The question that is to be answered: what a slot was asked for, once that is said.

    Args:
        last_question: What the last turn was about, where somebody knows; else it is what the
            customer wrote before the bot asked.
    """
    said, rest = [question], list(history)
    meant = question
    while len(rest) > 1 and (name := _asked_for(rest[-1], slots)) is not None:
        if len(said) == 1 and _find(slots[name], question) is None:
            break
        rest.pop()
        if rest[-1].role != "customer":
            break
        meant = rest.pop().text
        said.append(meant)
    if len(said) > 1 and last_question:
        meant = last_question.rsplit("\n", 1)[-1]
    earlier = [message.text for message in reversed(rest) if message.role == "customer"]
    return Asked(meant, tuple(rest), (*said, *earlier))


def filled(turn: Turn, words: Sequence[str], slots: Slots, language: Language) -> Turn:
    """An answer with its slots filled; or the turn that asks for the first that is missing.

    Args:
        words: What the customer said, the newest first.
    """
    names = [name for name in _SLOT.findall(turn.text) if name in slots]
    if turn.decision != "answer" or not names:
        return turn
    values: dict[str, str] = {}
    for name in names:
        found = (_find(slots[name], said) for said in words)
        value = next((one for one in found if one is not None), None)
        if value is None:
            ask = slots[name].asks(language)
            return replace(turn, decision="clarify", text=ask, citations=(), passages=())
        values[name] = value
    citations = tuple(replace(one, quote=_fill(one.quote, values)) for one in turn.citations)
    return replace(
        turn,
        text=_fill(turn.text, values),
        context=_fill(turn.context, values),
        citations=citations,
    )


def hidden(text: str, slots: Slots) -> str:
    """The text without what private slots would find in it."""
    for slot in slots.values():
        if slot.private:
            text = slot.expression.sub(HIDDEN, text)
    return text


def _asked_for(message: HistoryMessage, slots: Slots) -> str | None:
    """The slot that the bot asked for with a message."""
    if message.role != "bot":
        return None
    text = message.text.strip()
    return next((name for name, slot in slots.items() if text in slot.sentences), None)


def _find(slot: SlotSettings, text: str) -> str | None:
    found = slot.expression.search(text[:READ_LENGTH])
    return None if found is None else slot.value(found[0])


def _fill(text: str, values: Mapping[str, str]) -> str:
    """The text with values as plain text, and quoted where they stand in an address."""

    def value(match: re.Match[str]) -> str:
        if (known := values.get(match[1])) is None:
            return match[0]
        if _ADDRESS.search(text[: match.start()]):
            return quote(known, safe="")
        return _MARKS.sub(r"\\\1", known)

    return _SLOT.sub(value, text)
