"""Removes rows that have done their work, by age and in small batches."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from kfbot.store import tables
from kfbot.store.engine import Database, Operation

#: Rows that are looked at, and removed, at a time.
BATCH = 500
#: Between two batches: what customers write goes first.
PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class _Kind:
    """Rows of one table that may go once `at` lies far enough back."""

    table: sa.Table
    #: From the oldest to the newest, nearly; the last one is the primary key.
    order: tuple[sa.Column[Any], ...]
    at: sa.Column[datetime]
    finished: sa.ColumnElement[bool]


def _by_id(table: sa.Table, at: str, *states: str) -> _Kind:
    """Ids grow with time, so that no index on time is needed."""
    return _Kind(table, (table.c.id,), table.c[at], table.c.state.in_(states))


_button, _job, _delivery = tables.button.c, tables.job.c, tables.event_delivery.c
# What is dead stays: it waits for an operator.
_AGEING = (
    _by_id(tables.inbox, "received_at", "done", "discarded"),
    _by_id(tables.outbox, "created_at", "sent", "cancelled", "discarded"),
    _Kind(tables.job, (_job.created_at, _job.id), _job.created_at, _job.state != "running"),
    _by_id(tables.event_delivery, "created_at", "delivered", "dead"),
    # No one waits for these any more, told or not; of a delivery that stays they say whose it is.
    _Kind(
        tables.conversation_event,
        (tables.conversation_event.c.id,),
        tables.conversation_event.c.happened_at,
        ~sa.exists().where(_delivery.event_uid == tables.conversation_event.c.uid),
    ),
)
_BUTTONS = _Kind(
    tables.button,
    (_button.expires_at, _button.token),
    _button.expires_at,
    # The press is all that is known of whether an answer helped.
    sa.or_(_button.pressed_at.is_(None), _button.action.not_in(("helpful", "not_helpful"))),
)
# Counted are the messages of a minute; a clock may be off, and a backlog be worked off late.
_HEARD = _Kind(tables.heard, (tables.heard.c.inbox_id,), tables.heard.c.sent_at, sa.true())
_HEARD_FOR = timedelta(hours=1)
# What is not told after a week is for a section that the settings have no more: no try waits longer
# than a day.
_UNTOLD = _by_id(tables.event_delivery, "created_at", "pending")
_UNTOLD_FOR = timedelta(days=7)
# It may hold what is private.
_MEMORY = tables.action_memory.c
_MEMORIES = _Kind(tables.action_memory, (_MEMORY.id,), _MEMORY.expires_at, sa.true())


async def purge(
    database: Database, now: datetime, keep: timedelta, *, pause_seconds: float = PAUSE_SECONDS
) -> dict[str, int]:
    """Remove finished rows that are older than `keep`, and buttons that expired.

    An event whose row is gone is taken for a new one when it comes again. Several processes
    may do this at the same time.

    Returns:
        How many rows went, by table.

    Raises:
        StoreUnavailable: The database failed; what was removed until then is gone.
    """
    limits = [(kind, now - keep) for kind in _AGEING]
    limits += [(_BUTTONS, now), (_HEARD, now - _HEARD_FOR), (_MEMORIES, now)]
    limits.append((_UNTOLD, now - max(keep, _UNTOLD_FOR)))
    removed: Counter[str] = Counter()
    for kind, before in limits:
        removed[kind.table.name] += await _purge(database, kind, before, pause_seconds)
    return dict(removed)


async def _purge(database: Database, kind: _Kind, before: datetime, pause_seconds: float) -> int:
    """Walk the rows from the oldest on, up to a batch that is too young as a whole."""
    removed = 0
    rows = await _page(database, kind, None)
    # Not up to the first one that is too young: one that a wrong clock dated would keep all
    # those after it.
    while any(row.at < before for row in rows):
        keys = [row.key for row in rows if row.at < before and row.finished]
        if keys:
            removed += await database.write(_removing(kind, keys))
            await asyncio.sleep(pause_seconds)
        rows = await _page(database, kind, rows[-1])
    return removed


async def _page(
    database: Database, kind: _Kind, after: sa.Row[Any] | None
) -> Sequence[sa.Row[Any]]:
    """The next rows behind `after`; without it the first ones."""
    query: sa.Select[Any] = sa.select(
        *kind.order[:-1],
        kind.order[-1].label("key"),
        kind.at.label("at"),
        kind.finished.label("finished"),
    )
    if after is not None:
        query = query.where(sa.tuple_(*kind.order) > tuple(after[: len(kind.order)]))
    query = query.order_by(*kind.order).limit(BATCH)
    return await database.read(lambda connection: connection.execute(query).all())


def _removing(kind: _Kind, keys: Sequence[Any]) -> Operation[int]:
    """Remove those of these rows that are still finished; returns how many there were."""
    key = kind.order[-1]
    # What another process has locked it is about to remove, or no longer finished.
    ours = (
        sa.select(key)
        .where(key.in_(keys), kind.finished)
        .order_by(key)
        .with_for_update(skip_locked=True)
    )
    removal = kind.table.delete().where(key.in_(ours))
    return lambda connection: connection.execute(removal).rowcount
