"""Transcripts as agents read them: with what the bot saw, and what became of each message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.transcripts import TranscriptMessage, transcript_message

Delivery = Literal["sent", "pending", "failed", "none"]
#: Messages of one answer.
PAGE = 100
_DELIVERIES: dict[str, Delivery] = {
    "new": "pending",
    "sending": "pending",
    "sent": "sent",
    # An agent was faster: the customer never saw it.
    "cancelled": "none",
    "dead": "failed",
    "discarded": "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskMessage:
    """A message, and what only agents see of it."""

    said: TranscriptMessage
    #: The turn that it belongs to.
    turn_id: int | None
    decision: str | None
    #: Probability, 0 to 1, that the bot's best passage answered.
    confidence: float | None
    #: Tokens of its buttons that were pressed.
    pressed: frozenset[str]
    delivery: Delivery


class DeskTranscriptStore:
    """Reads transcripts by the page."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, conversation_id: int, *, after: int | None = None, before: int | None = None
    ) -> tuple[tuple[DeskMessage, ...], bool]:
        """Messages, oldest first, and whether there are older ones.

        Args:
            after: The oldest of those with a greater id; nothing is left out between two pages.
            before: The newest of those with a lesser id. Neither: the newest of all.
        """

        def query(connection: sa.Connection) -> tuple[tuple[DeskMessage, ...], bool]:
            rows, has_older = _rows(connection, conversation_id, after, before)
            return _messages(connection, rows), has_older

        return await self._database.read(query)

    async def message(self, conversation_id: int, message_id: int) -> DeskMessage | None:
        """One message of a conversation."""
        query = _SELECT.where(
            _message.conversation_id == conversation_id, _message.id == message_id
        )

        def found(connection: sa.Connection) -> DeskMessage | None:
            messages = _messages(connection, connection.execute(query).all())
            return messages[0] if messages else None

        return await self._database.read(found)


_message, _turn = tables.message.c, tables.turn.c
_SELECT = sa.select(tables.message, _turn.decision, _turn.confidence).join_from(
    tables.message, tables.turn, _turn.id == _message.turn_id, isouter=True
)


def _rows(
    connection: sa.Connection, conversation_id: int, after: int | None, before: int | None
) -> tuple[Sequence[sa.Row[Any]], bool]:
    here = _SELECT.where(_message.conversation_id == conversation_id)
    if after is not None:
        newer = here.where(_message.id > after).order_by(_message.id).limit(PAGE)
        return connection.execute(newer).all(), after > 0
    if before is not None:
        here = here.where(_message.id < before)
    older = connection.execute(here.order_by(_message.id.desc()).limit(PAGE + 1)).all()
    return older[PAGE - 1 :: -1] if len(older) > PAGE else older[::-1], len(older) > PAGE


def _messages(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> tuple[DeskMessage, ...]:
    outbox, button = tables.outbox.c, tables.button.c
    sent = connection.execute(
        sa.select(outbox.message_id, outbox.state).where(
            outbox.message_id.in_([row.id for row in rows])
        )
    )
    states = {row.message_id: row.state for row in sent}
    tokens = [one["token"] for row in rows for one in row.extras.get("buttons", ())]
    pressed = frozenset(
        connection.execute(
            sa.select(button.token).where(button.token.in_(tokens), button.pressed_at.is_not(None))
        ).scalars()
        if tokens
        else ()
    )
    return tuple(
        DeskMessage(
            said=transcript_message(row),
            turn_id=row.turn_id,
            decision=row.decision if row.role == "bot" else None,
            confidence=row.confidence if row.role == "bot" else None,
            pressed=pressed,
            delivery=_delivery(row, states),
        )
        for row in rows
    )


def _delivery(row: sa.Row[Any], states: dict[int, str]) -> Delivery:
    if row.role == "customer" or row.internal:
        return "none"
    # Without a row the customer's side fetches it, or it was sent long ago.
    return _DELIVERIES.get(states.get(row.id, "sent"), "failed")
