"""Reading order: which words of a page make paragraphs, lists and tables, and which comes first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal

from knowledge.formats.pdf.columns import CAPTION, find_tables
from knowledge.formats.pdf.content import Box, Content, Segment, Word, around
from knowledge.formats.pdf.grids import Grid, Table, is_value, read_grid, trim
from knowledge.formats.pdf.lines import find_rows, join, line_text, make_segment
from knowledge.sentences import is_list_item

# Columns of text: each side has so many lines, of which most are nearly as wide as the column.
_LEAST_LINES = 4
_LEAST_FILL = 0.65
_LEAST_LINE_WIDTH = 16
_MOST_VALUES = 0.3
_MOST_GAPPED = 0.4
_LEAST_COMMON_HEIGHT = 0.4
_BAND_GAP = 0.9
# A frame of lines that holds nearly the whole page parts it into fields.
_FRAME_SHARE = 0.75
_LEAST_ASIDE_CHARS = 15
# A gap between lines of one paragraph is smaller than this, in sizes.
_WIDEST_LEADING = 1.2
_BULLET = re.compile(r"^[•·●○▪■◆◇➢➤►▶◦‣⁃*\-–—]\s+(?=\S)|^[•●○▪■◆◇➢➤►▶◦‣]")
_NUMBERED = re.compile(r"\d+(?:\.\d+)+\s")
_SENTENCE_ENDS = tuple('.。!?！？:：;；”"')


@dataclass(slots=True)
class Block:
    """A paragraph, an item of a list or a table."""

    kind: Literal["text", "item", "table"]
    text: str
    box: Box
    size: float
    bold: bool
    page: int
    lines: int = 1
    table: Table | None = None


_Item = Segment | Table


def read_layout(
    content: Content, grids: Sequence[Grid], known: frozenset[str] = frozenset()
) -> list[Block]:
    """The blocks of a page in reading order.

    `grids` are those of its ruling lines, `known` the words that keep their hyphen.
    """
    tables: list[Table] = []
    words = [word for word in content.words if word.upright]
    frames: list[Grid] = []
    for grid in grids:
        trimmed = trim(grid, content.words)
        table = read_grid(trimmed, content.words) if trimmed else None
        if table is None:
            frames.append(grid)
        elif not any(other.box.holds(table.box.middle) for other in tables):
            tables.append(table)
    inside = [table.box for table in tables]
    free = [word for word in words if not any(box.holds(word.box.middle) for box in inside)]
    blocks: list[Block] = []
    for field_words, field_tables in _fields(free, tables, frames):
        items: list[_Item] = [segment for row in find_rows(field_words) for segment in row]
        for leaf in _order([*items, *field_tables]):
            blocks.extend(_read_leaf(leaf, content, known))
    blocks.extend(_asides(content, inside))
    return blocks


def _fields(
    words: list[Word], tables: list[Table], frames: Sequence[Grid]
) -> Iterator[tuple[list[Word], list[Table]]]:
    """The parts of a page that a frame drawn around everything makes, from the left."""
    if words:
        whole = around(word.box for word in words)
        for frame in frames:
            box = frame.box
            wide = box.width > _FRAME_SHARE * whole.width
            if wide and box.height > _FRAME_SHARE * whole.height and 1 < len(frame.lefts) < 5:
                yield from _split_fields(words, tables, frame)
                return
    yield words, tables


def _split_fields(
    words: list[Word], tables: list[Table], frame: Grid
) -> Iterator[tuple[list[Word], list[Table]]]:
    def field(box: Box) -> int:
        x, y = box.middle
        if y < frame.box.top:
            return -1
        if y > frame.box.bottom:
            return len(frame.lefts)
        return max((i for i, left in enumerate(frame.lefts) if left <= x), default=0)

    for number in range(-1, len(frame.lefts) + 1):
        yield (
            [word for word in words if field(word.box) == number],
            [table for table in tables if field(table.box) == number],
        )


def _order(items: Sequence[_Item]) -> Iterator[list[_Item]]:
    """The items in parts that are read from the top, columns one after the other."""
    items = sorted(items, key=lambda item: (item.box.top, item.box.left))
    found = _find_columns(items)
    if found is None:
        if items:
            yield items
        return
    start, end, x = found
    run = items[start:end]
    yield from _order(items[:start])
    yield from _order([item for item in run if item.box.middle[0] < x])
    yield from _order([item for item in run if item.box.middle[0] >= x])
    yield from _order(items[end:])


def _find_columns(items: Sequence[_Item]) -> tuple[int, int, float] | None:
    """The longest run of items with text in columns, and where these part."""
    best: tuple[int, int, float] | None = None
    for x in _gutters(items):
        for start, end in _column_runs(items, x):
            longer = best is None or end - start > best[1] - best[0]
            if longer and _are_columns(items[start:end], x):
                best = (start, end, x)
    return best


def _column_runs(items: Sequence[_Item], x: float) -> Iterator[tuple[int, int]]:
    """Runs of bands that may be columns: bands have nothing over x, and space between them.

    A run begins and ends with a band in which text stands on both sides.
    """
    start = end = None
    for first, last in _bands(items):
        band = items[first:last]
        sides = [[item for item in band if (item.box.middle[0] < x) == left] for left in (1, 0)]
        if any(_crosses(item.box, x) for item in band) or not all(
            not side or _flows(side) for side in sides
        ):
            if start is not None and end is not None:
                yield start, end
            start = end = None
        elif all(sides):
            start = first if start is None else start
            end = last
    if start is not None and end is not None:
        yield start, end


def _bands(items: Sequence[_Item]) -> Iterator[tuple[int, int]]:
    """The items from the top in groups with space between them, over the whole width."""
    start, bottom = 0, 0.0
    for number, item in enumerate(items):
        size = item.size if isinstance(item, Segment) else 10.0
        if number > start and item.box.top - bottom > _BAND_GAP * size:
            yield start, number
            start, bottom = number, 0.0
        bottom = max(bottom, item.box.bottom)
    if items:
        yield start, len(items)


def _crosses(box: Box, x: float) -> bool:
    return box.left < x - 1 and box.right > x + 1


def _gutters(items: Sequence[_Item]) -> list[float]:
    """Where several lines begin that do not begin at the left: just before it."""
    lefts = sorted(item.box.left for item in items)
    result: list[float] = []
    start = 0
    for number in range(1, len(lefts) + 1):
        if number < len(lefts) and lefts[number] - lefts[number - 1] < 2:
            continue
        if number - start >= _LEAST_LINES - 1:
            result.append(lefts[start] - 2)
        start = number
    return result[1:] if result and lefts and result[0] <= lefts[0] else result


def _are_columns(run: Sequence[_Item], x: float) -> bool:
    """Whether running text stands on both sides of x."""
    sides = (
        [item for item in run if item.box.middle[0] < x],
        [item for item in run if item.box.middle[0] >= x],
    )
    if not all(_is_prose(side) for side in sides):
        return False
    left, right = (around(item.box for item in side) for side in sides)
    common = min(left.bottom, right.bottom) - max(left.top, right.top)
    return common > _LEAST_COMMON_HEIGHT * min(left.height, right.height)


def _is_prose(side: Sequence[_Item]) -> bool:
    segments = [item for item in side if isinstance(item, Segment)]
    if len(segments) < _LEAST_LINES or not _flows(side):
        return False
    rows = find_rows(word for segment in segments for word in segment.words)
    widths = sorted(around(segment.box for segment in row).width for row in rows)
    texts = [_row_text(row) for row in rows]
    full = widths[-1 - len(widths) // 8]
    return median(widths) > _LEAST_FILL * full and median(map(_width, texts)) >= _LEAST_LINE_WIDTH


def _flows(side: Sequence[_Item]) -> bool:
    """Whether the lines are neither numbers nor parted by gaps."""
    rows = find_rows(word for item in side if isinstance(item, Segment) for word in item.words)
    values = sum(is_value(_row_text(row)) for row in rows)
    gapped = sum(len(row) > 1 for row in rows)
    return values <= _MOST_VALUES * len(rows) and gapped <= _MOST_GAPPED * len(rows)


def _row_text(row: Sequence[Segment]) -> str:
    return " ".join(word.text for segment in row for word in segment.words)


def _width(text: str) -> int:
    """Characters, wide ones twice."""
    return sum(1 + (character > "\u2e7f") for character in text)


def _read_leaf(items: list[_Item], content: Content, known: frozenset[str]) -> Iterator[Block]:
    """The blocks of a part that is read from the top."""
    pending: list[Segment] = []
    for item in [*items, None]:
        if isinstance(item, Segment):
            pending.append(item)
            continue
        rows = find_rows(word for segment in pending for word in segment.words)
        lines: list[Segment] = []
        for found in find_tables(rows):
            if isinstance(found, Table):
                yield from _paragraphs(lines, content, known)
                lines = []
                yield _table_block(found, content)
            else:
                lines.append(make_segment([word for part in found for word in part.words]))
        yield from _paragraphs(lines, content, known)
        pending = []
        if item is not None:
            yield _table_block(item, content)


def _table_block(table: Table, content: Content) -> Block:
    return Block("table", "", table.box, 0.0, False, content.number, table=table)


def _paragraphs(
    lines: Sequence[Segment], content: Content, known: frozenset[str]
) -> Iterator[Block]:
    if not lines:
        return
    whole = around(line.box for line in lines)
    gaps = [
        gap
        for above, below in pairwise(lines)
        if 0 < (gap := below.box.top - above.box.bottom) < _WIDEST_LEADING * below.size
    ]
    usual = median(gaps) if gaps else 0.2 * lines[0].size
    block: Block | None = None
    above = lines[0]
    for line in lines:
        text = line_text(line.words)
        if block is not None and not _begins(block, above, line, text, whole, usual):
            block.text = join(block.text, text, known=known)
            block.box = around([block.box, line.box])
            block.lines += 1
        else:
            if block is not None:
                yield block
            block = _new_block(line, text, content)
        above = line
    if block is not None:
        yield block


def _new_block(line: Segment, text: str, content: Content) -> Block:
    item = is_list_item(text) or bool(_BULLET.match(text))
    item = item and not _NUMBERED.match(text)
    text = _BULLET.sub("- ", text) if item else text
    return Block("item" if item else "text", text, line.box, line.size, line.bold, content.number)


def _begins(
    block: Block, above: Segment, line: Segment, text: str, whole: Box, usual: float
) -> bool:
    """Whether a line begins a new block."""
    size = max(line.size, above.size)
    gap = line.box.top - above.box.bottom
    if gap > max(usual, 0) + 0.45 * size or line.box.bottom < above.box.top:
        return True
    if abs(line.size - above.size) > 0.08 * size or line.bold != above.bold:
        # A word in bold, or a formula, may be most of a short line.
        return block.lines == 1 or len(text) > 8
    if _BULLET.match(text) or is_list_item(text) or _NUMBERED.match(text):
        return True
    if CAPTION.match(text) and block.lines == 1:
        return True
    indented = line.box.left - above.box.left > 0.9 * size
    far = line.box.left > whole.left + 0.4 * whole.width
    if indented and (far or (block.kind == "text" and block.lines > 1)):
        return True
    last = line_text(above.words)
    ended = last.endswith(_SENTENCE_ENDS)
    if text[0].islower() and not ended and line.box.left - above.box.left < 3 * size:
        return False
    short = above.box.right < whole.right - max(4 * size, 0.12 * whole.width)
    return short and (ended or indented or above.box.right < whole.left + 0.6 * whole.width)


def _asides(content: Content, tables: Sequence[Box]) -> Iterator[Block]:
    """Text that runs up or down beside the other one, when it is longer than a label."""
    aside = [
        word
        for word in content.words
        if not word.upright and not any(box.holds(word.box.middle) for box in tables)
    ]
    # Chinese written down the page is read from the right.
    text = ""
    for word in sorted(aside, key=lambda word: -word.box.left):
        text = join(text, word.text)
    if len(text) >= _LEAST_ASIDE_CHARS:
        box, size = around(word.box for word in aside), aside[0].size
        yield Block("text", text, box, size, False, content.number, lines=len(aside))
