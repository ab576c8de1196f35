"""What is remembered of a customer's action between two messages; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from kfbot.conversation import Choice, Language


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An action that the bot asks something for."""

    action: str
    #: The inbound event that began it.
    began: str
    language: Language
    values: Mapping[str, str] = field(default_factory=dict)
    #: The slot that was asked for; "": whether to go ahead.
    awaiting: str = ""
    #: How often what came was no value.
    wrong: int = 0
    #: Who thought of it: the customer's "phrase", or what it was offered for: all the "words" of a
    #: phrase, or a chat "model".
    by: Literal["phrase", "words", "model"] = "phrase"


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Of one customer in one conversation. Gone once a person has had the conversation."""

    running: Running | None = None
    #: What was offered last, with what was known of it then.
    offered: Running | None = None
    #: Values by slot, of actions that are over.
    given: Mapping[str, str] = field(default_factory=dict)
    #: The action that was carried out last, and what came of it; "": none.
    last: str = ""
    came: str = ""
    #: After so long without a word of the customer's all of it is forgotten.
    expires_minutes: int = 30

    @property
    def is_empty(self) -> bool:
        """True: there is nothing to be kept."""
        return not (self.running or self.offered or self.given or self.last)

    def as_data(self) -> dict[str, Any]:
        """JSON for `memory_of`."""
        return asdict(self)

    def open_offer(self, choices: Sequence[Choice]) -> Running | None:
        """What was offered, if the last choices that the customer had are that offer."""
        is_open = self.offered and [one.id for one in choices] == [self.offered.action]
        return self.offered if is_open else None


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a turn leaves in the memory of a customer."""

    #: The platform's id of the customer.
    customer: str
    memory: Memory


def memory_of(data: Mapping[str, Any]) -> Memory:
    """The memory behind `Memory.as_data`.

    Raises:
        TypeError: Another version wrote it.
    """
    actions = {name: data.get(name) for name in ("running", "offered")}
    known = {name: None if one is None else Running(**one) for name, one in actions.items()}
    return Memory(**{**data, **known})
