"""How the bot comes into rooms: invitations, upgrades, and rooms in which it cannot read."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import tomllib
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files

from adapters.matrix.events import Event, mapping, text_of
from adapters.matrix.homeserver import Homeserver, server_of
from adapters.matrix.position import Position
from adapters.matrix.rooms import Rooms
from adapters.requests import ID_LENGTH
from kfbot.errors import ChannelUnavailable, MessageRejected
from kfbot.messages import ConversationId, ConversationMoved

logger = logging.getLogger(__name__)

#: Between attempts to join a room, where a homeserver does not answer.
_PAUSES_SECONDS = (5, 30, 120, 600, 3600)
_DIRECT = "m.direct"


class Membership:
    """Accepts the invitations that the settings allow."""

    def __init__(
        self,
        server: Homeserver,
        rooms: Rooms,
        position: Position,
        me: str,
        invites: str | tuple[str, ...],
    ) -> None:
        self._server = server
        self._rooms = rooms
        self.position = position
        self._me = me
        self._invites = invites
        self._entering: set[str] = set()
        self._marking = asyncio.Lock()

    async def load(self) -> None:
        """Learn which rooms are direct.

        Raises:
            ChannelError: As the homeserver's methods do.
        """
        self._rooms.name_direct(await self._server.load(self._me, _DIRECT))

    def observe(self, events: object) -> None:
        """Take note of what changed in the account's data."""
        for event in events if isinstance(events, list) else ():
            if mapping(event).get("type") == _DIRECT:
                self._rooms.name_direct(mapping(mapping(event).get("content")))

    def trusts(self, user: str) -> bool:
        """Whether the settings let somebody bring the bot into rooms."""
        if self._invites == "all":
            return True
        if self._invites == "own":
            return server_of(user) == server_of(self._me)
        return user in self._invites or server_of(user) in self._invites

    async def answer(self, room: str, entry: Event) -> None:
        """Accept an invitation, or decline it.

        Raises:
            ChannelError: As the homeserver's methods do.
        """
        by, is_direct = _invitation(entry, self._me)
        if self.trusts(by):
            await self.enter(room, by, is_direct=is_direct)
            return
        logger.warning(
            "the invitation of %s is declined: see `invites` in the settings",
            by,
            extra={"event": "matrix_invite_declined"},
        )
        self.position.joining.discard(room)
        await self._server.leave(room)

    async def enter(self, room: str, by: str = "", *, is_direct: bool = False) -> None:
        """Join a room; where the bot is stopped before it could, at the next start.

        Args:
            by: Who wants the bot there.

        Raises:
            ChannelError: As the homeserver's methods do.
        """
        if room in self._entering:
            return
        self._entering.add(room)
        self.position.joining.add(room)
        try:
            await self._join(room, by, is_direct=is_direct)
        except MessageRejected:
            self.position.joining.discard(room)
            raise
        finally:
            self._entering.discard(room)

    async def follow(self, room: str, event: Event) -> None:
        """Try to come along when a room is upgraded; else an invitation may follow.

        Raises:
            ChannelError: As the homeserver's methods do.
        """
        by = text_of(event.get("sender"))
        new = text_of(mapping(event.get("content")).get("replacement_room"))
        logger.warning("room %s is now %s", room, new, extra={"event": "matrix_upgraded"})
        if new.startswith("!") and self.trusts(by):
            await self.enter(new, by)

    async def _join(self, room: str, by: str, *, is_direct: bool) -> None:
        for pause in (*_PAUSES_SECONDS, None):
            try:
                await self.position.keep()
                if is_direct:
                    await self._mark_direct(room, by)
                await self._server.join(room, server_of(by))
            except ChannelUnavailable:
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            else:
                logger.info("joined room %s", room, extra={"event": "matrix_joined"})
                return

    async def _mark_direct(self, room: str, by: str) -> None:
        """As every client does when it accepts to talk with one person."""
        async with self._marking:
            content = await self._server.load(self._me, _DIRECT)
            listed = content.get(by)
            rooms = listed if isinstance(listed, list) else []
            if room not in rooms:
                await self._server.keep(self._me, _DIRECT, content | {by: [*rooms, room]})


async def moved_to(server: Homeserver, channel: str, room: str) -> ConversationMoved | None:
    """The move that brought people into a room that the bot has just joined; None: there was none.

    Both rooms have to say so: else whoever owns one could take over what is said in another.

    Raises:
        ChannelUnavailable, ChannelUnauthorized: As the homeserver's methods do.
    """
    try:
        created = await server.state(room, "m.room.create") or {}
        old = text_of(mapping(created.get("predecessor")).get("room_id"))
        if not old.startswith("!"):
            return None
        tombstone = await server.state(old, "m.room.tombstone") or {}
    except MessageRejected:
        # The bot is in only one of them.
        return None
    if tombstone.get("replacement_room") != room:
        return None
    return ConversationMoved(
        event_id=f"moved-{room}"[:ID_LENGTH],
        conversation=ConversationId(channel, old),
        moved_to=ConversationId(channel, room),
        sent_at=datetime.now(UTC),
    )


async def tell_encrypted(server: Homeserver, room: str) -> None:
    """Say in a room that the bot cannot read there; once, however often it is called.

    Raises:
        ChannelError: As the homeserver's methods do.
    """
    content = {"msgtype": "m.notice", "body": _wording()["encrypted"].strip(), "m.mentions": {}}
    transaction = f"encrypted-{hashlib.sha256(room.encode()).hexdigest()[:32]}"
    await server.post(room, content, transaction)
    logger.warning(
        "room %s is encrypted: nothing is answered there",
        room,
        extra={"event": "matrix_encrypted"},
    )


def _invitation(entry: Event, me: str) -> tuple[str, bool]:
    """Who invites, and whether it is to a talk of two."""
    events = mapping(entry.get("invite_state")).get("events")
    for event in events if isinstance(events, list) else ():
        state = mapping(event)
        if state.get("type") == "m.room.member" and state.get("state_key") == me:
            is_direct = mapping(state.get("content")).get("is_direct") is True
            return text_of(state.get("sender")), is_direct
    return "", False


@cache
def _wording() -> dict[str, str]:
    return tomllib.loads(files(__package__).joinpath("wording.toml").read_text("utf-8"))
