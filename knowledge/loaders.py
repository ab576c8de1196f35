"""Reads sources, files and folders of documents and FAQ entries, one document after the other."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from bs4.exceptions import ParserRejectedMarkup

from kfbot.errors import DocumentUnreadable
from knowledge.cleaning import Encoding, clean, find_encoding
from knowledge.documents import Document, Section
from knowledge.markup import Page, read_html, read_markdown, web_address

_MOST_BYTES = 50 * 1024 * 1024
# A file of another schema would be named once a row.
_MOST_FAULTS = 100
_SHOWN_CHARS = 80


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    #: How it is named to people, and the id of a document that fills the file.
    name: str

    def unreadable(self, reason: str) -> DocumentUnreadable:
        return DocumentUnreadable(self.name, reason)


@dataclass(frozen=True, slots=True)
class _Found:
    """A document whose id may still be missing, and where in its file it stands."""

    document: Document
    #: "" when it fills the file.
    place: str = ""


class _RowFault(ValueError):
    """A row is no FAQ entry and no document; its text says why."""


def read_sources(sources: Sequence[str | Path]) -> Iterator[Document | DocumentUnreadable]:
    """Read files and folders, in the given order, folders by name and all the way down.

    What cannot be read comes as a DocumentUnreadable in its place, and the rest is read. Ids are
    unique: an entry without one gets one made from its text, a second document of one id is
    unreadable. A file reached twice is read once. One document is held at a time.
    """
    first_files: dict[str, str] = {}
    seen: set[Path] = set()
    for source in sources:
        for file in _find_files(source):
            if isinstance(file, DocumentUnreadable):
                yield file
            elif (real := file.path.resolve()) not in seen:
                seen.add(real)
                for found in _read_file(file):
                    yield _identify(found, file, first_files)


def _identify(
    found: _Found | DocumentUnreadable, file: _File, first_files: dict[str, str]
) -> Document | DocumentUnreadable:
    if isinstance(found, DocumentUnreadable):
        return found
    document = found.document
    if not document.id:
        document = replace(document, id=_new_id(document, first_files))
    elif first := first_files.get(document.id):
        reason = f"id {_shown(document.id)} is used twice, first in {first}"
        return file.unreadable(found.place + reason)
    first_files[document.id] = file.name
    return document


def _new_id(document: Document, taken: Mapping[str, str]) -> str:
    text = document.question or "\n".join(section.text for section in document.sections)
    stem = f"{document.kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    number, new_id = 1, stem
    while new_id in taken:
        number += 1
        new_id = f"{stem}-{number}"
    return new_id


def _shown(text: str) -> str:
    """A text from a file, short and on one line."""
    line = " ".join(clean(text).split())
    return line if len(line) <= _SHOWN_CHARS else line[:_SHOWN_CHARS] + "…"


# Finding files


def _find_files(source: str | Path) -> Iterator[_File | DocumentUnreadable]:
    path = Path(source)
    try:
        # Path("") is the working directory, which nobody meant.
        if not str(source) or not path.exists():
            yield DocumentUnreadable(_name(str(source)), "does not exist")
        elif path.is_dir():
            yield from _walk(path, path.resolve(), "")
        else:
            yield _File(path, _name(path.name))
    except OSError as error:
        yield DocumentUnreadable(_name(str(source)), _reason(error))


def _walk(folder: Path, root: Path, prefix: str) -> Iterator[_File | DocumentUnreadable]:
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if not path.name.startswith("."):
            name = prefix + _name(path.name)
            try:
                yield from _look_at(path, root, name)
            except OSError as error:
                yield DocumentUnreadable(name, _reason(error))


def _look_at(path: Path, root: Path, name: str) -> Iterator[_File | DocumentUnreadable]:
    if path.is_symlink() and not _is_inside(path, root):
        yield DocumentUnreadable(name, "a link that leads out of the folder")
    elif not path.is_dir():
        yield _File(path, name)
    elif not path.is_symlink():
        # A link to a folder in here would be a second way to the same files, or a circle.
        yield from _walk(path, root, name + "/")


def _is_inside(link: Path, root: Path) -> bool:
    try:
        return link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        return False  # A link to itself: RuntimeError before Python 3.13.


def _name(text: str) -> str:
    """A file name as text: names that are no UTF-8, or hold line breaks, too."""
    return re.sub(r"[\x00-\x1f]", "?", text.encode("utf-8", "replace").decode())


def _reason(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"


# Reading a file


def _read_file(file: _File) -> Iterator[_Found | DocumentUnreadable]:
    suffix = file.path.suffix.lower()
    read = _READERS.get(suffix)
    if read is None:
        kind = f"file {_name(suffix)}" if suffix else "file, its name has no ending"
        yield file.unreadable(f"unknown kind of {kind}")
        return
    try:
        fault = _fault(file.path)
        encoding = None if fault else find_encoding(file.path)
        if encoding is None:
            yield file.unreadable(fault or "binary, not text")
            return
        nothing = True
        for found in read(file, encoding):
            nothing = False
            yield found
        if nothing:
            yield file.unreadable("empty")
    except OSError as error:
        yield file.unreadable(_reason(error))
    except UnicodeError:
        yield file.unreadable("binary, not text")


def _fault(path: Path) -> str:
    """Why a file is not even opened; "" if it is."""
    if not path.is_file():
        # A pipe or a device may have no end.
        return "not a regular file" if path.exists() else "does not exist"
    size = path.stat().st_size
    if size > _MOST_BYTES:
        return f"larger than {_MOST_BYTES // 1024**2} MB"
    return "" if size else "empty"


def _read_text(file: _File, encoding: Encoding) -> str:
    with encoding.open(file.path) as stream:
        return clean(stream.read())


def _read_markdown(file: _File, encoding: Encoding) -> Iterator[_Found | DocumentUnreadable]:
    yield from _found_page(file, read_markdown(_read_text(file, encoding)))


def _read_html(file: _File, encoding: Encoding) -> Iterator[_Found | DocumentUnreadable]:
    try:
        page = read_html(_read_text(file, encoding))
    except ParserRejectedMarkup:
        yield file.unreadable("not HTML")
        return
    yield from _found_page(file, page)


def _read_plain(file: _File, encoding: Encoding) -> Iterator[_Found | DocumentUnreadable]:
    text = _read_text(file, encoding).strip("\n").rstrip()
    yield from _found_page(file, Page("", "", (Section("", text),) if text else ()))


def _found_page(file: _File, page: Page) -> Iterator[_Found]:
    if page.sections:
        yield _Found(
            Document(
                id=file.name,
                kind="document",
                title=page.title or _name(file.path.stem),
                url=page.url,
                path=str(file.path),
                sections=page.sections,
            )
        )


# Reading rows


def _read_csv(file: _File, encoding: Encoding) -> Iterator[_Found | DocumentUnreadable]:
    # The default, 128 KB, is less than a long answer.
    csv.field_size_limit(_MOST_BYTES)
    with encoding.open(file.path, newline="") as stream:
        skipped, first = _first_line(stream)
        header, delimiter = _header(first)
        if "question" in header:
            rows = csv.reader(chain([first], stream), delimiter=delimiter, strict=True)
            next(rows)
            yield from _limit_faults(file, _csv_rows(file, rows, header, skipped))
        elif first:
            yield file.unreadable("no question column")


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
    file: _File, rows: Any, header: Sequence[str], skipped: int
) -> Iterator[_Found | DocumentUnreadable]:
    while True:
        place = f"line {skipped + rows.line_num + 1}: "
        try:
            cells = next(rows, None)
            if cells is None:
                return
            if any(cell.strip() for cell in cells):
                yield _Found(_csv_entry(file, header, cells), place)
        except (csv.Error, _RowFault) as error:
            reason = str(error).replace("unexpected end of data", "a quote is not closed")
            yield file.unreadable(place + reason)


def _csv_entry(file: _File, header: Sequence[str], cells: Sequence[str]) -> Document:
    if any(cell.strip() for cell in cells[len(header) :]):
        raise _RowFault("more cells than columns")
    row: dict[str, object] = dict(zip(header, cells, strict=False))
    row["variants"] = re.split(r"[|\r\n]", str(row.get("variants", "")))
    row["id"] = str(row.get("id", "")).strip()
    return _faq_entry(file, row)


def _read_jsonl(file: _File, encoding: Encoding) -> Iterator[_Found | DocumentUnreadable]:
    with encoding.open(file.path) as stream:
        yield from _limit_faults(file, _json_rows(file, stream))


def _json_rows(file: _File, stream: TextIO) -> Iterator[_Found | DocumentUnreadable]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        place = f"line {number}: "
        try:
            yield _Found(_json_document(file, line), place)
        except _RowFault as error:
            yield file.unreadable(f"{place}{error}")


def _json_document(file: _File, line: str) -> Document:
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


def _faq_entry(file: _File, row: Mapping[str, object]) -> Document:
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
    file: _File, rows: Iterable[_Found | DocumentUnreadable]
) -> Iterator[_Found | DocumentUnreadable]:
    """Name the first faults of a file, and count the others."""
    faults = 0
    for row in rows:
        faults += isinstance(row, DocumentUnreadable)
        if faults <= _MOST_FAULTS or not isinstance(row, DocumentUnreadable):
            yield row
    if faults > _MOST_FAULTS:
        yield file.unreadable(f"{faults - _MOST_FAULTS} more rows cannot be read")


_READERS: Mapping[str, Callable[[_File, Encoding], Iterator[_Found | DocumentUnreadable]]] = {
    ".md": _read_markdown,
    ".markdown": _read_markdown,
    ".txt": _read_plain,
    ".html": _read_html,
    ".htm": _read_html,
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".json-lines": _read_jsonl,
    ".ndjson": _read_jsonl,
}
