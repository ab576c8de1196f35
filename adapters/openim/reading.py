"""What OpenIM says after a message was sent → the event that it means, if it means one."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from adapters.requests import ID_LENGTH, TEXT_LENGTH, whole
from kfbot.errors import WebhookRejected
from kfbot.messages import Attachment, ConversationId, MessageReceived, Role, Sender

_SINGLE = 1
#: OpenIM's own ids of conversations begin so: groups that write to every member's box, and those
#: that are read from one, which all groups are since version 3.
_GROUPS = {2: "g", 3: "sg"}
#: Written by a person; what the REST API sends has 200.
_BY_HAND = 100
_TEXT, _PICTURE, _VOICE, _VIDEO, _FILE, _AT_TEXT, _QUOTE, _RICH = (
    101, 102, 103, 104, 105, 106, 114, 117
)  # fmt: skip
_WORDS = {_TEXT, _AT_TEXT, _QUOTE, _RICH}
#: By type: where the file is, what it is, and the kind where only a short name is given.
_FILES = {
    _PICTURE: ("url", "type", "image"),
    _VOICE: ("sourceUrl", "soundType", "audio"),
    _VIDEO: ("videoUrl", "videoType", "video"),
    _FILE: ("sourceUrl", "fileType", ""),
}
#: One form inside of the other; OpenKF itself sends a text that is wrapped twice.
_WRAPPINGS = 3


@dataclass(frozen=True, slots=True)
class _Content:
    """What a message says."""

    text: str = ""
    attachments: tuple[Attachment, ...] = ()
    #: Users whom it names, by what they are called in the text, if that is said.
    named: Mapping[str, str] = field(default_factory=dict)
    #: The message that it answers, and whose that is.
    answers: str | None = None
    answers_whom: str = ""


def read_message(
    channel: str,
    body: Mapping[str, Any],
    *,
    bot: str,
    nickname: str,
    agents: Set[str],
    others: Set[str],
) -> MessageReceived | None:
    """The event of a callback; None: it is not for the bot, or nothing that it can read.

    A server calls for the messages of all its users: those between two of them are left alone.

    Args:
        nickname: What the bot is called in texts, beside its id; may be empty.
        agents: Users who are agents; with the bot among them, what is written with its account by
            hand is an agent's.
        others: Users who are bots.

    Raises:
        WebhookRejected: 400: what every message has is missing.
    """
    sender = _id(channel, body, "sendID")
    by_hand = body.get("msgFrom") == _BY_HAND and sender in agents
    if sender in others or (sender == bot and not by_hand):
        return None
    content = _read_content(body)
    if content is None:
        return None
    found = _place(channel, body, content, sender, bot, agents)
    if found is None:
        return None
    conversation, role, addressed = found
    text = content.text
    if conversation.member:
        text = _without_mention(text, {bot, nickname, content.named.get(bot, "")})
    number = _message_id(channel, body)
    return MessageReceived(
        event_id=number,
        conversation=conversation,
        message_id=number,
        sender=Sender(sender, role, _words(body.get("senderNickname"))[:ID_LENGTH]),
        sent_at=_moment(body),
        text=text,
        attachments=content.attachments,
        in_reply_to=content.answers,
        addressed_to_bot=addressed,
        in_group=conversation.member is not None,
    )


def receiver_of(conversation: ConversationId) -> dict[str, Any]:
    """To whom a message goes, in the fields of send_msg."""
    if conversation.member is None:
        return {"sessionType": _SINGLE, "recvID": conversation.chat, "groupID": ""}
    kind, _, group = conversation.chat.partition("_")
    session = next((number for number, begin in _GROUPS.items() if begin == kind), 3)
    return {"sessionType": session, "recvID": "", "groupID": group or conversation.chat}


_Found = tuple[ConversationId, Role, bool]


def _place(
    channel: str,
    body: Mapping[str, Any],
    content: _Content,
    sender: str,
    bot: str,
    agents: Set[str],
) -> _Found | None:
    """The conversation, who writes in it, and whether it is to the bot; None: none of its."""
    session = _number(body, "sessionType")
    if session == _SINGLE:
        return _in_private(channel, body, sender, bot)
    if kind := _GROUPS.get(session or 0):
        chat = f"{kind}_{_id(channel, body, 'groupID')}"
        return _in_group(channel, chat, body, content, sender, bot, agents)
    return None


def _in_private(channel: str, body: Mapping[str, Any], sender: str, bot: str) -> _Found | None:
    receiver = _id(channel, body, "recvID")
    if sender == bot:
        return ConversationId(channel, receiver), "agent", True
    if receiver != bot:
        return None
    return ConversationId(channel, sender), "customer", True


def _in_group(
    channel: str,
    chat: str,
    body: Mapping[str, Any],
    content: _Content,
    sender: str,
    bot: str,
    agents: Set[str],
) -> _Found | None:
    named = {*content.named, *_texts(body.get("atUserList"))}
    addressed = bot in named or content.answers_whom == bot
    if sender not in agents or addressed:
        return ConversationId(channel, chat, member=sender), "customer", addressed
    # Whom an agent speaks to is whom they answer or name; other talk is nobody's conversation.
    whom = [content.answers_whom] if content.answers_whom else sorted(named)
    if len(whom) != 1 or whom[0] in agents:
        return None
    return ConversationId(channel, chat, member=whom[0]), "agent", True


def _read_content(body: Mapping[str, Any]) -> _Content | None:
    kind = _number(body, "contentType")
    fields, plain = _unwrap(body.get("content"))
    if kind in _FILES:
        # A picture comes in several sizes.
        original = fields.get("sourcePicture")
        file = _read_file(_FILES[kind], original if isinstance(original, dict) else fields)
        return _Content(attachments=(file,)) if file else None
    if kind not in _WORDS:
        return None
    quoted = fields.get("quoteMessage")
    quoted = quoted if isinstance(quoted, dict) else {}
    answers = _words(quoted.get("serverMsgID")) or _words(quoted.get("clientMsgID"))
    named = dict.fromkeys(_texts(fields.get("atUserList")), "")
    infos = fields.get("atUsersInfo")
    for one in infos if isinstance(infos, list) else ():
        if isinstance(one, dict) and (user := _words(one.get("atUserID"))):
            named[user] = _words(one.get("groupNickname"))
    text = plain or _words(fields.get("content")) or _words(fields.get("text"))
    return _Content(
        text=_with_names(text, named)[:TEXT_LENGTH],
        named=named,
        answers=answers[:ID_LENGTH] or None,
        answers_whom=_words(quoted.get("sendID")),
    )


def _unwrap(content: Any) -> tuple[dict[str, Any], str | None]:
    """The fields of a content, and the text in the innermost one, if it is there.

    A content that is no JSON is a text: so servers before version 3 send it.
    """
    fields: dict[str, Any] = {}
    for _ in range(_WRAPPINGS):
        found = _parsed(content)
        if found is None:
            break
        fields |= found
        content = found.get("content")
        if not isinstance(content, str):
            return fields, None
    return fields, _words(content)


def _parsed(content: Any) -> dict[str, Any] | None:
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except (ValueError, RecursionError):
            return None
    return content if isinstance(content, dict) else None


def _read_file(where: tuple[str, str, str], fields: Mapping[str, Any]) -> Attachment | None:
    address, kind, family = where
    url, media_type = _words(fields.get(address)), _words(fields.get(kind))
    if not url.startswith(("http://", "https://")):
        return None
    if family and media_type and "/" not in media_type:
        media_type = f"{family}/{media_type}"
    name = _words(fields.get("fileName"))
    return Attachment(url=url[:8192], media_type=media_type[:ID_LENGTH], name=name[:ID_LENGTH])


def _with_names(text: str, named: Mapping[str, str]) -> str:
    """The text with names where clients write ids: "@u2" is nobody whom a reader knows."""
    known = {user: name for user, name in named.items() if name}
    return _mention(known).sub(lambda at: f"@{known[at[1]]}", text) if known else text


def _without_mention(text: str, names: Set[str]) -> str:
    """The text without "@bot", wherever it stands, and the blank that clients put behind it."""
    return re.sub(_mention(names - {""}).pattern + "[ \u2005\u00a0]?", "", text).strip()


def _mention(names: Collection[str]) -> re.Pattern[str]:
    """An @ and one of the names, but no part of an address or of a longer id."""
    known = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?<![A-Za-z0-9._-])@({known})(?![A-Za-z0-9_-])")


def _number(body: Mapping[str, Any], name: str) -> int | None:
    return value if isinstance(value := body.get(name), int) else None


def _id(channel: str, body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not re.fullmatch(rf"[^\x00-\x1f\x7f]{{1,{ID_LENGTH}}}", value):
        raise WebhookRejected(channel, f"{name}: is missing, or no id", status=400)
    return str(whole(value))


def _message_id(channel: str, body: Mapping[str, Any]) -> str:
    return _id(channel, body, "serverMsgID" if body.get("serverMsgID") else "clientMsgID")


def _moment(body: Mapping[str, Any]) -> datetime:
    """When it was sent, by the server's clock, or by the client's where only that is told."""
    for name in ("sendTime", "createTime"):
        milliseconds = body.get(name)
        if isinstance(milliseconds, int) and milliseconds > 0:
            try:
                return datetime.fromtimestamp(milliseconds / 1000, UTC)
            except (OverflowError, OSError, ValueError):
                continue
    return datetime.now(UTC)


def _words(value: Any) -> str:
    return str(whole(value)) if isinstance(value, str) else ""


def _texts(values: Any) -> list[str]:
    return [_words(one) for one in values if _words(one)] if isinstance(values, list) else []
