"""What Discord's gateway tells → the core's events, with what has to be known for that; no I/O.

https://discord.com/developers/docs/events/gateway-events
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from adapters.discord.gateway import Dispatch
from adapters.discord.tokens import InteractionTokens
from adapters.requests import TEXT_LENGTH, whole
from kfbot.messages import (
    Attachment,
    ButtonPressed,
    ConversationId,
    InboundEvent,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    Sender,
)

#: Messages whose place is known, at most.
_REMEMBERED = 10_000
#: Channels and threads that are told apart, at most.
_PLACES = 100_000
#: A message, and a reply; others are notes that Discord writes.
_SPOKEN = (0, 19)
_COMMAND, _COMPONENT = 2, 3
#: A command that is typed, and a component to press.
_SLASH, _BUTTON = 1, 2
#: The command's option.
_QUESTION = "question"
#: Where it was typed: between people whose chat the bot is no part of.
_AMONG_OTHERS = 2
_FORWARD = 1
#: Types of channels: threads of announcements, public and private ones.
# Tuples: a frame may hold a list where a number belongs, and no set can be asked for that.
_THREADS = (10, 11, 12)
#: Milliseconds since 1970 at which Discord's ids begin to count.
_EPOCH = 1_420_070_400_000
_ID = re.compile(r"[0-9]{1,20}")
_EMOJI = re.compile(r"<a?(:\w{1,64}:)[0-9]{1,20}>")

#: The name of a dispatch.
INTERACTION = "INTERACTION_CREATE"

Fields = Mapping[str, Any]


class _Said(NamedTuple):
    """A message that we were told of."""

    conversation: ConversationId
    addressed: bool


class Reader:
    """Knows who the bot is, which channels are threads, and where recent messages stand."""

    def __init__(self, channel: str, tokens: InteractionTokens) -> None:
        self._channel = channel
        self._tokens = tokens
        self._me = ""
        #: Roles that Discord made for the bot, which people take for its name.
        self._roles: set[str] = set()
        #: Channel → the channel whose thread it is; "": it is none.
        self._parents: OrderedDict[str, str] = OrderedDict()
        self._said: OrderedDict[str, _Said] = OrderedDict()

    def take_note(self, dispatch: Dispatch) -> None:
        """Learn what later dispatches do not tell."""
        data = dispatch.data
        if dispatch.name == "READY":
            self._me = _id(_fields(data.get("user")).get("id"))
        elif dispatch.name == "GUILD_CREATE":
            for role in _each(data.get("roles")):
                if self._me and _id(_fields(role.get("tags")).get("bot_id")) == self._me:
                    self._roles.add(_id(role.get("id")))
            for place in (*_each(data.get("channels")), *_each(data.get("threads"))):
                self.learn_place(place)
        elif dispatch.name in {"THREAD_CREATE", "THREAD_UPDATE"}:
            self.learn_place(data)
        elif dispatch.name == INTERACTION and (place := _fields(data.get("channel"))):
            self.learn_place(place, _id(data.get("channel_id")))

    def learn_place(self, place: Fields, name: str = "") -> None:
        """Learn whether a channel is a thread.

        Args:
            place: Discord's description; empty: nothing is known of it.
            name: Its id, where the description may lack one.
        """
        is_thread = place.get("type") in _THREADS
        key = _id(place.get("id")) or name
        self._parents[key] = _id(place.get("parent_id")) if is_thread else ""
        self._parents.move_to_end(key)
        while len(self._parents) > _PLACES:
            self._parents.popitem(last=False)

    def unknown_place(self, dispatch: Dispatch) -> str:
        """The channel that `learn_place` has to be told of before `events_of`; "": none."""
        place = _id(dispatch.data.get("channel_id"))
        is_asked = dispatch.name in {"MESSAGE_CREATE", "MESSAGE_UPDATE", INTERACTION}
        in_server = dispatch.data.get("guild_id") is not None
        return place if is_asked and in_server and place not in self._parents else ""

    def replied_to(self, message: Fields) -> str:
        """The message that one of the bot's own is a reply to; "": it is none."""
        is_ours = _id(_fields(message.get("author")).get("id")) == self._me
        return (_replied_to(message) or "") if is_ours else ""

    def events_of(self, dispatch: Dispatch) -> Iterator[InboundEvent]:
        """The events that a dispatch means; none: nothing that anybody has to be told."""
        data = dispatch.data
        event: InboundEvent | None = None
        if dispatch.name == "MESSAGE_CREATE":
            event = self._message(data)
        elif dispatch.name == "MESSAGE_UPDATE":
            event = self._edit(data)
        elif dispatch.name == INTERACTION:
            event = self._press(data) or self._question(data)
        elif dispatch.name in {"MESSAGE_DELETE", "MESSAGE_DELETE_BULK"}:
            gone = data.get("ids") if isinstance(data.get("ids"), list) else [data.get("id")]
            for one in gone or ():
                if deleted := self._deletion(data, _id(one)):
                    yield deleted
        if event is not None:
            yield event

    def _message(self, data: Fields) -> MessageReceived | None:
        number, sender = _id(data.get("id")), self._person(data)
        place = self._place(data, sender.id) if sender is not None else None
        if not number or sender is None or place is None:
            return None
        in_group, addressed = _in_server(data), self._is_addressed(data)
        text, attachments = self._words(data), tuple(_attachments(data))
        self._remember(number, _Said(place, addressed))
        # A mention alone calls the bot, too.
        if not (text or attachments or (in_group and addressed)):
            return None
        return MessageReceived(
            event_id=number,
            conversation=place,
            message_id=number,
            sender=sender,
            sent_at=_moment(number),
            text=text,
            attachments=attachments,
            in_reply_to=_replied_to(data),
            addressed_to_bot=addressed,
            in_group=in_group,
        )

    def _edit(self, data: Fields) -> MessageReceived | MessageEdited | None:
        """An edit; what Discord itself adds to a message, a preview of a link, is none."""
        changed = _text(data.get("edited_timestamp"))[:40]
        before = self._said.get(_id(data.get("id")))
        if not changed or (event := self._message(data)) is None:
            return None
        event_id = f"{event.message_id}-{changed}"
        if before is not None and not before.addressed and event.addressed_to_bot:
            return MessageReceived(
                event_id=event_id,
                conversation=event.conversation,
                message_id=event.message_id,
                sender=event.sender,
                sent_at=event.sent_at,
                text=event.text,
                attachments=event.attachments,
                in_reply_to=event.in_reply_to,
                in_group=event.in_group,
                is_edited=True,
            )
        return MessageEdited(
            event_id=event_id,
            conversation=event.conversation,
            message_id=event.message_id,
            sender=event.sender,
            sent_at=_read_time(changed),
            text=event.text,
            in_group=event.in_group,
        )

    def _deletion(self, data: Fields, number: str) -> MessageDeleted | None:
        """Discord does not tell whose message it was, so in a channel it has to be remembered."""
        known = self._said.get(number)
        place = known.conversation if known is not None else self._place(data, "")
        if not number or place is None or place.member == "":
            return None
        return MessageDeleted(
            event_id=f"{number}-deleted",
            conversation=place,
            message_id=number,
            sent_at=datetime.now(UTC),
        )

    def _press(self, data: Fields) -> ButtonPressed | None:
        number, sender = _id(data.get("id")), _person(data)
        custom = _text(_fields(data.get("data")).get("custom_id"))[:100]
        # In a channel a button belongs to whom it was shown to, whoever presses it.
        token, _, member = custom.partition(":")
        if not is_press(data) or not number or sender is None or not token:
            return None
        place = self._place(data, _id(member) or sender.id)
        if place is None:
            return None
        return ButtonPressed(
            event_id=number,
            conversation=place,
            token=token,
            sender=sender,
            sent_at=_moment(number),
            in_group=_in_server(data),
        )

    def _question(self, data: Fields) -> MessageReceived | None:
        number, sender, text = _id(data.get("id")), _person(data), question_of(data)
        if not number or sender is None or not text:
            return None
        if (place := self._place(data, sender.id)) is None:
            return None
        return MessageReceived(
            event_id=number,
            conversation=place,
            message_id=self._tokens.message_id(data),
            sender=sender,
            sent_at=_moment(number),
            text=text,
            in_group=_in_server(data),
        )

    def _place(self, data: Fields, member: str) -> ConversationId | None:
        """A direct chat, a thread, or one member's talk with the bot in a channel."""
        chat = _id(data.get("channel_id"))
        if not chat:
            return None
        if not _in_server(data):
            return ConversationId(self._channel, chat)
        if parent := self._parents.get(chat):
            return ConversationId(self._channel, parent, thread=chat)
        return ConversationId(self._channel, chat, member=member)

    def _person(self, data: Fields) -> Sender | None:
        """Who wrote; None for bots, webhooks and Discord itself."""
        is_spoken = data.get("type", 0) in _SPOKEN and not data.get("webhook_id")
        return _person({**data, "user": data.get("author")}) if is_spoken else None

    def _is_addressed(self, data: Fields) -> bool:
        """Outside of servers always; there by a mention of the bot or its role, or by a reply."""
        named = {_id(one.get("id")) for one in _each(data.get("mentions"))}
        roles = data.get("mention_roles")
        called = isinstance(roles, list) and any(_id(one) in self._roles for one in roles)
        answered = _fields(_fields(data.get("referenced_message")).get("author"))
        ours = {self._me} - {""}
        return bool(
            not _in_server(data) or called or ours & named or _id(answered.get("id")) in ours
        )

    def _words(self, data: Fields) -> str:
        """What was written, people by their names and the bot's own left out."""
        text = _text(_content(data).get("content"))
        for own in (f"<@{self._me}>", f"<@!{self._me}>", *(f"<@&{one}>" for one in self._roles)):
            text = text.replace(own, "")
        for one in _each(data.get("mentions")):
            if number := _id(one.get("id")):
                name = f"@{_name(one)}"
                text = text.replace(f"<@{number}>", name).replace(f"<@!{number}>", name)
        stickers = [f":{_text(one.get('name'))}:" for one in _each(data.get("sticker_items"))]
        return _EMOJI.sub(r"\1", text).strip() or " ".join(stickers)

    def _remember(self, number: str, said: _Said) -> None:
        self._said[number] = said
        self._said.move_to_end(number)
        while len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)


def is_press(data: Fields) -> bool:
    """Whether an interaction is a button that somebody pressed."""
    kind = _fields(data.get("data")).get("component_type")
    return data.get("type") == _COMPONENT and kind == _BUTTON


def question_of(data: Fields) -> str:
    """What somebody asks by an interaction that is a slash command; "": it is none."""
    command = _fields(data.get("data"))
    is_slash = data.get("type") == _COMMAND and command.get("type") == _SLASH
    if not is_slash or data.get("context") == _AMONG_OTHERS:
        return ""
    options = _each(command.get("options"))
    return next((_text(one.get("value")) for one in options if one.get("name") == _QUESTION), "")


def is_id(text: str) -> bool:
    """Whether it can be an id of Discord's."""
    return _ID.fullmatch(text) is not None


def _person(data: Fields) -> Sender | None:
    member = _fields(data.get("member"))
    user = _fields(data.get("user")) or _fields(member.get("user"))
    number = _id(user.get("id"))
    if not number or user.get("bot") or user.get("system"):
        return None
    return Sender(number, "customer", (_text(member.get("nick")) or _name(user))[:100])


def _name(user: Fields) -> str:
    return _text(user.get("global_name")) or _text(user.get("username"))


def _content(data: Fields) -> Fields:
    """The message itself, or the one that was passed on by it."""
    reference = _fields(data.get("message_reference"))
    shots = list(_each(data.get("message_snapshots")))
    if reference.get("type") == _FORWARD and shots:
        return _fields(shots[0].get("message"))
    return data


def _replied_to(data: Fields) -> str | None:
    reference = _fields(data.get("message_reference"))
    is_reply = reference.get("type", 0) != _FORWARD
    return (_id(reference.get("message_id")) or None) if is_reply else None


def _attachments(data: Fields) -> Iterator[Attachment]:
    for one in _each(_content(data).get("attachments")):
        if url := _text(one.get("url")):
            kind = _text(one.get("content_type"))[:100] or "application/octet-stream"
            yield Attachment(url=url, media_type=kind, name=_text(one.get("filename"))[:255])


def _in_server(data: Fields) -> bool:
    return data.get("guild_id") is not None


def _fields(value: object) -> Fields:
    return value if isinstance(value, Mapping) else {}


def _each(value: object) -> Iterator[Fields]:
    for one in value if isinstance(value, list) else ():
        if isinstance(one, Mapping):
            yield one


def _id(value: object) -> str:
    return value if isinstance(value, str) and is_id(value) else ""


def _text(value: object) -> str:
    return str(whole(value[:TEXT_LENGTH])).strip() if isinstance(value, str) else ""


def first_id(moment: datetime) -> int:
    """An id that is lower than those that are made from a moment on; it is aware."""
    return max(int(moment.timestamp() * 1000) - _EPOCH, 0) << 22


def _moment(number: str) -> datetime:
    """When an id was made."""
    milliseconds = (int(number) >> 22) + _EPOCH
    return datetime.fromtimestamp(min(milliseconds, 32_503_680_000_000) / 1000, UTC)


def _read_time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
