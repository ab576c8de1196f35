"""What is remembered of a customer's action between two messages; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from kfbot.conversation import Language


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Of one customer in one conversation. Gone once a person has had the conversation."""

    running: Running | None = None
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
        return self.running is None and not self.given and not self.last

    def as_data(self) -> dict[str, Any]:
        """JSON for `memory_of`."""
        return asdict(self)


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
    running = data.get("running")
    return Memory(**{**data, "running": None if running is None else Running(**running)})
