"""What has to be known of a room to understand what is said in it: asked once, then followed."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TypeVar

from adapters.matrix.events import Event, mapping
from adapters.matrix.homeserver import Homeserver
from kfbot.messages import ConversationId

_Name = TypeVar("_Name")
_Value = TypeVar("_Value")

#: Rooms, and messages, that are remembered; for others the homeserver is asked.
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Room:
    """A room that the bot is in."""

    joined: int
    is_encrypted: bool


class Rooms:
    """Rooms of an account, and which of them are direct."""

    def __init__(self, server: Homeserver) -> None:
        self._server = server
        self._known: OrderedDict[str, Room] = OrderedDict()
        self._direct: frozenset[str] = frozenset()

    async def get(self, room: str) -> Room:
        """What is known of a room.

        Raises:
            ChannelError: As the homeserver's methods do; MessageRejected: the bot is not in it.
        """
        known = self._known.get(room)
        if known is None:
            is_encrypted = await self._server.state(room, "m.room.encryption") is not None
            known = Room(await self._server.members(room), is_encrypted)
        _remember(self._known, room, known)
        return known

    def observe(self, room: str, entry: Event) -> None:
        """Take note of what a sync says about a room."""
        known = self._known.get(room)
        if known is None:
            return
        joined = mapping(entry.get("summary")).get("m.joined_member_count")
        if isinstance(joined, int) and not isinstance(joined, bool):
            self._known[room] = replace(known, joined=joined)

    def encrypt(self, room: str) -> None:
        """It is encrypted from now on; that is never turned off again."""
        if (known := self._known.get(room)) is not None:
            self._known[room] = replace(known, is_encrypted=True)

    def forget(self, room: str) -> None:
        """The bot left it."""
        self._known.pop(room, None)

    def name_direct(self, content: Event) -> None:
        """Take note of the account's `m.direct`: rooms by whom they are shared with."""
        listed = [rooms for rooms in content.values() if isinstance(rooms, list)]
        self._direct = frozenset(one for rooms in listed for one in rooms if isinstance(one, str))

    def is_direct(self, name: str, room: Room) -> bool:
        """Whether all that is said there is said to the bot."""
        return room.joined <= 2 or name in self._direct


@dataclass(frozen=True, slots=True)
class Known:
    """Where a message stands, and whose it is."""

    sender: str
    conversation: ConversationId
    #: It was said to the bot.
    addressed: bool


class Messages:
    """The messages of late, and in which threads the bot takes part."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._threads: OrderedDict[ConversationId, bool] = OrderedDict()

    def get(self, event_id: str | None) -> Known | None:
        """A message by the id of its event."""
        return self._known.get(event_id) if event_id is not None else None

    def add(self, event_id: str, known: Known) -> None:
        """Remember a message."""
        _remember(self._known, event_id, known)

    def join(self, thread: ConversationId, *, takes_part: bool = True) -> None:
        """The bot was named in a thread or has written there; or it is known that it did not."""
        _remember(self._threads, thread, takes_part)

    def takes_part(self, thread: ConversationId) -> bool | None:
        """Whether it takes part in a thread; None: that is not known."""
        return self._threads.get(thread)


def _remember(known: OrderedDict[_Name, _Value], name: _Name, value: _Value) -> None:
    known[name] = value
    known.move_to_end(name)
    if len(known) > REMEMBERED:
        known.popitem(last=False)
