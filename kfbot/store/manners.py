"""Where the bot was told to be silent, and how much was written to it lately, in SQL."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from kfbot.etiquette import FLOOD, REACH, Heard
from kfbot.messages import ConversationId, InboundEvent, MessageEdited, MessageReceived
from kfbot.store import tables
from kfbot.store.engine import Database


@dataclass(frozen=True, slots=True)
class Asked:
    """A turn that somebody wants the bot to take."""

    address: ConversationId
    #: Inbox id of the last of its messages; 0 where nothing is counted.
    inbox_id: int = 0
    addressed: bool = True
    #: So many messages are wanted, its own with them.
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """How things are in a chat."""

    #: The bot was told to be silent.
    is_paused: bool
    #: The newest first; nothing where nothing is counted.
    heard: tuple[Heard, ...] = ()


class MannersStore:
    """Reads what etiquette has to know of a chat; every query is bounded."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def standing(self, asked: Asked) -> Standing:
        """How things are in a chat, as of one of its messages.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        return await self._database.read_together(_standings, asked)


_pause, _heard = tables.pause.c, tables.heard.c
# Made once: to put a statement together costs more than to run it.
_PAUSED = sa.select(_pause.channel, _pause.chat).where(
    _pause.channel.in_(sa.bindparam("channels", expanding=True)),
    _pause.chat.in_(sa.bindparam("chats", expanding=True)),
)
_LAST_HEARD = (
    sa.select(_heard.inbox_id, _heard.sender, _heard.sent_at)
    .where(
        _heard.channel == sa.bindparam("channel"),
        _heard.chat == sa.bindparam("chat"),
        _heard.addressed == sa.bindparam("addressed"),
        _heard.inbox_id <= sa.bindparam("last"),
    )
    .order_by(_heard.inbox_id.desc())
    .limit(sa.bindparam("most"))
)


def _standings(connection: sa.Connection, asked: Sequence[Asked]) -> list[Standing]:
    chats = {(one.address.channel, one.address.chat) for one in asked}
    names = {
        "channels": list({channel for channel, _ in chats}),
        "chats": list({chat for _, chat in chats}),
    }
    paused = {(row.channel, row.chat) for row in connection.execute(_PAUSED, names)}
    return [
        Standing((one.address.channel, one.address.chat) in paused, _last_heard(connection, one))
        for one in asked
    ]


def _last_heard(connection: sa.Connection, asked: Asked) -> tuple[Heard, ...]:
    if not asked.limit:
        return ()
    values = {
        "channel": asked.address.channel,
        "chat": asked.address.chat,
        "addressed": asked.addressed,
        "last": asked.inbox_id,
        "most": asked.limit,
    }
    heard = tuple(Heard(*row) for row in connection.execute(_LAST_HEARD, values))
    if len(heard) == asked.limit and heard[0].sent_at - heard[-1].sent_at < REACH:
        # A flood: what was too much of one person must be known to be so.
        rows = connection.execute(_LAST_HEARD, values | {"most": FLOOD})
        heard = tuple(Heard(*row) for row in rows)
    return heard


def remember_heard(
    connection: sa.Connection,
    stored: Iterable[tuple[InboundEvent, int]],
    limited: Collection[str],
) -> None:
    """Note what customers wrote on channels with a limit; events come with their inbox ids.

    To change a message is to write again. Only the words that the bot answered make it speak once
    more, so edits count for what it is asked.
    """
    rows = [
        {
            "inbox_id": inbox_id,
            "channel": event.conversation.channel,
            "chat": event.conversation.chat,
            "sender": event.sender.id,
            "addressed": not isinstance(event, MessageReceived) or event.addressed_to_bot,
            "sent_at": event.sent_at,
        }
        for event, inbox_id in stored
        if isinstance(event, MessageReceived | MessageEdited)
        and event.sender.role == "customer"
        and event.conversation.channel in limited
    ]
    if rows:
        connection.execute(tables.heard.insert(), rows)


def set_paused(
    connection: sa.Connection, address: ConversationId, paused: bool, now: datetime
) -> None:
    """Let the bot be silent in the chat of an address, or speak again; twice is as good as once."""
    if not paused:
        is_here = sa.and_(_pause.channel == address.channel, _pause.chat == address.chat)
        connection.execute(tables.pause.delete().where(is_here))
        return
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    new = dialect.insert(tables.pause).values(channel=address.channel, chat=address.chat, since=now)
    connection.execute(new.on_conflict_do_nothing())


def move_pause(
    connection: sa.Connection, before: ConversationId, after: ConversationId, now: datetime
) -> None:
    """A pause follows the chat to its new address."""
    is_here = sa.and_(_pause.channel == before.channel, _pause.chat == before.chat)
    if connection.execute(sa.select(_pause.chat).where(is_here)).first() is not None:
        set_paused(connection, after, True, now)
