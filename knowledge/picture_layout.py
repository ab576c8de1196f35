"""Finds paragraphs, columns and tables among the lines of text in a picture, by where they lie."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

#: left, top, right, bottom.
Box = tuple[float, float, float, float]
#: left, right.
_Span = tuple[float, float]

# All in heights of a line, as the detector draws it (about 1.3 times the height of the print).
_NARROWEST_GUTTER = 0.7
_GUTTER_OF_ONE_ROW = 2.0
_NARROWEST_COLUMN = 7.0
_INDENT = 0.9
_WIDEST_LINE_GAP = 1.0
_WIDEST_STEP = 1.3
_TALL = 2.5
# Shares of the characters and of the lines of a column of prose.
_MOST_DIGITS = 0.5
_MOST_PARAGRAPHS = 0.6
_TALLEST_OF_A_PARAGRAPH = 1.35

_CHINESE_CLASS = r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\u201c\u201d\u2026\u2014]"
_CHINESE = re.compile(_CHINESE_CLASS)
_BETWEEN_CHINESE = re.compile(f"(?<={_CHINESE_CLASS}) +(?={_CHINESE_CLASS})")
_NARROW_MARKS = str.maketrans(",;:?!()", "，；：？！（）")
_NARROW_MARK = re.compile(f"(?<={_CHINESE_CLASS})[,;:?!()]|[,;:?!()](?={_CHINESE_CLASS})")
_WIDE_MARK = re.compile("[，；：？！（）]")
_HYPHENATED = re.compile(r"[a-z]{2}-$")
_ITEM = re.compile(
    r"[•●○■□◆▪·*\-–—] ?\w|\(?\d{1,3}[.)、）．]|[(（][一二三四五六七八九十\d]{1,3}[)）]"
    r"|[一二三四五六七八九十]{1,3}、|第.{1,4}[章节条]|[①-⑳]|(?:问|答|[QA])\d*[:：]"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of text in a picture and where it lies."""

    text: str
    box: Box
    #: Its number among the lines of the picture.
    number: int = 0

    @property
    def height(self) -> float:
        """Of the box, in pixels."""
        return self.box[3] - self.box[1]


#: The pieces whose text belongs together, in reading order.
Cell = list[Piece]


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, which is one row of one cell, or a table."""

    rows: list[list[Cell]]


def find_blocks(pieces: Sequence[Piece]) -> list[Block]:
    """The blocks of a picture in reading order; each piece is in one of them, once."""
    if not pieces:
        return []
    height = median(piece.height for piece in pieces)
    right = max(piece.box[2] for piece in pieces)
    # What is written downwards lies beside many lines, and would make one of them.
    across = [piece for piece in pieces if not _is_downward(piece, height)] or list(pieces)
    downward = [] if len(across) == len(pieces) else [p for p in pieces if p not in across]
    blocks: list[Block] = []
    lines: list[Cell] = []
    for band in _bands(_strips(across), height):
        if len(band.gutters) == 0:
            lines.extend(band.strips)
            continue
        blocks.extend(_paragraphs(lines, right))
        lines = []
        blocks.extend(_columns_or_table(band, height))
    blocks.extend(_paragraphs(lines, right))
    return blocks + [Block([[[piece]]]) for piece in downward]


def _is_downward(piece: Piece, height: float) -> bool:
    width = piece.box[2] - piece.box[0]
    return piece.height > _TALL * height and piece.height > _TALL * width


def join_lines(texts: Iterable[str]) -> str:
    """Lines of a paragraph as one: joined by a space, but by none next to a Chinese character.

    A word that a hyphen cuts at the end of a line becomes whole, without its hyphen.
    """
    joined = ""
    for text in texts:
        if joined and text[0].islower() and _HYPHENATED.search(joined):
            joined = joined[:-1]
        elif joined and not (_CHINESE.match(joined[-1]) or _CHINESE.match(text[0])):
            joined += " "
        joined += text
    return joined


def tidy(text: str) -> str:
    """Without the spaces that a recogniser sees between Chinese characters."""
    return _BETWEEN_CHINESE.sub("", " ".join(text.split()))


def widen_marks(texts: Sequence[str]) -> list[str]:
    """With the marks next to Chinese characters as wide as most of the page has them.

    In coarse print a recogniser takes some of the wide ones for narrow ones.
    """
    narrow = sum(len(_NARROW_MARK.findall(text)) for text in texts)
    wide = sum(len(_WIDE_MARK.findall(text)) for text in texts)
    if wide <= narrow:
        return list(texts)
    return [_NARROW_MARK.sub(lambda mark: mark[0].translate(_NARROW_MARKS), text) for text in texts]


def drop_strokes(pieces: Sequence[Piece]) -> list[Piece]:
    """Without the edges of paper and the rules of tables that were read as one character."""
    height = median(piece.height for piece in pieces) if pieces else 0.0
    return [
        piece
        for piece in pieces
        if len(piece.text) > 1
        or not (_is_downward(piece, height) or piece.box[2] - piece.box[0] > _TALL * piece.height)
    ]


def _strips(pieces: Sequence[Piece]) -> list[Cell]:
    """The pieces cut where a level line meets the middle of none; each strip from the left."""
    strips: list[Cell] = []
    lowest = 0.0
    for piece in sorted(pieces, key=lambda piece: (_middle(piece)[0], piece.box[0], piece.number)):
        top, bottom = _middle(piece)
        if strips and top < lowest:
            strips[-1].append(piece)
            lowest = max(lowest, bottom)
        else:
            strips.append([piece])
            lowest = bottom
    return [sorted(strip, key=lambda piece: (piece.box[0], piece.number)) for strip in strips]


def _middle(piece: Piece) -> _Span:
    """The middle half of its height: boxes of neighbouring lines may touch."""
    return piece.box[1] + piece.height / 4, piece.box[3] - piece.height / 4


@dataclass(frozen=True, slots=True)
class _Band:
    """Strips, one below the other, between whose pieces the same gutters run down."""

    strips: list[Cell]
    gutters: list[_Span]


def _bands(strips: Sequence[Cell], height: float) -> list[_Band]:
    bands: list[_Band] = []
    start = 0
    while start < len(strips):
        end, gutters = start + 1, _gutters(strips[start], height)
        while gutters and end < len(strips):
            common = _common(gutters, strips[end], height)
            if not common:
                break
            end, gutters = end + 1, common
        band = _Band(list(strips[start:end]), gutters)
        if len(band.strips) == 1 and not _is_row(band, height):
            band = replace(band, gutters=[])
        bands.append(band)
        start = end
    return bands


def _is_row(band: _Band, height: float) -> bool:
    """A line of prose may have a gap that is wide, one of a table has one that is wider."""
    return any(right - left >= _GUTTER_OF_ONE_ROW * height for left, right in band.gutters)


def _gutters(strip: Cell, height: float) -> list[_Span]:
    """The free spaces between the pieces of a strip."""
    found, edge = [], strip[0].box[2]
    for piece in strip[1:]:
        if piece.box[0] - edge >= _NARROWEST_GUTTER * height:
            found.append((edge, piece.box[0]))
        edge = max(edge, piece.box[2])
    return found


def _common(gutters: Sequence[_Span], strip: Cell, height: float) -> list[_Span]:
    """What a further strip leaves of gutters; nothing when one of its pieces lies across one."""
    left_over = list(gutters)
    for piece in strip:
        kept = []
        for left, right in left_over:
            before, after = (left, min(right, piece.box[0])), (max(left, piece.box[2]), right)
            widest = max(before, after, key=lambda span: span[1] - span[0])
            if widest[1] - widest[0] < _NARROWEST_GUTTER * height:
                return []
            kept.append(widest)
        left_over = kept
    return left_over


def _columns_or_table(band: _Band, height: float) -> list[Block]:
    columns = _columns(band, [piece for strip in band.strips for piece in strip])
    if _are_prose(columns, height):
        return [block for column in columns for block in find_blocks(column)]
    return _table(band, height)


def _columns(band: _Band, pieces: Sequence[Piece]) -> list[Cell]:
    """The pieces by the column that they lie in."""
    columns: list[Cell] = [[] for _ in range(len(band.gutters) + 1)]
    for piece in pieces:
        centre = (piece.box[0] + piece.box[2]) / 2
        columns[sum(centre > (left + right) / 2 for left, right in band.gutters)].append(piece)
    return columns


def _are_prose(columns: Sequence[Cell], height: float) -> bool:
    """Columns of prose are wide, and most of their lines go on in the next one."""
    if len(columns) > 4 or max(map(len, columns)) < 3:
        return False
    for column in columns:
        left, right = min(p.box[0] for p in column), max(p.box[2] for p in column)
        text = "".join(piece.text for piece in column)
        digits = sum(character.isdigit() for character in text)
        lines = _strips(column)
        if (
            right - left < _NARROWEST_COLUMN * height
            or digits > _MOST_DIGITS * len(text)
            or len(_paragraphs(lines, right)) > _MOST_PARAGRAPHS * len(lines)
        ):
            return False
    return not _is_table_of_prose(columns)


def _is_table_of_prose(columns: Sequence[Cell]) -> bool:
    """Cells of several lines begin at the same heights in all columns, paragraphs do not."""
    starts = [_paragraph_starts(column) for column in columns]
    if min(map(len, starts)) < 2 or len({len(found) for found in starts}) > 1:
        return False
    tolerance = median(piece.height for piece in columns[0]) / 2
    return all(max(row) - min(row) < tolerance for row in zip(*starts, strict=True))


def _paragraph_starts(column: Cell) -> list[float]:
    """The tops of the pieces below which a wider gap than usual ends."""
    tops = [piece.box[1] for piece in sorted(column, key=lambda piece: piece.box[1])]
    steps = [below - above for above, below in pairwise(tops)]
    usual = median(steps) if steps else 0.0
    return [top for top, step in zip(tops[1:], steps, strict=True) if step > 1.3 * usual]


def _table(band: _Band, height: float) -> list[Block]:
    """A table, and the lines of text above and below that only seemed to be in its first column."""
    first, last = 0, len(band.strips)
    while _is_only_first(band, first):
        first += 1
    while _is_only_first(band, last - 1):
        last -= 1
    right = max(piece.box[2] for strip in band.strips for piece in strip)
    rows = _join_wrapped(band, band.strips[first:last])
    return [
        *_paragraphs(band.strips[:first], right),
        Block([[_by_line(cell) for cell in _columns(band, row)] for row in rows]),
        *_paragraphs(band.strips[last:], right),
    ]


def _is_only_first(band: _Band, number: int) -> bool:
    columns = _columns(band, band.strips[number])
    return bool(columns[0]) and not any(columns[1:])


def _join_wrapped(band: _Band, strips: Sequence[Cell]) -> list[Cell]:
    """Strips joined to rows: what stands close to its neighbour and lacks cells is part of it."""
    rows = [list(strips[0])]
    gaps = [_gap(above, below) for above, below in pairwise(strips)]
    # Rows lie further apart than the lines of a cell; without two kinds of gaps nothing is joined.
    close = (min(gaps) + max(gaps)) / 2 if gaps and max(gaps) > 1.5 * max(min(gaps), 1) else 0.0
    for strip, gap in zip(strips[1:], gaps, strict=True):
        lacks = any(not all(_columns(band, part)) for part in (rows[-1], strip))
        if gap < close and lacks:
            rows[-1].extend(strip)
        else:
            rows.append(list(strip))
    return rows


def _gap(above: Cell, below: Cell) -> float:
    """Between the middles of two strips."""
    return min(_middle(piece)[0] for piece in below) - max(_middle(piece)[1] for piece in above)


def _by_line(pieces: Cell) -> Cell:
    return [piece for strip in _strips(pieces) for piece in strip]


def _paragraphs(lines: Sequence[Cell], right: float) -> list[Block]:
    """Lines joined to paragraphs; `right` is how far a full line reaches."""
    outlines = [_outline(line) for line in lines]
    steps = sorted(below[1] - above[1] for above, below in pairwise(outlines))
    usual = steps[len(steps) // 4] if steps else 0.0
    cells: list[Cell] = []
    for number, line in enumerate(lines):
        above = number - 1
        if (
            number
            and outlines[number][1] - outlines[above][1] <= _WIDEST_STEP * usual
            and _fits_below(outlines[above], outlines[number])
            and not _ITEM.match(line[0].text)
            and right - outlines[above][2] < _first_word_width(line, outlines[number])
        ):
            cells[-1].extend(line)
        else:
            cells.append(list(line))
    return [Block([[cell]]) for cell in cells]


def _fits_below(one: Box, other: Box) -> bool:
    """Whether a line may go on in the other: of the same size, close, and not indented."""
    low, high = sorted((one[3] - one[1], other[3] - other[1]))
    close = other[1] - one[3] <= _WIDEST_LINE_GAP * low
    return close and high <= _TALLEST_OF_A_PARAGRAPH * low and other[0] - one[0] <= _INDENT * low


def _first_word_width(line: Cell, outline: Box) -> float:
    """What the first word needs: a line above that ends with more room than this is a last one."""
    text = "".join(piece.text for piece in line)
    letter = (outline[2] - outline[0]) / len(text)
    word = re.split(f" |(?={_CHINESE_CLASS})", text, maxsplit=1)[0]
    return (len(word) + 3) * letter + outline[3] - outline[1]


def _outline(line: Cell) -> Box:
    lefts, tops, rights, bottoms = zip(*(piece.box for piece in line), strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)
