"""Excel: .xlsx and .xlsm; a sheet with a question column is an FAQ, any other a table."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kfbot.errors import DocumentUnreadable
from knowledge.documents import Section, SourceFile
from knowledge.formats.contract import Found, whole_file
from knowledge.formats.office import (
    attribute,
    child,
    core_facts,
    elements,
    load,
    read_relations,
)
from knowledge.formats.packages import damaged, open_package
from knowledge.formats.rows import RowFault, faq_columns, faq_row, is_faq, limit_faults
from knowledge.formats.tables import split_caption, table_text
from knowledge.formats.xlsx_sheet import Row, Sheet, SheetReader, read_strings
from knowledge.formats.xlsx_values import Formats
from knowledge.markup import heading_of

# Titles and notes may stand above the header.
_HEADER_WITHIN_ROWS = 10
_MOST_HEADER_ROWS = 3
_LONGEST_HEADER = 60


@dataclass(frozen=True, slots=True)
class _Listed:
    """A sheet as the workbook lists it."""

    name: str
    member: str
    is_hidden: bool


def read_xlsx(file: SourceFile) -> Iterator[Found | DocumentUnreadable]:
    """See `Reader`. Saved values are read, formulas never computed; hidden parts are left out."""
    counts: Counter[str] = Counter()
    sections: list[Section] = []
    with open_package(file.path) as package:
        listed, reader = _open_workbook(package)
        for one in listed:
            if one.is_hidden:
                counts["hidden sheets left out"] += 1
                continue
            sheet = reader.read(package, one.member)
            counts.update(sheet.counts)
            if sheet.unsaved:
                yield _unsaved(file, one.name, sheet)
            header = _faq_header(sheet)
            if header is None:
                sections.extend(_tables(one.name, sheet))
            else:
                yield from limit_faults(file, _entries(file, one.name, sheet, header))
        facts = core_facts(package)
    title = facts.pop("title", "")
    yield from whole_file(file, tuple(sections), title=title, metadata=facts, counts=+counts)


def _open_workbook(package: zipfile.ZipFile) -> tuple[list[_Listed], SheetReader]:
    roots = read_relations(package, "").values()
    main = next((one.target for one in roots if one.kind == "officeDocument"), "xl/workbook.xml")
    workbook = load(package, main)
    if workbook is None:
        raise damaged(main)
    relations = read_relations(package, main)
    kinds = {relation.kind: relation.target for relation in relations.values()}
    since_1904 = attribute(child(workbook, "workbookPr"), "date1904") in ("1", "true")
    formats = Formats(load(package, kinds.get("styles", "")), since_1904=since_1904)
    listed = []
    for sheet in elements(child(workbook, "sheets")):
        relation = relations.get(attribute(sheet, "id"))
        # Sheets of charts and macros hold no cells.
        if relation is not None and relation.kind == "worksheet":
            hidden = attribute(sheet, "state") in ("hidden", "veryHidden")
            listed.append(_Listed(attribute(sheet, "name"), relation.target, hidden))
    return listed, SheetReader(read_strings(package, kinds.get("sharedStrings", "")), formats)


def _unsaved(file: SourceFile, name: str, sheet: Sheet) -> DocumentUnreadable:
    others = f" and {sheet.unsaved_count - 1} more" if sheet.unsaved_count > 1 else ""
    return DocumentUnreadable(
        file.name,
        f"sheet {heading_of(name)}: the formula in {sheet.unsaved}{others} has no saved value: "
        "open it in Excel and save it again",
    )


# FAQ


def _faq_header(sheet: Sheet) -> int | None:
    """Where among the rows the header of an FAQ stands, if there is one."""
    for number, row in enumerate(sheet.rows[:_HEADER_WITHIN_ROWS]):
        if len(row.cells) > 1 and is_faq(faq_columns(_cells(row))):
            return number
    return None


def _entries(
    file: SourceFile, name: str, sheet: Sheet, header: int
) -> Iterator[Found | DocumentUnreadable]:
    columns = faq_columns(_cells(sheet.rows[header]))
    for row in sheet.rows[header + 1 :]:
        place = f"sheet {heading_of(name)}, row {row.number + 1}: "
        try:
            yield Found(faq_row(file, columns, _cells(row)), place)
        except RowFault as error:
            yield DocumentUnreadable(file.name, f"{place}{error}")


def _cells(row: Row) -> list[str]:
    return [row.cells.get(column, "") for column in range(max(row.cells) + 1)]


# Tables


def _tables(name: str, sheet: Sheet) -> Iterator[Section]:
    """The tables of a sheet, one section: their rows are parted by empty ones."""
    parts = []
    for block in _blocks(sheet.rows):
        columns = sorted({column for row in block for column in row.cells})
        grid = [[row.cells.get(column, "") for column in columns] for row in block]
        captions, rows = split_caption(grid)
        parts.extend(captions)
        if len(columns) == 1:
            parts.append("\n".join(row[0] for row in rows))
        else:
            header_rows = _header_rows(sheet, block[len(grid) - len(rows) :])
            parts.append(table_text(rows, header_rows=header_rows))
    if parts:
        yield Section(heading_of(name), "\n\n".join(parts))


def _blocks(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows that belong together; below an empty row a table goes on if it has its columns."""
    block: list[Row] = []
    for row in rows:
        if block and row.number > block[-1].number + 1 and not _goes_on(block, row):
            yield block
            block = []
        block.append(row)
    if block:
        yield block


def _goes_on(block: Sequence[Row], row: Row) -> bool:
    above = block[-1].cells
    return len(above) > 1 and min(above) == min(row.cells) and max(above) == max(row.cells)


def _header_rows(sheet: Sheet, rows: Sequence[Row]) -> int:
    """How many rows the header has: cells merged across in it stand above others."""
    if not rows or not sheet.merged:
        return 1
    top = rows[0].number
    begin = [area for area in sheet.merged if area.top == top]
    if any(len(rows[0].cells.get(area.left, "")) > _LONGEST_HEADER for area in begin):
        return 1
    across = any(area.right > area.left for area in begin)
    down = max((area.bottom - top + 1 for area in begin), default=1)
    # Down alone is a first cell for several rows of a table without a header.
    return min(max(down, 2), _MOST_HEADER_ROWS, len(rows)) if across else 1
