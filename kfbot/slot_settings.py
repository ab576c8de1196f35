"""`[slots.<name>]`: what customers are asked for to fill in an answer."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated

from pydantic import AfterValidator, Field

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
        compiled = re.compile(text)
    except re.error as error:
        raise ValueError(f"pattern is no regular expression: {error}") from None
    if compiled.search(""):
        raise ValueError("pattern finds something in an empty text")
    return text


SlotName = Annotated[str, AfterValidator(_name)]


class SlotSettings(Section):
    """`[slots.order_number]`: found by its pattern in what the customer says, else asked for."""

    #: A regular expression of what is looked for, as [A-Z]{2}\\d{6}; letters in either case.
    pattern: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_pattern)]
    #: What is said where it is missing.
    ask_en: Annotated[str, Field(min_length=1, max_length=500)]
    ask_zh: Annotated[str, Field(min_length=1, max_length=500)]

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """The pattern, not in the middle of a longer word or number."""
        return re.compile(rf"(?<![A-Za-z0-9])(?:{self.pattern})(?![A-Za-z0-9])", re.IGNORECASE)

    @property
    def sentences(self) -> tuple[str, str]:
        """What the bot says to ask for it."""
        return self.ask_en.strip(), self.ask_zh.strip()

    def asks(self, language: Language) -> str:
        """What the bot says to ask for it, in a language."""
        return (self.ask_zh if language == "zh" else self.ask_en).strip()
