"""The segments that a OneBot message is made of, and their older form as one string.

https://github.com/botuniverse/onebot-11/tree/master/message
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.requests import whole
from kfbot.messages import Attachment

_CODE = re.compile(r"\[CQ:([a-z_]{1,40})((?:,[^\[\],]*)*)\]")
_MEDIA_TYPES = {
    "image": "image/jpeg",
    "record": "audio/amr",
    "video": "video/mp4",
    "file": "application/octet-stream",
}


@dataclass(frozen=True, slots=True)
class Read:
    """What a message says."""

    #: The mention of the bot removed, others readable.
    text: str
    #: The bot is mentioned; "everybody" is not.
    is_mentioned: bool = False
    #: Somebody else is mentioned, or everybody.
    mentions_others: bool = False
    #: The message that it is a reply to.
    replies_to: str | None = None
    attachments: tuple[Attachment, ...] = ()


def read(message: object, bot: str) -> Read:
    """What a message says, in either of its forms; `bot` is the bot's own number."""
    said, mentioned, others, replies_to = [], False, False, None
    attachments: list[Attachment] = []
    for kind, data in _segments(message):
        if kind == "text":
            said.append(_text(data.get("text")))
        elif kind == "at":
            number = _text(data.get("qq"))
            if number == bot:
                mentioned = True
                # What stood around the name stays apart.
                said.append(" ")
            else:
                others = True
                name = _text(data.get("name")) or ("全体成员" if number == "all" else number)
                said.append(f" @{name.removeprefix('@')} ")
        elif kind == "reply":
            replies_to = _text(data.get("id")) or None
        elif kind in _MEDIA_TYPES and (file := _attachment(kind, data)):
            attachments.append(file)
    # Blanks are collapsed, lines are kept.
    lines = (" ".join(line.split()) for line in "".join(said).splitlines())
    return Read("\n".join(lines).strip(), mentioned, others, replies_to, tuple(attachments))


def segment(kind: str, **data: str) -> dict[str, Any]:
    """One segment of a message that is sent."""
    return {"type": kind, "data": data}


def _segments(message: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(message, str):
        yield from _codes(message)
        return
    for one in message if isinstance(message, Sequence) else ():
        kind = one.get("type") if isinstance(one, Mapping) else None
        data = one.get("data") if isinstance(one, Mapping) else None
        if isinstance(kind, str):
            yield kind, data if isinstance(data, Mapping) else {}


def _codes(message: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    end = 0
    for found in _CODE.finditer(message):
        yield "text", {"text": _unescaped(message[end : found.start()])}
        pairs = (pair.partition("=") for pair in found[2].split(",")[1:])
        yield found[1], {name: _unescaped(value) for name, _, value in pairs}
        end = found.end()
    yield "text", {"text": _unescaped(message[end:])}


def _unescaped(text: str) -> str:
    for escaped, plain in (("&#91;", "["), ("&#93;", "]"), ("&#44;", ","), ("&amp;", "&")):
        text = text.replace(escaped, plain)
    return text


def _text(value: object) -> str:
    return str(whole(value)) if isinstance(value, str | int) else ""


def _attachment(kind: str, data: Mapping[str, Any]) -> Attachment | None:
    address = _text(data.get("url"))
    if not address.startswith(("http://", "https://")):
        return None
    name = _text(data.get("name")) or _text(data.get("file"))
    return Attachment(url=address, media_type=_MEDIA_TYPES[kind], name=name[:255])
