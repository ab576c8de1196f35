"""Inbox, lanes and outbox: durable, each event once, one conversation strictly in order.

A lane is a conversation with work to do. Whoever works on it holds a lease; every claim
raises the lane's epoch, and commits under an older epoch are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from kfbot.errors import ConversationChanged
from kfbot.messages import ConversationId, DeliveryReceipt, InboundEvent
from kfbot.store import tables
from kfbot.store.acceptance import Accepted, Chat, accept_all
from kfbot.store.engine import Database
from kfbot.store.events import storable, storable_event
from kfbot.store.lanes import (
    Lane,
    elapsed_seconds,
    free_lanes,
    hasten,
    held,
    on_channels,
    release_idle,
)
from kfbot.store.notices import LANE, notify
from kfbot.store.pacing import Pace, take_slot
from kfbot.store.presence import gone
from kfbot.store.work import StoredMessage, Wanted, Work, read_work

#: Addresses whose lane is remembered, to lock it before others in a group.
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class _Delivery:
    lane: Lane
    stored: StoredMessage
    receipt: DeliveryReceipt


class MessageStore:
    """The rows behind inbox, lanes and outbox."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        *,
        channels: Collection[str] | None = None,
        limited: Collection[str] = (),
        agents_chats: Collection[Chat] = (),
    ) -> None:
        """Prepare.

        Args:
            channels: Only lanes of their conversations are claimed; None: of all.
            limited: Channels whose customers' messages are counted.
            agents_chats: Chats in which agents work; no customers write there.
        """
        self._database = database
        self._clock = clock
        self._limited = limited
        self._agents_chats = frozenset(agents_chats)
        self._served = sa.true() if channels is None else on_channels(channels)
        self._lane_of: dict[ConversationId, int] = {}

    async def accept(self, event: InboundEvent) -> Accepted:
        """Commit an event, its message in the transcript, and its lane as ready; once.

        Raises:
            StoreUnavailable: Nothing was stored; do not acknowledge.
        """
        event = storable_event(event)
        known = self._lane_of.get(event.conversation)
        lanes = () if known is None else (known,)
        try:
            accepted = await self._database.write_together(self._accept, event, lanes=lanes)
        except (IntegrityError, ConversationChanged):
            # Another process stored the same event, customer or conversation at this moment, or
            # erased the conversation.
            accepted = await self._database.write_together(self._accept, event, lanes=lanes)
        if len(self._lane_of) >= REMEMBERED:
            self._lane_of.clear()
        self._lane_of[event.conversation] = accepted.conversation_id
        return accepted

    def _accept(
        self, connection: sa.Connection, events: Sequence[InboundEvent]
    ) -> Sequence[Accepted]:
        return accept_all(connection, events, self._clock(), self._limited, self._agents_chats)

    async def free_all(self) -> int:
        """Free every lane: right only where no other process can be running.

        If the clock was set back meanwhile, what waits is tried now.

        Returns:
            How many a process that was killed had left behind.
        """

        def operation(connection: sa.Connection) -> int:
            inbox, now = tables.inbox.c, self._clock()
            newest = sa.select(inbox.received_at).order_by(inbox.id.desc()).limit(1)
            last = connection.execute(newest).scalar_one_or_none()
            hasten(connection, now, messages=last is not None and last > now)
            return free_lanes(connection, sa.true())

        return await self._database.write(operation)

    async def hasten(self) -> None:
        """Try everything now that waits: the clock was set back, and nobody knows how long."""
        await self._database.write(lambda c: hasten(c, self._clock(), messages=True))

    async def free_lost(self, owner: str) -> int:
        """Free the lanes of other owners that are gone: their lease ended, or they died.

        Returns:
            How many there were.
        """

        def operation(connection: sa.Connection) -> int:
            lane = tables.lane.c
            lost = sa.or_(lane.lease_until < self._clock(), lane.owner.in_(gone(connection)))
            return free_lanes(connection, sa.and_(lane.owner != owner, lost))

        return await self._database.write(operation)

    async def claim(
        self, owner: str, *, limit: int, lease_seconds: float, running: Collection[int] = ()
    ) -> tuple[Lane, ...]:
        """Take up to `limit` lanes that are ready and nobody has, the oldest first.

        Args:
            running: Conversations that the owner is working on; what it has beside them was
                left behind when the database was gone.
        """

        def operation(connection: sa.Connection) -> tuple[Lane, ...]:
            lane, now = tables.lane, self._clock()
            ready = (
                sa.select(lane.c.conversation_id)
                .where(
                    lane.c.ready_at <= now,
                    sa.or_(lane.c.owner.is_(None), lane.c.owner == owner),
                    lane.c.conversation_id.not_in(running),
                    self._served,
                )
                .order_by(lane.c.ready_at)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            asked_at = elapsed_seconds()
            rows = connection.execute(
                lane.update()
                .where(lane.c.conversation_id.in_(ready))
                .values(
                    owner=owner,
                    lease_until=now + timedelta(seconds=lease_seconds),
                    epoch=lane.c.epoch + 1,
                )
                .returning(lane.c.conversation_id, lane.c.epoch, lane.c.ready_at)
            )
            return tuple(
                Lane(row.conversation_id, owner, row.epoch, row.ready_at, asked_at, lease_seconds)
                for row in rows
            )

        return await self._database.write(operation)

    async def next_ready_at(self, owner: str, *, running: Collection[int] = ()) -> datetime | None:
        """When the next lane that `claim` could take gets ready; None if all are idle."""
        lane = tables.lane.c
        query = sa.select(sa.func.min(lane.ready_at)).where(
            lane.ready_at.is_not(None),
            sa.or_(lane.owner.is_(None), lane.owner == owner),
            lane.conversation_id.not_in(running),
            self._served,
        )
        return await self._database.read(lambda c: c.execute(query).scalar_one_or_none())

    async def renew(self, owner: str, lanes: Sequence[Lane], *, lease_seconds: float) -> None:
        """Prolong the leases of lanes that are worked on; what was lost meanwhile stays lost."""

        def operation(connection: sa.Connection) -> list[sa.Row[Any]]:
            lane = tables.lane
            until = self._clock() + timedelta(seconds=lease_seconds)
            renewed = connection.execute(
                lane.update()
                .where(lane.c.owner == owner, lane.c.conversation_id.in_(ids))
                .values(lease_until=until)
                .returning(lane.c.conversation_id, lane.c.epoch)
            )
            return list(renewed)

        if not lanes:
            return
        ids = [lane.conversation_id for lane in lanes]
        asked_at = elapsed_seconds()
        rows = await self._database.write(operation, lanes=ids)
        kept = {(row.conversation_id, row.epoch) for row in rows}
        for lane in lanes:
            if (lane.conversation_id, lane.epoch) in kept:
                lane.renewed_at = asked_at

    async def release(self, lane: Lane, *, ready_at: datetime | None = None) -> bool:
        """Give a lane back; with `ready_at` to be claimed again then, or sooner if there is news.

        Without it the lane falls idle, unless work has come in: then False, and the lane
        stays claimed.
        """

        def operation(connection: sa.Connection) -> bool:
            column = tables.lane.c.ready_at
            if ready_at is not None and ready_at <= self._clock():
                notify(connection, LANE)
            connection.execute(
                held(lane).values(
                    owner=None,
                    lease_until=None,
                    ready_at=sa.case((column != lane.ready_at, column), else_=ready_at),
                )
            )
            return True

        lanes = (lane.conversation_id,)
        if ready_at is None:
            return await self._database.write_together(_release, lane, lanes=lanes)
        return await self._database.write(operation, lanes=lanes)

    async def work(self, lane: Lane, *, whole: bool = True) -> Work:
        """What the lane has to do, at most 50 events and 50 messages, in order.

        Args:
            whole: False: no events are read while there is a message to be sent at once.

        Raises:
            ConversationChanged: Another worker has the lane.
            RowUnreadable: What comes first cannot be read: a newer version wrote it, or it is
                damaged.
        """
        return await self._database.read_together(read_work, Wanted(lane, whole))

    async def is_done(self, inbox_id: int) -> bool:
        """True once an event was worked on, or given up."""
        inbox = tables.inbox.c
        query = sa.select(inbox.state).where(inbox.id == inbox_id)
        return await self._database.read(lambda c: c.execute(query).scalar_one_or_none()) != "new"

    async def failed(self, inbox_id: int, error: str) -> int:
        """Count a failed attempt at an event; returns how many there were."""

        def operation(connection: sa.Connection) -> int:
            inbox = tables.inbox
            counted = connection.execute(
                inbox.update()
                .where(inbox.c.id == inbox_id)
                .values(attempts=inbox.c.attempts + 1, error=error)
                .returning(inbox.c.attempts)
            )
            attempts: int = counted.scalar_one()
            return attempts

        return await self._database.write(operation)

    async def reserve(
        self,
        stored: StoredMessage,
        *,
        rate_per_second: float | None,
        burst: int | None = None,
        seconds_per_chat: float = 0.0,
    ) -> datetime:
        """When channel and chat let a message go; the time is kept free for it.

        Over all replicas a channel gives out no more than `rate_per_second` times a second, and
        after a pause at most `burst` of them at once (GCRA, ITU-T I.371); a chat no two less
        than `seconds_per_chat` apart. While its chat is not free no time is kept for a message:
        it is told when to ask again.
        """

        def operation(connection: sa.Connection) -> datetime:
            slot, taken = take_slot(connection, address, pace, self._clock())
            if taken:
                _mark(connection, stored.outbox_id, stored_state="new", slot_at=slot)
            return slot

        address = stored.message.conversation
        pace = Pace(rate_per_second=rate_per_second, burst=burst, seconds_per_chat=seconds_per_chat)
        return await self._database.write(operation)

    async def sent(self, lane: Lane, stored: StoredMessage, receipt: DeliveryReceipt) -> bool:
        """Record that the platform took a message, and give the lane back if nothing is left.

        Returns:
            True if the lane was given back.
        """
        delivery = _Delivery(lane, stored, receipt)
        return await self._database.write_together(
            _record_sent, delivery, lanes=(lane.conversation_id,)
        )

    async def cancel(self, stored: StoredMessage) -> None:
        """A message of the bot's is not to be sent any more: an agent took the conversation."""
        await self._database.write(lambda c: _mark(c, stored.outbox_id, stored_state="cancelled"))

    async def not_sent(
        self, stored: StoredMessage, error: str, *, retry_at: datetime | None
    ) -> None:
        """Record a failed attempt to send; without `retry_at` there will be no other."""

        def operation(connection: sa.Connection) -> None:
            _mark(
                connection,
                stored.outbox_id,
                stored_state="dead" if retry_at is None else "new",
                attempts=stored.attempts + 1,
                retry_at=retry_at,
                slot_at=None,
                error=storable(error),
            )

        await self._database.write(operation)

    async def give_up_message(self, outbox_id: int, error: str) -> None:
        """A message that cannot even be read is not sent, unless an operator says so."""
        await self._database.write(lambda c: _mark(c, outbox_id, stored_state="dead", error=error))


_lane, _inbox, _outbox = tables.lane.c, tables.inbox.c, tables.outbox.c
# Made once: to put a statement together costs more than to run it.
_SENT = (
    tables.outbox.update()
    .where(_outbox.id.in_(sa.bindparam("sent", expanding=True)))
    .values(state="sent", error=None)
)
_NAMED = (
    tables.message.update()
    .where(tables.message.c.id == sa.bindparam("row"))
    .values(platform_id=sa.bindparam("name"))
)


def _release(connection: sa.Connection, lanes: Sequence[Lane]) -> Sequence[bool]:
    freed = release_idle(connection, lanes)
    return [lane.conversation_id in freed for lane in lanes]


def _record_sent(connection: sa.Connection, deliveries: Sequence[_Delivery]) -> Sequence[bool]:
    connection.execute(_SENT, {"sent": [one.stored.outbox_id for one in deliveries]})
    named = [
        {"row": one.stored.message_id, "name": storable(one.receipt.platform_ids[0])}
        for one in deliveries
        if one.receipt.platform_ids
    ]
    if named:
        connection.execute(_NAMED, named)
    return _release(connection, [one.lane for one in deliveries])


def _mark(
    connection: sa.Connection, outbox_id: int, *, stored_state: str, **values: object
) -> None:
    """Change a message that is still to be sent: another worker may have sent it meanwhile."""
    outbox = tables.outbox
    connection.execute(
        outbox.update()
        .where(outbox.c.id == outbox_id, tables.is_unsent)
        .values(state=stored_state, **values)
    )
