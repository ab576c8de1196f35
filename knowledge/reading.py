"""Reads a file whole: its format, cleaning and cutting, as a child process does it for a load."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from kfbot.errors import DocumentUnreadable
from knowledge.chunking import cut
from knowledge.cleaning import CleaningPolicy, clean, clean_document
from knowledge.cleaning.duplicates import signature
from knowledge.documents import Chunk, Document, SourceFile
from knowledge.formats import read_file
from knowledge.formats.contract import Found

#: Raise it when the readers or the cleaning make something else of the same file.
VERSION = "4"
_SHOWN_CHARS = 80


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A document with its chunks."""

    document: Document
    #: Where in its file it stands; "" when it fills the file.
    place: str
    chunks: tuple[Chunk, ...]
    #: By which documents that say the same are found.
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a file gave."""

    documents: tuple[ParsedDocument, ...] = ()
    #: Lines "name: reason".
    unreadable: tuple[str, ...] = ()
    #: How often each step did something worth reporting.
    counts: Mapping[str, int] = field(default_factory=dict)
    #: False: it broke its parser, and may not do so next time.
    is_complete: bool = True


def parse(file: SourceFile, policy: CleaningPolicy) -> Parsed:
    """Read, clean and cut a file. Entries without an id get one from file and question."""
    documents: list[ParsedDocument] = []
    unreadable: list[str] = []
    counts: Counter[str] = Counter()
    for found in _named(file):
        if isinstance(found, DocumentUnreadable):
            unreadable.append(str(found))
        else:
            counts.update(found.counts)
            document, done = clean_document(found.document, policy)
            counts.update(done)
            if document is None:
                reason = f"{found.place}nothing but noise is in it"
                unreadable.append(str(DocumentUnreadable(file.name, reason)))
            else:
                documents.append(
                    ParsedDocument(document, found.place, cut(document), signature(document))
                )
    return Parsed(tuple(documents), tuple(unreadable), dict(counts))


def _named(file: SourceFile) -> Iterator[Found | DocumentUnreadable]:
    """What a file holds, every document with an id."""
    stems: Counter[str] = Counter()
    for found in read_file(file):
        if isinstance(found, DocumentUnreadable):
            yield found
            continue
        document = replace(found.document, path=file.place)
        if document.id:
            yield replace(found, document=document)
            continue
        # Whoever only changes the answer changes this entry, and makes no other.
        said = document.question or "\n".join(section.text for section in document.sections)
        digest = hashlib.sha256(f"{file.name}\0{said}".encode()).hexdigest()
        stem = f"{document.kind}-{digest[:16]}"
        stems[stem] += 1
        made_id = stem if stems[stem] == 1 else f"{stem}-{stems[stem]}"
        yield replace(found, document=replace(document, id=made_id))


class Ids:
    """Which file of a knowledge base has each id: the first one that uses it."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[str, str]] = {}

    def claim(
        self, document_id: str, content_hash: str, file: SourceFile, place: str = ""
    ) -> DocumentUnreadable | bool:
        """Whether a document is the first with its id; if not, False for the very same content.

        Of another document it says why that cannot be taken.
        """
        first = self._first.get(document_id)
        if first is None:
            self._first[document_id] = (file.name, content_hash)
            return True
        if first[1] == content_hash:
            return False
        reason = f"{place}id {_shown(document_id)} is used twice, first in {first[0]}"
        return DocumentUnreadable(file.name, reason)


def _shown(text: str) -> str:
    """A text from a file, short and on one line."""
    line = " ".join(clean(text).split())
    return line if len(line) <= _SHOWN_CHARS else line[:_SHOWN_CHARS] + "…"
