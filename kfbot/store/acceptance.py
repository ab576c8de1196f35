"""Takes an inbound event into inbox, transcript and lane, all in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from kfbot.messages import (
    ButtonPressed,
    InboundEvent,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    Sender,
)
from kfbot.store import tables
from kfbot.store.conversations import ensure_conversation
from kfbot.store.events import encode_event
from kfbot.store.lanes import set_ready


@dataclass(frozen=True, slots=True)
class Accepted:
    """An inbound event that is in the inbox."""

    inbox_id: int
    conversation_id: int
    #: True where it was there before.
    repeated: bool


async def accept(connection: AsyncConnection, event: InboundEvent, now: datetime) -> Accepted:
    """Store an event that is new; a repeated one is only recognised."""
    channel, inbox = event.conversation.channel, tables.inbox
    known = await connection.execute(
        sa.select(inbox.c.id, inbox.c.conversation_id).where(
            inbox.c.channel == channel, inbox.c.event_id == event.event_id
        )
    )
    if (row := known.one_or_none()) is not None:
        return Accepted(row.id, row.conversation_id, repeated=True)
    customer_id = None
    if isinstance(event, MessageReceived) and event.sender.role == "customer":
        customer_id = await _ensure_customer(connection, channel, event.sender, now)
    conversation_id = await ensure_conversation(connection, event.conversation, now, customer_id)
    await set_ready(connection, conversation_id, now)
    created = await connection.execute(
        inbox.insert().values(
            channel=channel,
            event_id=event.event_id,
            conversation_id=conversation_id,
            payload=encode_event(event),
            received_at=now,
        )
    )
    await _write_transcript(connection, conversation_id, event, now)
    assert created.inserted_primary_key is not None
    return Accepted(created.inserted_primary_key[0], conversation_id, repeated=False)


async def _ensure_customer(
    connection: AsyncConnection, channel: str, sender: Sender, now: datetime
) -> int:
    customer = tables.customer
    query = sa.select(customer.c.id).where(
        customer.c.channel == channel, customer.c.platform_user == sender.id
    )
    found: int | None = (await connection.execute(query)).scalar_one_or_none()
    if found is not None:
        return found
    created = await connection.execute(
        customer.insert().values(
            channel=channel,
            platform_user=sender.id,
            display_name=sender.display_name,
            created_at=now,
        )
    )
    assert created.inserted_primary_key is not None
    made: int = created.inserted_primary_key[0]
    return made


async def _write_transcript(
    connection: AsyncConnection, conversation_id: int, event: InboundEvent, now: datetime
) -> None:
    message = tables.message
    if isinstance(event, MessageReceived):
        await connection.execute(
            message.insert().values(
                conversation_id=conversation_id,
                role=event.sender.role,
                sender_name=event.sender.display_name,
                text=event.text,
                extras={
                    "attachments": [
                        {"url": file.url, "media_type": file.media_type, "name": file.name}
                        for file in event.attachments
                    ]
                }
                if event.attachments
                else {},
                platform_id=event.message_id,
                event_id=event.event_id,
                created_at=now,
            )
        )
    elif isinstance(event, ButtonPressed):
        await _write_press(connection, conversation_id, event, now)
    elif isinstance(event, MessageEdited | MessageDeleted):
        await connection.execute(
            message.update()
            .where(
                message.c.conversation_id == conversation_id,
                message.c.platform_id == event.message_id,
                message.c.role != "bot",
            )
            .values(text=event.text if isinstance(event, MessageEdited) else "")
        )


async def _write_press(
    connection: AsyncConnection, conversation_id: int, event: ButtonPressed, now: datetime
) -> None:
    """A choice, or the wish for a person, is what the customer says; feedback is not."""
    button = tables.button.c
    label = await connection.execute(
        sa.select(button.label).where(
            button.token == event.token,
            button.conversation_id == conversation_id,
            button.action.in_(("choice", "person")),
        )
    )
    if (text := label.scalar_one_or_none()) is not None:
        await connection.execute(
            tables.message.insert().values(
                conversation_id=conversation_id,
                role="customer",
                text=text,
                platform_id=event.message_id,
                event_id=event.event_id,
                created_at=now,
            )
        )
