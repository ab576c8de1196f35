"""Puts the words of a page on lines, and joins lines to running text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from knowledge.formats.pdf.content import Segment, Word, around
from knowledge.sentences import CJK

#: A gap wider than this many sizes may be that between two columns.
COLUMN_GAP = 0.95

_LEADER = re.compile(r"[.…·•_\-]{3,}|\.")
_ENDS_CHINESE = re.compile(f"[{CJK}，。、；：！？（）《》“”【】]$")
_STARTS_CHINESE = re.compile(f"[{CJK}，。、；：！？（）《》“”【】]")
_HYPHENATED = re.compile(r"[^\W\d_]{2,}[-\u2010]$")
_WRAPPED_LATIN = re.compile(r"[^\W\d_A-Z]")


def find_rows(words: Iterable[Word]) -> list[list[Segment]]:
    """The lines from the top, each in segments from the left, parted by wide gaps."""
    rows: list[list[Word]] = []
    open_rows: list[list[Word]] = []
    for word in sorted(words, key=lambda word: (word.box.top, word.box.left)):
        open_rows = [row for row in open_rows if row[0].box.bottom > word.box.top]
        row = next((row for row in open_rows if _on_one_line(row[0], word)), None)
        if row is None:
            row = []
            rows.append(row)
            open_rows.append(row)
        row.append(word)
    return [_segments(row) for row in rows]


def _on_one_line(one: Word, other: Word) -> bool:
    """Whether two words stand side by side; compared with the first, so that lines do not chain."""
    common = min(one.box.bottom, other.box.bottom) - max(one.box.top, other.box.top)
    return common > 0.5 * min(one.box.height, other.box.height)


def _segments(row: list[Word]) -> list[Segment]:
    row.sort(key=lambda word: word.box.left)
    parts: list[list[Word]] = []
    for word in row:
        if parts and not _parts(parts[-1], word):
            parts[-1].append(word)
        else:
            parts.append([word])
    return [make_segment(part) for part in parts]


def _parts(before: list[Word], word: Word) -> bool:
    gap = word.box.left - before[-1].box.right
    if gap > COLUMN_GAP * max(word.size, before[-1].size):
        return True
    # "Robbery . . . . . 102.1": the dots lead to the next column.
    led = len(before) > 1 and _LEADER.fullmatch(before[-1].text) and before[-1].spaced
    led = led or before[-1].text.endswith(("....", ". . ."))
    return bool(led) and not _LEADER.match(word.text)


def make_segment(words: list[Word]) -> Segment:
    """A segment of words from the left."""
    heaviest = max(words, key=lambda word: len(word.text))
    bold = sum(len(word.text) for word in words if word.bold)
    length = sum(len(word.text) for word in words)
    return Segment(words, around(word.box for word in words), heaviest.size, 2 * bold > length)


def line_text(words: Sequence[Word]) -> str:
    """The words of a line as text, links as CommonMark."""
    text = ""
    for link, run in _runs(words):
        part = ""
        for number, word in enumerate(run):
            before = run[number - 1] if number else None
            part += (" " if before and _is_apart(before, word) else "") + word.text
        spaced = bool(text) and run[0].spaced
        text += (" " if spaced else "") + (_linked(part, link) if link else part)
    return text


def _is_apart(before: Word, word: Word) -> bool:
    gap = word.box.left - before.box.right
    return word.spaced or gap > 0.25 * max(word.size, before.size)


def _runs(words: Sequence[Word]) -> Iterator[tuple[str, list[Word]]]:
    """Neighbours that lead to one address."""
    run: list[Word] = []
    for word in words:
        if run and word.link != run[0].link:
            yield run[0].link, run
            run = []
        run.append(word)
    if run:
        yield run[0].link, run


def _linked(text: str, link: str) -> str:
    """A CommonMark link, where the text does not say the address itself."""
    bare = re.sub(r"^https?://(?:www\.)?|/$", "", link.strip().lower())
    said = re.sub(r"^(?:https?://)?(?:www\.)?|[/.,)]+$", "", text.lower().replace(" ", ""))
    if (said and (said in bare and "." in said)) or not re.search(r"\w", text):
        return text
    safe = link.replace("(", "%28").replace(")", "%29")
    return f"[{text}]({safe})"


def join(above: str, below: str, *, known: frozenset[str] = frozenset()) -> str:
    """Two lines of a paragraph as running text.

    No space is put between Chinese characters; a word that was parted by a hyphen is whole again,
    and keeps its hyphen when it is `known` with it.
    """
    if not above or not below:
        return above + below
    if _ENDS_CHINESE.search(above) and _STARTS_CHINESE.match(below):
        return above + below
    if _HYPHENATED.search(above) and _WRAPPED_LATIN.match(below):
        head = re.split(r"[\s(]", above)[-1]
        tail = re.split(r"[\s,.;:)]", below, maxsplit=1)[0]
        if (head + tail).lower() in known:
            return above + below
        return above[:-1] + below
    return f"{above} {below}"


def hyphenated_words(lines: Iterable[str]) -> frozenset[str]:
    """The words that stand with a hyphen inside of a line."""
    found: set[str] = set()
    for line in lines:
        found.update(word.lower() for word in re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)+", line))
    return frozenset(found)
