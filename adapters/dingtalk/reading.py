"""What DingTalk tells of a message → the core's event: pure rules, no I/O.

https://open.dingtalk.com/document/orgapp/receive-message
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from adapters.requests import ID_LENGTH, whole
from kfbot.messages import Attachment, ConversationId, MessageReceived, Sender

#: What a chat is called: its kind, and whose id follows.
GROUP, USER = "group", "user"
#: Attachments that have to be asked for begin so.
FILE_SCHEME = "dingtalk-file:"
_MEDIA_TYPES = {
    "picture": "image/png",
    "audio": "audio/amr",
    "video": "video/mp4",
    "file": "application/octet-stream",
}


def event_of(data: Mapping[str, Any], channel: str) -> MessageReceived | None:
    """The event that a message means; None: nothing that anybody has to be told."""
    message_id, user = _id(data.get("msgId")), _sender(data)
    place = _place(data, channel, user)
    if not message_id or place is None:
        return None
    text, attachments = _words(data), tuple(_attachments(data))
    is_group = place.member is not None
    if not (text or attachments or is_group):
        return None
    return MessageReceived(
        event_id=message_id,
        conversation=place,
        message_id=message_id,
        sender=Sender(user, "customer", _text(data.get("senderNick"))[:100]),
        sent_at=_moment(data.get("createAt")),
        text=text,
        attachments=attachments,
        # In a group a robot is told of nothing but what mentions it.
        in_group=is_group,
    )


def _place(data: Mapping[str, Any], channel: str, user: str) -> ConversationId | None:
    """Where it was said; a group has no threads, so each member has a conversation there."""
    chat = _id(data.get("conversationId"))
    if not user or not chat:
        return None
    if str(data.get("conversationType")) == "2":
        return ConversationId(channel, f"{GROUP}:{chat}", member=user)
    return ConversationId(channel, f"{USER}:{user}")


def _sender(data: Mapping[str, Any]) -> str:
    # Outsiders of the company have no staff id, and cannot be written to by it either.
    return _id(data.get("senderStaffId")) or _id(data.get("senderId"))


def _words(data: Mapping[str, Any]) -> str:
    kind, content = data.get("msgtype"), data.get("content")
    content = content if isinstance(content, Mapping) else {}
    if kind == "text":
        said = data.get("text")
        return _text(said.get("content") if isinstance(said, Mapping) else "")
    if kind == "audio":
        # DingTalk has written down what was said.
        return _text(content.get("recognition"))
    pieces = content.get("richText") if kind == "richText" else None
    words = [one.get("text") for one in _parts(pieces)]
    return _text("".join(one for one in words if isinstance(one, str)))


def _attachments(data: Mapping[str, Any]) -> Iterator[Attachment]:
    kind, content = str(data.get("msgtype")), data.get("content")
    content = content if isinstance(content, Mapping) else {}
    parts = [content] if kind in _MEDIA_TYPES else list(_parts(content.get("richText")))
    for one in parts:
        if code := _text(one.get("downloadCode")):
            media_type = _MEDIA_TYPES.get(kind, _MEDIA_TYPES["picture"])
            name = _text(one.get("fileName"))[:255]
            yield Attachment(url=f"{FILE_SCHEME}{code}", media_type=media_type, name=name)


def _parts(pieces: object) -> Iterator[Mapping[str, Any]]:
    for one in pieces if isinstance(pieces, list) else ():
        if isinstance(one, Mapping):
            yield one


def _id(value: object) -> str:
    text = _text(value)
    return text if len(text) <= ID_LENGTH - len(f"{GROUP}:") else ""


def _text(value: object) -> str:
    return str(whole(value)).strip() if isinstance(value, str) else ""


def _moment(milliseconds: object) -> datetime:
    if isinstance(milliseconds, int) and 0 < milliseconds < 32_503_680_000_000:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    return datetime.now(UTC)
