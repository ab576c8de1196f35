"""CommonMark → what Matrix shows: HTML beside plain text, within the size of an event."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from adapters.plain_text import SOURCES, source, to_plain_text
from adapters.requests import whole
from kfbot.messages import Citation, OutboundMessage

#: Longest text that the core gives us, in characters: an edit holds it three times, in UTF-8.
TEXT_LENGTH = 4000
#: An event has 65,536 bytes; the homeserver adds ids, hashes and signatures.
CONTENT_BYTES = 60_000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@cache
def _parser() -> MarkdownIt:
    # HTML is text like any other.
    parser = MarkdownIt("commonmark", {"html": False}).enable("strikethrough")
    parser.validateLink = _may_link  # type: ignore[method-assign, assignment]
    # A document's picture is at another server, which would learn who looks at it.
    parser.add_render_rule("image", _image)
    return parser


def content_of(message: OutboundMessage) -> dict[str, Any] | None:
    """The content of an event that shows a message; None where nothing can be seen.

    It mentions nobody, whatever a document or a customer wrote.
    """
    plain = _CONTROL.sub("", to_plain_text(message)).strip()
    if not plain:
        return None
    content: dict[str, Any] = {"msgtype": "m.text", "body": plain, "m.mentions": {}}
    shown = content | {
        "format": "org.matrix.custom.html",
        "formatted_body": markdown_to_html(message.text) + _sources(message.citations),
    }
    return shown if _bytes(shown) + 2 * _bytes(content) <= CONTENT_BYTES else content


def edit_of(content: Mapping[str, Any], event_id: str) -> dict[str, Any]:
    """The content of an event that puts another content in the place of a message's."""
    return {
        "msgtype": content["msgtype"],
        # For clients that know no edits.
        "body": f"* {content['body']}",
        "m.mentions": {},
        "m.new_content": dict(content),
        "m.relates_to": {"rel_type": "m.replace", "event_id": event_id},
    }


def relation_of(thread: str | None, replied_to: str | None) -> dict[str, Any]:
    """The part of a content that says where in a room it stands."""
    reply = {"m.in_reply_to": {"event_id": replied_to or thread}}
    if thread is None:
        return {"m.relates_to": reply} if replied_to is not None else {}
    # For clients that know no threads each message of a thread is a reply.
    falls_back = replied_to is None or replied_to == thread
    place = {"rel_type": "m.thread", "event_id": thread, "is_falling_back": falls_back}
    return {"m.relates_to": place | reply}


def markdown_to_html(text: str) -> str:
    """CommonMark as HTML: what is no mark is escaped, links lead to the web or to a mail."""
    return str(_parser().render(_CONTROL.sub("", str(whole(text))))).strip()


def fits(content: Mapping[str, Any]) -> bool:
    """Whether an event can hold a content."""
    return _bytes(content) <= CONTENT_BYTES


def _sources(citations: Sequence[Citation]) -> str:
    lines = []
    for number, citation in enumerate(citations[:SOURCES], start=1):
        named = " › ".join(one for one in (citation.title or citation.id, citation.heading) if one)
        shown = html.escape(" ".join(str(whole(named)).split()))
        if citation.url and _may_link(citation.url):
            shown = f'<a href="{html.escape(citation.url)}">{shown}</a>'
        elif citation.url:
            shown = html.escape(source(citation))
        lines.append(f"[{number}] {shown}")
    return f"<p>{'<br>'.join(lines)}</p>" if lines else ""


def _image(
    renderer: RendererHTML, tokens: Sequence[Token], place: int, options: object, env: object
) -> str:
    address = str(tokens[place].attrs.get("src") or "")
    label = html.escape(tokens[place].content or address)
    return f'<a href="{html.escape(address)}">{label}</a>'


def _may_link(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    if any(one.isspace() for one in address) or str(whole(address)) != address:
        return False
    return parts.scheme == "mailto" or (parts.scheme in {"http", "https"} and bool(parts.netloc))


def _bytes(content: Mapping[str, Any]) -> int:
    return len(json.dumps(content, ensure_ascii=False).encode(errors="replace"))
