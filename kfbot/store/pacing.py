"""How fast messages may go: over a whole channel and in each of its chats, whoever sends."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from kfbot.messages import ConversationId
from kfbot.store import tables

#: A chat that was free for so long need not be remembered …
FREE_FOR = timedelta(hours=1)
#: … and is forgotten by one of so many messages, with at most so many others.
FORGETTING = 1 / 200
FORGOTTEN_TOGETHER = 1000
#: So much of a minute's edits may go at once.
_EDITS_AT_ONCE = 0.2

_channel = tables.channel.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a channel and each of its chats can take; by default anything."""

    rate_per_second: float | None = None
    #: How many may go at once after a pause; None: a second's worth.
    burst: int | None = None
    seconds_per_chat: float = 0.0
    #: Of what is shown while it grows, beside all that: edits in any minute; None: any number.
    edits_per_minute: int | None = None


def take_free_slot(
    connection: sa.Connection, conversation: ConversationId, pace: Pace, now: datetime
) -> bool:
    """Take a time for what is worth nothing later on; False: it may not go now.

    It never takes a time that another message would have to wait for. The first time of an
    answer that is shown as it grows stands for its last edit, too.
    """
    taken: list[tuple[str, datetime]] = []
    for name, interval, burst in _limits(conversation, pace):
        free_at = _free_at(connection, name, now)
        if free_at - interval * (burst - 1) > now:
            return False
        taken.append((name, free_at + interval))
    for name, free_at in taken:
        _set_free(connection, name, free_at)
    return True


def _limits(conversation: ConversationId, pace: Pace) -> Iterator[tuple[str, timedelta, float]]:
    """What a time is taken of: its row, the shortest interval, and how many may go at once."""
    if pace.seconds_per_chat:
        chat = f"{conversation.channel}\n{conversation.chat}"
        yield chat, timedelta(seconds=pace.seconds_per_chat), 1
    if (rate := pace.rate_per_second) is not None:
        yield conversation.channel, timedelta(seconds=1 / rate), pace.burst or max(rate, 1)
    if (edits := pace.edits_per_minute) is not None:
        # A burst and a minute's flow together are no more than a minute may have.
        burst = max(edits * _EDITS_AT_ONCE, 1)
        interval = timedelta(seconds=60 / max(edits - burst, 1))
        yield f"{conversation.channel}\n\nedits", interval, burst


def take_slot(
    connection: sa.Connection, conversation: ConversationId, pace: Pace, now: datetime
) -> tuple[datetime, bool]:
    """When a message may go, and whether that time was taken for it.

    While its chat is not free nothing is taken, of the channel's times neither: ask again then.
    """
    slot = now
    chat = f"{conversation.channel}\n{conversation.chat}"
    if pace.seconds_per_chat and (slot := _free_at(connection, chat, now)) > now:
        return slot, False
    if pace.rate_per_second is not None:
        slot = _take_of_channel(
            connection, conversation.channel, pace.rate_per_second, pace.burst, now
        )
    if pace.seconds_per_chat:
        _set_free(connection, chat, slot + timedelta(seconds=pace.seconds_per_chat))
        # Chance spreads the work; nothing here is secret.
        if random.random() < FORGETTING:  # noqa: S311
            forget_chats(connection, now)
    return slot, True


def forget_chats(connection: sa.Connection, now: datetime) -> None:
    """Remove chats that have been free for long: there may be very many."""
    long_free = (
        sa.select(_channel.name)
        .where(_channel.name.contains("\n"), _channel.free_at < now - FREE_FOR)
        .limit(FORGOTTEN_TOGETHER)
        .with_for_update(skip_locked=True)
    )
    connection.execute(tables.channel.delete().where(_channel.name.in_(long_free)))


def _take_of_channel(
    connection: sa.Connection, name: str, rate_per_second: float, burst: int | None, now: datetime
) -> datetime:
    interval = timedelta(seconds=1 / rate_per_second)
    # Theoretical time of arrival: it lags behind by at most the burst that is allowed.
    at_once = timedelta(seconds=1) if burst is None else interval * burst
    free_at = _free_at(connection, name, now)
    _set_free(connection, name, free_at + interval)
    return max(free_at - max(at_once - interval, timedelta()), now)


def _free_at(connection: sa.Connection, name: str, now: datetime) -> datetime:
    """When the next message may go, not before now; holds the row for this transaction."""
    query = sa.select(_channel.free_at).where(_channel.name == name).with_for_update()
    free_at: datetime | None = connection.execute(query).scalar_one_or_none()
    if free_at is None:
        # Another replica may be sending the first message at this moment.
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        first = dialect.insert(tables.channel).values(name=name, free_at=now)
        connection.execute(first.on_conflict_do_nothing())
        return _free_at(connection, name, now)
    return max(free_at, now)


def _set_free(connection: sa.Connection, name: str, free_at: datetime) -> None:
    connection.execute(tables.channel.update().where(_channel.name == name).values(free_at=free_at))
