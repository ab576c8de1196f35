"""What a load changes: sources are read and compared with what is stored, new texts embedded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from kfbot.errors import DocumentUnreadable
from kfbot.knowledge_base import LoadReport, PassageKind, Progress
from kfbot.store.chunks import ChunkRow, DocumentRow, StoredDocument
from knowledge import terms
from knowledge.chunking import cut
from knowledge.documents import Chunk, Document
from knowledge.embedding import Embedder

#: Raise it when the same document gives other chunks or texts to embed: all are made again.
VERSION = f"1.{terms.VERSION}"
#: Texts embedded at a time, so that customers' questions get their turn in between.
SLICE_SIZE = 32

_NAMESPACE = UUID("6f6c4c1e-5a0b-5d0c-9f0e-2f3a8f0f7b11")


def key_of(embedder: Embedder) -> str:
    """What vectors are stored under; those under another key are made again."""
    return f"{embedder.key} chunks:{VERSION}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What the sources of a knowledge base hold."""

    #: By id.
    documents: Mapping[str, Document]
    duplicates: int
    #: Lines "name: reason".
    unreadable: tuple[str, ...]


def read(items: Iterator[Document | DocumentUnreadable]) -> Reading:
    """Go through what a loader yields. Of two documents with one id the first is taken."""
    documents: dict[str, Document] = {}
    duplicates, unreadable = 0, []
    for item in items:
        if isinstance(item, DocumentUnreadable):
            unreadable.append(str(item))
        elif item.id not in documents:
            documents[item.id] = item
        elif documents[item.id].content_hash == item.content_hash:
            duplicates += 1
        else:
            first = documents[item.id].path
            unreadable.append(f"{item.path or item.id}: id {item.id!r} is taken by {first}")
    return Reading(documents, duplicates, tuple(unreadable))


@dataclass(frozen=True, slots=True)
class Pending:
    """A document that is stored anew, before its chunks have vectors."""

    row: DocumentRow
    chunks: tuple[Chunk, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """What is embedded and counted of each chunk."""
        return tuple(searched_text(self.row, chunk.heading, chunk.text) for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference between the sources and what is stored."""

    written: Sequence[Pending]
    removed: Collection[str]
    #: Ids of written documents that were stored before.
    changed: Collection[str]
    report: LoadReport


def compare(
    name: str,
    reading: Reading,
    stored: Mapping[str, DocumentRow],
    *,
    from_scratch: bool,
    missing: Collection[str] = (),
) -> Changes:
    """Find what a load changes; with `from_scratch`, every document is written again.

    What came from a source that is `missing` as a whole stays: more likely a disk is not
    mounted than everything on it meant to be forgotten.
    """
    written: list[Pending] = []
    unreadable = list(reading.unreadable)
    added, changed = 0, []
    for document in reading.documents.values():
        row = _row(document)
        before = stored.get(document.id)
        if before is not None and before.source != "file":
            unreadable.append(f"{document.path}: id {document.id!r} is an approved entry's")
            continue
        same = before is not None and before.content_hash == row.content_hash
        if before is None:
            added += 1
        elif not same:
            changed.append(document.id)
        if not same or from_scratch:
            written.append(Pending(row, cut(document)))
    removed = {
        row.document_id
        for row in stored.values()
        if row.source == "file"
        and row.document_id not in reading.documents
        and not any(Path(row.path).is_relative_to(source) for source in missing)
    }
    report = LoadReport(
        knowledge_base=name,
        added=added,
        changed=len(changed),
        removed=len(removed),
        unchanged=len(stored) - len(changed) - len(removed),
        duplicates=reading.duplicates,
        unreadable=tuple(unreadable),
    )
    return Changes(written, removed, changed, report)


def again(stored: StoredDocument) -> Pending:
    """A stored document as it is, to be embedded again."""
    return Pending(stored.document, tuple(Chunk(c.heading, c.text) for c in stored.chunks))


def searched_text(row: DocumentRow, heading: str, text: str) -> str:
    """What is embedded and counted of a chunk: a question alone, a passage with its place."""
    if row.kind == "faq":
        return text
    return "\n".join(part for part in (row.title, heading, text) if part)


@dataclass(slots=True)
class Vectors:
    """The vectors of texts, as stored: those that are known, and those that the model makes."""

    embedder: Embedder
    _known: dict[tuple[PassageKind, str], bytes] = field(default_factory=dict)

    def keep(self, stored: StoredDocument) -> None:
        """Take over the vectors of a stored document."""
        for chunk in stored.chunks:
            text = searched_text(stored.document, chunk.heading, chunk.text)
            self._known[stored.document.kind, text] = chunk.vector

    async def make(self, pending: Sequence[Pending], progress: Progress) -> None:
        """Embed what is not known yet, in threads, a slice at a time.

        Raises:
            KnowledgeBaseUnavailable: The model does not answer.
        """
        # Thousands of texts are put together here: not on the event loop.
        missing = await asyncio.to_thread(self._missing, pending)
        done = 0
        for kind, texts in _slices(missing):
            progress("embedding", done, len(missing))
            embed = self._embed_method(kind)
            vectors = (await asyncio.to_thread(embed, texts)).astype("<f2")
            for text, vector in zip(texts, vectors, strict=True):
                self._known[kind, text] = vector.tobytes()
            done += len(texts)
        if missing:
            progress("embedding", done, len(missing))

    def _missing(self, pending: Sequence[Pending]) -> list[tuple[PassageKind, str]]:
        wanted = {(one.row.kind, text) for one in pending for text in one.texts}
        # Neighbours of like length waste no work on padding.
        return sorted(wanted - self._known.keys(), key=lambda key: (key[0], len(key[1]), key[1]))

    def rows(self, name: str, pending: Pending) -> StoredDocument:
        """A document as it is stored, once all its texts have vectors."""
        chunks = tuple(
            ChunkRow(
                id=str(uuid5(_NAMESPACE, f"{name}\0{pending.row.document_id}\0{position}")),
                position=position,
                heading=chunk.heading,
                text=chunk.text,
                vector=self._known[pending.row.kind, text],
                terms=terms.counts(text),
            )
            for position, (chunk, text) in enumerate(
                zip(pending.chunks, pending.texts, strict=True)
            )
        )
        return StoredDocument(pending.row, chunks)

    def _embed_method(self, kind: PassageKind) -> Callable[[Sequence[str]], NDArray[np.float32]]:
        # An FAQ entry's question and variants are questions like the customer's.
        return self.embedder.embed_queries if kind == "faq" else self.embedder.embed_passages


def _slices(
    keys: Sequence[tuple[PassageKind, str]],
) -> Iterator[tuple[PassageKind, list[str]]]:
    at = 0
    while at < len(keys):
        kind = keys[at][0]
        texts = [text for of, text in keys[at : at + SLICE_SIZE] if of == kind]
        yield kind, texts
        at += len(texts)


def _row(document: Document) -> DocumentRow:
    return DocumentRow(
        document_id=document.id,
        kind=document.kind,
        path=document.path,
        content_hash=document.content_hash,
        title=document.title,
        url=document.url,
        answer=document.answer,
    )
