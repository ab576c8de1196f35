"""Which conversations nobody has said anything in for long, walked from the oldest on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.erasure import take_away
from kfbot.store.purge import BATCH

_conversation, _message = tables.conversation.c, tables.message.c
_alias, _case, _lane = tables.conversation_alias.c, tables.case.c, tables.lane.c
_customer, _outbox, _inbox = tables.customer.c, tables.outbox.c, tables.inbox.c


@dataclass(frozen=True, slots=True)
class Quiet:
    """A conversation that is the bot's or closed, without an open case or anything to do."""

    number: int
    channel: str
    #: When somebody wrote in it last, or its owner changed.
    last_at: datetime
    #: What was said until then is masked; None: nothing is.
    masked_at: datetime | None


async def quiet_conversations(
    database: Database, before: datetime
) -> AsyncIterator[Sequence[Quiet]]:
    """Conversations in which nothing was said since a time, the oldest first, page by page.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    after = 0
    while True:
        query = _quiet(_conversation.id > after, _conversation.created_at < before)
        page = query.order_by(_conversation.id).limit(BATCH)
        rows = await database.read(lambda c, page=page: c.execute(page).all())  # type: ignore[misc]
        if not rows:
            return
        after = rows[-1].id
        if quiet := [one for row in rows if (one := _of(row)).last_at < before]:
            yield quiet


def is_quiet(connection: sa.Connection, number: int, before: datetime) -> bool:
    """True where it still is one of `quiet_conversations`; with its lane locked it stays so."""
    row = connection.execute(_quiet(_conversation.id == number)).one_or_none()
    return row is not None and _of(row).last_at < before


def retire(connection: sa.Connection, due: Mapping[int, datetime], now: datetime) -> Sequence[int]:
    """Take away those conversations, whose lanes are locked, that are quiet still.

    Args:
        due: By number, since when.

    Returns:
        Which they were.
    """
    quiet = [number for number, before in due.items() if is_quiet(connection, number, before)]
    for number in quiet:
        take_away(connection, number, now)
    return quiet


async def remove_strangers(database: Database) -> int:
    """Remove customers of whom nothing is left, at most a batch; returns how many there were.

    Raises:
        StoreUnavailable: Some may be left.
    """
    own = sa.exists().where(_conversation.customer_id == _customer.id)
    said = sa.exists().where(_message.customer_id == _customer.id)
    query = sa.select(_customer.id).where(~own, ~said).order_by(_customer.id).limit(BATCH)
    ids = await database.read(lambda c: c.execute(query).scalars().all())

    def operation(connection: sa.Connection) -> int:
        # Who wrote at this moment has a conversation now.
        gone = connection.execute(query.where(_customer.id.in_(ids))).scalars().all()
        return remove_customers(connection, gone)

    return await database.write(operation) if ids else 0


def remove_customers(connection: sa.Connection, ids: Sequence[int]) -> int:
    """Remove customers to whom nothing belongs any more."""
    connection.execute(tables.consent.delete().where(tables.consent.c.customer_id.in_(ids)))
    return connection.execute(tables.customer.delete().where(_customer.id.in_(ids))).rowcount


def _quiet(*which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    last = (
        sa.select(_message.created_at)
        .where(_message.conversation_id == _conversation.id)
        .order_by(_message.id.desc())
        .limit(1)
        .correlate(tables.conversation)
    )
    number = _conversation.id
    return (
        sa.select(
            _conversation.id,
            _alias.channel,
            _conversation.updated_at,
            _conversation.masked_at,
            last.scalar_subquery().label("last_at"),
        )
        .join_from(tables.conversation, tables.conversation_alias, _alias.conversation_id == number)
        .join(tables.lane, _lane.conversation_id == number, isouter=True)
        .where(
            _alias.current.is_(True),
            _conversation.state.in_(("bot", "closed")),
            _lane.owner.is_(None),
            ~sa.exists().where(_case.conversation_id == number, _case.closed_at.is_(None)),
            ~sa.exists().where(_inbox.conversation_id == number, tables.is_waiting),
            ~sa.exists().where(_outbox.conversation_id == number, tables.is_unsent),
            *which,
        )
    )


def _of(row: sa.Row[Any]) -> Quiet:
    last_at = row.updated_at if row.last_at is None else max(row.last_at, row.updated_at)
    return Quiet(row.id, row.channel, last_at, row.masked_at)
