"""Rows of FAQ entries or documents: CSV and JSON lines."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TextIO

from kfbot.errors import DocumentUnreadable
from knowledge.cleaning import clean
from knowledge.documents import Document, Section, SourceFile
from knowledge.formats.contract import FileFault, Found, open_text
from knowledge.front_matter import FACTS, fact_name, name_facts
from knowledge.markup import web_address

# The default of csv, 128 KB, is less than a long answer.
_LONGEST_CELL = 50 * 1024 * 1024
# A file of another schema would be named once a row.
_MOST_FAULTS = 100


#: What the columns of an FAQ are called; "相似问1", "相似问2" are variants, too.
_COLUMNS = {
    "question": "question|问题|問題|问|問|标准问|标准问题|標準問題",
    "answer": "answer|答案|回答|答|标准答案|答复",
    "variants": r"(?:variants?|相似问[题法]?|相似問[題法]?|变体|變體|扩展问)\s*\d*",
    "id": "id|编号|編號",
}


class RowFault(ValueError):
    """A row is no FAQ entry and no document; its text says why."""


def read_csv(file: SourceFile) -> Iterator[Found | DocumentUnreadable]:
    """See `Reader`."""
    csv.field_size_limit(_LONGEST_CELL)
    with open_text(file, newline="") as stream:
        skipped, first = _first_line(stream)
        header, delimiter = _header(first)
        if is_faq(header):
            rows = csv.reader(chain([first], stream), delimiter=delimiter, strict=True)
            try:
                next(rows)
            except csv.Error as error:
                raise FileFault(f"line {skipped + 1}: {_fault_of(error)}") from None
            yield from limit_faults(file, _csv_rows(file, rows, header, skipped))
        elif first:
            raise FileFault("no question column")


def _first_line(stream: TextIO) -> tuple[int, str]:
    """The first line that is not blank, and how many are before it."""
    for number, line in enumerate(stream):
        if line.strip():
            return number, line
    return 0, ""


def _header(line: str) -> tuple[list[str], str]:
    """The column names in small letters, and the delimiter by which they are found."""
    for delimiter in ",;\t":
        names = next(csv.reader([line], delimiter=delimiter), [])
        columns = faq_columns(names)
        if is_faq(columns):
            return columns, delimiter
    return [], ","


def faq_columns(names: Iterable[str]) -> list[str]:
    """The columns of a table as `faq_entry` knows them, in Chinese or English."""
    columns = []
    for name in names:
        shown = fact_name(name)
        known = (one for one, form in _COLUMNS.items() if re.fullmatch(form, shown))
        columns.append(next(known, shown))
    return columns


def is_faq(columns: Sequence[str]) -> bool:
    """Whether a table with these columns holds FAQ entries."""
    return "question" in columns


def _csv_rows(
    file: SourceFile, rows: Any, header: Sequence[str], skipped: int
) -> Iterator[Found | DocumentUnreadable]:
    while True:
        place = f"line {skipped + rows.line_num + 1}: "
        try:
            cells = next(rows, None)
            if cells is None:
                return
            if any(cell.strip() for cell in cells):
                yield Found(faq_row(file, header, cells), place)
        except (csv.Error, RowFault) as error:
            yield DocumentUnreadable(file.name, place + _fault_of(error))


def _fault_of(error: Exception) -> str:
    return str(error).replace("unexpected end of data", "a quote is not closed")


def faq_row(file: SourceFile, columns: Sequence[str], cells: Sequence[str]) -> Document:
    """The FAQ entry in a row of a table.

    Raises:
        RowFault: It is none.
    """
    if any(cell.strip() for cell in cells[len(columns) :]):
        raise RowFault("more cells than columns")
    row: dict[str, object] = {}
    variants: list[str] = []
    for column, cell in zip(columns, cells, strict=False):
        if column == "variants":
            variants.extend(re.split(r"[|｜\r\n]", cell))
        elif not row.get(column):
            row[column] = cell
    row["variants"] = variants
    row["id"] = str(row.get("id", "")).strip()
    return _faq_entry(file, row)


def read_jsonl(file: SourceFile) -> Iterator[Found | DocumentUnreadable]:
    """See `Reader`."""
    with open_text(file) as stream:
        yield from limit_faults(file, _json_rows(file, stream))


def _json_rows(file: SourceFile, stream: TextIO) -> Iterator[Found | DocumentUnreadable]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        place = f"line {number}: "
        try:
            yield Found(_json_document(file, line), place)
        except RowFault as error:
            yield DocumentUnreadable(file.name, f"{place}{error}")


def _json_document(file: SourceFile, line: str) -> Document:
    try:
        row = json.loads(line.lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise RowFault("not JSON") from error
    if not isinstance(row, dict):
        raise RowFault("not a JSON object")
    if row.get("question") is not None or row.get("text") is None:
        if "question" not in row:
            raise RowFault("neither question nor text")
        return _faq_entry(file, row)
    text = _text(row, "text").strip("\n").rstrip()
    if not text:
        raise RowFault("text is empty")
    return Document(
        id=_id(row),
        kind="document",
        title=_text(row, "title").strip(),
        url=web_address(_text(row, "url")) or file.url,
        path=str(file.path),
        sections=(Section("", text),),
        metadata={**file.metadata, **_facts(row)},
    )


def _faq_entry(file: SourceFile, row: Mapping[str, object]) -> Document:
    question = _text(row, "question").strip()
    if not question:
        raise RowFault("question is empty")
    variants = row.get("variants") or []
    if not isinstance(variants, list) or not all(isinstance(text, str) for text in variants):
        raise RowFault("variants is no list of texts")
    return Document(
        id=_id(row),
        kind="faq",
        url=web_address(_text(row, "url")) or file.url,
        path=str(file.path),
        question=question,
        answer=_text(row, "answer").strip(),
        variants=tuple(text for variant in variants if (text := clean(variant).strip())),
        metadata={**file.metadata, **_facts(row)},
    )


def _facts(row: Mapping[str, object]) -> dict[str, str]:
    """The short cells that filters may ask for: product, version, date, …"""
    facts = name_facts({name: value for name, value in row.items() if fact_name(name) in FACTS})
    return {name: fact for name, fact in facts.items() if name not in ("title", "url")}


def _text(row: Mapping[str, object], key: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RowFault(f"{key} is no text")
    return clean(str(value))


def _id(row: Mapping[str, object]) -> str:
    """The id exactly as it is written; "" when there is none."""
    value = row.get("id")
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowFault("id is no text")
    text = str(value)
    if re.search("[\x00\ud800-\udfff]", text):
        raise RowFault("id has characters that cannot be stored")
    return text if text.strip() else ""


def limit_faults(
    file: SourceFile, rows: Iterable[Found | DocumentUnreadable]
) -> Iterator[Found | DocumentUnreadable]:
    """Name the first faults of a file, and count the others."""
    faults = 0
    for row in rows:
        faults += isinstance(row, DocumentUnreadable)
        if faults <= _MOST_FAULTS or not isinstance(row, DocumentUnreadable):
            yield row
    if faults > _MOST_FAULTS:
        reason = f"{faults - _MOST_FAULTS} more rows cannot be read"
        yield DocumentUnreadable(file.name, reason)
