"""A lane: the right to work on one conversation, for a while, fenced by an epoch."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from kfbot.store import tables

#: So much of a lease may have passed when something is sent; the rest is for the way.
_FRESH = 0.8


def elapsed_seconds() -> float:
    """Seconds on a clock that no one sets and that goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(slots=True, eq=False)
class Lane:
    """A claimed lane; valid until its lease ends or another claims it."""

    conversation_id: int
    owner: str
    epoch: int
    #: What made it ready when it was claimed; another value since then is news.
    ready_at: datetime
    #: When its claim or last renewal was asked for, in `elapsed_seconds`.
    renewed_at: float = field(default_factory=elapsed_seconds)
    lease_seconds: float = 30.0

    @property
    def key(self) -> tuple[int, str | None, int]:
        """What its row holds as long as it is ours."""
        return self.conversation_id, self.owner, self.epoch

    def is_fresh(self) -> bool:
        """False once the lease is so old that another may be about to take the lane."""
        return elapsed_seconds() - self.renewed_at < _FRESH * self.lease_seconds


def held(lane: Lane) -> sa.Update:
    """An update of the lane's row that matches only while the lane is still ours."""
    table = tables.lane
    return table.update().where(
        table.c.conversation_id == lane.conversation_id,
        table.c.owner == lane.owner,
        table.c.epoch == lane.epoch,
    )


def on_channels(channels: Collection[str]) -> sa.ColumnElement[bool]:
    """Of a lane: its conversation is on one of these channels now."""
    alias = tables.conversation_alias.c
    return sa.exists().where(
        alias.conversation_id == tables.lane.c.conversation_id,
        alias.current,
        alias.channel.in_(channels),
    )


_lane, _inbox, _outbox = tables.lane.c, tables.inbox.c, tables.outbox.c
# Made once: to put a statement together costs more than to run it.
_RELEASE = (
    tables.lane.update()
    .where(
        sa.tuple_(_lane.conversation_id, _lane.owner, _lane.epoch).in_(
            sa.bindparam("lanes", expanding=True)
        ),
        # SQLite would read the whole table for a list of tuples alone.
        _lane.conversation_id.in_(sa.bindparam("conversations", expanding=True)),
        # With NOT EXISTS PostgreSQL goes, for each lane, through what waits in all of them.
        sa.select(sa.func.min(_inbox.id))
        .where(_inbox.conversation_id == _lane.conversation_id, tables.is_waiting)
        .scalar_subquery()
        .is_(None),
        sa.select(sa.func.min(_outbox.id))
        .where(_outbox.conversation_id == _lane.conversation_id, tables.is_unsent)
        .scalar_subquery()
        .is_(None),
    )
    .values(owner=None, lease_until=None, ready_at=None)
    .returning(_lane.conversation_id)
)
_EPOCHS = (
    sa.select(
        tables.lane.c.conversation_id,
        tables.lane.c.owner,
        tables.lane.c.epoch,
        tables.conversation.c.ownership_epoch,
        tables.draft.c.conversation_id.label("drafted"),
    )
    .join_from(
        tables.lane, tables.conversation, tables.lane.c.conversation_id == tables.conversation.c.id
    )
    .join(
        tables.draft, tables.draft.c.conversation_id == tables.lane.c.conversation_id, isouter=True
    )
    .where(tables.lane.c.conversation_id.in_(sa.bindparam("conversations", expanding=True)))
)
_SET_READY = {
    dialect: statement.on_conflict_do_update(
        index_elements=[_lane.conversation_id],
        set_={
            # Who waits already keeps the place in the line, however often they write again.
            "ready_at": sa.case(
                (
                    sa.and_(_lane.owner.is_(None), _lane.ready_at <= statement.excluded.ready_at),
                    _lane.ready_at,
                ),
                else_=statement.excluded.ready_at,
            )
        },
    )
    for dialect, statement in (
        ("sqlite", sqlite_insert(tables.lane)),
        ("postgresql", postgresql_insert(tables.lane)),
    )
}


def epochs_of_held(
    connection: sa.Connection, lanes: Sequence[Lane]
) -> tuple[dict[tuple[int, str | None, int], int], list[int]]:
    """The ownership epochs of the conversations, by lanes as they are now.

    Returns:
        And in which of those that are still held an answer was shown as it grew.
    """
    ids = [lane.conversation_id for lane in lanes]
    held = {lane.key for lane in lanes}
    epochs, drafted = {}, []
    for row in connection.execute(_EPOCHS, {"conversations": ids}):
        key = (row.conversation_id, row.owner, row.epoch)
        epochs[key] = row.ownership_epoch
        if row.drafted is not None and key in held:
            drafted.append(row.conversation_id)
    return epochs, drafted


def set_ready(connection: sa.Connection, conversation_ids: Iterable[int], now: datetime) -> None:
    """Make lanes ready, creating those that are new; locks them in a fixed order."""
    connection.execute(
        _SET_READY[connection.dialect.name],
        [
            {"conversation_id": number, "ready_at": now, "epoch": 0}
            for number in sorted(set(conversation_ids))
        ],
    )


def release_idle(connection: sa.Connection, lanes: Collection[Lane]) -> set[int]:
    """Give back those of our lanes that have no work left; returns their conversations.

    The lanes must be locked: otherwise what comes in at this moment would be left lying.
    """
    ours = {
        "conversations": [one.conversation_id for one in lanes],
        "lanes": [one.key for one in lanes],
    }
    return set(connection.execute(_RELEASE, ours).scalars())


def free_lanes(connection: sa.Connection, lost: sa.ColumnElement[bool]) -> int:
    """Free lanes whose owners are gone, and note that they went while working on its first event.

    Returns:
        How many there were.
    """
    lane, inbox = tables.lane, tables.inbox
    # What is locked at this moment belongs to somebody who lives.
    theirs = (
        sa.select(lane.c.conversation_id)
        .where(lane.c.owner.is_not(None), lost)
        .with_for_update(skip_locked=True)
    )
    freed = connection.execute(
        lane.update()
        .where(lane.c.conversation_id.in_(theirs))
        .values(owner=None, lease_until=None)
        .returning(lane.c.conversation_id)
    )
    conversations = list(freed.scalars())
    if conversations:
        first = (
            sa.select(sa.func.min(inbox.c.id))
            .where(tables.is_waiting, inbox.c.conversation_id.in_(conversations))
            .group_by(inbox.c.conversation_id)
        )
        connection.execute(
            inbox.update().where(inbox.c.id.in_(first)).values(crashes=inbox.c.crashes + 1)
        )
    return len(conversations)


def hasten(connection: sa.Connection, now: datetime, *, messages: bool) -> None:
    """Make all lanes ready that wait for their time, and with `messages` what else waits."""
    lane, outbox, channel, case = tables.lane, tables.outbox, tables.channel, tables.case
    connection.execute(lane.update().where(lane.c.ready_at > now).values(ready_at=now))
    if messages:
        connection.execute(
            outbox.update()
            .where(tables.is_unsent, sa.or_(outbox.c.retry_at > now, outbox.c.slot_at > now))
            .values(retry_at=None, slot_at=None)
        )
        connection.execute(channel.update().where(channel.c.free_at > now).values(free_at=now))
        late = sa.and_(case.c.closed_at.is_(None), case.c.due_at > now)
        connection.execute(case.update().where(late).values(due_at=now))
