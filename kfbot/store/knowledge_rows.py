"""What is stored of a knowledge base: its documents, chunks, files and generations."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from kfbot.knowledge_base import PassageKind

#: Rows written or read at a time, so that the event loop gets its turn in between.
BATCH_SIZE = 200
#: Values in one IN (…); SQLite took 999 at most before 3.32.
IN_SIZE = 500
#: Of what a load makes its revision of, in characters.
_LOAD_LENGTH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRow:
    """A chunk as it is stored."""

    #: uuid5 of knowledge base, document id and position.
    id: str
    position: int
    heading: str
    text: str
    #: The page that it begins on; 0: the format has no pages.
    page: int = 0
    #: float16, little-endian, L2-normalised.
    vector: bytes = field(repr=False)
    #: Terms and their counts.
    terms: Mapping[str, int] = field(repr=False)
    #: Of a question that a chat model wrote: the position of the chunk that answers it.
    asks: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRow:
    """A document or FAQ entry as it is stored, without its chunks."""

    document_id: str
    kind: PassageKind
    source: str = "file"
    path: str = ""
    content_hash: str
    title: str = ""
    url: str = ""
    answer: str = ""
    #: What filters may ask for: product, version, date, language, …
    fields: Mapping[str, str] = field(default_factory=dict)
    signature: bytes = field(default=b"", repr=False)
    #: So many questions a chat model was asked for of each chunk; -1: of some it was not yet.
    asked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """A file as the last load found it; see `tables.knowledge_file`."""

    path: str
    name: str
    size: int
    modified_ns: int
    sha256: str
    read_key: str
    unreadable: Sequence[str] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document with its chunks in order."""

    document: DocumentRow
    chunks: tuple[ChunkRow, ...]
    #: That a chat model wrote: chunks are found by them, and they are never shown.
    questions: tuple[ChunkRow, ...] = ()

    @property
    def rows(self) -> tuple[ChunkRow, ...]:
        """All that is searched."""
        return (*self.chunks, *self.questions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What the last load left in one knowledge base."""

    name: str
    number: int
    #: Chance made it, with the number: in a restored database numbers come again, and after
    #: going back to the generation before. See `load_of`.
    revision: str
    embedding_key: str
    #: True: it was taken back, and is loaded again only by hand.
    rolled_back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeState:
    """What is stored of one knowledge base. A new one is at generation 0."""

    name: str
    generation: int = 0
    embedding_key: str = ""
    documents: int = 0
    chunks: int = 0
    #: That a chat model wrote.
    questions: int = 0
    #: Entries by hand, among the documents.
    added: int = 0
    loaded_at: datetime | None = None
    unreadable: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    rolled_back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one load changes, once its new documents are staged."""

    knowledge_base: str
    embedding_key: str
    loaded_at: datetime
    unreadable: Sequence[str] = ()
    #: How often each step of reading and cleaning did something, in all files.
    counts: Mapping[str, int] = field(default_factory=dict)
    #: Ids of staged documents: new ones, and those that replace what is in force.
    written: Collection[str] = ()
    #: Ids of documents that are gone; entries by hand stay.
    removed: Collection[str] = ()
    #: Files that are new or changed, and the paths of those that are gone.
    files: Sequence[FileRow] = ()
    files_gone: Collection[str] = ()


def load_of(revision: str) -> str:
    """What the revisions of one load have in common: entries by hand alone tell them apart."""
    return revision[:_LOAD_LENGTH]


def columns_of(row: ChunkRow | DocumentRow | FileRow) -> dict[str, Any]:
    """The columns of a row, by name."""
    return {one.name: getattr(row, one.name) for one in fields(row)}
