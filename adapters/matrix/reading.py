"""Events of rooms → the core's events, with what has to be looked up for them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from adapters.matrix.events import Event, Name, Said, id_of, mapping, moment_of, said_of, text_of
from adapters.matrix.homeserver import Homeserver
from adapters.matrix.rooms import Known, Messages, Rooms
from adapters.requests import ID_LENGTH
from kfbot.errors import ChannelError, ChannelUnauthorized
from kfbot.messages import (
    ConversationId,
    InboundEvent,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    Role,
    Sender,
)

logger = logging.getLogger(__name__)

_SPOKEN = {"m.room.message", "m.sticker"}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where something was said, and by whom."""

    room: str
    #: All that is said there is said to the bot.
    is_direct: bool
    #: Others read along.
    in_group: bool
    event: Event
    event_id: str
    sender: str
    name: str


class Reader:
    """Translates for one channel.

    A direct room is one conversation, and each thread in it one more. In a group a message
    belongs to the thread that it stands in or opens; it is addressed to the bot if it names it,
    answers one of its messages, or names nobody in a thread in which the bot takes part. In the
    agents' room everybody is an agent; outside of threads only what names the bot is read.
    """

    def __init__(
        self,
        channel: str,
        server: Homeserver,
        rooms: Rooms,
        me: Name,
        *,
        agents_chat: str,
        admins: tuple[str, ...],
    ) -> None:
        self._channel = channel
        self._server = server
        self._rooms = rooms
        self._agents_chat = agents_chat
        self._admins = admins
        self._messages = Messages()
        self._me = me

    async def meaning(
        self, room: str, event: Event, names: Mapping[str, str]
    ) -> InboundEvent | None:
        """What an event of a room means; None: nothing that anybody has to be told.

        Raises:
            ChannelError: As the homeserver's methods do; MessageRejected: the bot is not in it.
        """
        kind, sender = event.get("type"), text_of(event.get("sender"))
        event_id = id_of(event.get("event_id"))
        if kind not in {*_SPOKEN, "m.room.redaction"} or event_id is None:
            return None
        if not sender.startswith("@") or len(sender) > ID_LENGTH:
            return None
        known = await self._rooms.get(room)
        if known.is_encrypted:
            return None
        place = _Place(
            room=room,
            is_direct=room != self._agents_chat and self._rooms.is_direct(room, known),
            in_group=known.joined > 2,
            event=event,
            event_id=event_id,
            sender=sender,
            name=names.get(sender) or sender[1:].partition(":")[0],
        )
        if kind == "m.room.redaction":
            return self._deleted(place)
        said = said_of(event)
        if said is None:
            return None
        if said.replaces is not None:
            return await self._edited(place, said, said.replaces)
        return await self._received(place, said)

    async def _received(self, place: _Place, said: Said) -> MessageReceived | None:
        conversation = self._conversation(place, said)
        is_talk = self._is_talk(conversation, place.event_id, said)
        addressed = False if is_talk else await self._is_addressed(place, said, conversation)
        known = Known(place.sender, conversation, addressed)
        self._messages.add(place.event_id, known)
        if place.sender == self._me.user or addressed:
            self._messages.join(conversation)
        if place.sender == self._me.user or is_talk:
            return None
        return self._message(place, said, known, place.event_id)

    async def _edited(
        self, place: _Place, said: Said, replaced: str
    ) -> MessageEdited | MessageReceived | None:
        before = await self._before(place, replaced)
        # Whoever may write in a room may send what claims to be an edit of another's message.
        if before is None or before.sender != place.sender or place.sender == self._me.user:
            return None
        text = self._words(place, said)
        if not text or self._is_talk(before.conversation, replaced, said):
            return None
        is_late = not before.addressed and not place.is_direct and self._me.is_called(said)
        # What agents edit is not passed on, whomever they name.
        if is_late and place.room != self._agents_chat:
            known = Known(place.sender, before.conversation, addressed=True)
            self._messages.add(replaced, known)
            self._messages.join(before.conversation)
            return self._message(place, said, known, replaced, is_edited=True)
        return MessageEdited(
            event_id=place.event_id,
            conversation=before.conversation,
            message_id=replaced,
            sender=self._person(place),
            sent_at=moment_of(place.event),
            text=text,
            in_group=place.in_group,
        )

    def _deleted(self, place: _Place) -> MessageDeleted | None:
        content = mapping(place.event.get("content"))
        # Where it stands depends on the version of the room.
        gone = id_of(content.get("redacts")) or id_of(place.event.get("redacts"))
        known = self._messages.get(gone)
        if gone is None or (known is not None and known.sender == self._me.user):
            return None
        # What was deleted does not tell its thread any more.
        thread = None if place.is_direct else gone
        return MessageDeleted(
            event_id=place.event_id,
            conversation=known.conversation
            if known is not None
            else ConversationId(self._channel, place.room, thread),
            message_id=gone,
            sent_at=moment_of(place.event),
        )

    def _message(
        self, place: _Place, said: Said, known: Known, message_id: str, *, is_edited: bool = False
    ) -> MessageReceived:
        return MessageReceived(
            event_id=place.event_id,
            conversation=known.conversation,
            message_id=message_id,
            sender=self._person(place),
            sent_at=moment_of(place.event),
            text=self._words(place, said),
            attachments=said.attachments,
            in_reply_to=said.in_reply_to,
            addressed_to_bot=known.addressed,
            in_group=place.in_group,
            is_edited=is_edited,
        )

    def _person(self, place: _Place) -> Sender:
        role: Role = "agent" if place.room == self._agents_chat else "customer"
        return Sender(place.sender, role, place.name)

    def _words(self, place: _Place, said: Said) -> str:
        text = self._me.left_out(said)
        # Clients keep what begins with a slash to themselves.
        is_command = text[:1] == "!" and text[1:2].isalpha() and place.sender in self._admins
        return f"/{text[1:]}" if is_command else text

    def _conversation(self, place: _Place, said: Said) -> ConversationId:
        answered = self._messages.get(said.in_reply_to)
        thread = said.thread
        if thread is None and answered is not None and answered.conversation.chat == place.room:
            # A client that knows no threads answers a message of one.
            thread = answered.conversation.thread
        if thread is None and not place.is_direct:
            thread = place.event_id
        return ConversationId(self._channel, place.room, thread)

    def _is_talk(self, conversation: ConversationId, message_id: str, said: Said) -> bool:
        """What agents say among themselves, outside of the threads of cases."""
        outside = conversation.chat == self._agents_chat and conversation.thread == message_id
        return outside and not self._me.is_called(said)

    async def _is_addressed(self, place: _Place, said: Said, conversation: ConversationId) -> bool:
        if place.is_direct or self._me.is_called(said):
            return True
        answered = self._messages.get(said.in_reply_to)
        if answered is not None and answered.sender == self._me.user:
            return True
        thread = conversation.thread
        if thread is None or thread == place.event_id or said.mentions - {self._me.user}:
            return False
        return await self._takes_part(conversation, thread)

    async def _takes_part(self, conversation: ConversationId, thread: str) -> bool:
        """Whether the bot has written in a thread; asked once where it is not remembered."""
        if (known := self._messages.takes_part(conversation)) is not None:
            return known
        try:
            root = await self._server.event(conversation.chat, thread)
        except ChannelUnauthorized:
            raise
        except ChannelError as error:
            logger.warning("thread not looked up: %s", error, extra={"event": "thread_unknown"})
            return False
        relations = mapping(mapping(root.get("unsigned")).get("m.relations"))
        found = mapping(relations.get("m.thread")).get("current_user_participated") is True
        takes_part = found or root.get("sender") == self._me.user
        self._messages.join(conversation, takes_part=takes_part)
        return takes_part

    async def _before(self, place: _Place, replaced: str) -> Known | None:
        """The message that an edit is about, as it stood before."""
        if (known := self._messages.get(replaced)) is not None:
            return known
        try:
            event = await self._server.event(place.room, replaced)
        except ChannelUnauthorized:
            raise
        except ChannelError as error:
            logger.warning("edit left out: %s", error, extra={"event": "matrix_edit_left_out"})
            return None
        said = said_of(event)
        if said is None or said.replaces is not None:
            return None
        asked = _Place(
            room=place.room,
            is_direct=place.is_direct,
            in_group=place.in_group,
            event=event,
            event_id=replaced,
            sender=text_of(event.get("sender")),
            name=place.name,
        )
        conversation = self._conversation(asked, said)
        addressed = await self._is_addressed(asked, said, conversation)
        return Known(asked.sender, conversation, addressed)
