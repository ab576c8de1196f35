"""What Telegram reads of a text: its HTML, its length, its buttons; and how it says no."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from typing import Any

TEXT_UNITS = 4096


class Fault(Exception):
    """An error that the Bot API answers with."""

    def __init__(self, status: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.status, self.description, self.parameters = status, description, parameters


def read_object(value: Any) -> Any:
    """What a form holds as JSON."""
    return json.loads(value) if isinstance(value, str) else value


def read_extras(given: Mapping[str, Any], entities: list[dict[str, Any]]) -> dict[str, Any]:
    """Buttons and entities of a message, where it has any.

    Raises:
        Fault: The buttons are not what Telegram takes.
    """
    markup = read_object(given.get("reply_markup"))
    for row in (markup or {}).get("inline_keyboard", []):
        for button in row:
            if not 1 <= len(str(button.get("callback_data", "")).encode()) <= 64:
                raise Fault(400, "Bad Request: BUTTON_DATA_INVALID")
            if not button.get("text"):
                raise Fault(400, "Bad Request: text buttons are unallowed to be empty")
    extras = {"reply_markup": markup, "entities": entities}
    return {name: value for name, value in extras.items() if value}


def read_text(given: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """Text and entities of a message.

    Raises:
        Fault: It is empty, too long, or no HTML.
    """
    text, entities = str(given.get("text") or ""), list[dict[str, Any]]()
    if given.get("parse_mode") == "HTML":
        text, entities = read_html(text)
    if not text.strip():
        raise Fault(400, "Bad Request: message text is empty")
    if _units(text) > TEXT_UNITS:
        raise Fault(400, "Bad Request: message is too long")
    return text, entities


_TYPES = {"b": "bold", "strong": "bold", "i": "italic", "em": "italic", "u": "underline",
          "s": "strikethrough", "code": "code", "pre": "pre", "blockquote": "blockquote",
          "a": "text_link"}  # fmt: skip
_PIECE = re.compile(r"<(/?)([a-z-]+)((?:\s+[a-z-]+=\"[^\"<>]*\")*)\s*>|([^<]+)|(<)", re.IGNORECASE)


def read_html(source: str) -> tuple[str, list[dict[str, Any]]]:
    """Text and entities of Telegram's HTML.

    Raises:
        Fault: "can't parse entities", as Telegram says it.
    """
    text, entities, opened = "", list[dict[str, Any]](), list[tuple[str, dict[str, Any]]]()
    for found in _PIECE.finditer(source):
        closing, tag, attributes, words, stray = found.groups()
        if words is not None:
            text += html.unescape(words)
        elif stray or tag.lower() not in _TYPES:
            raise _unreadable(f'Unsupported start tag "{tag or ""}" at byte offset {found.start()}')
        elif not closing:
            address = re.search(r'href="([^"]*)"', attributes)
            url = {"url": html.unescape(address[1])} if address else {}
            opened.append((tag, {"type": _TYPES[tag], "offset": _units(text), **url}))
        elif not opened or opened[-1][0] != tag:
            raise _unreadable(f'Unmatched end tag at byte offset {found.start()}, found "{tag}"')
        else:
            _, entity = opened.pop()
            entities.append(entity | {"length": _units(text) - entity["offset"]})
    if opened:
        raise _unreadable(f'Can\'t find end tag corresponding to start tag "{opened[-1][0]}"')
    return text, [entity for entity in entities if entity["length"]]


def _unreadable(reason: str) -> Fault:
    return Fault(400, f"Bad Request: can't parse entities: {reason}")


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
