"""Slack's form of a text → what its writer meant, plain."""

from __future__ import annotations

import re
from typing import Any

from adapters import requests

#: Slack cuts a message at 40,000 characters; what is longer is not from Slack.
TEXT_LENGTH = 40_000
_ENTITY = re.compile(r"<([^<>\s][^<>\n]*)>")
_ESCAPES = {"&lt;": "<", "&gt;": ">", "&amp;": "&"}
#: A mention of the bot, with what people put behind a name they call.
_CALLED = r"<@{}(?:\|[^<>\n]*)?>(?:[,:，：](?=\s|$))?"
#: A person, a group of them, or everybody here.
_SOMEBODY = re.compile(r"<@([^<>|\s]+)(?:\|[^<>\n]*)?>|<!(?:subteam\^|here|channel|everyone)")


def whole(text: Any) -> Any:
    """The text without what SQL refuses: halves of characters and NUL; not too long."""
    return requests.whole(text[:TEXT_LENGTH]) if isinstance(text, str) else text


def mentions(text: str, user: str) -> bool:
    """True where a user is mentioned in Slack's text."""
    return any(found[1] == user for found in _SOMEBODY.finditer(text))


def mentions_others(text: str, user: str) -> bool:
    """True where somebody else than the user is mentioned, or a group."""
    return any(found[1] != user for found in _SOMEBODY.finditer(text))


def read(text: str, bot: str) -> str:
    """Plain text: the bot's mention removed, names and links readable, escapes undone.

    Of a link that Slack made by itself only what the writer typed is left; of others the label
    and, in brackets, the address: people search by the one and agents need the other.
    """
    called = re.compile(_CALLED.format(re.escape(bot)))
    # Only blanks around the mention go with it: the rest of a layout stays as it is.
    text = re.sub(rf"(?:^|(?<![ \t])[ \t]+){called.pattern}(?=\s|$)|{called.pattern}", "", text)
    text = _ENTITY.sub(lambda found: _shown(found[1]), text)
    return re.sub(r"&(?:lt|gt|amp);", lambda found: _ESCAPES[found[0]], text).strip()


def _shown(entity: str) -> str:
    target, _, label = entity.partition("|")
    if target.startswith("@"):
        return f"@{label.removeprefix('@') or target[1:]}"
    if target.startswith("#"):
        return f"#{label.removeprefix('#') or target[1:]}"
    if target.startswith("!"):
        return label or f"@{target[1:].partition('^')[0]}"
    if not label or label == target:
        return target
    return label if _typed(target, label) else f"{label} ({target})"


def _typed(target: str, label: str) -> bool:
    """True where Slack made the link out of what was typed."""
    return label.rstrip("/") == re.sub(r"^(?:https?://|mailto:|tel:)", "", target).rstrip("/")
