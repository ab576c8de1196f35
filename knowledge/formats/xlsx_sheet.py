"""One sheet of an Excel file as rows of texts, read as a stream: memory for what is there only.

Read from the XML itself: openpyxl believes the sheet's dimension, makes an object of each empty
formatted cell, cannot see merged cells and hidden rows while it streams, and refuses files whose
styles are odd though their cells are sound.
Format: ECMA-376, part 1, SpreadsheetML.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from knowledge.cleaning import clean
from knowledge.formats.office import attribute, child, elements, local
from knowledge.formats.packages import damaged
from knowledge.formats.xlsx_values import Formats

_PLACE = re.compile(r"([A-Z]{1,3})([1-9]\d{0,6})")
_MOST_ROWS = 1_048_576
_MOST_COLUMNS = 16_384
_MOST_MERGES = 100_000
# A merged cell that holds a whole paragraph says it once.
_LONGEST_REPEATED = 200
_ERRORS = {"#N/A", "#DIV/0!", "#REF!", "#VALUE!", "#NAME?", "#NUM!", "#NULL!"}


@dataclass(frozen=True, slots=True)
class Row:
    """A row in which something stands; both counts are from 0."""

    number: int
    cells: dict[int, str]


@dataclass(frozen=True, slots=True)
class Area:
    """The cells that a merged one covers."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(slots=True)
class Sheet:
    """What is shown of a sheet."""

    rows: list[Row] = field(default_factory=list)
    merged: list[Area] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    #: The first formula without a saved value, and how many there are.
    unsaved: str = ""
    unsaved_count: int = 0


class SheetReader:
    """Reads the sheets of one workbook."""

    def __init__(self, strings: Sequence[str], formats: Formats) -> None:
        self._strings = strings
        self._formats = formats

    def read(self, package: zipfile.ZipFile, member: str) -> Sheet:
        """A sheet without hidden rows and columns, its merged cells filled.

        Raises:
            FileFault: It is damaged.
        """
        from lxml import etree

        sheet = Sheet()
        hidden: set[int] = set()
        number = -1
        options: dict[str, Any] = {"resolve_entities": False, "no_network": True}
        try:
            with package.open(member) as stream:
                for _, element in etree.iterparse(stream, tag=_TAGS, **options):
                    name = local(element)
                    if name == "row":
                        number = self._read_row(element, number, sheet)
                    elif name == "col" and attribute(element, "hidden") in ("1", "true"):
                        hidden.update(_columns(element))
                    elif name == "mergeCell" and len(sheet.merged) < _MOST_MERGES:
                        sheet.merged.extend(_area(attribute(element, "ref")))
                    _forget(element)
        except (etree.XMLSyntaxError, KeyError):
            raise damaged(member) from None
        _fill(sheet)
        _hide_columns(sheet, hidden)
        return sheet

    def _read_row(self, element: Any, before: int, sheet: Sheet) -> int:
        """Add a row, and say its number."""
        shown = attribute(element, "r")
        number = int(shown) - 1 if shown.isdecimal() and len(shown) < 8 else before + 1
        cells: dict[int, str] = {}
        column = -1
        for cell in elements(element):
            match = _PLACE.fullmatch(cell.get("r", ""))
            column = _column(match[1]) if match else column + 1
            text = self._text(cell, sheet, number, column)
            if text and column < _MOST_COLUMNS:
                cells[column] = text
        if cells and number < _MOST_ROWS:
            if attribute(element, "hidden") in ("1", "true"):
                sheet.counts["hidden rows left out"] += 1
            else:
                sheet.rows.append(Row(number, cells))
        return number

    def _text(self, cell: Any, sheet: Sheet, row: int, column: int) -> str:
        # These have no namespace; a sheet may have millions of cells.
        kind = cell.get("t", "n")
        value = child(cell, "v")
        if kind == "inlineStr":
            return clean(rich_text(child(cell, "is"))).strip()
        if value is None and child(cell, "f") is not None:
            sheet.unsaved = sheet.unsaved or f"{_letters(column)}{row + 1}"
            sheet.unsaved_count += 1
        text = (value.text or "") if value is not None else ""
        if kind == "e" or text in _ERRORS:
            sheet.counts["cells with errors left out"] += 1
            return ""
        return self._shown(text, kind, cell.get("s", "0")) if text else ""

    def _shown(self, text: str, kind: str, style: str) -> str:
        if kind == "s":
            known = text.isdecimal() and len(text) < 9 and int(text) < len(self._strings)
            return self._strings[int(text)] if known else ""
        if kind == "n":
            return self._formats.shown(text, style)
        if kind == "b":
            return "TRUE" if text == "1" else "FALSE"
        return clean(text).strip().removesuffix("T00:00:00")


_TAGS = ("{*}row", "{*}col", "{*}mergeCell")


def rich_text(element: Any) -> str:
    """The text of a string, whose runs differ in looks; how it is pronounced is left out."""
    parts = []
    for part in elements(element):
        if local(part) == "t":
            parts.append(part.text or "")
        elif local(part) == "r":
            parts.append("".join(inner.text or "" for inner in part if local(inner) == "t"))
    # What XML cannot hold is written as its number.
    return re.sub("_x([0-9A-Fa-f]{4})_", lambda match: chr(int(match[1], 16)), "".join(parts))


def read_strings(package: zipfile.ZipFile, member: str) -> list[str]:
    """The strings that the cells of a workbook share.

    Raises:
        FileFault: They are damaged.
    """
    from lxml import etree

    strings = []
    options: dict[str, Any] = {"resolve_entities": False, "no_network": True}
    try:
        with package.open(member) as stream:
            for _, element in etree.iterparse(stream, tag="{*}si", **options):
                strings.append(clean(rich_text(element)).strip())
                _forget(element)
    except KeyError:
        return []
    except etree.XMLSyntaxError:
        raise damaged(member) from None
    return strings


def _forget(element: Any) -> None:
    """Free an element that has been read, and those before it."""
    element.clear()
    while element.getprevious() is not None:
        del element.getparent()[0]


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _letters(column: int) -> str:
    text = ""
    while column >= 0:
        column, rest = divmod(column, 26)
        text = chr(ord("A") + rest) + text
        column -= 1
    return text


def _columns(element: Any) -> range:
    first, last = attribute(element, "min"), attribute(element, "max")
    if not (first.isdecimal() and last.isdecimal() and len(first + last) < 12):
        return range(0)
    return range(int(first) - 1, min(int(last), _MOST_COLUMNS))


def _area(reference: str) -> Iterator[Area]:
    first, _, last = reference.partition(":")
    start, end = _PLACE.fullmatch(first), _PLACE.fullmatch(last)
    if start and end:
        yield Area(int(start[2]) - 1, _column(start[1]), int(end[2]) - 1, _column(end[1]))


def _fill(sheet: Sheet) -> None:
    """Write each merged cell's text into the places that it covers, in rows that are there."""
    rows = {row.number: row for row in sheet.rows}
    last = sheet.rows[-1].number if sheet.rows else 0
    widest = max((column for row in sheet.rows for column in row.cells), default=0)
    for area in sheet.merged:
        text = rows[area.top].cells.get(area.left, "") if area.top in rows else ""
        if not 0 < len(text) <= _LONGEST_REPEATED:
            continue
        for number in range(area.top, min(area.bottom, last) + 1):
            if row := rows.get(number):
                for column in range(area.left, min(area.right, widest) + 1):
                    row.cells.setdefault(column, text)


def _hide_columns(sheet: Sheet, hidden: set[int]) -> None:
    used = hidden & {column for row in sheet.rows for column in row.cells}
    if not used:
        return
    sheet.counts["hidden columns left out"] += len(used)
    for row in sheet.rows:
        for column in used:
            row.cells.pop(column, None)
    sheet.rows = [row for row in sheet.rows if row.cells]
