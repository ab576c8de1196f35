"""Gives a reply the form that a channel can show: choices as text, long texts in parts."""

from __future__ import annotations

import re

from kfbot.adapter import Capabilities
from kfbot.markup import plain
from kfbot.turn import Reply

#: Where a text is cut best, the best first.
_BOUNDARIES = (
    re.compile(r"\n\n"),
    re.compile(r"\n"),
    re.compile(r"(?<=[。！？；])|(?<=[.!?;])\s"),
    re.compile(r"(?<=[，、])|\s"),
)


def shape(reply: Reply, capabilities: Capabilities) -> tuple[str, ...]:
    """The texts to send, in order: at least one, none longer than the channel allows."""
    text = reply.text
    choices = [button for button in reply.buttons if button.action == "choice"]
    if choices and not capabilities.buttons:
        # A choice is called as documents call themselves: that is no markup of ours.
        numbered = [f"{n}. {plain(button.label)}" for n, button in enumerate(choices, start=1)]
        text = "\n".join([text, *numbered])
    return split(text, capabilities.text_length)


def split(text: str, limit: int) -> tuple[str, ...]:
    """Cut a text at sense boundaries into parts of at most `limit` characters.

    No part is empty, which platforms refuse, unless the whole text is.
    """
    parts: list[str] = []
    while len(text) > limit:
        cut = _cut(text, limit)
        parts.append(text[:cut].rstrip())
        text = text[cut:].lstrip()
    return tuple(part for part in (*parts, text) if part) or ("",)


def _cut(text: str, limit: int) -> int:
    for boundary in _BOUNDARIES:
        ends = [match.end() for match in boundary.finditer(text, 0, limit)]
        # A boundary near the start would leave a stump; a lesser one further on is better.
        if ends and ends[-1] >= limit // 3:
            return ends[-1]
    return limit
