"""OneBot's events → the core's: pure rules, no I/O.

https://github.com/botuniverse/onebot-11/tree/master/event
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from adapters.onebot.segments import read
from adapters.requests import whole
from kfbot.messages import (
    ConversationId,
    InboundEvent,
    MessageDeleted,
    MessageReceived,
    Sender,
)

#: What a chat is called: its kind and its number.
GROUP, PRIVATE = "group", "private"
#: QQ's own assistant writes as this one.
_NOBODY = {"2854196310"}
_RECALLS = {"group_recall": GROUP, "friend_recall": PRIVATE}


def event_of(raw: Mapping[str, Any], channel: str, sent: Collection[str]) -> InboundEvent | None:
    """The event that a payload means; None: nothing that anybody has to be told.

    Args:
        sent: Ids of the bot's own messages.
    """
    kind = raw.get("post_type")
    if kind == "message":
        return _message(raw, channel, sent)
    if kind == "notice":
        return _recall(raw, channel)
    return None


def _message(raw: Mapping[str, Any], channel: str, sent: Collection[str]) -> MessageReceived | None:
    me, user, message_id = (_number(raw.get(name)) for name in ("self_id", "user_id", "message_id"))
    place = _place(raw, channel, user)
    if not (me and user and message_id) or place is None or user in _NOBODY or user == me:
        return None
    is_group = place.member is not None
    found = read(raw.get("message"), me)
    if not (found.text or found.attachments or found.is_mentioned):
        return None
    is_reply = found.replies_to is not None and f"{me}:{found.replies_to}" in sent
    return MessageReceived(
        event_id=_event_id(raw, me, message_id),
        conversation=place,
        message_id=message_id,
        sender=Sender(user, "customer", _name(raw.get("sender"))),
        sent_at=_moment(raw),
        text=found.text,
        attachments=found.attachments,
        in_reply_to=found.replies_to,
        addressed_to_bot=not is_group or found.is_mentioned or is_reply,
        in_group=is_group,
    )


def _recall(raw: Mapping[str, Any], channel: str) -> MessageDeleted | None:
    kind = _RECALLS.get(str(raw.get("notice_type")))
    user, message_id = _number(raw.get("user_id")), _number(raw.get("message_id"))
    place = _place({**raw, "message_type": kind}, channel, user)
    if place is None or not message_id:
        return None
    return MessageDeleted(
        event_id=f"recall-{_event_id(raw, _number(raw.get('self_id')), message_id)}",
        conversation=place,
        message_id=message_id,
        sent_at=_moment(raw),
    )


def _place(raw: Mapping[str, Any], channel: str, user: str) -> ConversationId | None:
    """Where it was said; a group has no threads, so each member has a conversation there."""
    kind, group = raw.get("message_type"), _number(raw.get("group_id"))
    if kind == GROUP and group and user:
        return ConversationId(channel, f"{GROUP}:{group}", member=user)
    if kind == PRIVATE and user:
        return ConversationId(channel, f"{PRIVATE}:{user}")
    return None


def _event_id(raw: Mapping[str, Any], me: str, message_id: str) -> str:
    # Ids of messages are 32 bits of a hash with some implementations: they come again.
    return f"{me}:{message_id}:{_number(raw.get('time'))}"


def _number(value: object) -> str:
    """A number as text, whichever of both it came as; "": it is none."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return ""
    text = str(value)
    return text if text.removeprefix("-").isdecimal() and len(text) <= 20 else ""


def _name(sender: object) -> str:
    known = sender if isinstance(sender, Mapping) else {}
    for field in ("card", "nickname"):
        if isinstance(name := known.get(field), str) and name.strip():
            return str(whole(name.strip()))[:100]
    return ""


def _moment(raw: Mapping[str, Any]) -> datetime:
    seconds = raw.get("time")
    if isinstance(seconds, int) and 0 < seconds < 32_503_680_000:
        return datetime.fromtimestamp(seconds, UTC)
    return datetime.now(UTC)
