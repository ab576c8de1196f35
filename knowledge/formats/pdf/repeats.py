"""Finds what stands on page after page: headers, footers, page numbers, watermarks."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median

from knowledge.formats.pdf.content import Box, Content, Segment, around
from knowledge.formats.pdf.lines import find_rows

# The part of a page, from above or from below, in which headers and footers stand.
_EDGE_SHARE = 0.13
_NUMBER_SHARE = 0.18
_LEAST_PAGES = 3
# A watermark stands at one place on most pages.
_WATERMARK_SHARE = 0.6
_PLACE = 8.0
# Letters of a watermark are larger than the text's; a form's labels repeat in the usual size.
_LARGE = 1.6
_LONGEST_NUMBER = 6
_MOST_EDGE_LINES = 4
_LONGEST_EDGE_LINE = 160
_PAGE_NUMBER = re.compile(
    # Blanks are never given back: a line of them could be shared out in too many ways.
    r"(?:page|seite|p\.?|第)?\s*+[-–—·|]*+\s*+(?:\d{1,4}|[ivxlc]{1,6})\s*+[-–—·|]*+\s*+"
    r"(?:页|頁)?\s*+(?:(?:/|of|共|，共|,共)\s*+\d{1,4}\s*+(?:页|頁)?)?",
    re.IGNORECASE,
)

_Key = tuple[str, int]


def drop_repeated(pages: Sequence[Content], kept: Sequence[Sequence[Box]]) -> int:
    """Take the words of repeated lines off the pages; how many lines that were.

    `kept` are for each page the places of tables with ruling lines: what repeats there is a
    table's header.
    """
    rows = [find_rows(word for word in page.words if word.upright) for page in pages]
    seen: dict[_Key, set[int]] = defaultdict(set)
    for page, lines in zip(pages, rows, strict=True):
        for line in lines:
            for key in _keys(line, page):
                seen[key].add(page.number)
    count = 0
    for page, lines, boxes in zip(pages, rows, kept, strict=True):
        dropped = _dropped(page, lines, boxes, seen, len(pages))
        count += len(dropped)
        gone = {id(word) for line in dropped for segment in line for word in segment.words}
        page.words = [word for word in page.words if id(word) not in gone]
    return count


def _dropped(
    page: Content,
    lines: Sequence[list[Segment]],
    boxes: Sequence[Box],
    seen: dict[_Key, set[int]],
    pages: int,
) -> list[list[Segment]]:
    free = [line for line in lines if not any(box.holds(line[0].box.middle) for box in boxes)]
    dropped = []
    for ordered in (free, free[::-1]):
        for line in ordered[:_MOST_EDGE_LINES]:
            if not _is_at_edge(line, page, seen, pages):
                break
            dropped.append(line)
    usual = median(word.size for word in page.words) if page.words else 0.0
    most = max(_LEAST_PAGES, _WATERMARK_SHARE * pages)
    for line in free:
        large = max(segment.size for segment in line) > _LARGE * usual
        if not large or line in dropped:
            continue
        if max(len(seen[key]) for key in _keys(line, page)) >= most:
            dropped.append(line)
    return dropped


def _is_at_edge(line: list[Segment], page: Content, seen: dict[_Key, set[int]], pages: int) -> bool:
    """Whether a line is a header, a footer or the page's number."""
    box = around(segment.box for segment in line)
    above, below = box.bottom / page.height, 1 - box.top / page.height
    text = _text(line)
    if len(line) == 1 and _PAGE_NUMBER.fullmatch(text) and any(c.isalnum() for c in text):
        return min(above, below) < _NUMBER_SHARE
    least = _LEAST_PAGES if pages > _LEAST_PAGES else 2
    repeats = max(len(seen[key]) for key in _keys(line, page)) >= least
    return repeats and min(above, below) < _EDGE_SHARE


def _text(line: Iterable[Segment]) -> str:
    return " ".join(word.text for segment in line for word in segment.words)


def _keys(line: list[Segment], page: Content) -> list[_Key]:
    """What a line says and about where: as it is, and with a number that counts the pages.

    Each twice, as places are rounded.
    """
    text = _text(line).casefold()[:_LONGEST_EDGE_LINE]
    top = min(segment.box.top for segment in line)
    place = int(top // _PLACE)
    near = place + 1 if top % _PLACE > _PLACE / 2 else place - 1
    texts = {text}
    for number in (re.search(r"\d+", text), re.search(r"\d+(?=\D*$)", text)):
        if number and len(number[0]) < _LONGEST_NUMBER:
            # The same on each page only if the number grows with the pages.
            counted = f"#{int(number[0]) - page.number}"
            texts.add(text[: number.start()] + counted + text[number.end() :])
    return [(each, where) for each in sorted(texts) for where in (place, near)]
