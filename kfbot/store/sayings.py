"""Writes turns and what is said: transcript, buttons and outbox, many at once."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from kfbot.conversation import Conversation, Turn
from kfbot.messages import Button, Citation, OutboundKind, OutboundMessage, Sender
from kfbot.store import tables
from kfbot.store.events import encode_message
from kfbot.store.lanes import set_ready
from kfbot.store.notices import LANE, conversation_notice, notify
from kfbot.turn import NewButton

#: A button works this long.
BUTTON_LIFE = timedelta(days=30)
_BOT = Sender("bot", "bot")


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One message to be written."""

    text: str
    kind: OutboundKind = "message"
    citations: tuple[Citation, ...] = ()
    buttons: tuple[NewButton, ...] = ()
    #: The bot never reads it again.
    is_aside: bool = False
    #: For agents, where the channel is a help desk; it goes with the message.
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saying:
    """What somebody says in a conversation, and the turn that it belongs to.

    What the bot says must not be sent once the conversation has changed hands; what an agent
    says, and a note alone, is sent whoever owns it.
    """

    conversation: Conversation
    words: tuple[Words, ...]
    sender: Sender = _BOT
    #: False: it is not put into the outbox.
    pushed: bool
    #: Agents only.
    internal: bool = False
    turn: Turn | None = None
    #: The inbound events that led to it, the last one last.
    events: tuple[str, ...] = ()
    #: The customer's message that it is shown under.
    in_reply_to: str | None = None
    #: The platform's ids of the message whose place the first one takes.
    replaces: tuple[str, ...] = ()


# Made once: to put a statement together costs more than to run it.
_ADD_TURNS = tables.turn.insert().returning(tables.turn.c.id, sort_by_parameter_order=True)
_ADD_MESSAGES = tables.message.insert().returning(tables.message.c.id, sort_by_parameter_order=True)
_ADD_BUTTONS, _ADD_TO_OUTBOX = tables.button.insert(), tables.outbox.insert()
_BIND_TO_TURN = (
    tables.message.update()
    .where(
        tables.message.c.conversation_id == sa.bindparam("of"),
        tables.message.c.event_id == sa.bindparam("event"),
        # What the bot half said before is no part of it.
        tables.message.c.role != "bot",
    )
    .values(turn_id=sa.bindparam("turn"))
)


def say(connection: sa.Connection, saying: Saying, now: datetime) -> int:
    """Write what is said outside of a lane, and have it sent; returns the last message's id."""
    conversation_id = saying.conversation.id
    [ids] = say_all(connection, [saying], now)
    notify(connection, conversation_notice(conversation_id))
    if saying.pushed:
        set_ready(connection, [conversation_id], now)
        notify(connection, LANE)
    return ids[-1]


def say_all(connection: sa.Connection, sayings: Sequence[Saying], now: datetime) -> list[list[int]]:
    """Write everything; returns the transcript's ids of each saying's messages, in order."""
    turns = _write_turns(connection, sayings, now)
    rows, outbound, buttons = [], [], []
    for place, saying in enumerate(sayings):
        for words in saying.words:
            shown = _new_buttons(words)
            buttons += _button_rows(saying, words, shown, turns.get(place), now)
            rows.append(_message_row(saying, words, shown, turns.get(place), now))
            outbound.append(_outbound(saying, words, shown) if saying.pushed else None)
    if buttons:
        connection.execute(_ADD_BUTTONS, buttons)
    ids = _write_messages(connection, rows)
    _write_outbox(connection, sayings, outbound, ids, now)
    made = iter(ids)
    return [[next(made) for _ in saying.words] for saying in sayings]


def _write_turns(
    connection: sa.Connection, sayings: Sequence[Saying], now: datetime
) -> dict[int, int]:
    """Insert the turns and bind the customer's messages to them; ids by place in `sayings`."""
    places = [place for place, saying in enumerate(sayings) if saying.turn is not None]
    if not places:
        return {}
    rows = connection.execute(_ADD_TURNS, [_turn_row(sayings[place], now) for place in places])
    ids = dict(zip(places, rows.scalars(), strict=True))
    asked = [
        {"of": sayings[place].conversation.id, "event": event, "turn": ids[place]}
        for place in places
        for event in sayings[place].events
    ]
    if asked:
        connection.execute(_BIND_TO_TURN, asked)
    return ids


def _turn_row(saying: Saying, now: datetime) -> dict[str, Any]:
    turn = saying.turn
    assert turn is not None
    return {
        "conversation_id": saying.conversation.id,
        "ownership_epoch": saying.conversation.ownership_epoch,
        "question": turn.question,
        "decision": turn.decision,
        "confidence": turn.confidence,
        "reason": turn.reason,
        "knowledge_base": turn.knowledge_base,
        "data": turn.as_data(),
        "evidence": {kind: dict(signals) for kind, signals in turn.evidence.items()},
        "timings_ms": dict(turn.timings_ms),
        "usage": dict(turn.usage),
        "created_at": now,
    }


def _new_buttons(words: Words) -> tuple[Button, ...]:
    return tuple(
        Button(secrets.token_urlsafe(16), button.label, button.action) for button in words.buttons
    )


def _button_rows(
    saying: Saying, words: Words, shown: Sequence[Button], turn_id: int | None, now: datetime
) -> list[dict[str, Any]]:
    return [
        {
            "token": button.token,
            "conversation_id": saying.conversation.id,
            "turn_id": turn_id,
            "action": new.action,
            "value": new.value,
            "label": new.label,
            "expires_at": now + BUTTON_LIFE,
        }
        for new, button in zip(words.buttons, shown, strict=True)
    ]


def _message_row(
    saying: Saying, words: Words, shown: Sequence[Button], turn_id: int | None, now: datetime
) -> dict[str, Any]:
    extras: dict[str, Any] = {}
    if words.citations:
        extras["citations"] = [asdict(citation) for citation in words.citations]
    if shown:
        extras["buttons"] = [asdict(button) for button in shown]
    return {
        "conversation_id": saying.conversation.id,
        "role": saying.sender.role,
        "sender_name": saying.sender.display_name,
        "kind": "command" if words.is_aside else words.kind,
        "text": words.text or words.note if saying.internal else words.text,
        "internal": saying.internal,
        "extras": extras,
        "event_id": saying.events[-1] if saying.events else None,
        "turn_id": turn_id,
        "created_at": now,
    }


def _outbound(saying: Saying, words: Words, shown: Sequence[Button]) -> OutboundMessage:
    # Of several parts the first shows what is answered, and the last whose buttons it has.
    hangs = words is saying.words[0] or bool(words.buttons)
    return OutboundMessage(
        conversation=saying.conversation.address,
        id=f"msg_{secrets.token_hex(12)}",
        text=words.text,
        kind=words.kind,
        sender=saying.sender,
        citations=words.citations,
        buttons=tuple(shown),
        in_reply_to=saying.in_reply_to if hangs else None,
        note=words.note,
    )


def _is_bound(message: OutboundMessage) -> bool:
    """True for what must not be sent once the conversation has changed hands."""
    is_note = bool(message.note) and not message.text and message.kind == "message"
    return message.sender.role == "bot" and not is_note


def _write_messages(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> list[int]:
    if not rows:
        return []
    return list(connection.execute(_ADD_MESSAGES, rows).scalars())


def _write_outbox(
    connection: sa.Connection,
    sayings: Sequence[Saying],
    outbound: Sequence[OutboundMessage | None],
    ids: Sequence[int],
    now: datetime,
) -> None:
    owners = [saying.conversation for saying in sayings for _ in saying.words]
    replaced = [
        saying.replaces if place == 0 else ()
        for saying in sayings
        for place, _ in enumerate(saying.words)
    ]
    rows = [
        {
            "conversation_id": owner.id,
            "message_id": message_id,
            "idempotency_key": message.id,
            "payload": encode_message(message),
            "ownership_epoch": owner.ownership_epoch if _is_bound(message) else None,
            "replaces": list(replaces) or None,
            "created_at": now,
        }
        for owner, message, message_id, replaces in zip(
            owners, outbound, ids, replaced, strict=True
        )
        if message is not None
    ]
    if rows:
        connection.execute(_ADD_TO_OUTBOX, rows)
