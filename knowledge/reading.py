"""Reads sources: files and folders of documents and FAQ entries, one document after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kfbot.errors import DocumentUnreadable
from knowledge.cleaning import clean
from knowledge.documents import Document, SourceFile
from knowledge.formats import read_file
from knowledge.formats.contract import Found
from knowledge.sources import find_files

_SHOWN_CHARS = 80


def read_sources(sources: Sequence[str | Path]) -> Iterator[Document | DocumentUnreadable]:
    """Read sources, in the given order, folders by name and all the way down.

    What cannot be read comes as a DocumentUnreadable in its place, and the rest is read. Ids are
    unique: an entry without one gets one made from its text, a second document of one id is
    unreadable. A file reached twice is read once. One document is held at a time.
    """
    first_files: dict[str, str] = {}
    for file in find_files(sources):
        if isinstance(file, DocumentUnreadable):
            yield file
        else:
            for found in read_file(file):
                yield _identify(found, file, first_files)


def _identify(
    found: Found | DocumentUnreadable, file: SourceFile, first_files: dict[str, str]
) -> Document | DocumentUnreadable:
    if isinstance(found, DocumentUnreadable):
        return found
    document = found.document
    if not document.id:
        document = replace(document, id=_new_id(document, first_files))
    elif first := first_files.get(document.id):
        reason = f"id {_shown(document.id)} is used twice, first in {first}"
        return DocumentUnreadable(file.name, found.place + reason)
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
