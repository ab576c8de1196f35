"""Masks private data in what was said in a conversation, once nobody works on it any more."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.purge import BATCH
from kfbot.store.retention import is_quiet

#: Masks texts; each comes back in its place.
Mask = Callable[[Sequence[str]], Awaitable[Sequence[str]]]
#: Where words stand in what is stored as JSON; an id may look like a phone number.
_WORDS = frozenset(
    {"text", "question", "context", "note", "draft", "zh", "en", "name", "display_name", "url"}
)
#: What documents say.
_DOCUMENTS = frozenset({"citations"})

_event, _delivery = tables.conversation_event.c, tables.event_delivery.c
_proposal, _case, _turn = tables.proposal.c, tables.case.c, tables.turn.c
_message, _thread = tables.message.c, tables.case_thread.c


async def mask_conversation(
    database: Database, number: int, before: datetime, mask: Mask, now: datetime
) -> bool:
    """Mask what was said in a conversation; False where it is not quiet since `before` any more.

    Raises:
        StoreUnavailable: Some may be left; again goes over all of it.
    """
    for table, columns, which in _places(number):
        after = 0
        while True:
            key = table.c.id
            query = sa.select(key, *columns).where(which, key > after).order_by(key).limit(BATCH)
            rows = await database.read(lambda c, query=query: c.execute(query).all())  # type: ignore[misc]
            if not rows:
                break
            after = rows[-1].id
            changes = await _masked(rows, columns, mask)
            if changes and not await _write(database, number, before, table, changes):
                return False
    done = tables.conversation.update().where(tables.conversation.c.id == number)
    await database.write(lambda c: c.execute(done.values(masked_at=now)).rowcount)
    return True


def _places(
    number: int,
) -> Iterator[tuple[sa.Table, Sequence[sa.Column[Any]], sa.ColumnElement[bool]]]:
    """Every table and column in which words of a conversation stand, and its rows there."""
    of_cases = sa.select(_case.id).where(_case.conversation_id == number)
    # The threads in which agents saw its cases repeat what was said.
    threads = sa.select(_thread.conversation_id).where(_thread.case_id.in_(of_cases))
    for table, names in (
        (tables.message, ("text", "sender_name", "extras")),
        (tables.turn, ("question", "data")),
        (tables.case, ("question", "draft", "summary")),
        (tables.inbox, ("payload",)),
        (tables.outbox, ("payload",)),
        (tables.conversation_event, ("data",)),
    ):
        of = table.c.conversation_id
        yield table, [table.c[name] for name in names], sa.or_(of == number, of.in_(threads))
    uids = sa.select(_event.uid).where(_event.conversation_id == number)
    # What is still to be told is told as it was.
    told = sa.and_(_delivery.event_uid.in_(uids), _delivery.state != "pending")
    yield tables.event_delivery, [_delivery.body], told
    turns = sa.select(_turn.id).where(_turn.conversation_id == number)
    learnt = sa.or_(_proposal.case_id.in_(of_cases), _proposal.turn_id.in_(turns))
    words = [_proposal.question, _proposal.answer, _proposal.variants]
    yield tables.proposal, words, sa.and_(learnt, _proposal.state != "approved")
    writers = sa.select(_message.customer_id).where(_message.conversation_id == number)
    yield tables.customer, [tables.customer.c.display_name], tables.customer.c.id.in_(writers)


async def _masked(
    rows: Sequence[sa.Row[Any]], columns: Sequence[sa.Column[Any]], mask: Mask
) -> dict[int, dict[str, Any]]:
    """The rows that hold something to be masked, by id: their columns as they are to be."""
    values = {
        (row.id, column.name): _read(column.name, getattr(row, column.name))
        for row in rows
        for column in columns
    }
    texts = [text for value in values.values() for text in _texts(value)]
    marked = dict(zip(texts, await mask(texts), strict=True))
    changes: dict[int, dict[str, Any]] = {}
    for (key, name), value in values.items():
        changed = _replaced(value, marked)
        if changed != value:
            changes.setdefault(key, {})[name] = _written(name, changed)
    return changes


def _read(name: str, value: Any) -> Any:
    return json.loads(value) if name == "body" else value


def _written(name: str, value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if name == "body" else value


def _texts(value: Any, *, is_word: bool = True) -> Iterator[str]:
    if isinstance(value, str):
        if is_word and value:
            yield value
    elif isinstance(value, dict):
        for name, below in value.items():
            if name not in _DOCUMENTS:
                yield from _texts(below, is_word=name in _WORDS)
    elif isinstance(value, list):
        for below in value:
            yield from _texts(below, is_word=is_word)


def _replaced(value: Any, marked: dict[str, str], *, is_word: bool = True) -> Any:
    """The value with the same texts replaced that `_texts` finds in it."""
    if isinstance(value, str):
        return marked.get(value, value) if is_word else value
    if isinstance(value, dict):
        return {
            name: below if name in _DOCUMENTS else _replaced(below, marked, is_word=name in _WORDS)
            for name, below in value.items()
        }
    if isinstance(value, list):
        return [_replaced(below, marked, is_word=is_word) for below in value]
    return value


async def _write(
    database: Database,
    number: int,
    before: datetime,
    table: sa.Table,
    changes: dict[int, dict[str, Any]],
) -> bool:
    def operation(connection: sa.Connection) -> bool:
        # Somebody may have written again, or have changed what was written.
        if not is_quiet(connection, number, before):
            return False
        for key, values in changes.items():
            connection.execute(table.update().where(table.c.id == key).values(**values))
        return True

    return await database.write(operation, lanes=(number,))
