"""Takes an inbound event into inbox, transcript and lane, all in one transaction."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from kfbot.errors import ConversationChanged
from kfbot.messages import (
    ButtonPressed,
    InboundEvent,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    OwnershipChanged,
    Sender,
)
from kfbot.store import tables
from kfbot.store.conversations import change_owner, ensure_conversation
from kfbot.store.events import encode_event, storable_event
from kfbot.store.lanes import set_ready


@dataclass(frozen=True, slots=True)
class Accepted:
    """An inbound event that is in the inbox."""

    inbox_id: int
    conversation_id: int
    #: True where it was there before.
    repeated: bool


async def accept(connection: AsyncConnection, event: InboundEvent, now: datetime) -> Accepted:
    """Store an event that is new; a repeated one is only recognised.

    An agent's claim takes effect at once: it must not wait for a running turn of the bot.
    """
    event = storable_event(event)
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
    inbox_id: int = created.inserted_primary_key[0]
    if (agent := _claiming(event)) is not None:
        await _claim(connection, conversation_id, inbox_id, agent, now)
    return Accepted(inbox_id, conversation_id, repeated=False)


def _claiming(event: InboundEvent) -> str | None:
    """The agent who takes the conversation by this event."""
    if isinstance(event, OwnershipChanged) and event.change == "claimed":
        return event.agent.display_name or event.agent.id
    if isinstance(event, MessageReceived) and event.sender.role == "agent":
        return event.sender.display_name or event.sender.id
    return None


async def _claim(
    connection: AsyncConnection, conversation_id: int, inbox_id: int, agent: str, now: datetime
) -> None:
    inbox = tables.inbox
    earlier = await connection.execute(
        sa.select(inbox.c.payload).where(
            inbox.c.conversation_id == conversation_id,
            inbox.c.state == "new",
            inbox.c.id < inbox_id,
        )
    )
    if any(payload["type"] == OwnershipChanged.__name__ for payload in earlier.scalars()):
        # Behind a handback that is still to be worked on it has to wait its turn.
        return
    # Another agent was first: the event is over all the same.
    with suppress(ConversationChanged):
        await change_owner(connection, conversation_id, "claim", agent=agent, now=now)
    await connection.execute(inbox.update().where(inbox.c.id == inbox_id).values(state="done"))


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
