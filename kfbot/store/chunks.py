"""Knowledge in SQL: documents, their chunks with vectors and terms, and the state of each load.

Documents are versioned by generation. A load writes what is new beside what is in force, a few
documents at a time; one small transaction then puts all of it in force. Broken off, it left
rows that the next load takes up; the generation before stays until the one after the next.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import sqlalchemy as sa

from kfbot.store.engine import Database
from kfbot.store.entries import is_by_hand, put_entry, remove_entry
from kfbot.store.exclusion import Check, exclusively
from kfbot.store.generations import is_in_force, roll_back, stage, staged_of, sweep, switch, unstage
from kfbot.store.knowledge_rows import (
    BATCH_SIZE,
    IN_SIZE,
    ChunkRow,
    DocumentRow,
    FileRow,
    Generation,
    KnowledgeState,
    Load,
    StoredDocument,
)
from kfbot.store.notices import knowledge_notice
from kfbot.store.tables import (
    knowledge_base,
    knowledge_chunk,
    knowledge_document,
    knowledge_file,
)


class KnowledgeStore:
    """Keeps the knowledge bases; a load comes in force as a whole or not at all."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def database(self) -> Database:
        """Where they are kept."""
        return self._database

    async def names(self) -> tuple[str, ...]:
        """The knowledge bases that were ever loaded, by name.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        query = sa.select(knowledge_base.c.name).order_by(knowledge_base.c.name)
        return await self._database.read(lambda c: tuple(c.execute(query).scalars()))

    async def generations(self) -> dict[str, Generation]:
        """What is stored of every knowledge base that was ever loaded, without counting it.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        table = knowledge_base.c
        query = sa.select(
            table.name, table.generation, table.revision, table.embedding_key, table.rolled_back
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return {
            row.name: Generation(
                name=row.name,
                number=row.generation,
                revision=row.revision,
                embedding_key=row.embedding_key,
                rolled_back=row.rolled_back,
            )
            for row in rows
        }

    def loading(self, name: str) -> AbstractAsyncContextManager[Check]:
        """Be the only process that loads a knowledge base; see `exclusively`."""
        return exclusively(self._database, knowledge_notice(name))

    async def state(self, name: str) -> KnowledgeState:
        """Generation, counts and last load of one knowledge base.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        return await self._database.read(lambda connection: _state(connection, name))

    async def documents(self, name: str) -> dict[str, DocumentRow]:
        """Every document in force of a knowledge base by its id, without chunks.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        return await self._rows(_in_force(name))

    async def staged(self, name: str, embedding_key: str) -> dict[str, DocumentRow]:
        """What a load that was broken off, or taken back, has left for the next one.

        Only what has vectors of this model.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        of_model = _document.embedding_key == embedding_key
        return await self._rows(staged_of(name).where(of_model))

    async def _rows(self, query: sa.Select[Any]) -> dict[str, DocumentRow]:
        found = {}
        async for rows in self._database.stream(query.order_by(_document.id), BATCH_SIZE):
            found.update({row.document_id: _document_row(row._mapping) for row in rows})
        return found

    async def files(self, name: str) -> dict[str, FileRow]:
        """The files of the last load, by path.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        query = sa.select(knowledge_file).where(knowledge_file.c.knowledge_base == name)
        found = {}
        async for rows in self._database.stream(query, BATCH_SIZE):
            for row in rows:
                values = {key: row._mapping[key] for key in FileRow.__dataclass_fields__}
                found[row.path] = FileRow(**values)
        return found

    async def chunks(
        self, name: str, document_ids: Collection[str] | None = None
    ) -> AsyncIterator[StoredDocument]:
        """Documents with their chunks (None: of all documents), in the order of first loading.

        What is yielded is one state of the knowledge base, even while a load is stored.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        if document_ids is None:
            selections = [_in_force(name)]
        else:
            ids = sorted(document_ids)
            selections = [
                _in_force(name).where(_document.document_id.in_(ids[at : at + IN_SIZE]))
                for at in range(0, len(ids), IN_SIZE)
            ]
        for selection in selections:
            async for stored in _joined(self._database, selection):
                yield stored

    async def entries(self, name: str) -> tuple[StoredDocument, ...]:
        """The entries by hand of a knowledge base, by id.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        found = _joined(self._database, _in_force(name).where(is_by_hand))
        stored = [one async for one in found]
        return tuple(sorted(stored, key=lambda one: one.document.document_id))

    async def put_entry(self, name: str, embedding_key: str, entry: StoredDocument) -> None:
        """Put an entry by hand in force, in place of the one with its id.

        Raises:
            EntryRejected: A document of the sources has its id.
            KnowledgeBaseUnavailable: It was never loaded, or its vectors are another model's.
            StoreUnavailable: Nothing was changed.
        """
        await self._database.write(
            partial(put_entry, name=name, embedding_key=embedding_key, entry=entry)
        )

    async def remove_entry(self, name: str, document_id: str) -> bool:
        """Forget an entry by hand; False where there is none.

        Raises:
            StoreUnavailable: Nothing was changed.
        """
        remove = partial(remove_entry, name=name, document_id=document_id)
        return await self._database.write(remove)

    async def signed(
        self, name: str, marks: Collection[bytes], start: int
    ) -> dict[str, DocumentRow]:
        """The FAQ entries in force whose signatures have one of these marks from `start` on.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        if not marks:
            return {}
        length = len(next(iter(marks)))
        mark = sa.func.substr(_document.signature, start + 1, length, type_=sa.LargeBinary)
        return await self._rows(
            _in_force(name).where(_document.kind == "faq", mark.in_(sorted(marks)))
        )

    async def stage(
        self, name: str, embedding_key: str, documents: Sequence[StoredDocument]
    ) -> None:
        """Store documents for the generation to come, in place of those already staged.

        Raises:
            StoreUnavailable: Some of them may be stored; staging them again is harmless.
        """
        for part in _parts(documents):
            await self._database.write(
                partial(stage, name=name, embedding_key=embedding_key, documents=part)
            )

    async def unstage(self, name: str, *, keep: Collection[str], embedding_key: str) -> None:
        """Drop what is staged but for these documents with vectors of this model.

        Raises:
            StoreUnavailable: Some of it may be left; dropping it again is harmless.
        """
        drop = partial(unstage, name=name, keep=frozenset(keep), embedding_key=embedding_key)
        while await self._database.write(drop):
            pass

    async def apply(self, load: Load) -> int:
        """Put what is staged in force, as a whole, and return the generation.

        It is raised when documents change or the embedding model does, else only the time,
        the files and the unreadable sources are noted. What no generation needs any more is
        removed afterwards.

        Raises:
            StoreUnavailable: Nothing was changed, or all of it and only old rows are left over.
        """
        generation = await self._database.write(partial(switch, load=load))
        await self._sweep(load.knowledge_base)
        return generation

    async def roll_back(self, name: str) -> int:
        """Put the generation before in force again, and return its number.

        Raises:
            KnowledgeBaseUnavailable: There is none.
            StoreUnavailable: Nothing was changed.
        """
        return await self._database.write(partial(roll_back, name=name))

    async def _sweep(self, name: str) -> None:
        while await self._database.write(partial(sweep, name=name)):
            pass


_document = knowledge_document.c


def _in_force(name: str) -> sa.Select[Any]:
    return (
        sa.select(knowledge_document)
        .join(knowledge_base, knowledge_base.c.name == _document.knowledge_base)
        .where(_document.knowledge_base == name, is_in_force)
    )


def _parts(documents: Sequence[StoredDocument]) -> Iterator[list[StoredDocument]]:
    """Some documents at a time, so that customers' messages are stored in between."""
    part: list[StoredDocument] = []
    for document in documents:
        part.append(document)
        if sum(len(one.chunks) + 1 for one in part) >= BATCH_SIZE:
            yield part
            part = []
    if part:
        yield part


def _state(connection: sa.Connection, name: str) -> KnowledgeState:
    query = sa.select(knowledge_base).where(knowledge_base.c.name == name)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return KnowledgeState(name=name)
    documents = _in_force(name)
    chunks = sa.select(sa.func.count()).where(
        knowledge_chunk.c.document_pk.in_(documents.with_only_columns(_document.id))
    )
    found, questions = connection.execute(chunks).scalar_one(), 0
    # The chunks of whoever has no questions are counted without being read.
    if connection.execute(sa.select(documents.where(_document.asked != 0).exists())).scalar_one():
        asking = chunks.where(knowledge_chunk.c.asks.is_not(None))
        questions = connection.execute(asking).scalar_one()
    count = sa.select(sa.func.count()).select_from(documents.subquery())
    added = sa.select(sa.func.count()).select_from(documents.where(is_by_hand).subquery())
    return KnowledgeState(
        name=name,
        generation=row["generation"],
        embedding_key=row["embedding_key"],
        documents=connection.execute(count).scalar_one(),
        chunks=found - questions,
        questions=questions,
        added=connection.execute(added).scalar_one(),
        loaded_at=row["loaded_at"],
        unreadable=tuple(row["unreadable"]),
        counts=row["counts"],
        rolled_back=row["rolled_back"],
    )


async def _joined(database: Database, documents: sa.Select[Any]) -> AsyncIterator[StoredDocument]:
    chosen = documents.subquery()
    query = (
        sa.select(chosen, *(c.label(f"chunk_{c.name}") for c in knowledge_chunk.c))
        .join(knowledge_chunk, knowledge_chunk.c.document_pk == chosen.c.id, isouter=True)
        .order_by(chosen.c.id, knowledge_chunk.c.position)
    )
    document: DocumentRow | None = None
    chunks: list[ChunkRow] = []
    async for batch in database.stream(query, BATCH_SIZE):
        for row in (one._mapping for one in batch):
            if document is None or row["document_id"] != document.document_id:
                if document is not None:
                    yield _stored(document, chunks)
                document, chunks = _document_row(row), []
            if row["chunk_id"] is not None:
                chunks.append(_chunk_row(row))
    if document is not None:
        yield _stored(document, chunks)


def _stored(document: DocumentRow, rows: Sequence[ChunkRow]) -> StoredDocument:
    chunks = tuple(row for row in rows if row.asks is None)
    return StoredDocument(document, chunks, tuple(row for row in rows if row.asks is not None))


def _document_row(row: sa.RowMapping) -> DocumentRow:
    return DocumentRow(**{name: row[name] for name in DocumentRow.__dataclass_fields__})


def _chunk_row(row: sa.RowMapping) -> ChunkRow:
    return ChunkRow(**{name: row[f"chunk_{name}"] for name in ChunkRow.__dataclass_fields__})
