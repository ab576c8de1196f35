"""What a source gives besides files, and how sources may be fetched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kfbot.errors import DocumentUnreadable

_USER_INFO = re.compile(r"(?<=://)[^/?#]*@")
_ADDRESS = re.compile(r"(?:https?|git\+(?:https?|ssh|file))://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Fetching:
    """How the sources of a knowledge base may be fetched over a network."""

    #: Web and git sources may lie at private and loopback addresses.
    allow_private: bool = False
    #: Pages that are asked for at most for one source.
    max_pages: int = 1000


class SourceUnreachable(DocumentUnreadable):
    """A source, or parts of it, cannot be reached now, which is no sign that they are gone.

    What was loaded from there stays loaded: every document whose `path` is one of `kept` or lies
    under it, as a path lies under a folder.
    """

    def __init__(self, source: str, reason: str, *, kept: Sequence[str]) -> None:
        super().__init__(source, f"{reason}; what was loaded from it stays")
        self.kept = tuple(kept)


def is_address(source: str) -> bool:
    """True for what is fetched over a network or by git, False for a path of this machine."""
    return _ADDRESS.match(source) is not None


def is_repository(source: str) -> bool:
    """True for the address of a git repository."""
    return source.lower().startswith("git+")


def without_credentials(text: str) -> str:
    """An address, or a message with addresses in it, without user names and passwords."""
    return _USER_INFO.sub("", text)
