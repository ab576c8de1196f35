"""What lanes have to do, read for many of them at once."""

from __future__ import annotations

from collections import defaultdict
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

#: Rows of one lane that are read at a time, of a kind.
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
    #: The platform's ids of what was shown of it already; it takes the place of that.
    replaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """What a lane has to do."""

    conversation: Conversation
    #: None: not read, since there is a message to be sent first.
    waiting: tuple[StoredEvent, ...] | None
    unsent: tuple[StoredMessage, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A lane to be read."""

    lane: Lane
    #: False: no events while there is a message to be sent at once.
    whole: bool


_lane, _inbox, _outbox = tables.lane.c, tables.inbox.c, tables.outbox.c
_conversation = tables.conversation.c
#: Above every id.
_LATEST = 2**62


def _with_open(
    query: sa.Select[Any],
    table: sa.Table,
    is_open: sa.ColumnElement[bool],
    columns: Sequence[sa.ColumnElement[Any]],
    dialect: str,
) -> sa.Select[Any]:
    """A query on conversations, with the first rows of each that are still open, or none."""
    ours = sa.and_(table.c.conversation_id == _conversation.id, is_open)
    first = sa.select(table.c.id.label("row_id"), *columns).where(ours).order_by(table.c.id)
    if dialect == "postgresql":
        # It believes that no row is open, and joined to the table it would go through those of
        # all conversations once for each of them.
        page = first.limit(PAGE).correlate(tables.conversation).lateral()
        query = query.add_columns(*page.c).outerjoin(page, sa.true())
        return query.order_by(page.c.row_id)
    # SQLite knows no LATERAL.
    last = first.with_only_columns(table.c.id).offset(PAGE - 1).limit(1)
    last_id = last.correlate(tables.conversation).scalar_subquery()
    on_page = table.c.id <= sa.func.coalesce(last_id, sa.literal(_LATEST))
    query = query.add_columns(*first.selected_columns)
    return query.outerjoin(table, sa.and_(ours, on_page)).order_by(table.c.id)


# Made once: to put a statement together costs more than to run it.
#: Conversations, their lanes as they are now, and their messages.
_UNSENT = {
    dialect: _with_open(
        select_conversations()
        .add_columns(_lane.owner.label("lane_owner"), _lane.epoch.label("lane_epoch"))
        .join(tables.lane, _lane.conversation_id == _conversation.id)
        .where(_conversation.id.in_(sa.bindparam("conversations", expanding=True))),
        tables.outbox,
        tables.is_unsent,
        (
            _outbox.message_id, _outbox.payload, _outbox.ownership_epoch.label("bound_to_epoch"),
            _outbox.attempts, _outbox.retry_at, _outbox.slot_at, _outbox.created_at,
            _outbox.replaces,
        ),
        dialect,
    )
    for dialect in ("sqlite", "postgresql")
}  # fmt: skip
_WAITING = {
    dialect: _with_open(
        sa.select(_conversation.id.label("conversation_id"))
        .select_from(tables.conversation)
        .where(_conversation.id.in_(sa.bindparam("conversations", expanding=True))),
        tables.inbox,
        tables.is_waiting,
        (_inbox.payload, _inbox.attempts, _inbox.received_at, _inbox.crashes),
        dialect,
    )
    for dialect in ("sqlite", "postgresql")
}


def read_work(connection: sa.Connection, wanted: Sequence[Wanted]) -> list[Work | Exception]:
    """The work of each lane; or why there is none: it is another's, or cannot be read."""
    messages = defaultdict(list)
    asked = {"conversations": [one.lane.conversation_id for one in wanted]}
    for row in connection.execute(_UNSENT[connection.dialect.name], asked):
        messages[row.id, row.lane_owner, row.lane_epoch].append(row)
    results: list[Work | Exception] = []
    unfinished: dict[int, Work] = {}
    for place, one in enumerate(wanted):
        made = _begun(one.lane, messages[one.lane.key])
        results.append(made)
        if isinstance(made, Work) and (one.whole or not _goes_at_once(made.unsent)):
            unfinished[place] = made
    if unfinished:
        events = defaultdict(list)
        numbers = [work.conversation.id for work in unfinished.values()]
        waiting = _WAITING[connection.dialect.name]
        for row in connection.execute(waiting, {"conversations": numbers}):
            events[row.conversation_id].append(row)
        for place, work in unfinished.items():
            rows = events[work.conversation.id]
            results[place] = _finished(work, rows, whole=wanted[place].whole)
    return results


def _begun(lane: Lane, rows: Sequence[sa.Row[Any]]) -> Work | Exception:
    """What is known without the events."""
    if not rows:
        return ConversationChanged(f"another worker took conversation {lane.conversation_id}")
    conversation = conversation_of(rows[0])
    try:
        unsent = _readable(_stored_message, rows, "outbox", conversation.address)
    except RowUnreadable as error:
        return error
    return Work(conversation, None, tuple(unsent))


def _goes_at_once(unsent: Sequence[StoredMessage]) -> bool:
    return bool(unsent) and unsent[0].retry_at is None and unsent[0].slot_at is None


def _finished(work: Work, rows: Sequence[sa.Row[Any]], *, whole: bool) -> Work | Exception:
    try:
        return replace(work, waiting=tuple(_readable(_stored_event, rows, "inbox")))
    except RowUnreadable as error:
        # It does not hold up what is to be sent.
        return work if work.unsent and not whole else error


def _readable(read: Callable[..., Any], rows: Sequence[Any], kind: str, *further: Any) -> list[Any]:
    """The rows up to the first that cannot be read; that one is named when it comes first."""
    made: list[Any] = []
    for row in rows:
        if row.row_id is None:
            break
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
        replaces=tuple(row.replaces or ()),
    )
