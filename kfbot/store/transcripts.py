"""What was said in a conversation, and the turns behind it, read from SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from kfbot.conversation import Choice, Conversation, HistoryMessage
from kfbot.handoff.grievances import LastTurn
from kfbot.messages import MessageReceived, OutboundKind, Role
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.events import decode_event

#: The bot reads so many messages back, never the whole history.
HISTORY_LENGTH = 12
#: The messages of a burst lie within so many of one of them: a turn takes no more events.
BURST_LENGTH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptMessage:
    """One message of a transcript, as the customer or an agent sees it."""

    id: int
    conversation_id: int
    role: Role
    sender_name: str
    kind: OutboundKind
    text: str
    internal: bool
    #: citations, buttons, decision, confidence, attachments: what there is.
    extras: dict[str, Any]
    platform_id: str | None
    event_id: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Context:
    """What a turn has to know of its conversation."""

    #: The last messages, oldest first.
    history: tuple[HistoryMessage, ...]
    #: Offered by the last turn.
    choices: tuple[Choice, ...]
    last: LastTurn | None = None


#: A conversation, and an inbound event in it (None: no particular one).
_Asked = tuple[int, str | None]


class TranscriptStore:
    """Reads messages and turns; every query is bounded."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def context(self, conversation_id: int, event_id: str | None = None) -> Context:
        """What was said before an event (None: until now), and what the last turn offered."""
        return await self._database.read_together(_contexts, (conversation_id, event_id))

    async def transcript(
        self, conversation_id: int, *, after: int = 0, limit: int = 200, internal: bool = False
    ) -> tuple[TranscriptMessage, ...]:
        """Messages with an id above `after`, oldest first; at most `limit` of the newest."""
        message = tables.message.c
        query = (
            sa.select(tables.message)
            .where(message.conversation_id == conversation_id, message.id > after)
            .order_by(message.id.desc())
            .limit(limit)
        )
        if not internal:
            query = query.where(message.internal.is_(False))
        rows = await self._database.read(lambda c: c.execute(query).all())
        return tuple(transcript_message(row) for row in reversed(rows))

    async def draft(self, conversation_id: int) -> str:
        """What is shown of an answer that is still being written; empty: there is none.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        draft = tables.draft.c
        query = sa.select(draft.text).where(draft.conversation_id == conversation_id)
        return await self._database.read(lambda c: c.execute(query).scalar_one_or_none() or "")

    async def replies_to(
        self, conversation_id: int, event_ids: Sequence[str]
    ) -> tuple[TranscriptMessage, ...]:
        """What the bot said to these inbound events, oldest first."""
        message = tables.message.c
        query = (
            sa.select(tables.message)
            .where(
                message.conversation_id == conversation_id,
                message.event_id.in_(event_ids),
                message.role == "bot",
            )
            .order_by(message.id)
        )
        rows = await self._database.read(lambda c: c.execute(query).all())
        return tuple(transcript_message(row) for row in rows)

    async def agent_wrote_since(self, conversation: Conversation, event_id: str) -> bool:
        """True where an agent told the customer something after an event of theirs was accepted.

        False for an event that has no message of its own: an edit, a verdict.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        if not conversation.ownership_epoch:
            # Who writes takes the conversation: no agent ever did.
            return False
        asked = {"conversation": conversation.id, "event": event_id}
        return await self._database.read(lambda c: bool(c.execute(_AGENT_SINCE, asked).scalar()))

    async def last_question(self, conversation_id: int) -> str | None:
        """What the customer asked in the last turn."""
        row = await self._database.read(lambda c: _last_turn(c, conversation_id))
        return None if row is None else str(row.question)

    async def answered_question(
        self, conversation_id: int, platform_id: str
    ) -> tuple[str, str] | None:
        """What a customer's message (or the burst that it was part of) was taken for, and how it
        reads now; None if the bot made nothing of it.
        """
        message, turn = tables.message.c, tables.turn.c
        asked = (
            sa.select(turn.id, turn.question, message.id.label("message_id"))
            .join_from(tables.message, tables.turn, message.turn_id == turn.id)
            .where(
                message.conversation_id == conversation_id,
                message.platform_id == platform_id,
                message.role == "customer",
                turn.decision != "silent",
            )
            .order_by(turn.id.desc())
            .limit(1)
        )

        def query(connection: sa.Connection) -> tuple[str, str] | None:
            row = connection.execute(asked).one_or_none()
            if row is None:
                return None
            said = _around(connection, conversation_id, row.message_id)
            texts = (one.text for one in said if one.turn_id == row.id and one.role == "customer")
            return row.question, "\n".join(texts)

        return await self._database.read(query)

    async def said_first(
        self, conversation_id: int, channel: str, platform_id: str
    ) -> MessageReceived | None:
        """A customer's message as it was before any edit; None once that is forgotten."""
        message, inbox = tables.message.c, tables.inbox.c
        query = (
            sa.select(inbox.payload)
            .join_from(tables.message, tables.inbox, inbox.event_id == message.event_id)
            .where(
                inbox.channel == channel,
                message.conversation_id == conversation_id,
                message.platform_id == platform_id,
                message.role == "customer",
            )
            .limit(1)
        )
        payload = await self._database.read(lambda c: c.execute(query).scalar_one_or_none())
        event = None if payload is None else decode_event(payload)
        return event if isinstance(event, MessageReceived) else None

    async def said_around(
        self, conversation_id: int, event_id: str
    ) -> tuple[TranscriptMessage, ...]:
        """What bot and agents said between the customer's messages before and after an event.

        That is all there is to fetch for who asks once with every message, and the same again
        when the message is repeated.
        """
        message = tables.message.c
        asked = _MESSAGE_OF_EVENT.params(
            conversation=conversation_id, event=event_id
        ).scalar_subquery()
        here = sa.and_(message.conversation_id == conversation_id, message.role == "customer")
        before = sa.select(sa.func.max(message.id)).where(here, message.id < asked)
        after = sa.select(sa.func.min(message.id)).where(here, message.id > asked)
        query = (
            sa.select(tables.message)
            .where(
                message.conversation_id == conversation_id,
                message.role != "customer",
                message.internal.is_(False),
                asked.is_not(None),
                message.id > sa.func.coalesce(before.scalar_subquery(), 0),
                message.id < sa.func.coalesce(after.scalar_subquery(), sa.literal(_LATEST)),
            )
            .order_by(message.id)
            .limit(200)
        )
        rows = await self._database.read(lambda c: c.execute(query).all())
        return tuple(transcript_message(row) for row in rows)

    async def turn_data(self, conversation_id: int, event_id: str) -> dict[str, Any] | None:
        """The answer data of the turn that an inbound event led to; None if there was none."""
        message, turn = tables.message.c, tables.turn.c
        query = (
            sa.select(turn.data)
            .join_from(tables.message, tables.turn, message.turn_id == turn.id)
            .where(message.conversation_id == conversation_id, message.event_id == event_id)
            .order_by(turn.id.desc())
            .limit(1)
        )
        return await self._database.read(lambda c: c.execute(query).scalar_one_or_none())


_message, _turn = tables.message.c, tables.turn.c
#: Above every id.
_LATEST = 2**62
# Made once: to put a statement together costs more than to run it.
#: The transcript's id of a customer's message; none for an event without one.
_MESSAGE_OF_EVENT = (
    sa.select(_message.id)
    .where(
        _message.conversation_id == sa.bindparam("conversation"),
        _message.event_id == sa.bindparam("event"),
    )
    .order_by(_message.id)
    .limit(1)
)
_HISTORY = (
    sa.select(_message.role, _message.text)
    .where(
        _message.conversation_id == sa.bindparam("conversation"),
        _message.internal.is_(False),
        # What is said to and by the machine itself is not talked about.
        _message.kind != "command",
        # Without such an event: until now.
        _message.id < sa.func.coalesce(_MESSAGE_OF_EVENT.scalar_subquery(), sa.literal(_LATEST)),
    )
    .order_by(_message.id.desc())
    .limit(HISTORY_LENGTH)
)
_AGENT_SINCE = sa.select(
    sa.exists().where(
        _message.conversation_id == sa.bindparam("conversation"),
        _message.id > _MESSAGE_OF_EVENT.scalar_subquery(),
        _message.role == "agent",
        _message.internal.is_(False),
    )
)
_newest = tables.turn.alias("newest").c
_LAST_TURNS = (
    sa.select(
        _turn.conversation_id,
        _turn.data,
        _turn.question,
        _turn.decision,
        _turn.reason,
        _turn.created_at,
    )
    .join_from(
        tables.conversation,
        tables.turn,
        _turn.id
        == sa.select(sa.func.max(_newest.id))
        .where(_newest.conversation_id == tables.conversation.c.id)
        .correlate(tables.conversation)
        .scalar_subquery(),
    )
    .where(tables.conversation.c.id.in_(sa.bindparam("conversations", expanding=True)))
)
_LAST_TURN = (
    sa.select(_turn.question, _turn.data)
    .where(_turn.conversation_id == sa.bindparam("conversation"))
    .order_by(_turn.id.desc())
    .limit(1)
)


def _contexts(connection: sa.Connection, asked: Sequence[_Asked]) -> list[Context]:
    conversations = list({conversation_id for conversation_id, _ in asked})
    turns = connection.execute(_LAST_TURNS, {"conversations": conversations})
    last: dict[int, Any] = {row.conversation_id: row for row in turns.all()}
    return [
        _context(_history(connection, conversation_id, event_id), last.get(conversation_id))
        for conversation_id, event_id in asked
    ]


def _context(history: tuple[HistoryMessage, ...], last: sa.Row[Any] | None) -> Context:
    if last is None:
        return Context(history, ())
    cited = tuple(citation["id"] for citation in last.data.get("citations", ()))
    return Context(
        history,
        _choices(last.data),
        LastTurn(last.question, last.decision, last.reason, cited, last.created_at),
    )


def _history(
    connection: sa.Connection, conversation_id: int, before_event: str | None
) -> tuple[HistoryMessage, ...]:
    asked = {"conversation": conversation_id, "event": before_event}
    rows = connection.execute(_HISTORY, asked).all()
    return tuple(HistoryMessage(row.role, row.text) for row in reversed(rows))


def _around(connection: sa.Connection, conversation_id: int, message_id: int) -> list[sa.Row[Any]]:
    """The messages before and after one, itself included, oldest first."""
    rows = sa.select(_message.id, _message.text, _message.role, _message.turn_id).where(
        _message.conversation_id == conversation_id
    )
    before = rows.where(_message.id <= message_id).order_by(_message.id.desc())
    after = rows.where(_message.id > message_id).order_by(_message.id)
    until, since = (list(connection.execute(one.limit(BURST_LENGTH))) for one in (before, after))
    return [*reversed(until), *since]


def _choices(data: Mapping[str, Any]) -> tuple[Choice, ...]:
    """What a turn offered."""
    return tuple(Choice(choice["id"], choice["label"]) for choice in data["choices"])


def _last_turn(connection: sa.Connection, conversation_id: int) -> sa.Row[Any, Any] | None:
    return connection.execute(_LAST_TURN, {"conversation": conversation_id}).one_or_none()


def transcript_message(row: sa.Row[Any]) -> TranscriptMessage:
    """The message of a row of its table."""
    return TranscriptMessage(
        id=row.id,
        conversation_id=row.conversation_id,
        role=row.role,
        sender_name=row.sender_name,
        kind=row.kind,
        text=row.text,
        internal=row.internal,
        extras=row.extras,
        platform_id=row.platform_id,
        event_id=row.event_id,
        created_at=row.created_at,
    )
