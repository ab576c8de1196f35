"""Slash commands: which texts are commands, and what they say; pure, no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

CommandName = Literal["help", "start", "kb", "bot", "handoff", "resume", "why", "stats"]
#: Anybody may give these.
EVERYBODYS: frozenset[str] = frozenset({"help", "start"})

_NAMES = frozenset(get_args(CommandName))
# A keyboard for Chinese gives the slash its full width; Telegram names the bot behind the command.
_COMMAND = re.compile(r"\s*[/／]([a-z]+)(?:@\w+)?(?:\s+(.*))?", re.IGNORECASE | re.DOTALL)
_DAYS = re.compile(r"(\d{1,3}) ?[d天]?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Command:
    """A command, and the words behind it with single spaces between them."""

    name: CommandName
    words: str = ""

    def verb(self) -> tuple[str, str]:
        """The first of the words in lower case, and the rest: `/kb search …`."""
        first, _, rest = self.words.partition(" ")
        return first.lower(), rest


def parse(text: str) -> Command | None:
    """The command that a text is; None for any other text, with a slash or without."""
    match = _COMMAND.fullmatch(text)
    if match is None or (name := match[1].lower()) not in _NAMES:
        return None
    command = Command(name, " ".join((match[2] or "").split()))  # type: ignore[arg-type]
    verb, rest = command.verb()
    # Where each command has to be registered one is enough: `/kb why` is `/why`.
    return Command(verb, rest) if name == "kb" and verb in _NAMES else command  # type: ignore[arg-type]


def days_in(words: str, *, default: int, most: int) -> int | None:
    """Days as in "7d" or "7", 1 to `most`; `default` for nothing, None for anything else."""
    if not words:
        return default
    match = _DAYS.fullmatch(words)
    return int(match[1]) if match and 1 <= int(match[1]) <= most else None
