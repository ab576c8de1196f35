"""Entries by hand: FAQ entries in force beside every generation, until somebody removes them.

They are of generation 0, which never ends, so that neither a load nor going back to the generation
before touches them. What changes with them is the revision, by which indexes are known; its
beginning stays, by which it is known what load they stand beside.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from kfbot.errors import EntryRejected, KnowledgeBaseUnavailable, StoreUnavailable
from kfbot.store.knowledge_rows import (
    BATCH_SIZE,
    IN_SIZE,
    Load,
    StoredDocument,
    columns_of,
    load_of,
)
from kfbot.store.notices import knowledge_notice, notify
from kfbot.store.tables import knowledge_base, knowledge_chunk, knowledge_document

_base, _document = knowledge_base.c, knowledge_document.c
#: Rather than from a file.
is_by_hand = _document.source != "file"
_ALWAYS = 0


def put_entry(
    connection: sa.Connection, *, name: str, embedding_key: str, entry: StoredDocument
) -> None:
    """Put an entry in force; see `KnowledgeStore.put_entry`."""
    base = _locked(connection, name)
    if base is None or not base.generation:
        raise KnowledgeBaseUnavailable(f"knowledge base {name} was never loaded: load it first")
    if base.embedding_key != embedding_key:
        raise KnowledgeBaseUnavailable(
            f"knowledge base {name}: its vectors are another model's; load it again"
        )
    document_id = entry.document.document_id
    if connection.execute(_of_files(name, base.generation, [document_id])).first() is not None:
        raise EntryRejected(f"id {document_id!r} is a document's of the sources: take another one")
    _remove(connection, name, document_id)
    values = columns_of(entry.document) | {
        "knowledge_base": name, "since": _ALWAYS, "embedding_key": embedding_key,
    }  # fmt: skip
    insert = sa.insert(knowledge_document).returning(_document.id)
    pk = connection.execute(insert, values).scalar_one()
    rows = [columns_of(chunk) | {"document_pk": pk} for chunk in entry.chunks]
    connection.execute(sa.insert(knowledge_chunk), rows)
    _renew(connection, base)


def remove_entry(connection: sa.Connection, *, name: str, document_id: str) -> bool:
    """Forget an entry; False where there is none."""
    base = _locked(connection, name)
    if base is None or not _remove(connection, name, document_id):
        return False
    _renew(connection, base)
    return True


def renew_all(connection: sa.Connection, name: str) -> None:
    """Have every index of a knowledge base built anew from what is stored, not extended."""
    renewed = sa.update(knowledge_base).where(_base.name == name)
    connection.execute(renewed.values(revision=secrets.token_hex(6)))
    notify(connection, knowledge_notice(name))


def keep_entries(
    connection: sa.Connection, load: Load, number: int, *, same_model: bool
) -> set[str]:
    """Let what is staged come in force without touching an entry; see `switch`.

    Returns:
        The paths of files with a document whose id an entry has taken meanwhile: it is dropped.

    Raises:
        StoreUnavailable: An entry was changed while the load made vectors of another model.
    """
    here = _document.knowledge_base == load.knowledge_base
    rows = connection.execute(
        sa.select(_document.document_id, _document.content_hash).where(
            here, is_by_hand, _document.since <= number, _document.until.is_(None)
        )
    ).all()
    entries = {row.document_id: row.content_hash for row in rows}
    coming = _document.since == number + 1
    if same_model:
        return _dropped(connection, sa.and_(here, coming), entries)
    staged = connection.execute(
        sa.select(_document.document_id, _document.content_hash).where(here, coming, is_by_hand)
    ).all()
    if {row.document_id: row.content_hash for row in staged} != entries:
        raise StoreUnavailable(
            f"knowledge base {load.knowledge_base}: an entry was changed meanwhile; load it again"
        )
    connection.execute(
        sa.delete(knowledge_document).where(here, is_by_hand, _document.since <= number)
    )
    always = sa.update(knowledge_document).where(here, coming, is_by_hand).values(since=_ALWAYS)
    connection.execute(always)
    return _dropped(connection, sa.and_(here, coming), entries)


def make_way(connection: sa.Connection, *, name: str, number: int) -> None:
    """Drop documents of an earlier generation whose ids are entries' by now."""
    taken = sa.select(_document.document_id).where(
        _document.knowledge_base == name, is_by_hand, _document.since <= number
    )
    ids = connection.execute(taken).scalars().all()
    for at in range(0, len(ids), IN_SIZE):
        found = connection.execute(_of_files(name, number, ids[at : at + IN_SIZE])).scalars().all()
        connection.execute(sa.delete(knowledge_document).where(_document.id.in_(found)))


def _locked(connection: sa.Connection, name: str) -> Any:
    """The row of a knowledge base, which nobody else changes until the end; None: there is none."""
    query = sa.select(knowledge_base).where(_base.name == name).with_for_update()
    return connection.execute(query).one_or_none()


def _of_files(name: str, number: int, ids: Collection[str]) -> sa.Select[Any]:
    """Documents of the sources in force with these ids."""
    return sa.select(_document.id).where(
        _document.knowledge_base == name,
        _document.document_id.in_(ids),
        ~is_by_hand,
        _document.since <= number,
        sa.or_(_document.until.is_(None), _document.until > number),
    )


def _remove(connection: sa.Connection, name: str, document_id: str) -> int:
    gone = sa.delete(knowledge_document).where(
        _document.knowledge_base == name, _document.document_id == document_id, is_by_hand
    )
    return connection.execute(gone).rowcount


def _renew(connection: sa.Connection, base: Any) -> None:
    """Have every index made again: also that of the generation before, which lacks the change."""
    before = _renewed(base.previous_revision) if base.previous_revision else ""
    renewed = sa.update(knowledge_base).where(_base.name == base.name)
    connection.execute(renewed.values(revision=_renewed(base.revision), previous_revision=before))
    notify(connection, knowledge_notice(base.name))


def _renewed(revision: str) -> str:
    """Another revision of the same load."""
    return load_of(revision) + secrets.token_hex(6)


def _dropped(
    connection: sa.Connection, staged: sa.ColumnElement[bool], ids: Collection[str]
) -> set[str]:
    """The paths of staged documents of files with these ids, which are dropped."""
    query = sa.select(_document.id, _document.document_id, _document.path).where(
        staged, ~is_by_hand
    )
    if not ids:
        return set()
    gone = [row for row in connection.execute(query) if row.document_id in ids]
    for at in range(0, len(gone), BATCH_SIZE):
        pks = [row.id for row in gone[at : at + BATCH_SIZE]]
        connection.execute(sa.delete(knowledge_document).where(_document.id.in_(pks)))
    return {row.path for row in gone}
