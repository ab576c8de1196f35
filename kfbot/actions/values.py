"""What customers say that fills the slots of an action; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from kfbot.actions.slot_settings import SlotSettings
from kfbot.conversation import Choice
from kfbot.grounding.vocabulary import folded
from kfbot.templates import READ_LENGTH
from kfbot.understanding.clarification import chosen

#: Values of one slot that are looked at.
_MOST = 20
NOTHING: Mapping[str, str] = MappingProxyType({})


def find_values(
    text: str,
    slots: Mapping[str, SlotSettings],
    *,
    first: str = "",
    taken: Iterable[str] = (),
    told: Mapping[str, str] = NOTHING,
) -> dict[str, str]:
    """A value for each slot that the text has one for; no part of the text is used twice.

    Args:
        slots: In the order in which they may choose, but for those that can choose least.
        first: The slot that was asked for chooses before all others.
        taken: Slots that have a value already: they choose last.
        told: What another says that the values are. Where a slot finds one of them in the text,
            whatever the width and case of its letters, that is its value, as the text has it; all
            else, and what is said of private slots, counts for nothing.
    """
    words, last = text[:READ_LENGTH], set(taken)
    matches = {name: _matches(slot, words) for name, slot in slots.items()}
    agreed = {name: _agreed(slot, matches[name], told.get(name)) for name, slot in slots.items()}
    order = sorted(
        slots,
        key=lambda name: (not agreed[name], name != first, name in last, len(matches[name])),
    )
    values: dict[str, str] = {}
    used: list[re.Match[str]] = []
    for name in order:
        found = (*agreed[name], *matches[name])
        free = (one for one in found if not any(_overlap(one, other) for other in used))
        if (match := next(free, None)) is not None:
            used.append(match)
            values[name] = slots[name].value(match[0])
    return values


def chosen_value(text: str, slot: SlotSettings) -> str | None:
    """The choice of a slot that the customer names by its place or its words."""
    picked = chosen(text, choices_of(slot))
    return picked.id if isinstance(picked, Choice) else None


def choices_of(slot: SlotSettings) -> tuple[Choice, ...]:
    """What is offered where a slot has few values."""
    return tuple(Choice(value, label) for value, label in slot.choices.items())


def _matches(slot: SlotSettings, text: str) -> list[re.Match[str]]:
    found = slot.expression.finditer(text)
    return [match for _, match in zip(range(_MOST), found, strict=False)]


def _agreed(
    slot: SlotSettings, matches: Sequence[re.Match[str]], told: str | None
) -> list[re.Match[str]]:
    """What a slot found of what another says that it is."""
    if told is None or slot.private:
        return []
    wanted = _plain(told)
    return [one for one in matches if wanted in (_plain(one[0]), _plain(slot.value(one[0])))]


def _plain(text: str) -> str:
    return " ".join(folded(text).casefold().split())


def _overlap(one: re.Match[str], other: re.Match[str]) -> bool:
    return one.start() < other.end() and other.start() < one.end()
