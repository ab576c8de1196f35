"""Tables as text: each row is one line, in which its cells stay together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# The limits of HTML; a word processor knows no wider cells.
_MOST_ACROSS = 1000
_MOST_DOWN = 65534
# A merged cell that holds a whole paragraph says it once.
_LONGEST_REPEATED = 200


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell that may cover several columns and rows."""

    text: str
    across: int = 1
    down: int = 1


def table_text(rows: Sequence[Sequence[str]], *, header_rows: int = 1) -> str:
    """The rows as a CommonMark table, one row a line; "" when no cell says anything.

    The first row that says anything is the header; `header_rows` rows become one header. Bars in
    cells are escaped, line breaks become spaces, short rows are filled up, rows and columns in
    which nothing stands are dropped.
    """
    table = _drop_empty([[" ".join(cell.split()) for cell in row] for row in rows])
    if not table:
        return ""
    head = _join_headers(table[:header_rows]) if header_rows > 1 else table[0]
    lines = [_line(head), _line(["---"] * len(head))]
    lines.extend(_line(row) for row in table[max(header_rows, 1) :])
    return "\n".join(lines)


def split_caption(rows: Sequence[Sequence[str]]) -> tuple[list[str], Sequence[Sequence[str]]]:
    """The titles that stand as rows above a table's header, and the rows below them.

    A title is a row whose cells all say the same, as a cell merged over the whole width does, or
    whose first cell alone says something in a table of three or more columns.
    """
    captions: list[str] = []
    width = max((sum(bool(cell.strip()) for cell in row) for row in rows), default=0)
    for number, row in enumerate(rows):
        texts = [text for cell in row if (text := " ".join(cell.split()))]
        merged = len(texts) >= max(width, 2) and len(set(texts)) == 1
        alone = len(texts) == 1 and width > 2 and bool(row[0].strip())
        if texts and not merged and not alone:
            return captions, rows[number:]
        captions.extend(texts[:1])
    # Titles all the way down: the rows of a plain list.
    return [], rows


def fill_spans(rows: Iterable[Sequence[Cell]]) -> list[list[str]]:
    """The grid of a table in which a merged cell's text stands in each place that it covers.

    Columns in which no cell begins are left out; a long text stands in its first place only.
    """
    grid: list[dict[int, str]] = []
    starts: set[int] = set()
    #: For each column that a cell above reaches down to: rows left, its text.
    hanging: dict[int, tuple[int, str]] = {}
    for row in rows:
        line = {column: text for column, (_, text) in hanging.items()}
        reaching = {column: (left - 1, text) for column, (left, text) in hanging.items()}
        column = 0
        for cell in row:
            while column in line:
                column += 1
            starts.add(column)
            _place(cell, column, line, reaching)
        hanging = {column: hung for column, hung in reaching.items() if hung[0] > 0}
        grid.append(line)
    kept = sorted(starts)
    return [[line.get(column, "") for column in kept] for line in grid]


def _place(
    cell: Cell, column: int, line: dict[int, str], reaching: dict[int, tuple[int, str]]
) -> None:
    repeated = cell.text if len(cell.text) <= _LONGEST_REPEATED else ""
    down = min(max(cell.down, 1), _MOST_DOWN) - 1
    for covered in range(column, column + min(max(cell.across, 1), _MOST_ACROSS)):
        if covered > column and covered in line:
            return
        line[covered] = cell.text if covered == column else repeated
        if down:
            reaching[covered] = (down, repeated)


def _drop_empty(rows: list[list[str]]) -> list[list[str]]:
    used = sorted({column for row in rows for column, cell in enumerate(row) if cell})
    return [
        [row[column] if column < len(row) else "" for column in used] for row in rows if any(row)
    ]


def _join_headers(rows: list[list[str]]) -> list[str]:
    """One header of several, read from above, without what a merged cell repeats."""
    return [" ".join(dict.fromkeys(filter(None, column))) for column in zip(*rows, strict=True)]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
