"""Matrix: asks its homeserver for news by /sync, sends by transactions."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from adapters.matrix.events import Event, Name, mapping
from adapters.matrix.homeserver import Homeserver, host_of
from adapters.matrix.membership import Membership, moved_to, tell_encrypted
from adapters.matrix.position import Position
from adapters.matrix.reading import Reader
from adapters.matrix.rendering import TEXT_LENGTH, content_of, edit_of, fits, relation_of
from adapters.matrix.rooms import Rooms
from adapters.matrix.settings import MatrixSettings
from adapters.matrix.timeline import WANTED, shows_join, told, wanted_now
from adapters.requests import ID_LENGTH, whole
from kfbot.adapter import Capabilities, ChannelAdapter
from kfbot.errors import ChannelError, ChannelUnauthorized, ChannelUnavailable, MessageRejected
from kfbot.messages import (
    Attachment,
    ConversationId,
    DeliveryReceipt,
    InboundEvent,
    OutboundMessage,
)

logger = logging.getLogger(__name__)

#: A sync waits for news so long.
WAIT_SECONDS = 30.0
#: So long the bot is seen typing, unless its message comes before.
TYPING_SECONDS = 8.0
#: After an empty answer of a homeserver that does not hold the line.
_EMPTY_PAUSE_SECONDS = 0.2


class MatrixAdapter(ChannelAdapter):
    """One account of a homeserver, in the rooms to which it was invited."""

    settings_type = MatrixSettings
    capabilities = Capabilities(
        text_length=TEXT_LENGTH,
        edit=True,
        edit_interval_seconds=1.5,
        files=True,
        typing=True,
        threads=True,
        replies=True,
        idempotency_key=True,
    )

    def __init__(self, channel: str, settings: MatrixSettings) -> None:
        super().__init__(channel, settings)
        self._settings = settings
        self._server: Homeserver | None = None
        self._me = ""
        self._typing: set[str] = set()
        self._running: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        token = self._settings.access_token.get_secret_value()
        self._server = Homeserver(self.channel, self._settings.homeserver, token)
        self._rooms = Rooms(self._server)
        # A new client knows nothing of what the last one did, not even whose account it has.
        self._me = ""
        self._typing.clear()

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._server is not None:
            await self._server.close()
            self._server = None

    async def check(self) -> str:
        """The bot's id, and where its agents are.

        Raises:
            ChannelUnavailable: The homeserver did not answer.
            ChannelUnauthorized: The token is refused, or the agents' room is none yet.
        """
        server = self._opened()
        me = await self._identify()
        name = await server.display_name(me)
        found = f"{me} “{name}” at {host_of(self._settings.homeserver)}"
        if not (chat := self._settings.agents_chat):
            return found
        try:
            room = await self._rooms.get(chat)
        except MessageRejected:
            advice = f"invite {me} to that room, or correct the id"
            raise ChannelUnauthorized(self.channel, f"agents_chat {chat}: {advice}") from None
        if room.is_encrypted:
            advice = "the room is encrypted: make one without encryption"
            raise ChannelUnauthorized(self.channel, f"agents_chat {chat}: {advice}")
        return f"{found}; agents in a room of {room.joined} members"

    # Receiving

    async def listen(self) -> AsyncIterator[InboundEvent]:
        """What is said in the account's rooms; where we are is kept once the core has stored it.

        Raises:
            ChannelUnavailable: The homeserver did not answer.
            ChannelUnauthorized: The token is refused.
        """
        server, me = self._opened(), await self._identify()
        reader = Reader(
            self.channel,
            server,
            self._rooms,
            Name(me, await server.display_name(me)),
            agents_chat=self._settings.agents_chat,
            admins=self._settings.admins,
        )
        position = Position(server, me)
        membership = Membership(server, self._rooms, position, me, self._settings.invites)
        # What leads to a room is told once; it may not have been joined before the last stop.
        now = await server.sync(None, 0, wanted_now())
        await position.load(now)
        await membership.load()
        invited = self._accept(membership, now)
        for room in position.joining - invited:
            self._start(membership.enter(room))
        logger.info("%s", me, extra={"event": "matrix_started"})
        while True:
            batch = await self._sync(position)
            membership.observe(mapping(batch.get("account_data")).get("events"))
            self._accept(membership, batch)
            rooms = mapping(batch.get("rooms"))
            for room, entry in mapping(rooms.get("join")).items():
                async for event in self._told(reader, membership, room, mapping(entry)):
                    yield event
            for room in mapping(rooms.get("leave")):
                self._rooms.forget(room)
                position.joining.discard(room)
                logger.info("room %s was left", room, extra={"event": "matrix_left"})
            # Here the core has stored all of it.
            await position.advance(batch, is_news=bool(rooms))

    async def _sync(self, position: Position) -> dict[str, Any]:
        asked_at = time.monotonic()
        try:
            batch = await self._opened().sync(position.since, WAIT_SECONDS, WANTED)
        except MessageRejected as error:
            # The homeserver's database was set back or replaced.
            logger.warning("%s: begins anew", error, extra={"event": "matrix_position_lost"})
            batch = await self._opened().sync(None, 0, wanted_now())
        if not batch.get("rooms") and time.monotonic() - asked_at < _EMPTY_PAUSE_SECONDS:
            await asyncio.sleep(_EMPTY_PAUSE_SECONDS)
        return batch

    def _accept(self, membership: Membership, batch: Event) -> set[str]:
        """Begin to answer the invitations of a sync; returns their rooms."""
        invited = mapping(mapping(batch.get("rooms")).get("invite"))
        for room, entry in invited.items():
            self._start(membership.answer(room, mapping(entry)))
        return set(invited)

    async def _told(
        self, reader: Reader, membership: Membership, room: str, entry: Event
    ) -> AsyncIterator[InboundEvent]:
        """What is new in a room, as far as the bot may still read there."""
        is_new = room in membership.position.joining or shows_join(entry, self._me)
        since = membership.position.since
        self._rooms.observe(room, entry)
        try:
            if is_new:
                if (await self._rooms.get(room)).is_encrypted:
                    self._start(tell_encrypted(self._opened(), room))
                if (moved := await moved_to(self._opened(), self.channel, room)) is not None:
                    yield moved
            told_now = told(self._opened(), room, entry, since, self._me, is_new=is_new)
            async for raw, names in told_now:
                if (event := await self._meaning(reader, membership, room, raw, names)) is not None:
                    yield event
        except MessageRejected as error:
            logger.warning(
                "room %s is left out: %s", room, error, extra={"event": "matrix_room_left_out"}
            )
        membership.position.joining.discard(room)

    async def _meaning(
        self,
        reader: Reader,
        membership: Membership,
        room: str,
        event: Event,
        names: Mapping[str, str],
    ) -> InboundEvent | None:
        if event.get("type") == "m.room.encryption":
            self._rooms.encrypt(room)
            self._start(tell_encrypted(self._opened(), room))
            return None
        if event.get("type") == "m.room.tombstone":
            self._start(membership.follow(room, event))
            return None
        return await reader.meaning(room, event, names)

    async def _identify(self) -> str:
        self._me = self._me or await self._opened().whoami()
        return self._me

    # Sending

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        """Send as HTML with plain text beside it; a repeat of an id is no second message.

        Raises:
            ChannelUnavailable: No answer in time, a limit, 5xx.
            ChannelUnauthorized: The token is refused.
            MessageRejected: Thrown out of the room, encrypted, too long, no text.
        """
        room, thread = message.conversation.chat, message.conversation.thread
        content = await self._content(message)
        replied_to = message.in_reply_to
        if replied_to is not None and not replied_to.startswith("$"):
            replied_to = None
        sent = await self._opened().post(
            room,
            content | relation_of(thread, replied_to),
            str(whole(message.id))[:ID_LENGTH],
        )
        if room in self._typing:
            self._typing.discard(room)
            # A homeserver does not see that the message is what was being typed.
            self._start(self._opened().type(room, 0))
        return DeliveryReceipt((sent,) if sent else ())

    async def edit(self, receipt: DeliveryReceipt, message: OutboundMessage) -> None:
        """Put another text in the place of a message.

        Raises:
            ChannelUnavailable: No answer in time, a limit, 5xx.
            ChannelUnauthorized: The token is refused.
            MessageRejected: As for `send`.
        """
        if not receipt.platform_ids:
            await self.send(message)
            return
        content = edit_of(await self._content(message), receipt.platform_ids[0])
        await self._opened().post(message.conversation.chat, content, uuid.uuid4().hex)

    async def _content(self, message: OutboundMessage) -> dict[str, Any]:
        content = content_of(message)
        if content is None or not fits(content):
            reason = "there is no text" if content is None else "the text is too long"
            raise MessageRejected(self.channel, reason)
        self._opened()
        if (await self._rooms.get(message.conversation.chat)).is_encrypted:
            raise MessageRejected(self.channel, "the room is encrypted: nothing is sent there")
        return content

    async def fetch(self, attachment: Attachment) -> bytes:
        """The bytes of a file, at most 20 MiB.

        Raises:
            ChannelUnavailable: Not now.
            ChannelUnauthorized: The token is refused.
            MessageRejected: It is no file of Matrix's, too large, or gone.
        """
        return await self._opened().download(attachment.url)

    async def show_typing(self, conversation: ConversationId) -> None:
        """Show that the bot is writing, until its message comes; a failure is logged."""
        with suppress(MessageRejected):
            try:
                await self._identify()
                await self._opened().type(conversation.chat, TYPING_SECONDS)
                self._typing.add(conversation.chat)
            except ChannelError as error:
                logger.info("%s", error, extra={"event": "matrix_typing_not_shown"})

    async def open_thread(self, chat: str, title: str) -> str:
        """Send the message that a thread hangs on; returns its event id.

        Raises:
            ChannelUnavailable: No answer in time, a limit, 5xx.
            ChannelUnauthorized: The token is refused.
            MessageRejected: The bot is not in the room, may not write there, or it is encrypted.
        """
        content = await self._content(self._titled(ConversationId(self.channel, chat), title))
        opened = await self._opened().post(chat, content, uuid.uuid4().hex)
        if not opened:
            raise ChannelUnavailable(self.channel, "the homeserver names no event")
        return opened

    async def rename_thread(self, conversation: ConversationId, title: str) -> None:
        """Change the message that a thread hangs on.

        Raises:
            ChannelError: It could not be done; nothing depends on it.
        """
        if conversation.thread is not None:
            root = DeliveryReceipt((conversation.thread,))
            await self.edit(root, self._titled(conversation, title))

    def _titled(self, conversation: ConversationId, title: str) -> OutboundMessage:
        return OutboundMessage(conversation=conversation, id="", text=title)

    def _start(self, doing: Coroutine[Any, Any, None]) -> None:
        """Do what nothing waits for."""
        task = asyncio.create_task(_logged(doing))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _opened(self) -> Homeserver:
        if self._server is None:
            raise ChannelUnavailable(self.channel, "is not open")
        return self._server


async def _logged(doing: Coroutine[Any, Any, None]) -> None:
    try:
        await doing
    except ChannelError as error:
        logger.warning("%s", error, extra={"event": "matrix_call_failed"})
