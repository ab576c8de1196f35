"""Slash commands: which texts are commands, and what they say; pure, no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, get_args

CommandName = Literal["help", "start", "kb", "bot", "handoff", "resume", "why", "stats"]
#: Anybody may give these.
EVERYBODYS: frozenset[str] = frozenset({"help", "start"})

_NAMES = frozenset(get_args(CommandName))
# A keyboard for Chinese gives the slash its full width; Telegram names the bot behind the command.
_COMMAND = re.compile(r"\s*[/／]([a-z]+)(?:@\w+)?(?:\s+(.*))?", re.IGNORECASE | re.DOTALL)
# Telegram's links hand a word of their own to /start; "why" with more words is a question.
_KNOWN_WORDS: dict[str, re.Pattern[str]] = {
    "help": re.compile(""),
    "start": re.compile(r"[A-Za-z0-9_-]{0,64}"),
    "kb": re.compile(
        r"|status|reload(?: \S+)?|search(?: .*)?|add .*[|｜].*|remove(?: \S+)?", re.IGNORECASE
    ),
    "bot": re.compile(r"|pause|resume", re.IGNORECASE),
    "handoff": re.compile(""),
    "resume": re.compile(""),
    "why": re.compile(""),
    "stats": re.compile(r"|\d{1,3} ?[d天]?", re.IGNORECASE),
}
_DAYS = re.compile(r"(\d{1,3}) ?[d天]?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Command:
    """A command, and the words behind it with single spaces between them."""

    name: CommandName
    words: str = ""
    #: The words as they were written, with their lines.
    written: str = field(default="", compare=False, repr=False)

    def verb(self) -> tuple[str, str]:
        """The first of the words in lower case, and the rest: `/kb search …`."""
        first, _, rest = self.words.partition(" ")
        return first.lower(), rest

    def after_verb(self) -> str:
        """What was written behind the first word, with its lines."""
        first, _ = self.verb()
        return self.written[len(first) :].strip()


def parse(text: str, *, mistyped: bool = False) -> Command | None:
    """The command that a text is; None for any other text, with a slash or without.

    Args:
        mistyped: Take words that a command does not know as well, as of an admin who has to be
            told so; from customers `/bot are you a bot?` is a question. `/why` with more words
            always is.
    """
    match = _COMMAND.fullmatch(text)
    if match is None or (name := match[1].lower()) not in _NAMES:
        return None
    written = (match[2] or "").strip()
    command = Command(name, " ".join(written.split()), written)  # type: ignore[arg-type]
    verb, rest = command.verb()
    # Where each command has to be registered one is enough: `/kb why` is `/why`.
    if name == "kb" and verb in _NAMES:
        command = Command(verb, rest, written[len(verb) :].strip())  # type: ignore[arg-type]
    is_known = _KNOWN_WORDS[command.name].fullmatch(command.words) is not None
    return command if is_known or (mistyped and command.name != "why") else None


def days_in(words: str, *, default: int, most: int) -> int | None:
    """Days as in "7d" or "7", 1 to `most`; `default` for nothing, None for anything else."""
    if not words:
        return default
    match = _DAYS.fullmatch(words)
    return int(match[1]) if match and 1 <= int(match[1]) <= most else None
