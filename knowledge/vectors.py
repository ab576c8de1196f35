"""The vectors of chunks as they are stored: known ones are kept, the model makes the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from kfbot.knowledge_base import PassageKind
from kfbot.store.knowledge_rows import ChunkRow, DocumentRow, StoredDocument
from knowledge import terms
from knowledge.documents import Chunk
from knowledge.embedding import Embedder

#: Raise it when the same document gives other chunks or texts to embed: all are made again.
VERSION = f"2.{terms.VERSION}"
#: Texts embedded at a time, so that customers' questions get their turn in between.
SLICE_SIZE = 32

_NAMESPACE = UUID("6f6c4c1e-5a0b-5d0c-9f0e-2f3a8f0f7b11")


def key_of(embedder: Embedder) -> str:
    """What vectors are stored under; those under another key are made again."""
    return f"{embedder.key} chunks:{VERSION}"


@dataclass(frozen=True, slots=True)
class Pending:
    """A document that is stored anew, before its chunks have vectors."""

    row: DocumentRow
    chunks: tuple[Chunk, ...]
    #: That a chat model wrote, each with the position of the chunk that answers it.
    questions: tuple[tuple[int, str], ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """What is embedded and counted of each chunk, then of each question."""
        chunks = (searched_text(self.row, chunk.heading, chunk.text) for chunk in self.chunks)
        return (*chunks, *(terms.simplify(question) for _, question in self.questions))


def searched_text(row: DocumentRow, heading: str, text: str) -> str:
    """What is embedded and counted of a chunk: a question alone, a passage with its place."""
    if row.kind == "faq":
        return terms.simplify(text)
    return terms.simplify("\n".join(part for part in (row.title, heading, text) if part))


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
        for question in stored.questions:
            text = terms.simplify(question.text)
            self._known[stored.document.kind, text] = question.vector

    async def make(self, pending: Sequence[Pending]) -> None:
        """Embed what is not known yet, in threads, a slice at a time.

        Raises:
            KnowledgeBaseUnavailable: The model does not answer.
        """
        # Many texts are put together here: not on the event loop.
        missing = await asyncio.to_thread(self._missing, pending)
        for kind, texts in _slices(missing):
            embed = self._embed_method(kind)
            vectors = (await asyncio.to_thread(embed, texts)).astype("<f2")
            for text, vector in zip(texts, vectors, strict=True):
                self._known[kind, text] = vector.tobytes()

    def _missing(self, pending: Sequence[Pending]) -> list[tuple[PassageKind, str]]:
        wanted = {(one.row.kind, text) for one in pending for text in one.texts}
        # Neighbours of like length waste no work on padding.
        return sorted(wanted - self._known.keys(), key=lambda key: (key[0], len(key[1]), key[1]))

    def rows(self, name: str, generation: int | str, pending: Pending) -> StoredDocument:
        """A document as it is stored for a generation, once all its texts have vectors.

        Args:
            generation: With the id it makes the ids of its chunks.
        """
        document = f"{name}\0{generation}\0{pending.row.document_id}"
        asked = [(Chunk("", question), asks) for asks, question in pending.questions]
        parts = [*((chunk, None) for chunk in pending.chunks), *asked]
        rows = tuple(
            ChunkRow(
                id=str(uuid5(_NAMESPACE, f"{document}\0{position}")),
                position=position,
                heading=chunk.heading,
                text=chunk.text,
                page=chunk.page,
                vector=self._known[pending.row.kind, text],
                terms=terms.counts(text),
                asks=asks,
            )
            for position, ((chunk, asks), text) in enumerate(zip(parts, pending.texts, strict=True))
        )
        count = len(pending.chunks)
        return StoredDocument(pending.row, rows[:count], rows[count:])

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
