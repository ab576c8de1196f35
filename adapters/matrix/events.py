"""Events of Matrix as they come → what they say: pure rules, no I/O. Any field may be anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from adapters.requests import ID_LENGTH, whole
from kfbot.messages import Attachment

#: What a room tells.
Event = Mapping[str, Any]
_WORDS = {"m.text", "m.emote"}
_FILES = {
    "m.audio": "audio/ogg",
    "m.file": "application/octet-stream",
    "m.image": "image/png",
    "m.video": "video/mp4",
}
_PILL = re.compile(r"https://matrix\.to/#/(@[^\s\"'?/<>)]+)|(?<!\w)matrix:u/([^\s\"'?/<>)]+)")
#: A reply quotes what it answers, for clients that know no replies.
_QUOTED = re.compile(r"> (?:\* )?<@[^>\n]+>.*\n(?:>.*\n)*\n?")


@dataclass(frozen=True, slots=True)
class Said:
    """A message, or what it says after an edit."""

    text: str
    attachments: tuple[Attachment, ...] = ()
    #: The event that its thread hangs on.
    thread: str | None = None
    in_reply_to: str | None = None
    #: The message that this is an edit of.
    replaces: str | None = None
    #: Users whom it names, by their ids.
    mentions: frozenset[str] = frozenset()


def said_of(event: Event) -> Said | None:
    """What a message or a sticker says; None: nothing, or what only bots say."""
    content = mapping(event.get("content"))
    relation = mapping(content.get("m.relates_to"))
    replaces = None
    if relation.get("rel_type") == "m.replace":
        if (replaces := id_of(relation.get("event_id"))) is None:
            return None
        content = mapping(content.get("m.new_content"))
    text, attachments = _content(event, content)
    if not (text or attachments):
        return None
    thread = id_of(relation.get("event_id")) if relation.get("rel_type") == "m.thread" else None
    replied = id_of(mapping(relation.get("m.in_reply_to")).get("event_id"))
    if thread is not None and relation.get("is_falling_back") is True:
        replied = None
    return Said(
        text=_QUOTED.sub("", text, count=1).strip() if _QUOTED.match(text) else text,
        attachments=attachments,
        thread=thread,
        in_reply_to=replied,
        replaces=replaces,
        mentions=_mentions(content),
    )


def _content(event: Event, content: Event) -> tuple[str, tuple[Attachment, ...]]:
    kind, body = text_of(content.get("msgtype")), text_of(content.get("body")).strip()
    if event.get("type") == "m.sticker":
        return "", _file(content, "image/png", body)
    if kind in _WORDS:
        return body, ()
    if kind == "m.location":
        place = text_of(content.get("geo_uri"))
        return "", (Attachment(url=place, name="location"),) if place.startswith("geo:") else ()
    if kind in _FILES:
        # Without a file name of its own the body is one, and no caption.
        name = text_of(content.get("filename")) or body
        return body if body != name else "", _file(content, _FILES[kind], name)
    return "", ()


def _file(content: Event, media_type: str, name: str) -> tuple[Attachment, ...]:
    url = text_of(content.get("url"))
    if not url.startswith("mxc://"):
        return ()
    known = text_of(mapping(content.get("info")).get("mimetype"))
    return (Attachment(url=url, media_type=known or media_type, name=name),)


def _mentions(content: Event) -> frozenset[str]:
    named = mapping(content.get("m.mentions")).get("user_ids")
    listed = {one for one in named if isinstance(one, str)} if isinstance(named, list) else set()
    shown = text_of(content.get("formatted_body")) + " " + text_of(content.get("body"))
    for one in _PILL.finditer(shown):
        listed.add(unquote(one[1]) if one[1] else f"@{unquote(one[2])}")
    return frozenset(listed)


class Name:
    """By what people call the bot, and how their words read without it."""

    def __init__(self, user: str, shown: str) -> None:
        """Prepare.

        Args:
            user: The bot's id.
            shown: Its display name.
        """
        self.user = user
        names = [re.escape(one) for one in (shown, user[1:].partition(":")[0]) if one]
        name = f"(?:{'|'.join(sorted(names, key=len, reverse=True))})"
        person = rf"(?:{re.escape(user)}|@{name})"
        # Chinese is written without spaces: only what a name can hold goes on with it.
        flags = re.IGNORECASE | re.ASCII
        link = rf"\[[^\]\n]*\]\(https://matrix\.to/#/{re.escape(user)}\)"
        called = rf"(?<![\w@]){person}(?!\w)|{link}"
        self._calls = re.compile(rf"^\s*{name}\s*[:：,，]|{called}", flags)
        self._named = re.compile(
            rf"^\s*(?:{person}|{name})(?!\w)[\s:：,，]*|"
            rf"[\s,，]*(?<![\w@])(?:{person}|{name})\s*$|"
            rf"(?:{called})[ \t:：]*",
            flags,
        )

    def is_called(self, said: Said) -> bool:
        """Whether a message names the bot: by its id, by a pill, or by its name."""
        return self.user in said.mentions or self._calls.search(said.text) is not None

    def left_out(self, said: Said) -> str:
        """The words without the bot's name, where it is called by that."""
        if not self.is_called(said):
            return said.text
        return self._named.sub("", said.text).strip()


def mapping(value: object) -> dict[str, Any]:
    """The object that a field should be; empty if it is none."""
    return value if isinstance(value, dict) else {}


def text_of(value: object) -> str:
    """The text that a field should be, as a database takes it; "" if it is none."""
    return str(whole(value)) if isinstance(value, str) else ""


def id_of(value: object) -> str | None:
    """The id of an event; None: it is none."""
    is_id = isinstance(value, str) and value.startswith("$") and len(value) <= ID_LENGTH
    return text_of(value) if is_id else None


def moment_of(event: Event) -> datetime:
    """When an event was sent, as its homeserver says; never in the future."""
    now, sent = datetime.now(UTC), event.get("origin_server_ts")
    if isinstance(sent, bool) or not isinstance(sent, int) or not 0 <= sent < 2**43:
        return now
    return min(now, datetime.fromtimestamp(sent / 1000, UTC))


def names_in(events: object) -> dict[str, str]:
    """What people are called in a room, by their ids."""
    found = {}
    for event in events if isinstance(events, list) else ():
        state = mapping(event)
        name = text_of(mapping(state.get("content")).get("displayname")).strip()
        user = state.get("state_key")
        if state.get("type") == "m.room.member" and isinstance(user, str) and name:
            found[user] = name[:ID_LENGTH]
    return found
