"""What a lane has to do: its waiting events and unsent messages, read from inbox and outbox."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from kfbot.conversation import Conversation
from kfbot.errors import ConversationChanged, RowUnreadable
from kfbot.messages import ConversationId, InboundEvent, OutboundMessage
from kfbot.store import tables
from kfbot.store.conversations import conversation_of, select_conversations
from kfbot.store.events import decode_event, decode_message
from kfbot.store.lanes import Lane

#: Rows of one lane that are read at a time.
PAGE = 50


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An inbox row that is still to be worked on."""

    inbox_id: int
    event: InboundEvent
    attempts: int
    received_at: datetime
    #: How often a process died while this was the first of its lane.
    crashes: int = 0


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """An outbox row that is still to be sent."""

    outbox_id: int
    #: In the transcript.
    message_id: int
    message: OutboundMessage
    #: None: sent whoever owns the conversation (an agent's words).
    ownership_epoch: int | None
    attempts: int
    retry_at: datetime | None
    #: When the channel's rate lets it go; None: not asked yet.
    slot_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Work:
    """What a lane has to do."""

    conversation: Conversation
    #: None: not read, since there is a message to be sent first.
    waiting: tuple[StoredEvent, ...] | None
    unsent: tuple[StoredMessage, ...]


_lane, _inbox, _outbox = tables.lane.c, tables.inbox.c, tables.outbox.c
# Made once: to put a statement together costs more than to run it.
#: The conversation of a lane that is still ours, with each of its messages, or none.
_UNSENT = (
    select_conversations()
    .add_columns(
        _outbox.id.label("row_id"), _outbox.message_id, _outbox.payload,
        _outbox.ownership_epoch.label("bound_to_epoch"), _outbox.attempts, _outbox.retry_at,
        _outbox.slot_at, _outbox.created_at,
    )
    .outerjoin(
        tables.outbox,
        sa.and_(_outbox.conversation_id == tables.conversation.c.id, tables.is_unsent),
    )
    .where(
        tables.conversation.c.id == sa.bindparam("conversation"),
        sa.exists().where(
            _lane.conversation_id == sa.bindparam("conversation"),
            _lane.owner == sa.bindparam("owner"),
            _lane.epoch == sa.bindparam("epoch"),
        ),
    )
    .order_by(_outbox.id)
    .limit(PAGE)
)  # fmt: skip
_WAITING = (
    sa.select(
        _inbox.id.label("row_id"), _inbox.payload, _inbox.attempts, _inbox.received_at,
        _inbox.crashes,
    )
    .where(_inbox.conversation_id == sa.bindparam("conversation"), tables.is_waiting)
    .order_by(_inbox.id)
    .limit(PAGE)
)  # fmt: skip


def read_work(connection: sa.Connection, lane: Lane, *, whole: bool) -> Work:
    """What `MessageStore.work` returns.

    Raises:
        ConversationChanged: Another worker has the lane.
        RowUnreadable: What comes first cannot be read.
    """
    here = {"conversation": lane.conversation_id}
    ours = here | {"owner": lane.owner, "epoch": lane.epoch}
    messages = connection.execute(_UNSENT, ours).all()
    if not messages:
        raise ConversationChanged(f"another worker took conversation {lane.conversation_id}")
    conversation = conversation_of(messages[0])
    if messages[0].row_id is None:
        messages = []
    unsent = tuple(_readable(_stored_message, messages, "outbox", conversation.address))
    if not whole and unsent and unsent[0].retry_at is None and unsent[0].slot_at is None:
        return Work(conversation, None, unsent)
    events = connection.execute(_WAITING, here).all()
    try:
        return Work(conversation, tuple(_readable(_stored_event, events, "inbox")), unsent)
    except RowUnreadable:
        if whole or not unsent:
            raise
        # It does not hold up what is to be sent.
        return Work(conversation, None, unsent)


def _readable(read: Callable[..., Any], rows: Sequence[Any], kind: str, *further: Any) -> list[Any]:
    """The rows up to the first that cannot be read; that one is named when it comes first."""
    made: list[Any] = []
    for row in rows:
        try:
            made.append(read(row, *further))
        except (ValueError, LookupError, TypeError) as error:
            if not made:
                # The text of the error may hold the customer's words.
                raise RowUnreadable(kind, row.row_id, type(error).__name__) from None
            break
    return made


def _stored_event(row: sa.Row[Any]) -> StoredEvent:
    event = decode_event(row.payload)
    return StoredEvent(row.row_id, event, row.attempts, row.received_at, row.crashes)


def _stored_message(row: sa.Row[Any], address: ConversationId) -> StoredMessage:
    return StoredMessage(
        outbox_id=row.row_id,
        message_id=row.message_id,
        message=replace(decode_message(row.payload), conversation=address),
        ownership_epoch=row.bound_to_epoch,
        attempts=row.attempts,
        retry_at=row.retry_at,
        slot_at=row.slot_at,
        created_at=row.created_at,
    )
