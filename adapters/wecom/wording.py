"""CommonMark → what WeCom shows: plain text and menus, within limits that are counted in bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from adapters.plain_text import markdown_to_text, sources
from adapters.requests import whole
from kfbot.messages import Button, OutboundMessage
from kfbot.shaping import split

#: Of one text, in bytes of UTF-8: longer ones are cut off by WeCom, or refused.
TEXT_BYTES = 2048
#: Of the text over a menu, of an entry in it, and how many entries it holds.
MENU_TEXT_BYTES = 1024
MENU_LABEL_BYTES = 128
MENU_ENTRIES = 10
#: What the core gives us at most, in characters: as much English as one message holds. Chinese
#: takes three bytes a character, so that one of the core's parts may be three of WeCom's.
TEXT_LENGTH = 2000
_MESSAGE_ID_LENGTH = 32


def texts_of(message: OutboundMessage) -> list[str]:
    """The message as plain texts, none too long for WeCom, its sources below the last one.

    Empty where nothing can be seen.
    """
    body = markdown_to_text(message.text)
    if not body:
        return []
    *before, last = in_parts(body, TEXT_BYTES)
    named = sources(message.citations)
    # As many as fit: a message of their own would be one of the five that a customer may get.
    while named and size("\n".join([last, "", *named])) > TEXT_BYTES:
        named.pop()
    return [*before, "\n".join([last, "", *named]) if named else last]


def in_parts(text: str, most_bytes: int) -> list[str]:
    """Cut a text at sense boundaries into parts of at most so many bytes of UTF-8."""
    parts, rest = [], text.strip()
    while size(rest) > most_bytes:
        fitting = rest.encode()[:most_bytes].decode(errors="ignore")
        part = split(rest[: len(fitting) + 1], len(fitting))[0]
        parts.append(part)
        rest = rest[len(part) :].lstrip()
    return [*parts, rest] if rest else parts


def size(text: str) -> int:
    """Length in bytes of UTF-8."""
    return len(text.encode())


def over_menu(parts: Sequence[str]) -> list[str]:
    """The same texts, the last one short enough to stand over a menu."""
    *before, last = parts
    tail = in_parts(last, MENU_TEXT_BYTES)[-1]
    rest = last[: len(last) - len(tail)].rstrip()
    return [*before, *([rest] if rest else []), tail]


def menu(text: str, buttons: Sequence[Button]) -> dict[str, Any]:
    """A text with entries to click on; a click comes back as `menu_id`."""
    entries = [
        {"type": "click", "click": {"id": one.token, "content": _label(one.label)}}
        for one in buttons[:MENU_ENTRIES]
    ]
    return {"msgtype": "msgmenu", "msgmenu": {"head_content": text, "list": entries}}


def text_message(text: str) -> dict[str, Any]:
    """A text by itself."""
    return {"msgtype": "text", "text": {"content": text}}


def message_id(message: OutboundMessage, number: int) -> str:
    """The same for the same part of the same message, and no other: WeCom refuses repeats.

    The words are a part of it: another database begins to count its messages anew.
    """
    named = f"{message.conversation}\n{message.id}\n{number}\n{message.text}"
    digest = hashlib.sha256(named.encode(errors="replace")).hexdigest()
    return digest[:_MESSAGE_ID_LENGTH]


def repeat_seconds(message: OutboundMessage, number: int) -> int:
    """How long an app's message is not to be shown a second time: 30 to 59 s.

    That covers a message that was taken while its answer was lost. WeCom knows repeats by the whole
    request, so that this is also what tells two messages of the same words apart: who asks the same
    again is to hear it again.
    """
    return 30 + (int(message_id(message, 0)[:8], 16) + number) % 30


def _label(label: str) -> str:
    flat = " ".join(str(whole(label)).split()) or "…"
    if size(flat) <= MENU_LABEL_BYTES:
        return flat
    room = MENU_LABEL_BYTES - size("…")
    return flat.encode()[:room].decode(errors="ignore").rstrip() + "…"
