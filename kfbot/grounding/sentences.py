"""Cuts a completion into sentences as it comes in."""

from __future__ import annotations

import re

#: Where a sentence ends: what ends it, the marks of its citations, and a sign that it is over.
_END = re.compile(
    r"(?:[。！？!?]+[”’」』\")]*|\.[\"')]*(?=\s|\[)|\n)(?:\s*\[\d{1,2}\])*[。.]?\s*(?=[^\[\s.。])"
)


class SentenceStream:
    """Pieces in, whole sentences out; together the sentences are the pieces."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, piece: str) -> list[str]:
        """The sentences that are whole now, with the spaces around them."""
        self._rest += piece
        found = []
        while (end := _END.search(self._rest)) is not None:
            found.append(self._rest[: end.end()])
            self._rest = self._rest[end.end() :]
        return found

    def close(self) -> list[str]:
        """What is left, if anything."""
        rest, self._rest = self._rest, ""
        return [rest] if rest.strip() else []
