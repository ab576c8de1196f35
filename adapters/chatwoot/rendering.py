"""An outbound message → the body of Chatwoot's "create a message"."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from adapters.plain_text import SOURCES, source, to_plain_text
from adapters.requests import whole
from kfbot.messages import Citation, OutboundMessage

#: Letters that would be marks in the name of a source.
_MARKS = re.compile(r"[\\`*_\[\]<>&]")
_URL = re.compile(r"https?://[^\s<>]+")
#: Begins a picture in CommonMark.
_PICTURE = re.compile(r"(?<!\\)!(?=\[)")
#: A button shows so much.
_TITLE_LENGTH = 120


def to_body(message: OutboundMessage, *, is_widget: bool) -> dict[str, Any]:
    """What is sent to the customer; content "" where nothing can be seen.

    Args:
        is_widget: The website's chat shows CommonMark and buttons; what the other inboxes make
            of them is not known, so they get plain text, and choices to be answered by number.
    """
    if not is_widget:
        return _said(_numbered(message))
    body = _said(_with_sources(message))
    if not message.buttons or not body["content"]:
        return body
    items = [
        {"title": str(whole(one.label))[:_TITLE_LENGTH], "value": one.token}
        for one in message.buttons
    ]
    return body | {"content_type": "input_select", "content_attributes": {"items": items}}


def to_note(text: str) -> dict[str, Any]:
    """What only agents see."""
    return _said(text) | {"private": True}


def _said(text: str) -> dict[str, Any]:
    return {"content": str(whole(text)).strip(), "message_type": "outgoing", "private": False}


def _numbered(message: OutboundMessage) -> str:
    text = to_plain_text(message)
    choices = [one.label for one in message.buttons if one.action == "choice"]
    return "\n".join([text, *(f"{n}. {label}" for n, label in enumerate(choices, start=1))])


def _with_sources(message: OutboundMessage) -> str:
    # A document's picture is at another server, which would learn who looks at it: a link is not
    # followed before somebody wants to.
    text = _PICTURE.sub("", message.text.strip())
    if not text or not message.citations:
        return text
    named = [
        f"\\[{n}\\] {_linked(one)}" for n, one in enumerate(message.citations[:SOURCES], start=1)
    ]
    # Two blanks end a line.
    return f"{text}\n\n" + "  \n".join(named)


def _linked(citation: Citation) -> str:
    is_link = _URL.fullmatch(citation.url) is not None
    named = _MARKS.sub(r"\\\g<0>", source(replace(citation, url="") if is_link else citation))
    return f"[{named}](<{citation.url}>)" if is_link else named
