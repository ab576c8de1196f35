"""What Slack accepts of a message: lengths and shapes of blocks, and what it takes for mentions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

_LENGTHS = {"section": 3000, "context": 3000, "button": 75}


class Refused(Exception):
    """An answer with `ok: false`."""


def check_message(given: Mapping[str, Any]) -> None:
    """Raises Refused for what Slack does not post."""
    text, blocks = given.get("text") or "", given.get("blocks") or []
    if isinstance(blocks, str):
        blocks = json.loads(blocks)
    if not text.strip() and not blocks:
        raise Refused("no_text")
    if len(text) > 40_000:
        raise Refused("msg_too_long")
    if len(blocks) > 50 or not all(map(_is_block, blocks)):
        raise Refused("invalid_blocks")


def _is_block(block: Any) -> bool:
    elements = block.get("elements", [])
    match block.get("type"):
        case "section":
            return _is_text(block.get("text", {}), "mrkdwn", "section")
        case "context":
            shown = all(_is_text(one, "mrkdwn", "context") for one in elements)
            return shown and 1 <= len(elements) <= 10
        case "actions":
            names = {one.get("action_id") for one in elements}
            unique = len(names) == len(elements) and None not in names
            return unique and 1 <= len(elements) <= 25 and all(map(_is_button, elements))
    return False


def _is_button(element: Mapping[str, Any]) -> bool:
    known = {"type", "action_id", "text", "value", "style", "url"}
    labelled = _is_text(element.get("text", {}), "plain_text", "button")
    short = len(element.get("value", "")) <= 2000 and len(element["action_id"]) <= 255
    return element["type"] == "button" and labelled and short and set(element) <= known


def _is_text(text: Mapping[str, Any], kind: str, place: str) -> bool:
    content = text.get("text", "")
    return text.get("type") == kind and 1 <= len(content) <= _LENGTHS[place]


def mentions_in(message: Mapping[str, Any]) -> Iterator[str]:
    """Everything that Slack would take for an entity: mentions, groups, channels, broken links."""
    blocks = message.get("blocks", ())
    texts = [block["text"]["text"] for block in blocks if block["type"] == "section"]
    texts += [
        one["text"] for block in blocks if block["type"] == "context" for one in block["elements"]
    ]
    for text in (message.get("text", ""), *texts):
        for found in re.findall(r"<[^>]*>?", text):
            if not re.fullmatch(r"<(?:https?://|mailto:)[^\s<>|]+(?:\|[^<>|\n]+)?>", found, re.I):
                yield found


async def arguments_of(request: web.Request) -> dict[str, Any]:
    """What a method is called with, in whichever form."""
    if request.content_type == "application/json":
        given: dict[str, Any] = await request.json()
        return given
    return dict(request.query) | dict(await request.post())


def form_of(values: Mapping[str, Any]) -> str:
    """Values as Slack posts them."""
    return urlencode(values)
