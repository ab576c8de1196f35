"""How a generation of a knowledge base comes: staged, put in force, taken back, swept away."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from kfbot.errors import KnowledgeBaseUnavailable, StoreUnavailable
from kfbot.store.entries import is_by_hand, keep_entries, make_way
from kfbot.store.knowledge_rows import (
    BATCH_SIZE,
    IN_SIZE,
    Load,
    StoredDocument,
    columns_of,
)
from kfbot.store.notices import knowledge_notice, notify
from kfbot.store.tables import (
    knowledge_base,
    knowledge_chunk,
    knowledge_document,
    knowledge_file,
)

_base, _document, _file = knowledge_base.c, knowledge_document.c, knowledge_file.c

#: Of documents joined with their knowledge base.
is_in_force = sa.and_(
    _document.since <= _base.generation,
    sa.or_(_document.until.is_(None), _document.until > _base.generation),
)


def staged_of(name: str) -> sa.Select[Any]:
    """The documents of a generation to come."""
    return (
        sa.select(knowledge_document)
        .join(knowledge_base, _base.name == _document.knowledge_base)
        .where(_document.knowledge_base == name, _document.since > _base.generation)
    )


def stage(
    connection: sa.Connection, *, name: str, embedding_key: str, documents: Sequence[StoredDocument]
) -> None:
    """Store documents for the generation to come, in place of those already staged."""
    coming = _generation(connection, name) + 1
    ids = [stored.document.document_id for stored in documents]
    for part in _slices(ids):
        _delete(connection, _document.document_id.in_(part), name, since=coming)
    values = [
        columns_of(stored.document)
        | {"knowledge_base": name, "since": coming, "embedding_key": embedding_key}
        for stored in documents
    ]
    insert = sa.insert(knowledge_document).returning(_document.id, _document.document_id)
    pks = {row.document_id: row.id for row in connection.execute(insert, values)}
    rows = [
        columns_of(chunk) | {"document_pk": pks[stored.document.document_id]}
        for stored in documents
        for chunk in stored.rows
    ]
    for at in range(0, len(rows), BATCH_SIZE):
        connection.execute(sa.insert(knowledge_chunk), rows[at : at + BATCH_SIZE])


def unstage(
    connection: sa.Connection, *, name: str, keep: Collection[str], embedding_key: str
) -> int:
    """Drop some of what is staged but for these documents; 0: nothing is left to drop."""
    query = staged_of(name).with_only_columns(
        _document.id, _document.document_id, _document.embedding_key
    )
    dropped = [
        row.id
        for row in connection.execute(query)
        if row.document_id not in keep or row.embedding_key != embedding_key
    ][:BATCH_SIZE]
    for part in _slices(dropped):
        connection.execute(sa.delete(knowledge_document).where(_document.id.in_(part)))
    return len(dropped)


def switch(connection: sa.Connection, *, load: Load) -> int:
    """Put what is staged in force; see `KnowledgeStore.apply`."""
    name = load.knowledge_base
    number = _generation(connection, name)
    # Locked: an entry by hand that comes now waits, else the index before would lack it.
    locked = sa.select(knowledge_base).where(_base.name == name).with_for_update()
    before = connection.execute(locked).one()
    changed = bool(load.written or load.removed) or not number
    same_model = before.embedding_key == load.embedding_key
    changed = changed or not same_model
    dropped: set[str] = set()
    if changed:
        _check_staged(connection, load, number + 1)
        dropped = keep_entries(connection, load, number, same_model=same_model)
        _retire(connection, load, number + 1)
    news: dict[str, Any] = {
        "generation": number + 1,
        "revision": secrets.token_hex(6),
        "previous_revision": before.revision if number and same_model else "",
    }
    connection.execute(
        sa.update(knowledge_base)
        .where(_base.name == name)
        .values(
            **news if changed else {},
            rolled_back=False,
            embedding_key=load.embedding_key,
            loaded_at=load.loaded_at,
            unreadable=list(load.unreadable),
            counts=dict(load.counts),
        )
    )
    # Without a key such a file is read again by the next load, which says why.
    again = [replace(row, read_key="") if row.path in dropped else row for row in load.files]
    _note_files(connection, replace(load, files=again))
    notify(connection, knowledge_notice(name))
    return number + changed


def roll_back(connection: sa.Connection, *, name: str) -> int:
    """Put the generation before in force; see `KnowledgeStore.roll_back`."""
    locked = sa.select(knowledge_base).where(_base.name == name).with_for_update()
    base = connection.execute(locked).one_or_none()
    if base is None or not base.previous_revision:
        raise KnowledgeBaseUnavailable(f"knowledge base {name} has no generation to go back to")
    connection.execute(
        sa.update(knowledge_base)
        .where(_base.name == name)
        .values(
            generation=base.generation - 1,
            revision=base.previous_revision,
            previous_revision="",
            rolled_back=True,
        )
    )
    make_way(connection, name=name, number=base.generation - 1)
    # What was read belongs to the generation that is gone: the next load reads it all again.
    connection.execute(sa.delete(knowledge_file).where(_file.knowledge_base == name))
    notify(connection, knowledge_notice(name))
    generation: int = base.generation - 1
    return generation


def sweep(connection: sa.Connection, *, name: str) -> int:
    """Remove some documents that neither this generation nor the one before has; 0: none."""
    base = connection.execute(sa.select(knowledge_base).where(_base.name == name)).one()
    oldest = base.generation - bool(base.previous_revision)
    query = sa.select(_document.id).where(
        _document.knowledge_base == name, _document.until <= oldest
    )
    gone = connection.execute(query.limit(BATCH_SIZE)).scalars().all()
    for part in _slices(gone):
        connection.execute(sa.delete(knowledge_document).where(_document.id.in_(part)))
    return len(gone)


def _generation(connection: sa.Connection, name: str) -> int:
    """The generation in force; 0 for a knowledge base that is new."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    connection.execute(dialect.insert(knowledge_base).values(name=name).on_conflict_do_nothing())
    query = sa.select(_base.generation).where(_base.name == name)
    generation: int = connection.execute(query).scalar_one()
    return generation


def _check_staged(connection: sa.Connection, load: Load, coming: int) -> None:
    """A load never puts less in force than it means to."""
    query = sa.select(sa.func.count()).where(
        _document.knowledge_base == load.knowledge_base, _document.since == coming
    )
    staged = connection.execute(query).scalar_one()
    if staged != len(load.written):
        raise StoreUnavailable(
            f"knowledge base {load.knowledge_base}: {staged} documents are staged"
            f" instead of {len(load.written)}; load it again"
        )


def _retire(connection: sa.Connection, load: Load, coming: int) -> None:
    """End what the coming generation replaces or has no more."""
    here = _document.knowledge_base == load.knowledge_base
    # Left by a generation that was taken back.
    connection.execute(
        sa.update(knowledge_document).where(here, _document.until == coming).values(until=None)
    )
    end = sa.update(knowledge_document).values(until=coming)
    running = sa.and_(here, ~is_by_hand, _document.since < coming, _document.until.is_(None))
    for part in _slices(sorted(load.written)):
        connection.execute(end.where(running, _document.document_id.in_(part)))
    for part in _slices(sorted(load.removed)):
        connection.execute(end.where(running, _document.document_id.in_(part)))


def _note_files(connection: sa.Connection, load: Load) -> None:
    here = _file.knowledge_base == load.knowledge_base
    gone = [*load.files_gone, *(row.path for row in load.files)]
    for part in _slices(gone):
        connection.execute(sa.delete(knowledge_file).where(here, _file.path.in_(part)))
    rows = [
        columns_of(row)
        | {
            "knowledge_base": load.knowledge_base,
            "unreadable": list(row.unreadable),
            "counts": dict(row.counts),
        }
        for row in load.files
    ]
    for at in range(0, len(rows), BATCH_SIZE):
        connection.execute(sa.insert(knowledge_file), rows[at : at + BATCH_SIZE])


def _delete(
    connection: sa.Connection, condition: sa.ColumnElement[bool], name: str, *, since: int
) -> None:
    connection.execute(
        sa.delete(knowledge_document).where(
            _document.knowledge_base == name, _document.since == since, condition
        )
    )


def _slices(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for at in range(0, len(values), IN_SIZE):
        yield values[at : at + IN_SIZE]
