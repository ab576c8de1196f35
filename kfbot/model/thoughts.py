"""Takes out what a reasoning model thinks before it answers: `<think>…</think>` in its text."""

from __future__ import annotations

import re

_OPEN = re.compile(r"<think(?:ing)?>", re.IGNORECASE)
_CLOSE = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_LONGEST_TAG = len("</thinking>")
#: The beginning of a tag at the end of what has come so far.
_BEGUN = re.compile(r"</?(?:t(?:h(?:i(?:n(?:k(?:i(?:ng?)?)?)?)?)?)?)?$", re.IGNORECASE)


class Thoughts:
    """Pieces in, pieces without thoughts out; holds back only what may be a tag."""

    def __init__(self, *, thinks_first: bool = False) -> None:
        """Start a completion.

        Args:
            thinks_first: It begins with thoughts that no tag opens, as where the model's chat
                template has opened one.
        """
        self._rest = ""
        self._thinks = self._thinks_first = thinks_first
        #: Thoughts were closed that no tag opened: some of them have been let out as text.
        self.unopened = False

    def feed(self, piece: str) -> str:
        """What of the text so far is no thought and was not given out yet; often empty."""
        if not self._thinks and not self._rest and "<" not in piece:
            return piece
        self._rest += piece
        out = ""
        while True:
            out += self._text_before_tag()
            if not self._skip_thought():
                return out

    def close(self) -> str:
        """What was held back; a thought that nothing closed is lost.

        Where thoughts were expected and no tag closed them there were none: that is the text.
        """
        rest, self._rest = self._rest, ""
        return rest if not self._thinks or self._thinks_first else ""

    def _text_before_tag(self) -> str:
        """Take the text up to the next opening tag; inside of a thought there is none."""
        if self._thinks:
            return ""
        opening, closing = _OPEN.search(self._rest), _CLOSE.search(self._rest)
        while closing and (opening is None or closing.start() < opening.start()):
            self.unopened = True
            self._rest = self._rest[closing.end() :]
            opening, closing = _OPEN.search(self._rest), _CLOSE.search(self._rest)
        if opening:
            self._thinks, text = True, self._rest[: opening.start()]
            self._rest = self._rest[opening.end() :]
            return text
        begun = _BEGUN.search(self._rest)
        end = begun.start() if begun else len(self._rest)
        text, self._rest = self._rest[:end], self._rest[end:]
        return text

    def _skip_thought(self) -> bool:
        """Leave a thought that is over, or a tag that was none; True: there may be more text."""
        if not self._thinks:
            return False
        if (closing := _CLOSE.search(self._rest)) is None:
            if not self._thinks_first:
                self._rest = self._rest[-_LONGEST_TAG:]
            return False
        self._thinks = self._thinks_first = False
        self._rest = self._rest[closing.end() :]
        return True
