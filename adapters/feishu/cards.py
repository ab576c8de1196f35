"""An outbound message → what Feishu's message methods take: a card, or plain text. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from adapters.feishu.markdown import clean, escape, link, render, unmentioning
from adapters.plain_text import SOURCES, to_plain_text
from adapters.rest import to_json
from kfbot.messages import Button, Citation, OutboundMessage

#: Feishu takes no larger card.
CARD_BYTES = 30 * 1024
_LABEL_LENGTH = 60
_TITLE_LENGTH = 150
#: Feishu's longest.
_UUID_LENGTH = 50


def to_card(message: OutboundMessage) -> dict[str, Any] | None:
    """`msg_type`, `content` and `uuid` of a card; None: nothing to see, or too much for a card."""
    body = "\n\n".join(part for part in (_name(message), render(message.text)) if part)
    elements = [
        *([{"tag": "markdown", "content": body}] if body else []),
        *_sources(message.citations),
        *_buttons(message),
    ]
    if not body and not message.buttons:
        return None
    card = {
        # Without update_multi a card cannot be changed afterwards.
        "config": {"wide_screen_mode": True, "update_multi": True},
        "elements": elements,
    }
    if len(to_json(card).encode()) > CARD_BYTES:
        return None
    return {"msg_type": "interactive", "content": card, "uuid": uuid_of(message)}


def to_plain_card(message: OutboundMessage) -> dict[str, Any]:
    """The message as a card without any form: what a card can be changed to in any case."""
    text = {"tag": "plain_text", "content": _shown(message)}
    card = {
        "config": {"wide_screen_mode": True, "update_multi": True},
        "elements": [{"tag": "div", "text": text}],
    }
    return {"msg_type": "interactive", "content": card, "uuid": uuid_of(message)}


def to_text(message: OutboundMessage) -> dict[str, Any]:
    """The message as plain text; what can be chosen is numbered, for there are no buttons."""
    # Feishu reads <at …> and [label](address) in texts, and knows no way to quote them.
    text = unmentioning(_shown(message)).replace("](", "]\u200b(")
    return {"msg_type": "text", "content": {"text": text}, "uuid": uuid_of(message)}


def is_blank(message: OutboundMessage) -> bool:
    """True where nothing of a message can be seen."""
    return not _shown(message).strip()


def uuid_of(message: OutboundMessage) -> str:
    """What Feishu knows a repeat of the message by, for an hour."""
    return hashlib.sha256(message.id.encode(errors="replace")).hexdigest()[:_UUID_LENGTH]


def _shown(message: OutboundMessage) -> str:
    choices = [one.label for one in message.buttons if one.action == "choice"]
    parts = [
        _agent(message),
        clean(to_plain_text(replace(message, text=clean(message.text)))),
        *(f"{number}. {_one_line(label)}" for number, label in enumerate(choices, start=1)),
    ]
    return "\n".join(part for part in parts if part)


def _agent(message: OutboundMessage) -> str:
    """Above a person's words stands the person's name; above all else the bot's own."""
    return _short(message.sender.display_name) if message.sender.role == "agent" else ""


def _name(message: OutboundMessage) -> str:
    name = escape(_agent(message))
    return f"**{name}**" if name else ""


def _sources(citations: Sequence[Citation]) -> Iterator[dict[str, Any]]:
    lines = []
    for number, citation in enumerate(citations[:SOURCES], start=1):
        parts = (_short(citation.title or citation.id), _short(citation.heading))
        named = link(citation.url, " › ".join(part for part in parts if part))
        lines.append(f"&#91;{number}&#93; {named}")
    if lines:
        yield {"tag": "note", "elements": [{"tag": "lark_md", "content": "\n".join(lines)}]}


def _buttons(message: OutboundMessage) -> Iterator[dict[str, Any]]:
    if message.buttons:
        place = message.conversation
        yield {
            "tag": "action",
            "actions": [_button(one, place.thread, place.member) for one in message.buttons],
        }


def _button(button: Button, thread: str | None, member: str | None) -> dict[str, Any]:
    # A press tells the chat alone, so the button carries the rest of where it is: what it does
    # belongs to whoever asked, whoever presses it.
    place = {"thread": thread, "member": member}
    value = {"kfbot": button.token} | {name: one for name, one in place.items() if one}
    label = {"tag": "plain_text", "content": _one_line(button.label)}
    return {"tag": "button", "text": label, "type": "default", "value": value}


def _one_line(text: str) -> str:
    text = " ".join(clean(text).split()) or "…"
    return text if len(text) <= _LABEL_LENGTH else text[: _LABEL_LENGTH - 1].rstrip() + "…"


def _short(text: str) -> str:
    text = " ".join(clean(text).split())
    return text if len(text) <= _TITLE_LENGTH else text[: _TITLE_LENGTH - 1].rstrip() + "…"
