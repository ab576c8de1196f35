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
from knowledge.markup import web_address

# The default of csv, 128 KB, is less than a long answer.
_LONGEST_CELL = 50 * 1024 * 1024
# A file of another schema would be named once a row.
_MOST_FAULTS = 100


class _RowFault(ValueError):
    """A row is no FAQ entry and no document; its text says why."""


def read_csv(file: SourceFile) -> Iterator[Found | DocumentUnreadable]:
    """See `Reader`."""
    csv.field_size_limit(_LONGEST_CELL)
    with open_text(file, newline="") as stream:
        skipped, first = _first_line(stream)
        header, delimiter = _header(first)
        if "question" in header:
            rows = csv.reader(chain([first], stream), delimiter=delimiter, strict=True)
            next(rows)
            yield from _limit_faults(file, _csv_rows(file, rows, header, skipped))
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
        columns = [clean(name).strip().lower() for name in names]
        if "question" in columns:
            return columns, delimiter
    return [], ","


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
                yield Found(_csv_entry(file, header, cells), place)
        except (csv.Error, _RowFault) as error:
            reason = str(error).replace("unexpected end of data", "a quote is not closed")
            yield DocumentUnreadable(file.name, place + reason)


def _csv_entry(file: SourceFile, header: Sequence[str], cells: Sequence[str]) -> Document:
    if any(cell.strip() for cell in cells[len(header) :]):
        raise _RowFault("more cells than columns")
    row: dict[str, object] = dict(zip(header, cells, strict=False))
    row["variants"] = re.split(r"[|\r\n]", str(row.get("variants", "")))
    row["id"] = str(row.get("id", "")).strip()
    return _faq_entry(file, row)


def read_jsonl(file: SourceFile) -> Iterator[Found | DocumentUnreadable]:
    """See `Reader`."""
    with open_text(file) as stream:
        yield from _limit_faults(file, _json_rows(file, stream))


def _json_rows(file: SourceFile, stream: TextIO) -> Iterator[Found | DocumentUnreadable]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        place = f"line {number}: "
        try:
            yield Found(_json_document(file, line), place)
        except _RowFault as error:
            yield DocumentUnreadable(file.name, f"{place}{error}")


def _json_document(file: SourceFile, line: str) -> Document:
    try:
        row = json.loads(line.lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise _RowFault("not JSON") from error
    if not isinstance(row, dict):
        raise _RowFault("not a JSON object")
    if row.get("question") is not None or row.get("text") is None:
        if "question" not in row:
            raise _RowFault("neither question nor text")
        return _faq_entry(file, row)
    text = _text(row, "text").strip("\n").rstrip()
    if not text:
        raise _RowFault("text is empty")
    return Document(
        id=_id(row),
        kind="document",
        title=_text(row, "title").strip(),
        url=web_address(_text(row, "url")),
        path=str(file.path),
        sections=(Section("", text),),
    )


def _faq_entry(file: SourceFile, row: Mapping[str, object]) -> Document:
    question = _text(row, "question").strip()
    if not question:
        raise _RowFault("question is empty")
    variants = row.get("variants") or []
    if not isinstance(variants, list) or not all(isinstance(text, str) for text in variants):
        raise _RowFault("variants is no list of texts")
    return Document(
        id=_id(row),
        kind="faq",
        url=web_address(_text(row, "url")),
        path=str(file.path),
        question=question,
        answer=_text(row, "answer").strip(),
        variants=tuple(text for variant in variants if (text := clean(variant).strip())),
    )


def _text(row: Mapping[str, object], key: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _RowFault(f"{key} is no text")
    return clean(str(value))


def _id(row: Mapping[str, object]) -> str:
    """The id exactly as it is written; "" when there is none."""
    value = row.get("id")
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _RowFault("id is no text")
    text = str(value)
    if re.search("[\x00\ud800-\udfff]", text):
        raise _RowFault("id has characters that cannot be stored")
    return text if text.strip() else ""


def _limit_faults(
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
