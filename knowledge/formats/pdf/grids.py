"""Tables with ruling lines: their cells, and what stands in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from knowledge.formats.pdf.content import Box, Word, around
from knowledge.formats.pdf.lines import find_rows, join, line_text

# pdfplumber's own tolerances.
_SNAP = 3.0
# Beyond these a page draws a chart or a map; the search takes time by their product.
_MOST_RULINGS = 4000
_MOST_CROSSINGS = 400_000
_LEAST_FILLED = 0.3
_MOST_GAPPED = 0.3
_FEW_CELLS = 4
_BESIDE = 30.0


@dataclass(slots=True)
class Table:
    """A table of a page; `rows` are all of one length."""

    box: Box
    rows: list[list[str]]
    header_rows: int
    #: Left edges of its columns, to know it again on the next page.
    columns: tuple[float, ...]
    #: A title that stood in the table's first row.
    caption: str = ""


@dataclass(slots=True)
class Grid:
    """The cells that ruling lines make."""

    box: Box
    cells: list[Box]
    lefts: list[float]
    tops: list[float]


def find_grids(rulings: Sequence[Box]) -> list[Grid]:
    """The grids of a page, from the top: of at least two rows or columns."""
    from pdfplumber import table as plumber

    level = sum(1 for line in rulings if line.height <= line.width)
    too_many = level * (len(rulings) - level) > _MOST_CROSSINGS
    if len(rulings) < 4 or len(rulings) > _MOST_RULINGS or too_many:
        return []
    edges = plumber.merge_edges([_edge(line) for line in rulings], _SNAP, _SNAP, _SNAP, _SNAP)
    edges = [edge for edge in edges if max(edge["width"], edge["height"]) >= _SNAP]
    crossings: Any = plumber.edges_to_intersections(edges, _SNAP, _SNAP)
    found = plumber.cells_to_tables(plumber.intersections_to_cells(crossings))
    grids = [make_grid([Box(*cell) for cell in cells]) for cells in found if len(cells) > 1]
    return sorted(grids, key=lambda grid: grid.box.top)


def _edge(line: Box) -> dict[str, Any]:
    return {
        "object_type": "line",
        "orientation": "h" if line.height <= line.width else "v",
        "x0": line.left,
        "x1": line.right,
        "top": line.top,
        "bottom": line.bottom,
        "width": line.width,
        "height": line.height,
    }


def make_grid(cells: list[Box]) -> Grid:
    """The grid of these cells, which are at least one."""
    return Grid(
        around(cells),
        cells,
        _distinct(cell.left for cell in cells),
        _distinct(cell.top for cell in cells),
    )


def _distinct(values: Iterable[float]) -> list[float]:
    kept: list[float] = []
    for value in sorted(values):
        if not kept or value - kept[-1] > _SNAP:
            kept.append(value)
    return kept


def trim(grid: Grid, words: Sequence[Word]) -> Grid | None:
    """The grid without frames around titles above and notes below it; None when nothing is left.

    Their words stand in the text around the table then.
    """
    cells = sorted(grid.cells, key=lambda cell: cell.top)
    wide = [cell.width > 0.98 * grid.box.width for cell in cells]
    start = next((index for index, whole in enumerate(wide) if not whole), len(cells))
    end = next((index for index in range(len(cells), 0, -1) if not wide[index - 1]), 0)
    return make_grid(cells[start:end]) if end - start > 1 else None


def read_grid(grid: Grid, words: Sequence[Word]) -> Table | None:
    """The table in a grid; None when the lines are a frame or a chart, or lack columns."""
    if len(grid.lefts) < 2 or len(grid.tops) < 2:
        return None
    held = _words_of_cells(grid, words)
    inside = [word for word in words if grid.box.holds(word.box.middle)]
    filled = sum(1 for words_of_cell in held if words_of_cell)
    if not inside or filled < _LEAST_FILLED * len(held) or filled < 2:
        return None
    if sum(len(words_of_cell) for words_of_cell in held) < 0.9 * len(inside):
        return None
    if _is_gapped(grid, held) or _is_part(grid, words):
        return None
    places, spans = _fill(grid, held)
    rows = [row for band in places for row in _read_band(grid, band)]
    return Table(grid.box, rows, _header_rows(grid, spans), tuple(grid.lefts))


def _words_of_cells(grid: Grid, words: Sequence[Word]) -> list[list[Word]]:
    held: list[list[Word]] = [[] for _ in grid.cells]
    for word in words:
        for index, cell in enumerate(grid.cells):
            if cell.holds(word.box.middle):
                held[index].append(word)
                break
    return held


def _is_gapped(grid: Grid, held: Sequence[Sequence[Word]]) -> bool:
    """Whether cells hold columns of their own: their lines have wide gaps."""
    lines = gapped = 0
    for cell, words in zip(grid.cells, held, strict=True):
        across = sum(_begins(left, cell.left, cell.right) for left in grid.lefts)
        for row in find_rows(word for word in words if word.upright):
            lines += 1
            gapped += len(row) > across
    return gapped > _MOST_GAPPED * lines


def _is_part(grid: Grid, words: Sequence[Word]) -> bool:
    """Whether a few cells are drawn in a larger table: words stand beside them, left and right."""
    if len(grid.cells) > _FEW_CELLS:
        return False
    box = grid.box
    level = [word for word in words if box.top <= word.box.middle[1] <= box.bottom]
    left = sum(1 for word in level if box.left - _BESIDE < word.box.right < box.left + 1)
    right = sum(1 for word in level if box.right - 1 < word.box.left < box.right + _BESIDE)
    return left > 1 and right > 1


_Lines = list[str]


def _fill(grid: Grid, held: Sequence[list[Word]]) -> tuple[list[list[_Lines]], Counter[int]]:
    """All places of the grid, a merged cell's lines in each of its own; row spans of the first row.

    A cell over the whole width says its text once.
    """
    places: list[list[_Lines]] = [[[] for _ in grid.lefts] for _ in grid.tops]
    spans: Counter[int] = Counter()
    for cell, words in zip(grid.cells, held, strict=True):
        across = [i for i, left in enumerate(grid.lefts) if _begins(left, cell.left, cell.right)]
        down = [i for i, top in enumerate(grid.tops) if _begins(top, cell.top, cell.bottom)]
        if down and down[0] == 0:
            spans[len(down)] += len(across)
        whole = len(across) == len(grid.lefts)
        for row in down:
            for column, lines in _lines_of_cell(grid, across, words).items():
                if not whole or column == across[0]:
                    places[row][column] = lines
    return places, spans


def _lines_of_cell(grid: Grid, across: list[int], words: list[Word]) -> dict[int, _Lines]:
    """The lines of a cell for each column that it covers.

    A line with gaps in a cell over several columns says something of each column.
    """
    held: dict[int, _Lines] = {column: [] for column in across}
    for row in find_rows(word for word in words if word.upright):
        if len(row) == 1 or len(across) == 1:
            text = line_text([word for segment in row for word in segment.words])
            for lines in held.values():
                lines.append(text)
            continue
        for segment in row:
            middle = segment.box.middle[0]
            column = max((i for i in across if grid.lefts[i] <= middle), default=across[0])
            held[column].append(line_text(segment.words))
    for word in words:
        if not word.upright:
            for lines in held.values():
                lines.append(word.text)
    return held


def _read_band(grid: Grid, band: list[_Lines]) -> list[list[str]]:
    """A row of the grid; several where the lines between them are not drawn.

    So it is where nearly all cells have equally many lines and half of these hold numbers only.
    """
    filled = [lines for lines in band if lines]
    count = max((len(lines) for lines in filled), default=0)
    full = [lines for lines in filled if len(lines) == count]
    values = sum(all(is_value(line) for line in lines) for lines in full)
    if count > 1 and len(full) >= 0.8 * len(filled) and 2 * values >= len(full) > 1:
        return [[lines[i] if i < len(lines) else "" for lines in band] for i in range(count)]
    return [[cell_text(lines) for lines in band]]


def cell_text(lines: Sequence[str]) -> str:
    """The lines of a cell as one text."""
    text = ""
    for line in lines:
        text = join(text, line)
    return text


def is_value(text: str) -> bool:
    """Whether a text is a number, a share, a dash or the like."""
    digits = sum(character.isdigit() for character in text)
    return bool(text) and (digits * 2 >= len(text.replace(" ", "")) or text in "-–—−/")


def _begins(edge: float, start: float, end: float) -> bool:
    return start - _SNAP <= edge < end - _SNAP


def _header_rows(grid: Grid, spans: Counter[int]) -> int:
    """Two or more where some cells of the first row reach down beside others that do not."""
    deepest = max(spans, default=1)
    both = len(spans) > 1 and deepest <= 3 and deepest < len(grid.tops)
    return deepest if both and spans[deepest] < len(grid.lefts) else 1
