"""What happened to conversations, and which systems were told: stored with what happened."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa

from kfbot.errors import StoreUnavailable
from kfbot.event_webhook_settings import ConversationEvent, EventWebhookSettings
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.notices import EVENTS, notify

DeliveryState = Literal["pending", "delivered", "dead"]
#: What nobody was configured for within a day is not told later.
_STALE = timedelta(days=1)
#: Events that are looked at in one transaction.
_BATCH = 100
_event, _delivery = tables.conversation_event.c, tables.event_delivery.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One telling of one event to one system."""

    id: int
    webhook: str
    event_uid: str
    type: str
    #: JSON, as it is posted.
    body: str
    state: DeliveryState
    #: Tries so far, this one included.
    attempts: int
    #: When it is tried next.
    next_at: datetime
    #: Of the last answer; None: there was none.
    status: int | None
    error: str
    created_at: datetime
    finished_at: datetime | None


def record_event(
    connection: sa.Connection,
    conversation_id: int,
    event: ConversationEvent,
    now: datetime,
    **data: Any,
) -> None:
    """Note in a transaction what happens in it; `data` is told beside the conversation."""
    connection.execute(
        tables.conversation_event.insert().values(
            conversation_id=conversation_id,
            uid=_new_uid(),
            type=event,
            data=data,
            happened_at=now,
        )
    )
    notify(connection, EVENTS)


def record_erasure(
    connection: sa.Connection,
    webhooks: Mapping[str, EventWebhookSettings],
    channel: str,
    user: str,
    numbers: Mapping[int, bool],
    now: datetime,
) -> None:
    """Have systems told that a customer was erased, by ids alone; it is no conversation's event.

    Args:
        numbers: The conversations in which they wrote; True: it is others' too, and stays.
    """
    event: ConversationEvent = "customer.erased"
    data = {
        "customer": {"channel": channel, "id": user},
        "conversations": [number for number, is_shared in numbers.items() if not is_shared],
        "redacted": [number for number, is_shared in numbers.items() if is_shared],
    }
    uid = _new_uid()
    made = [
        _row(name, uid, event, now, data, now)
        for name, section in webhooks.items()
        if section.wants(event, channel)
    ]
    if made:
        connection.execute(tables.event_delivery.insert(), made)
        notify(connection, EVENTS)


class ConversationEventStore:
    """Makes deliveries of events, lends them out, and keeps the log of them."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def hand_out(self, webhooks: Mapping[str, EventWebhookSettings]) -> int:
        """Make a delivery of each new event for each system that wants it; returns how many
        events there were, at most a hundred.

        Raises:
            StoreUnavailable: Nothing was made.
        """
        return await self._database.write(lambda c: _hand_out(c, webhooks, self._clock()))

    async def claim(self, webhook: str, limit: int, seconds: float) -> tuple[Delivery, ...]:
        """The deliveries of a system that are due, the oldest first; each counts as one more try.

        What is not settled within `seconds` is due again: whoever had it has died.

        Raises:
            StoreUnavailable: Nothing was lent.
        """

        def operation(connection: sa.Connection) -> tuple[Delivery, ...]:
            now = self._clock()
            due = (
                sa.select(_delivery.id)
                .where(
                    _delivery.webhook == webhook,
                    _delivery.state == "pending",
                    _delivery.next_at <= now,
                )
                .order_by(_delivery.next_at, _delivery.id)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            rows = connection.execute(
                tables.event_delivery.update()
                .where(_delivery.id.in_(due))
                .values(attempts=_delivery.attempts + 1, next_at=now + timedelta(seconds=seconds))
                .returning(*_delivery)
            ).all()
            return tuple(_of(row) for row in sorted(rows, key=lambda row: row.id))

        return await self._database.write(operation)

    async def settle(
        self,
        delivery: Delivery,
        state: DeliveryState,
        *,
        status: int | None = None,
        error: str = "",
        next_at: datetime | None = None,
    ) -> None:
        """Note what came of a try; `next_at`: when the next one is, if there is one.

        That a customer was erased is forgotten once it is told, or given up: it names them.

        Raises:
            StoreUnavailable: Nothing was noted; it will be tried again.
        """
        now = self._clock()
        values = {
            "state": state,
            "status": status,
            "error": error,
            "next_at": next_at or now,
            "finished_at": None if state == "pending" else now,
        }
        # Of a try that was taken for broken off nothing is to be noted any more.
        same = sa.and_(_delivery.id == delivery.id, _delivery.attempts == delivery.attempts)
        is_over = delivery.type == "customer.erased" and state != "pending"
        change = (
            tables.event_delivery.delete().where(same)
            if is_over
            else tables.event_delivery.update().where(same).values(**values)
        )
        await self._database.write(lambda connection: connection.execute(change).rowcount)
        if is_over:
            # Where somebody reads in the file all the time the next erasure does it.
            with suppress(StoreUnavailable):
                await self._database.compact(whole=False)

    async def next_due(self, webhook: str) -> datetime | None:
        """When a system is to be told something next; None: there is nothing.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        query = sa.select(sa.func.min(_delivery.next_at)).where(
            _delivery.webhook == webhook, _delivery.state == "pending"
        )
        typed = sa.type_coerce(query.scalar_subquery(), tables.UtcTime)
        return await self._database.read(lambda c: c.execute(sa.select(typed)).scalar_one())

    async def list(
        self,
        *,
        webhook: str | None = None,
        state: DeliveryState | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> tuple[Delivery, ...]:
        """The log, newest first; `before`: the id behind which to go on.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        query = sa.select(*_delivery).order_by(_delivery.id.desc()).limit(limit)
        for column, value in ((_delivery.webhook, webhook), (_delivery.state, state)):
            query = query if value is None else query.where(column == value)
        if before is not None:
            query = query.where(_delivery.id < before)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return tuple(_of(row) for row in rows)

    async def retry(self, delivery_id: int) -> bool:
        """Tell a system once more, from the beginning of the tries; False: there is no such one.

        Raises:
            StoreUnavailable: Nothing was changed.
        """

        def operation(connection: sa.Connection) -> bool:
            values = {"state": "pending", "attempts": 0, "next_at": self._clock()}
            change = tables.event_delivery.update().where(_delivery.id == delivery_id)
            changed = connection.execute(change.values(finished_at=None, **values)).rowcount
            notify(connection, EVENTS)
            return changed > 0

        return await self._database.write(operation)


def _hand_out(
    connection: sa.Connection, webhooks: Mapping[str, EventWebhookSettings], now: datetime
) -> int:
    found = (
        sa.select(*_event)
        .where(_event.state == "new")
        .order_by(_event.id)
        .limit(_BATCH)
        .with_for_update(skip_locked=True)
    )
    rows = connection.execute(found).all()
    if not rows:
        return 0
    places = _places(connection, {row.conversation_id for row in rows})
    made = [
        _row(
            name, row.uid, row.type, row.happened_at,
            {"conversation": places[row.conversation_id], **row.data}, now,
        )
        for row in rows
        for name, section in webhooks.items()
        if row.conversation_id in places
        and row.happened_at > now - _STALE
        and section.wants(row.type, places[row.conversation_id]["channel"])
    ]  # fmt: skip
    if made:
        connection.execute(tables.event_delivery.insert(), made)
    told = tables.conversation_event.update().where(_event.id.in_([row.id for row in rows]))
    connection.execute(told.values(state="told"))
    return len(rows)


def _places(connection: sa.Connection, numbers: set[int]) -> dict[int, dict[str, Any]]:
    """What is told of conversations."""
    alias, customer = tables.conversation_alias.c, tables.customer.c
    query = (
        sa.select(
            alias.conversation_id,
            alias.channel,
            alias.chat,
            alias.thread,
            alias.member,
            customer.platform_user,
            customer.display_name,
        )
        .join_from(
            tables.conversation_alias,
            tables.conversation,
            tables.conversation.c.id == alias.conversation_id,
        )
        .join(
            tables.customer,
            tables.customer.c.id == tables.conversation.c.customer_id,
            isouter=True,
        )
        .where(alias.conversation_id.in_(numbers), alias.current)
    )
    return {
        row.conversation_id: {
            "id": row.conversation_id,
            "channel": row.channel,
            "chat": row.chat,
            "thread": row.thread or None,
            "member": row.member or None,
            "customer": {"id": row.platform_user, "name": row.display_name or ""},
        }
        for row in connection.execute(query)
    }


def _new_uid() -> str:
    return f"evt_{secrets.token_hex(12)}"


def _row(
    webhook: str, uid: str, event: str, at: datetime, data: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    told = {"type": event, "timestamp": at.isoformat(), "data": data}
    return {
        "webhook": webhook,
        "event_uid": uid,
        "type": event,
        "body": json.dumps(told, ensure_ascii=False),
        "state": "pending",
        "next_at": now,
        "created_at": now,
    }


def _of(row: sa.Row[Any]) -> Delivery:
    return Delivery(**row._mapping)
