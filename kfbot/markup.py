"""CommonMark that shows what somebody wrote letter by letter: none of it is markup. Pure."""

from __future__ import annotations

import re

_MARKUP = re.compile(r"[\\`*_\[\]<>&~|#]|^(?:[-+=](?=\s|$|[-=])|\d+(?=[.)]))", re.MULTILINE)


def plain(text: str) -> str:
    """CommonMark that shows a text letter by letter, line by line."""
    # An indented line could be code, in which nothing is escaped.
    lines = "\n".join(line.strip() for line in text.strip().splitlines())
    return _MARKUP.sub(_escaped, lines)


def _escaped(found: re.Match[str]) -> str:
    # Of a list's number the point behind it is what counts.
    return found[0] + "\\" if found[0].isdigit() else f"\\{found[0]}"
