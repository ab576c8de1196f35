"""Inbox, lanes and outbox: durable, each event once, one conversation strictly in order.

A lane is a conversation with work to do. Whoever works on it holds a lease; every claim
raises the lane's epoch, and commits under an older epoch are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from kfbot.messages import (
    ConversationId,
    DeliveryReceipt,
    InboundEvent,
    OutboundMessage,
)
from kfbot.store import tables
from kfbot.store.acceptance import Accepted, accept
from kfbot.store.engine import Database
from kfbot.store.events import decode_event, decode_message
from kfbot.store.lanes import Lane, check_lane, held


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An inbox row that is still to be worked on."""

    inbox_id: int
    event: InboundEvent
    attempts: int
    received_at: datetime


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """An outbox row that is still to be sent."""

    outbox_id: int
    message: OutboundMessage
    #: None: sent whoever owns the conversation (an agent's words).
    ownership_epoch: int | None
    attempts: int
    retry_at: datetime | None
    created_at: datetime


class MessageStore:
    """The rows behind inbox, lanes and outbox."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def accept(self, event: InboundEvent) -> Accepted:
        """Commit an event, its message in the transcript, and its lane as ready; once.

        Raises:
            StoreUnavailable: Nothing was stored; do not acknowledge.
        """

        async def operation(connection: AsyncConnection) -> Accepted:
            return await accept(connection, event, self._clock())

        try:
            return await self._database.write(operation)
        except IntegrityError:
            # Another process stored the same event, customer or conversation at this moment.
            return await self._database.write(operation)

    async def forget_leases(self) -> None:
        """Free every lane: right only where no other process can be running."""

        async def operation(connection: AsyncConnection) -> None:
            await connection.execute(tables.lane.update().values(owner=None, lease_until=None))

        await self._database.write(operation)

    async def claim(
        self, owner: str, *, limit: int, lease_seconds: float, running: Collection[int] = ()
    ) -> tuple[Lane, ...]:
        """Take up to `limit` lanes that are ready and nobody works on, the oldest first.

        Args:
            running: Conversations that the owner is working on: after a jump of the clock (a
                laptop that slept) their leases look as if they had ended.
        """

        async def operation(connection: AsyncConnection) -> tuple[Lane, ...]:
            lane, now = tables.lane, self._clock()
            ready = (
                sa.select(lane.c.conversation_id)
                .where(
                    lane.c.ready_at <= now,
                    sa.or_(lane.c.owner.is_(None), lane.c.lease_until < now),
                    lane.c.conversation_id.not_in(running),
                )
                .order_by(lane.c.ready_at)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            rows = await connection.execute(
                lane.update()
                .where(lane.c.conversation_id.in_(ready))
                .values(
                    owner=owner,
                    lease_until=now + timedelta(seconds=lease_seconds),
                    epoch=lane.c.epoch + 1,
                )
                .returning(lane.c.conversation_id, lane.c.epoch, lane.c.ready_at)
            )
            return tuple(Lane(row.conversation_id, owner, row.epoch, row.ready_at) for row in rows)

        return await self._database.write(operation)

    async def next_ready_at(self) -> datetime | None:
        """When the next unclaimed lane gets ready; None if all are idle."""
        lane = tables.lane.c
        query = sa.select(sa.func.min(lane.ready_at)).where(
            lane.ready_at.is_not(None), lane.owner.is_(None)
        )
        async with self._database.reading() as connection:
            found: datetime | None = (await connection.execute(query)).scalar_one_or_none()
        return found

    async def renew(self, lanes: Sequence[Lane], *, lease_seconds: float) -> None:
        """Prolong the leases of lanes that are worked on."""

        async def operation(connection: AsyncConnection) -> None:
            until = self._clock() + timedelta(seconds=lease_seconds)
            for lane in lanes:
                await connection.execute(held(lane).values(lease_until=until))

        if lanes:
            await self._database.write(operation)

    async def release(self, lane: Lane, *, ready_at: datetime | None = None) -> bool:
        """Give a lane back; with `ready_at` to be claimed again then, or sooner if there is news.

        Without it the lane falls idle, unless work has come in: then False, and the lane
        stays claimed.
        """

        async def operation(connection: AsyncConnection) -> bool:
            if ready_at is None and await _has_work(connection, lane.conversation_id):
                return False
            column = tables.lane.c.ready_at
            news = sa.and_(sa.literal(ready_at is not None), column != lane.ready_at)
            await connection.execute(
                held(lane).values(
                    owner=None,
                    lease_until=None,
                    ready_at=sa.case((news, column), else_=ready_at),
                )
            )
            return True

        return await self._database.write(operation)

    async def waiting(self, lane: Lane) -> tuple[StoredEvent, ...]:
        """The lane's events that are still to be worked on, in order."""
        inbox = tables.inbox.c
        query = (
            sa.select(inbox.id, inbox.payload, inbox.attempts, inbox.received_at)
            .where(inbox.conversation_id == lane.conversation_id, inbox.state == "new")
            .order_by(inbox.id)
            .limit(50)
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return tuple(
            StoredEvent(row.id, decode_event(row.payload), row.attempts, row.received_at)
            for row in rows
        )

    async def is_done(self, inbox_id: int) -> bool:
        """True once an event was worked on, or given up."""
        inbox = tables.inbox.c
        async with self._database.reading() as connection:
            state = await connection.execute(sa.select(inbox.state).where(inbox.id == inbox_id))
            return state.scalar_one_or_none() != "new"

    async def failed(self, event: StoredEvent, error: str) -> int:
        """Count a failed attempt at an event; returns how many there were."""

        async def operation(connection: AsyncConnection) -> int:
            await connection.execute(
                tables.inbox.update()
                .where(tables.inbox.c.id == event.inbox_id)
                .values(attempts=event.attempts + 1, error=error)
            )
            return event.attempts + 1

        return await self._database.write(operation)

    async def unsent(self, lane: Lane) -> tuple[StoredMessage, ...]:
        """The lane's messages that are still to be sent, in order, to its current address."""
        outbox, alias = tables.outbox.c, tables.conversation_alias.c
        query = (
            sa.select(
                outbox.id, outbox.payload, outbox.ownership_epoch, outbox.attempts,
                outbox.retry_at, outbox.created_at,
                alias.channel, alias.chat, alias.thread, alias.member,
            )
            .join_from(
                tables.outbox,
                tables.conversation_alias,
                alias.conversation_id == outbox.conversation_id,
            )
            .where(
                outbox.conversation_id == lane.conversation_id,
                outbox.state.in_(("new", "sending")),
                alias.current.is_(True),
            )
            .order_by(outbox.id)
            .limit(50)
        )  # fmt: skip
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return tuple(
            StoredMessage(
                row.id,
                replace(
                    decode_message(row.payload),
                    conversation=ConversationId(
                        row.channel, row.chat, row.thread or None, row.member or None
                    ),
                ),
                row.ownership_epoch,
                row.attempts,
                row.retry_at,
                row.created_at,
            )
            for row in rows
        )

    async def begin_send(
        self, lane: Lane, stored: StoredMessage
    ) -> Literal["now", "later", "never"]:
        """Mark a message as on its way, unless it is to be sent later, or never any more.

        Raises:
            ConversationChanged: Another worker has the lane.
        """

        async def operation(connection: AsyncConnection) -> Literal["now", "later", "never"]:
            await check_lane(connection, lane)
            epoch = await connection.execute(
                sa.select(tables.conversation.c.ownership_epoch).where(
                    tables.conversation.c.id == lane.conversation_id
                )
            )
            if stored.ownership_epoch not in (None, epoch.scalar_one()):
                await _mark(connection, stored, "cancelled")
                return "never"
            if stored.retry_at is not None and stored.retry_at > self._clock():
                return "later"
            await _mark(connection, stored, "sending")
            return "now"

        return await self._database.write(operation)

    async def sent(self, stored: StoredMessage, receipt: DeliveryReceipt) -> None:
        """Record that the platform took a message, and what it calls it."""

        async def operation(connection: AsyncConnection) -> None:
            await _mark(connection, stored, "sent")
            if receipt.platform_ids:
                outbox, message = tables.outbox.c, tables.message
                of_row = sa.select(outbox.message_id).where(outbox.id == stored.outbox_id)
                await connection.execute(
                    message.update()
                    .where(message.c.id.in_(of_row))
                    .values(platform_id=receipt.platform_ids[0])
                )

        await self._database.write(operation)

    async def not_sent(
        self, stored: StoredMessage, error: str, *, retry_at: datetime | None
    ) -> None:
        """Record a failed attempt to send; without `retry_at` there will be no other."""

        async def operation(connection: AsyncConnection) -> None:
            await _mark(
                connection,
                stored,
                "dead" if retry_at is None else "new",
                attempts=stored.attempts + 1,
                retry_at=retry_at,
                error=error,
            )

        await self._database.write(operation)


async def _has_work(connection: AsyncConnection, conversation_id: int) -> bool:
    inbox, outbox = tables.inbox.c, tables.outbox.c
    todo = sa.select(
        sa.or_(
            sa.exists().where(inbox.conversation_id == conversation_id, inbox.state == "new"),
            sa.exists().where(
                outbox.conversation_id == conversation_id,
                outbox.state.in_(("new", "sending")),
            ),
        )
    )
    return bool((await connection.execute(todo)).scalar_one())


async def _mark(
    connection: AsyncConnection, stored: StoredMessage, state: str, **values: object
) -> None:
    outbox = tables.outbox
    await connection.execute(
        outbox.update().where(outbox.c.id == stored.outbox_id).values(state=state, **values)
    )
