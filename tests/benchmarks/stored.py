"""Fills a database with conversations as they are after a long life, straight into its tables."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from kfbot.store import tables

#: The first conversations are the ones that a benchmark goes on with: their history is long.
LONG = 40
#: Turns of an ordinary conversation, about.
SHORT_TURNS = 20
#: Of so many turns the buttons of one are left: those of 30 days, of a year's turns.
BUTTONS_LEFT = 12
QUESTION = "I ordered the wrong size last week: how long do I have to send it back?"
ANSWER = (
    "You can send an unused item back within 15 days of its delivery. Open the order, press"
    " Return and choose a reason; the label comes by mail, and sending it back costs nothing."
)
_SEEN = {"id": "returns-01", "title": "Sending items back", "heading": "", "url": "",
         "quote": ANSWER, "score": 0.93}  # fmt: skip
_DATA = {"text": ANSWER, "context": ANSWER, "question": QUESTION, "decision": "answer",
         "confidence": 0.93, "choices": [], "citations": [_SEEN]}  # fmt: skip
_EVIDENCE = {
    "faq": {
        name: 0.123456
        for name in ("dense", "lexical", "margin", "agreement", "rare", "length", "foreign")
    }
}
_TIMINGS = {"embed": 8.21, "search": 1.32, "rank": 2.34, "total": 12.5}
_BUTTONS = (("Helpful", "helpful"), ("Not helpful", "not_helpful"), ("Talk to a person", "person"))
_EXTRAS = {
    "citations": [_SEEN],
    "buttons": [
        {"token": "0123456789abcdef012345", "label": label, "action": action}
        for label, action in _BUTTONS
    ],
}
_ADDRESS = {"channel": "shop", "chat": "stored-12345", "thread": None, "member": None}
_RECEIVED = {
    "type": "MessageReceived", "event_id": "stored-event-123456", "conversation": _ADDRESS,
    "message_id": "stored-event-123456", "text": QUESTION, "attachments": [],
    "sender": {"id": "stored-12345", "role": "customer", "display_name": "A. Customer"},
    "sent_at": "2026-01-05T09:00:00Z", "in_reply_to": None, "addressed_to_bot": True,
}  # fmt: skip
_SENT = {
    "conversation": _ADDRESS, "id": "msg_0123456789abcdef01234567", "text": ANSWER,
    "kind": "message", "sender": {"id": "bot", "role": "bot", "display_name": ""},
    "in_reply_to": None, **_EXTRAS,
}  # fmt: skip

Row = Mapping[str, Any]


def chat_of(number: int) -> str:
    """The address of a conversation, by its id."""
    return f"stored-{number}"


async def fill(url: str, turns: int) -> None:
    """Store so many finished turns in a database without any, as fast as it takes them.

    One turn in twelve is of a conversation with a long history (the ids up to `LONG`).
    """
    if sa.make_url(url).get_backend_name() == "sqlite":
        await asyncio.to_thread(_fill_sqlite, url, turns)
        return
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(_fill, turns)
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        # What autovacuum would have done long ago, and what would be written out meanwhile.
        await connection.exec_driver_sql("VACUUM ANALYZE")
        await connection.exec_driver_sql("CHECKPOINT")
    await engine.dispose()


def _fill_sqlite(url: str, turns: int) -> None:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1000000"):
            connection.exec_driver_sql(f"PRAGMA {pragma}")
        _fill(connection, turns)
        connection.commit()
    engine.dispose()
    with open(str(engine.url.database), "rb") as file:
        # What is written out later would disturb what is measured.
        os.fsync(file)


def _fill(connection: sa.Connection, turns: int) -> None:
    filled = (
        tables.customer, tables.conversation, tables.conversation_alias, tables.lane,
        tables.turn, tables.message, tables.inbox, tables.outbox, tables.button,
    )  # fmt: skip
    indexes = [index for table in filled for index in table.indexes]
    # An index is made faster of all rows at once.
    for index in indexes:
        index.drop(connection)
    _add_conversations(connection, _conversations(turns))
    _add_turns(connection, turns)
    _add_buttons(connection, turns)
    for index in indexes:
        index.create(connection)
    if connection.dialect.name == "postgresql":
        for table in filled:
            if table.c.get("id") is not None:
                sequence = sa.func.pg_get_serial_sequence(table.name, "id")
                newest = sa.select(sa.func.max(table.c.id)).scalar_subquery()
                connection.execute(sa.select(sa.func.setval(sequence, newest)))


def _add_conversations(connection: sa.Connection, count: int) -> None:
    numbers = _up_to(count)
    i, now = numbers.c.i, _now()
    chat = sa.literal("stored-") + sa.cast(i, sa.Text)
    _add(connection, tables.customer, numbers, {
        "id": i, "channel": sa.literal("shop"), "platform_user": chat,
        "display_name": sa.literal("A. Customer"), "created_at": now,
    })  # fmt: skip
    _add(connection, tables.conversation, numbers, {
        "id": i, "state": sa.literal("bot"), "ownership_epoch": sa.literal(0), "customer_id": i,
        "created_at": now, "updated_at": now,
    })  # fmt: skip
    _add(connection, tables.conversation_alias, numbers, {
        "channel": sa.literal("shop"), "chat": chat, "thread": sa.literal(""),
        "member": sa.literal(""), "conversation_id": i, "current": sa.true(),
    })  # fmt: skip
    _add(connection, tables.lane, numbers, {"conversation_id": i, "epoch": sa.literal(7)})


def _add_turns(connection: sa.Connection, turns: int) -> None:
    numbers = _up_to(turns)
    i, talk, event = numbers.c.i, _talk(numbers.c.i, turns), _event(numbers.c.i)
    _add(connection, tables.turn, numbers, {
        "id": i, "conversation_id": talk, "ownership_epoch": sa.literal(0),
        "question": sa.literal(QUESTION), "decision": sa.literal("answer"),
        "confidence": sa.literal(0.93), "data": _json(_DATA), "evidence": _json(_EVIDENCE),
        "timings_ms": _json(_TIMINGS), "created_at": _now(),
    })  # fmt: skip
    said = {"conversation_id": talk, "sender_name": sa.literal(""), "kind": sa.literal("message"),
            "internal": sa.false(), "event_id": event, "turn_id": i,
            "created_at": _now()}  # fmt: skip
    asked = {"id": 2 * i - 1, "role": sa.literal("customer"), "text": sa.literal(QUESTION),
             "extras": _json({}), "platform_id": event}  # fmt: skip
    _add(connection, tables.message, numbers, said | asked)
    replied = {"id": 2 * i, "role": sa.literal("bot"), "text": sa.literal(ANSWER),
               "extras": _json(_EXTRAS), "platform_id": _scattered("fake-", i)}  # fmt: skip
    _add(connection, tables.message, numbers, said | replied)
    _add(connection, tables.inbox, numbers, {
        "id": i, "channel": sa.literal("shop"), "event_id": event, "conversation_id": talk,
        "payload": _json(_RECEIVED), "state": sa.literal("done"), "attempts": sa.literal(0),
        "crashes": sa.literal(0), "received_at": _now(),
    })  # fmt: skip
    _add(connection, tables.outbox, numbers, {
        "id": i, "conversation_id": talk, "message_id": 2 * i,
        "idempotency_key": _scattered("msg_", i), "payload": _json(_SENT),
        "ownership_epoch": sa.literal(0), "state": sa.literal("sent"), "attempts": sa.literal(0),
        "created_at": _now(),
    })  # fmt: skip


def _add_buttons(connection: sa.Connection, turns: int) -> None:
    numbers = _up_to(turns // BUTTONS_LEFT)
    turn = numbers.c.i * BUTTONS_LEFT
    expires = sa.literal(datetime.now(UTC) + timedelta(days=30), tables.UtcTime())
    for place, (label, action) in enumerate(_BUTTONS):
        _add(connection, tables.button, numbers, {
            "token": _scattered(f"{place}", turn), "conversation_id": _talk(turn, turns),
            "turn_id": turn, "action": sa.literal(action), "value": sa.literal(""),
            "label": sa.literal(label), "expires_at": expires,
        })  # fmt: skip


def _conversations(turns: int) -> int:
    return max(turns // SHORT_TURNS, LONG + 10)


def _talk(i: Any, turns: int) -> Any:
    """The conversation of turn `i`: two of 25 are of a long one, and all take turns."""
    ordinary = _conversations(turns) - LONG
    return sa.case((i % 25 < 2, 1 + (i // 25) % LONG), else_=1 + LONG + i % ordinary)


def _event(i: Any) -> Any:
    return sa.literal("stored-event-") + sa.cast(i, sa.Text)


def _add(connection: sa.Connection, table: sa.Table, numbers: sa.CTE, row: Row) -> None:
    rows = sa.select(*(value.label(name) for name, value in row.items())).select_from(numbers)
    connection.execute(table.insert().from_select(list(row), rows))


def _up_to(count: int) -> sa.CTE:
    """The numbers 1 … count."""
    first = sa.select(sa.literal(1, sa.BigInteger()).label("i")).cte("numbers", recursive=True)
    return first.union_all(sa.select(first.c.i + 1).where(first.c.i < count))


def _scattered(prefix: str, i: Any) -> Any:
    """A text of its own for every number, all over its index like the random ones it stands for."""
    return (
        sa.literal(prefix)
        + sa.cast((i * 2654435761) % 2**32, sa.Text)
        + sa.literal("-0123456789ab")
    )


def _json(value: Any) -> Any:
    return sa.literal(value, sa.JSON())


def _now() -> Any:
    return sa.literal(datetime.now(UTC), tables.UtcTime())
