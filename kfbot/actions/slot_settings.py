"""`[slots.<name>]`: what is asked for to fill in an answer, or to carry out an action."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from kfbot.conversation import Language
from kfbot.model_settings import Section


def _name(name: str) -> str:
    """A name as it is.

    Raises:
        ValueError: It cannot stand in {{ }}.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,39}", name):
        raise ValueError("the name of a slot has letters, digits and _ only")
    return name


def _pattern(text: str) -> str:
    """A regular expression as it is.

    Raises:
        ValueError: It is none, or is satisfied by nothing.
    """
    try:
        # As it is used: (?i) may stand at the beginning alone.
        compiled = re.compile(f"(?:{text})")
    except re.error as error:
        raise ValueError(f"pattern is no regular expression: {error}") from None
    if text and compiled.search(""):
        raise ValueError("pattern finds something in an empty text")
    return text


def _one_or_several(given: object) -> object:
    return [given] if isinstance(given, str) else given


SlotName = Annotated[str, AfterValidator(_name)]
#: What is asked; the further wordings are for asking again.
_Wordings = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=500)], ...],
    BeforeValidator(_one_or_several),
    Field(min_length=1, max_length=5),
]


class SlotSettings(Section):
    """`[slots.order_number]`: found by its pattern in what the customer says, else asked for."""

    #: A regular expression of what is looked for, as [A-Z]{2}\\d{6}; letters in either case.
    pattern: Annotated[str, Field(max_length=200), AfterValidator(_pattern)] = ""
    #: Instead of a pattern: the only values, and what customers read for each.
    choices: dict[
        Annotated[str, Field(min_length=1, max_length=60)],
        Annotated[str, Field(min_length=1, max_length=60)],
    ] = Field(default_factory=dict, max_length=10)
    #: What is said where it is missing; of a list, the later ones where it must be asked again.
    ask_en: _Wordings
    ask_zh: _Wordings
    #: Nobody's business but the customer's and the operator's: hidden from the chat model, in what
    #: is kept of a turn and in what agents are told, and never asked for where others read along.
    private: bool = False

    @model_validator(mode="after")
    def _can_be_found(self) -> Self:
        if bool(self.pattern) == bool(self.choices):
            raise ValueError("set either pattern or choices")
        return self

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """The pattern, not in the middle of a longer word or number."""
        names = sorted(self._names, key=len, reverse=True)
        pattern = self.pattern or "|".join(re.escape(one) for one in names)
        return re.compile(rf"(?<![A-Za-z0-9])(?:{pattern})(?![A-Za-z0-9])", re.IGNORECASE)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What the bot says to ask for it."""
        return tuple(one.strip() for one in (*self.ask_en, *self.ask_zh))

    def asks(self, language: Language, times: int = 0) -> str:
        """What the bot says to ask for it, in a language, having asked so often before."""
        wordings = self.ask_zh if language == "zh" else self.ask_en
        return wordings[min(times, len(wordings) - 1)].strip()

    def value(self, found: str) -> str:
        """What stands for the words in which the value was found."""
        return self._names.get(found.casefold(), found)

    @cached_property
    def _names(self) -> dict[str, str]:
        """The value of each name of a choice; a label may have several, with "/" between."""
        return {
            name.strip().casefold(): value
            for value, label in self.choices.items()
            for name in (value, label, *label.split("/"))
            if name.strip()
        }
