"""Tables without ruling lines: rows whose segments stand in columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from knowledge.formats.pdf.content import Segment, Word, around
from knowledge.formats.pdf.grids import Table, is_value
from knowledge.formats.pdf.lines import join, line_text, make_segment

Row = list[Segment]

_LEAST_ROWS = 3
_LEAST_SHORT_COLUMNS = 3
# Rows of a table stand no farther apart than this, in sizes.
_MOST_GAP = 2.2
_MOST_SINGLE_ROWS = 2
# A column's share of rows in which something stands where a gap would be.
_CROSSING_SHARE = 0.12
_LEAST_GAP = 0.4
# Columns filled to this share with this much text in a row are running text.
_PROSE_FILL = 0.7
_PROSE_CHARS = 24
_MOST_CELL_CHARS = 60
# A longer line is one of running text.
_MOST_LINE_CHARS = 90
_MOST_HEADER_ROWS = 4
# A gap smaller than this share of the others is one inside of a row.
_TIGHT = 0.6
# Wider than a space, in sizes.
_SPACE = 0.35
#: How the line over a table or under a figure begins.
CAPTION = re.compile(r"(?:表|图|图表|table|figure|fig\.)\s*[A-Z]?\d", re.IGNORECASE)
_LEADERS = re.compile(r"[.\s…·]{4,}")
_YEAR = re.compile(r"(?:19|20)\d\d(?:年|[-/–]\d\d(?:\d\d)?)?")


def find_tables(rows: Sequence[Row]) -> Iterator[Table | Row]:
    """The rows in their order, those of tables together as tables."""
    index = 0
    while index < len(rows):
        run = _run(rows, index)
        table = _read_run(rows[index : index + run]) if run > 1 else None
        if table is None:
            # A heading may look like the first row; the table is tried without it.
            yield rows[index]
            index += 1
        else:
            yield table
            index += run


def _run(rows: Sequence[Row], start: int) -> int:
    """How many rows from `start` on may be a table: it ends with a row of several segments."""
    if len(rows[start]) < 2:
        return 0
    length, single = 1, 0
    for number in range(start + 1, len(rows)):
        gap = _top(rows[number]) - _bottom(rows[number - 1])
        if gap > _MOST_GAP * rows[number][0].size:
            break
        single = 0 if len(rows[number]) > 1 else single + 1
        if any(_chars(segment) > _MOST_LINE_CHARS for segment in rows[number]):
            break
        if single and _is_title(rows[number][0], rows[start][0], gap):
            break
        if single > _MOST_SINGLE_ROWS:
            break
        if not single:
            length = number - start + 1
    return length


def _is_title(line: Segment, first: Segment, gap: float) -> bool:
    """Whether a line alone is what stands over the next table."""
    larger = line.size > 1.12 * first.size
    apart = line.bold and gap > 0.9 * line.size
    return larger or apart or CAPTION.match(line_text(line.words)) is not None


def _top(row: Row) -> float:
    return min(segment.box.top for segment in row)


def _bottom(row: Row) -> float:
    return max(segment.box.bottom for segment in row)


def _read_run(rows: Sequence[Row]) -> Table | None:
    multiple = [row for row in rows if len(row) > 1]
    if len(multiple) < _LEAST_ROWS and not _is_short_table(multiple):
        return None
    columns = _columns(multiple)
    if len(columns) < 2 or not _is_tabular(multiple, columns):
        return None
    gaps = [_top(below) - _bottom(above) for above, below in pairwise(rows)]
    loose = sorted(gaps)[len(gaps) * 3 // 4]
    tight = [False, *(gap < _TIGHT * loose for gap in gaps)]
    cells = _merge_wrapped([_cells(row, columns) for row in rows], tight)
    box = around(segment.box for row in rows for segment in row)
    return Table(box, cells, count_header_rows(cells), tuple(left for left, _ in columns))


def _is_short_table(rows: Sequence[Row]) -> bool:
    """Whether two rows, as the end of a page leaves them, are a table: the last one has numbers."""
    counts = {len(row) for row in rows}
    if len(rows) != _LEAST_ROWS - 1 or len(counts) != 1 or counts.pop() < _LEAST_SHORT_COLUMNS:
        return False
    values = sum(is_value(line_text(segment.words)) for segment in rows[-1])
    return values > 1


def _columns(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Left and right of each column: where nearly nothing stands is between them."""
    size = median(segment.size for row in rows for segment in row)
    edges = sorted(
        [(segment.box.left, 1) for row in rows for segment in row]
        + [(segment.box.right, -1) for row in rows for segment in row]
    )
    # One head over two columns hides their gap in few rows of a larger table only.
    least = max(2 if len(rows) > 4 else 1, _CROSSING_SHARE * len(rows))
    columns: list[tuple[float, float]] = []
    depth, start = 0, 0.0
    for x, step in edges:
        before, depth = depth, depth + step
        if before < least <= depth:
            start = x
        elif depth < least <= before:
            if columns and start - columns[-1][1] < _LEAST_GAP * size:
                start = columns.pop()[0]
            columns.append((start, x))
    return columns


def _is_tabular(rows: Sequence[Row], columns: Sequence[tuple[float, float]]) -> bool:
    """Whether the columns are those of a table, and not of running text."""
    held = [_by_column(row, columns) for row in rows]
    full = sum(sum(bool(cell) for cell in row) >= 2 for row in held)
    if full < 0.7 * len(rows):
        return False
    longest = 0.0
    prose = 0
    for index, (left, right) in enumerate(columns):
        cells = [segment for row in held for segment in row[index]]
        if not cells:
            continue
        chars = sum(_chars(cell) for cell in cells) / len(cells)
        fill = sum(cell.box.width for cell in cells) / len(cells) / max(right - left, 1.0)
        prose += fill > _PROSE_FILL and chars > _PROSE_CHARS
        longest = max(longest, chars)
    return prose < min(2, len(columns)) and longest <= _MOST_CELL_CHARS


def _chars(segment: Segment) -> int:
    return len(_LEADERS.sub(" ", " ".join(word.text for word in segment.words)))


def _by_column(row: Row, columns: Sequence[tuple[float, float]]) -> list[Row]:
    held: list[Row] = [[] for _ in columns]
    for segment in row:
        held[_column(segment, columns)].append(segment)
    return held


def _column(segment: Segment, columns: Sequence[tuple[float, float]]) -> int:
    """The column that it overlaps most, else the nearest one."""
    box = segment.box

    def common(index: int) -> float:
        left, right = columns[index]
        return min(box.right, right) - max(box.left, left)

    return max(range(len(columns)), key=common)


def _cells(row: Row, columns: Sequence[tuple[float, float]]) -> list[str]:
    """The cells of a row; a segment over several columns, like a group's head, is in each."""
    cells = [""] * len(columns)
    if len(row) == 1 and _is_wider(row[0], columns):
        return [line_text(row[0].words), *cells[1:]]
    for segment in row:
        for part in _split_at_gaps(segment, columns):
            over = _columns_under(part, columns)
            if len(over) < 2:
                over = [_column(part, columns)]
            for index in over:
                cells[index] = join(cells[index], line_text(part.words))
    return cells


def _is_wider(segment: Segment, columns: Sequence[tuple[float, float]]) -> bool:
    left, right = columns[_column(segment, columns)]
    return segment.box.left < left - 1 or segment.box.right > right + segment.size


def _columns_under(segment: Segment, columns: Sequence[tuple[float, float]]) -> list[int]:
    box = segment.box
    return [
        index
        for index, (left, right) in enumerate(columns)
        if box.left < (left + right) / 2 < box.right
    ]


def _split_at_gaps(segment: Segment, columns: Sequence[tuple[float, float]]) -> list[Segment]:
    """The segment, parted where a wider space lies between two columns."""
    parts: list[list[Word]] = [segment.words[:1]]
    for before, word in pairwise(segment.words):
        gap = word.box.left - before.box.right
        middle = (word.box.left + before.box.right) / 2
        between = any(
            right - 1 <= middle <= left + 1 for (_, right), (left, _) in pairwise(columns)
        )
        if between and gap > _SPACE * word.size:
            parts.append([word])
        else:
            parts[-1].append(word)
    return [make_segment(part) for part in parts]


def _merge_wrapped(rows: Sequence[list[str]], tight: Sequence[bool]) -> list[list[str]]:
    """Joins what was broken inside of a cell: rows without a beginning, and labels of two lines.

    `tight` says which rows stand nearer to the one above than rows do in this table.
    """
    result: list[list[str]] = []
    label = ""
    for number, row in enumerate(rows):
        alone = bool(row[0]) and not any(row[1:])
        following = rows[number + 1][0] if number + 1 < len(rows) else ""
        if alone and following[:1].islower() and any(rows[number + 1][1:]):
            label = join(label, row[0])
            continue
        if label:
            row = [join(label, row[0]), *row[1:]]
            label = ""
        goes_on = _goes_on(result[-1], row, tight[number]) if result else False
        if goes_on and (len(result) > 1 or tight[number]):
            result[-1] = [join(above, below) for above, below in zip(result[-1], row, strict=True)]
        else:
            result.append(row)
    return result


def _goes_on(above: Sequence[str], row: Sequence[str], tight: bool) -> bool:
    if any(is_value(cell) for cell in row):
        return False
    fewer = sum(map(bool, row)) < sum(map(bool, above))
    return not row[0] or (tight and fewer and any(row[1:]))


def count_header_rows(rows: Sequence[Sequence[str]]) -> int:
    """How many rows stand before the first one whose cells are mostly numbers, at least one."""
    for number, row in enumerate(rows[: _MOST_HEADER_ROWS + 1]):
        cells = [cell for cell in row[1:] if cell]
        values = sum(is_value(cell) and not _YEAR.fullmatch(cell) for cell in cells)
        if cells and 2 * values >= len(cells):
            return max(number, 1)
    return 1
