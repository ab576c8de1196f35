"""What Feishu tells → inbound events: stateless."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError

from adapters.feishu.wording import named, read
from adapters.requests import whole
from kfbot.messages import (
    ButtonPressed,
    ConversationId,
    InboundEvent,
    MessageDeleted,
    MessageReceived,
    Sender,
)

logger = logging.getLogger(__name__)

_Id = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")]
_Text = Annotated[str, BeforeValidator(whole)]
#: Since 1970, in seconds, milliseconds or microseconds: events and callbacks differ.
_Time = Annotated[str, BeforeValidator(str), StringConstraints(pattern=r"^[0-9]{1,16}$")]


class _Part(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)


class _Header(_Part):
    event_id: _Id
    event_type: str
    create_time: _Time = "0"


class _Envelope(_Part):
    header: _Header
    event: dict[str, Any] = {}


class _User(_Part):
    open_id: _Id | None = None


class _Sender(_Part):
    sender_id: _User | None = None
    sender_type: str = "user"


class _Mention(_Part):
    key: _Text
    id: _User | None = None
    name: _Text | None = None


class _Message(_Part):
    message_id: _Id
    root_id: _Id | None = None
    parent_id: _Id | None = None
    thread_id: _Id | None = None
    chat_id: _Id
    chat_type: str
    create_time: _Time
    message_type: str
    content: str
    mentions: list[_Mention] | None = None


class _Received(_Part):
    sender: _Sender
    message: _Message


class _Recalled(_Part):
    message_id: _Id
    chat_id: _Id
    recall_time: _Time = "0"


class _Value(_Part):
    """What a button of ours carries."""

    kfbot: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,32}$")]
    thread: _Id | None = None
    member: _Id | None = None


class _Action(_Part):
    tag: str = ""
    value: Any = None


class _Place(_Part):
    open_chat_id: _Id


class _Pressed(_Part):
    operator: _User
    action: _Action
    context: _Place


@dataclass(frozen=True, slots=True)
class Found:
    """An event, and what must be known to say whether the bot is addressed."""

    event: InboundEvent
    #: A message of a group that mentions nobody: the one that it replies to.
    replies_to: str | None = field(default=None, kw_only=True)


def mentions_anybody(payload: Mapping[str, Any]) -> bool:
    """True where a message names people, so that one must know which of them the bot is."""
    event = payload.get("event")
    message = event.get("message") if isinstance(event, dict) else None
    return isinstance(message, dict) and bool(message.get("mentions"))


def meaning(payload: Mapping[str, Any], channel: str, bot: str) -> Found | None:
    """What a request means for a channel; None: nothing that concerns the bot.

    A topic of a group is a conversation; outside of topics each member of a group has one.

    Args:
        bot: The open_id of the bot.

    Raises:
        ValueError: This is no event, in a line for the caller.
    """
    if "header" not in payload:
        if {"uuid", "action"} & payload.keys():
            # Events and callbacks of the first version, which nobody needs to subscribe to.
            return None
        raise ValueError("header: is missing")
    try:
        envelope = _Envelope.model_validate(payload)
    except ValidationError as error:
        raise ValueError(_fault_of(error)) from None
    try:
        match envelope.header.event_type:
            case "im.message.receive_v1":
                return _received(_Received.model_validate(envelope.event), channel, bot)
            case "im.message.recalled_v1":
                recalled = _Recalled.model_validate(envelope.event)
                return Found(_deleted(recalled, envelope.header, channel))
            case "card.action.trigger":
                return _pressed(_Pressed.model_validate(envelope.event), envelope.header, channel)
    except ValueError as error:
        # Asking Feishu to send it again would help nobody.
        fault = _fault_of(error) if isinstance(error, ValidationError) else str(error)
        logger.warning("event of Feishu left out: %s", fault, extra={"event": "event_malformed"})
    return None


def _received(received: _Received, channel: str, bot: str) -> Found | None:
    message, sender = received.message, received.sender
    author = sender.sender_id.open_id if sender.sender_id else None
    # Bots are never answered, and neither are we.
    if sender.sender_type != "user" or author is None or author == bot:
        return None
    words = read(message.message_type, message.content, message.message_id)
    if words is None:
        return None
    text, attachments = words
    mentions = message.mentions or []
    own = frozenset(one.key for one in mentions if bot and one.id and one.id.open_id == bot)
    names = {one.key: one.name or "" for one in mentions}
    in_group = message.chat_type != "p2p"
    event = MessageReceived(
        # Feishu asks to know repeats by the message: one message may be told as two events.
        event_id=message.message_id,
        conversation=_conversation(message, author, channel)
        if in_group
        else ConversationId(channel, message.chat_id),
        message_id=message.message_id,
        sender=Sender(author),
        sent_at=_moment(message.create_time),
        text=named(text, names, own),
        attachments=attachments,
        in_reply_to=message.parent_id,
        addressed_to_bot=not in_group or bool(own),
        in_group=in_group,
    )
    calls_others = bool(names) or "@_all" in text
    return Found(event, replies_to=message.parent_id if in_group and not calls_others else None)


def _conversation(message: _Message, author: str, channel: str) -> ConversationId:
    if message.thread_id is None:
        return ConversationId(channel, message.chat_id, member=author)
    # Feishu takes replies to messages, not to topics: a topic goes by its first message.
    return ConversationId(channel, message.chat_id, message.root_id or message.message_id)


def _deleted(recalled: _Recalled, header: _Header, channel: str) -> MessageDeleted:
    return MessageDeleted(
        event_id=header.event_id,
        conversation=ConversationId(channel, recalled.chat_id),
        message_id=recalled.message_id,
        sent_at=_moment(recalled.recall_time if int(recalled.recall_time) else header.create_time),
    )


def _pressed(pressed: _Pressed, header: _Header, channel: str) -> Found | None:
    presser = pressed.operator.open_id
    value = pressed.action.value
    if presser is None or not isinstance(value, dict) or "kfbot" not in value:
        return None
    button = _Value.model_validate(value)
    chat = pressed.context.open_chat_id
    return Found(
        ButtonPressed(
            event_id=header.event_id,
            conversation=ConversationId(channel, chat, button.thread, button.member),
            token=button.kfbot,
            sender=Sender(presser),
            sent_at=_moment(header.create_time),
            in_group=bool(button.thread or button.member),
        )
    )


def _moment(since_1970: str) -> datetime:
    if not int(since_1970):
        return datetime.now(UTC)
    units = 10 ** max(len(since_1970) - 10, 0)
    return datetime.fromtimestamp(int(since_1970) / units, UTC)


def _fault_of(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
