"""Knowledge in SQL: documents, their chunks with vectors and terms, and the state of each load."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from kfbot.knowledge_base import PassageKind
from kfbot.store.engine import Database
from kfbot.store.exclusion import Check, exclusively
from kfbot.store.notices import knowledge_notice, notify
from kfbot.store.tables import knowledge_base, knowledge_chunk, knowledge_document

#: Rows written or read at a time, so that the event loop gets its turn in between.
BATCH_SIZE = 200
#: Values in one IN (…); SQLite took 999 at most before 3.32.
IN_SIZE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRow:
    """A chunk as it is stored."""

    #: uuid5 of knowledge base, document id and position.
    id: str
    position: int
    heading: str
    text: str
    #: float16, little-endian, L2-normalised.
    vector: bytes = field(repr=False)
    #: Terms and their counts.
    terms: Mapping[str, int] = field(repr=False)


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


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document with its chunks in order."""

    document: DocumentRow
    chunks: tuple[ChunkRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What the last load left in one knowledge base."""

    name: str
    number: int
    #: Chance made it, with the number: in a restored database numbers come again.
    revision: str
    embedding_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeState:
    """What is stored of one knowledge base. A new one is at generation 0."""

    name: str
    generation: int = 0
    embedding_key: str = ""
    documents: int = 0
    chunks: int = 0
    loaded_at: datetime | None = None
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one load changes."""

    knowledge_base: str
    embedding_key: str
    loaded_at: datetime
    unreadable: Sequence[str] = ()
    #: New documents, and known ones whose row and chunks are replaced.
    written: Sequence[StoredDocument] = ()
    #: Ids of documents that are gone; those that did not come from a file stay.
    removed: Collection[str] = ()


class KnowledgeStore:
    """Keeps the knowledge bases; a load is stored as a whole or not at all."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
        query = sa.select(table.name, table.generation, table.revision, table.embedding_key)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return {
            row.name: Generation(
                name=row.name,
                number=row.generation,
                revision=row.revision,
                embedding_key=row.embedding_key,
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
        """Every document of a knowledge base by its id, without chunks.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        found = {}
        query = _documents_of(name).order_by(_document.id)
        async for rows in self._database.stream(query, BATCH_SIZE):
            found.update({row.document_id: _document_row(row._mapping) for row in rows})
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
            selections = [_documents_of(name)]
        else:
            ids = sorted(document_ids)
            selections = [
                _documents_of(name).where(_document.document_id.in_(ids[at : at + IN_SIZE]))
                for at in range(0, len(ids), IN_SIZE)
            ]
        for selection in selections:
            async for stored in _joined(self._database, selection):
                yield stored

    async def apply(self, load: Load) -> int:
        """Store what a load changes and return the generation.

        It is raised when documents change or the embedding model does, else only the time
        and the unreadable sources are noted.

        Raises:
            StoreUnavailable: Nothing was stored.
        """

        def write(connection: sa.Connection) -> int:
            _create(connection, load.knowledge_base)
            changed = _remove(connection, load)
            for at in range(0, len(load.written), BATCH_SIZE):
                _write(connection, load, load.written[at : at + BATCH_SIZE])
                changed = True
            generation = _finish(connection, load, changed)
            notify(connection, knowledge_notice(load.knowledge_base))
            return generation

        return await self._database.write(write)


_document = knowledge_document.c


def _documents_of(name: str) -> sa.Select[Any]:
    return sa.select(knowledge_document).where(_document.knowledge_base == name)


def _state(connection: sa.Connection, name: str) -> KnowledgeState:
    query = sa.select(knowledge_base).where(knowledge_base.c.name == name)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return KnowledgeState(name=name)
    documents = _documents_of(name)
    chunks = sa.select(sa.func.count()).where(
        knowledge_chunk.c.document_pk.in_(documents.with_only_columns(_document.id))
    )
    count = sa.select(sa.func.count()).select_from(documents.subquery())
    return KnowledgeState(
        name=name,
        generation=row["generation"],
        embedding_key=row["embedding_key"],
        documents=connection.execute(count).scalar_one(),
        chunks=connection.execute(chunks).scalar_one(),
        loaded_at=row["loaded_at"],
        unreadable=tuple(row["unreadable"]),
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
                    yield StoredDocument(document, tuple(chunks))
                document, chunks = _document_row(row), []
            if row["chunk_id"] is not None:
                chunks.append(_chunk_row(row))
    if document is not None:
        yield StoredDocument(document, tuple(chunks))


def _document_row(row: sa.RowMapping) -> DocumentRow:
    return DocumentRow(**{name: row[name] for name in DocumentRow.__dataclass_fields__})


def _chunk_row(row: sa.RowMapping) -> ChunkRow:
    return ChunkRow(**{name: row[f"chunk_{name}"] for name in ChunkRow.__dataclass_fields__})


def _create(connection: sa.Connection, name: str) -> None:
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    connection.execute(dialect.insert(knowledge_base).values(name=name).on_conflict_do_nothing())


def _remove(connection: sa.Connection, load: Load) -> bool:
    removed, ids = 0, sorted(load.removed)
    for at in range(0, len(ids), IN_SIZE):
        result = connection.execute(
            sa.delete(knowledge_document).where(
                _document.knowledge_base == load.knowledge_base,
                _document.document_id.in_(ids[at : at + IN_SIZE]),
                _document.source == "file",
            )
        )
        removed += result.rowcount
    return removed > 0


def _write(connection: sa.Connection, load: Load, documents: Sequence[StoredDocument]) -> None:
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(knowledge_document)
    values = [
        {name: getattr(stored.document, name) for name in DocumentRow.__dataclass_fields__}
        | {"knowledge_base": load.knowledge_base}
        for stored in documents
    ]
    keys = {"knowledge_base", "document_id"}
    upsert = insert.on_conflict_do_update(
        index_elements=sorted(keys),
        set_={name: insert.excluded[name] for name in values[0] if name not in keys},
    ).returning(_document.id, _document.document_id)
    pks = {row.document_id: row.id for row in connection.execute(upsert, values)}
    connection.execute(
        sa.delete(knowledge_chunk).where(knowledge_chunk.c.document_pk.in_(pks.values()))
    )
    rows = [
        {name: getattr(chunk, name) for name in ChunkRow.__dataclass_fields__}
        | {"document_pk": pks[stored.document.document_id]}
        for stored in documents
        for chunk in stored.chunks
    ]
    for at in range(0, len(rows), BATCH_SIZE):
        connection.execute(sa.insert(knowledge_chunk), rows[at : at + BATCH_SIZE])


def _finish(connection: sa.Connection, load: Load, changed: bool) -> int:
    here = knowledge_base.c.name == load.knowledge_base
    query = sa.select(knowledge_base.c.generation, knowledge_base.c.embedding_key).where(here)
    before = connection.execute(query).one()
    changed = changed or before.generation == 0 or before.embedding_key != load.embedding_key
    generation: int = before.generation + changed
    revision = {"revision": secrets.token_hex(6)} if changed else {}
    connection.execute(
        sa.update(knowledge_base)
        .where(here)
        .values(
            **revision,
            generation=generation,
            embedding_key=load.embedding_key,
            loaded_at=load.loaded_at,
            unreadable=list(load.unreadable),
        )
    )
    return generation
