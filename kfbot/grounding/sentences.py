"""Cuts a completion into sentences as it comes in."""

from __future__ import annotations

import re

#: The marks of citations: [1], [1, 2], 【1】, one or several.
MARKS = re.compile(r"\s*[\[【]\s*\d{1,3}(?:\s*[,，、;–-]\s*\d{1,3})*\s*[\]】]")
_BEGUN_MARK = re.compile(r"[^\S\n]*(?:[\[【][\d\s,，、;–-]{0,12})?$")
_STOP = re.compile(r"\n|[。！？!?.]+")
_CLOSING = re.compile("[”’」』\"')）》]*")
#: Before a full stop these go on.
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'“‘])(?:mr|mrs|ms|dr|prof|st|vs|etc|eg|ie|cf|approx|dept|est|ext|gen|hon|rev|inc"
    r"|ltd|co|corp|no|nos|fig|figs|vol|pp?|sec|ch|art|tel|min|max|ca|jan|feb|mar|apr|jun|jul|aug"
    r"|sept?|oct|nov|dec|[a-z]|(?:[a-z]\.)+[a-z])$",
    re.IGNORECASE,
)
#: All of a line in front of a full stop.
_LIST_NUMBER = re.compile(r"\(?(?:\d{1,3}|[a-z])", re.IGNORECASE)
#: A word in front of a full stop is looked at so far back.
_LOOKED_AT = 40


class SentenceStream:
    """Pieces in, whole sentences out; together the sentences are the pieces.

    However a text is cut into pieces, the same sentences come out: each as soon as it is over
    for certain, with the spaces before it and the marks of its citations, also those behind the
    full stop. Behind a mark a full stop ends the sentence at once; elsewhere a mark might follow,
    and the next character but spaces decides.
    """

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, piece: str) -> list[str]:
        """The sentences that are whole now."""
        self._rest += piece
        return self._cut(final=False)

    def close(self) -> list[str]:
        """What is left, if anything."""
        found = self._cut(final=True)
        rest, self._rest = self._rest, ""
        return [*found, rest] if rest.strip() else found

    def _cut(self, *, final: bool) -> list[str]:
        found = []
        while (end := _end(self._rest, final=final)) is not None:
            found.append(self._rest[:end])
            self._rest = self._rest[end:]
        return found


def sentences(text: str) -> list[str]:
    """The sentences of a whole text, as a stream would cut them."""
    stream = SentenceStream()
    return [*stream.feed(text), *stream.close()]


def _end(text: str, *, final: bool) -> int | None:
    """Where the first sentence is over for certain; None: not yet."""
    first = len(text) - len(text.lstrip())
    for stop in _STOP.finditer(text, first):
        start = stop.start()
        if start == first:
            continue
        if text[start] == "\n":
            return start
        if text[start] in ".。" and text[start - 1] in "]】" and _ends_with_mark(text[:start]):
            return start + 1
        if stop.end() == len(text) and not final:
            return None
        if not _is_stop(text, stop):
            continue
        end, certain = _with_marks(text, stop.end(), final=final)
        return end if certain else None
    return None


def _ends_with_mark(text: str) -> bool:
    return any(match.end() == len(text) for match in MARKS.finditer(text, max(0, len(text) - 24)))


def _is_stop(text: str, stop: re.Match[str]) -> bool:
    """Whether a sentence can end there: not inside of a number, an address, an abbreviation."""
    if stop[0][0] in "。！？":
        return True
    after = text[stop.end() : stop.end() + 1]
    follows = not after or after.isspace() or after in "[【”’」』\"')）》" or ord(after) > 0x2E7F
    if stop[0][0] in "!?" or not follows:
        return follows
    if len(stop[0]) > 1:
        return False
    before = text[max(0, stop.start() - _LOOKED_AT) : stop.start()]
    line = text[text.rfind("\n", 0, stop.start()) + 1 : stop.start()]
    return not (_ABBREVIATION.search(before) or _LIST_NUMBER.fullmatch(line.lstrip()))


def _with_marks(text: str, end: int, *, final: bool) -> tuple[int, bool]:
    """The end with all that belongs to the sentence, and whether nothing more can follow."""
    closing = _CLOSING.match(text, end)
    end = closing.end() if closing else end
    marked = False
    while (mark := MARKS.match(text, end)) is not None and "\n" not in mark[0]:
        end, marked = mark.end(), True
    if marked and text[end : end + 1] in (".", "。"):
        return end + 1, True
    return end, final or _BEGUN_MARK.fullmatch(text, end) is None
