"""What WeCom tells us, as events: messages to an app, and what happens at a service account."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from adapters.requests import ID_LENGTH, whole
from kfbot.messages import (
    Attachment,
    ButtonPressed,
    ConversationId,
    InboundEvent,
    MessageDeleted,
    MessageReceived,
    OwnershipChanged,
    Role,
    Sender,
)

#: Of the address of an attachment that `fetch` can get.
MEDIA_SCHEME = "wecom-media:"
#: Who wrote, of a service account's message.
CUSTOMER, SERVICER = 3, 5
_MEDIA_TYPES = {
    "image": "image/jpeg",
    "voice": "audio/amr",
    "video": "video/mp4",
    "file": "application/octet-stream",
}
#: Of `session_status_change`: taken from the queue, passed on, ended, taken up again.
_TAKEN, _ENDED = (1, 2, 4), 3


def read_app_message(channel: str, fields: Mapping[str, str], agent_id: int) -> InboundEvent | None:
    """The meaning of a callback for an app; None: an event, another app's, or malformed."""
    kind, user = fields.get("MsgType", ""), fields.get("FromUserName", "")
    message_id, sent_at = fields.get("MsgId", ""), moment(fields.get("CreateTime"))
    if kind in ("", "event") or fields.get("AgentID", "") != str(agent_id):
        return None
    if not _is_id(user) or not _is_id(message_id) or sent_at is None:
        return None
    text, attachment = _said_to_app(kind, fields)
    return MessageReceived(
        event_id=message_id,
        conversation=ConversationId(channel, user),
        message_id=message_id,
        sender=Sender(user),
        sent_at=sent_at,
        text=str(whole(text)),
        attachments=attachment,
    )


def _said_to_app(kind: str, fields: Mapping[str, str]) -> tuple[str, tuple[Attachment, ...]]:
    if kind == "text":
        return fields.get("Content", ""), ()
    if kind == "location":
        place = f"geo:{fields.get('Location_X', '')},{fields.get('Location_Y', '')}"
        return "", (Attachment(url=place, name=fields.get("Label", "") or "location"),)
    if kind == "link":
        shown = [fields.get(name, "") for name in ("Title", "Description", "Url")]
        return "\n".join(one for one in shown if one), ()
    return "", (_attachment(kind, fields.get("MediaId", "")),)


def read_kf_message(channel: str, item: Mapping[str, Any]) -> InboundEvent | None:
    """The meaning of an entry of `kf/sync_msg`; None: nothing that a conversation knows of."""
    message_id, sent_at = item.get("msgid"), moment(item.get("send_time"))
    if not _is_id(message_id) or sent_at is None:
        return None
    if item.get("msgtype") == "event":
        return _read_kf_event(channel, str(message_id), part(item, "event"), sent_at)
    role: Role = "customer" if item.get("origin") == CUSTOMER else "agent"
    sender = item.get("external_userid" if role == "customer" else "servicer_userid")
    where = conversation_of(channel, item)
    if where is None or item.get("origin") not in (CUSTOMER, SERVICER) or not _is_id(sender):
        return None
    token = part(item, "text").get("menu_id") if role == "customer" else None
    if token and _is_id(token):
        return ButtonPressed(
            event_id=str(message_id),
            conversation=where,
            token=str(token),
            sender=Sender(str(sender)),
            sent_at=sent_at,
            message_id=str(message_id),
            in_group=False,
        )
    text, attachments = _said_at_account(item)
    return MessageReceived(
        event_id=str(message_id),
        conversation=where,
        message_id=str(message_id),
        sender=Sender(str(sender), role),
        sent_at=sent_at,
        text=str(whole(text)),
        attachments=attachments,
    )


def _read_kf_event(
    channel: str, event_id: str, event: Mapping[str, Any], sent_at: datetime
) -> InboundEvent | None:
    where = conversation_of(channel, event)
    kind = event.get("event_type")
    if where is None:
        return None
    if kind == "session_status_change":
        return _read_change(event_id, where, event, sent_at)
    recalled = event.get("recall_msgid")
    if kind in ("user_recall_msg", "servicer_recall_msg") and _is_id(recalled):
        return MessageDeleted(
            event_id=event_id, conversation=where, message_id=str(recalled), sent_at=sent_at
        )
    if kind == "enter_session" and event.get("welcome_code"):
        # They have written nothing yet, and the bot may greet them.
        return MessageReceived(
            event_id=event_id,
            conversation=where,
            message_id=event_id,
            sender=Sender(where.chat),
            sent_at=sent_at,
            text="你好",
        )
    return None


def _read_change(
    event_id: str, where: ConversationId, event: Mapping[str, Any], sent_at: datetime
) -> OwnershipChanged | None:
    change = event.get("change_type")
    named = event.get("old_servicer_userid" if change == _ENDED else "new_servicer_userid")
    agent = Sender(str(named) if _is_id(named) else "wecom", "agent")
    if change not in _TAKEN and change != _ENDED:
        return None
    return OwnershipChanged(
        event_id=event_id,
        conversation=where,
        change="resolved" if change == _ENDED else "claimed",
        agent=agent,
        sent_at=sent_at,
    )


def _said_at_account(item: Mapping[str, Any]) -> tuple[str, tuple[Attachment, ...]]:
    kind = str(item.get("msgtype", ""))[:40]
    said = part(item, kind)
    if kind == "text":
        return str(said.get("content", "")), ()
    if kind == "location":
        place = f"geo:{said.get('latitude')},{said.get('longitude')}"
        return "", (Attachment(url=place, name=str(said.get("name") or "location")),)
    if kind == "link":
        shown = [str(said.get(name) or "") for name in ("title", "desc", "url")]
        return "\n".join(one for one in shown if one), ()
    return "", (_attachment(kind, str(said.get("media_id", ""))),)


def _attachment(kind: str, media_id: str) -> Attachment:
    """A file; of anything else (a card, a mini program, a product) only what it is called."""
    if media_id and kind in _MEDIA_TYPES:
        return Attachment(url=MEDIA_SCHEME + media_id, media_type=_MEDIA_TYPES[kind], name=kind)
    return Attachment(url=f"wecom-{kind}:", name=kind)


def conversation_of(channel: str, fields: Mapping[str, Any]) -> ConversationId | None:
    """A customer at a service account: the same customer at another one is another conversation."""
    account, customer = fields.get("open_kfid"), fields.get("external_userid")
    if not _is_id(account) or not _is_id(customer):
        return None
    return ConversationId(channel, str(customer), thread=str(account))


def part(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object inside of another; empty where there is none."""
    found = fields.get(name)
    return found if isinstance(found, dict) else {}


def moment(seconds: object) -> datetime | None:
    """A time in seconds since 1970; None: it is none."""
    try:
        return datetime.fromtimestamp(int(str(seconds)), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _is_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= ID_LENGTH and value.isprintable()
