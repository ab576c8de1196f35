"""What waits in the database at this moment, in a few queries over partial indexes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from kfbot.conversation import State
from kfbot.store import tables
from kfbot.store.dead_letters import DeadCounts, count_dead
from kfbot.store.engine import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How much waits, and since when; all replicas read the same."""

    #: By the database's clock.
    at: datetime
    dead: DeadCounts
    #: Messages that are still to be sent.
    unsent: int
    unsent_since: datetime | None
    #: Of those that nothing holds back: neither a failed try nor a rate.
    due_since: datetime | None
    #: Conversations that are worked on, and that wait for a worker.
    lanes_working: int
    lanes_ready: int
    #: Customers who wait for a person.
    waiting: int
    waiting_since: datetime | None
    #: By name of the webhook: what is still to be told.
    deliveries: Mapping[str, int]


class GaugeStore:
    """Counts what waits."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def standing(self) -> Standing:
        """What waits now.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        return await self._database.read(self._standing)

    def _standing(self, connection: sa.Connection) -> Standing:
        now = {"now": self._clock()}
        unsent = connection.execute(_UNSENT, now).one()
        lanes = connection.execute(_LANES, now).one()
        waiting = connection.execute(_WAITING).one()
        deliveries = connection.execute(_DELIVERIES).all()
        return Standing(
            at=now["now"],
            dead=count_dead(connection),
            unsent=unsent.number,
            unsent_since=unsent.since,
            due_since=unsent.due_since,
            lanes_working=lanes.working,
            lanes_ready=lanes.ready,
            waiting=waiting.number,
            waiting_since=waiting.since,
            deliveries={row.webhook: row.number for row in deliveries},
        )


_outbox, _lane = tables.outbox.c, tables.lane.c
_case, _delivery = tables.case.c, tables.event_delivery.c
_now = sa.bindparam("now", type_=tables.UtcTime)


def _oldest(column: sa.ColumnElement[Any]) -> sa.ColumnElement[datetime | None]:
    return sa.type_coerce(sa.func.min(column), tables.UtcTime)


_is_due = sa.and_(
    sa.or_(_outbox.retry_at.is_(None), _outbox.retry_at <= _now),
    sa.or_(_outbox.slot_at.is_(None), _outbox.slot_at <= _now),
)
_UNSENT = sa.select(
    sa.func.count().label("number"),
    _oldest(_outbox.created_at).label("since"),
    _oldest(sa.case((_is_due, _outbox.created_at))).label("due_since"),
).where(tables.is_unsent)
_LANES = sa.select(
    sa.select(sa.func.count()).where(_lane.owner.is_not(None)).scalar_subquery().label("working"),
    sa.select(sa.func.count())
    .where(_lane.ready_at.is_not(None), _lane.ready_at <= _now, _lane.owner.is_(None))
    .scalar_subquery()
    .label("ready"),
)
_WAITING = (
    sa.select(
        sa.func.count().label("number"),
        _oldest(sa.func.coalesce(_case.waiting_since, _case.opened_at)).label("since"),
    )
    .join_from(
        tables.conversation,
        tables.case,
        sa.and_(_case.conversation_id == tables.conversation.c.id, _case.closed_at.is_(None)),
    )
    .where(tables.conversation.c.state == State.WAITING.value)
)
# To the letter of the partial index: with a bound value SQLite would read the whole table.
_DELIVERIES = (
    sa.select(_delivery.webhook, sa.func.count().label("number"))
    .where(_delivery.state == sa.literal_column("'pending'"))
    .group_by(_delivery.webhook)
)
