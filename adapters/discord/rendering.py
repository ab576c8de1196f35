"""CommonMark → Discord's Markdown. Whatever a document or a customer wrote stays text.

https://support.discord.com/hc/articles/210298617. A backslash before punctuation shows it as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from adapters.plain_text import SOURCES, to_plain_text
from adapters.requests import whole
from kfbot.messages import Button, Citation, OutboundMessage

#: Discord's limit, in characters of what is sent.
LIMIT = 2000
#: Longest text that the core gives us: marks and escapes need some more.
TEXT_LENGTH = 1800
_LABEL_LENGTH = 80
_BUTTONS_IN_ROW, _ROWS = 5, 5
_GREY = 2
_ROW, _BUTTON = 1, 2
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_SPECIAL = re.compile(r"[\\*_~`|<>#\[\]]")
#: What begins a list where it begins a line.
_LIST = re.compile(r"^(\s*)(?:([-+])|(\d{1,9})([.)]))(?=\s)")
#: Where Chinese follows an address without a blank, it is no part of it.
#: Not with IGNORECASE: that would take s and k for letters above ASCII.
_ADDRESS = re.compile(r"(?i:https?)://[^\s<>|\"`\x7f-\U0010ffff]+")
_TARGET = re.compile(r"https?://[^\s<>\x00-\x1f]+", re.IGNORECASE)
_MARKS = {"strong": "**", "em": "*", "s": "~~"}
_FENCE = "```"
_CODE_LANGUAGE = re.compile(r"[A-Za-z0-9+#_-]{1,32}")


@cache
def _parser() -> MarkdownIt:
    # HTML is text like any other.
    parser = MarkdownIt("commonmark", {"html": False}).enable("strikethrough")
    # The address is judged by `link`; what that refuses keeps its label.
    parser.validateLink = lambda url: True  # type: ignore[method-assign]
    return parser


def content_of(message: OutboundMessage, prefix: str = "") -> str:
    """What Discord is sent, at most LIMIT characters; "" if it shows nothing or is too long.

    Without the sources where they do not fit, and then without form.

    Args:
        prefix: Put before it as it is.
    """
    body = markdown_to_discord(message.text)
    if not body.strip():
        return ""
    sources = "\n".join(_sources(message.citations))
    plain = _CONTROL.sub("", to_plain_text(message))
    forms = (f"{body}\n\n{sources}" if sources else body, body, plain)
    return next((prefix + one for one in forms if len(prefix) + len(one) <= LIMIT), "")


def markdown_to_discord(text: str) -> str:
    """CommonMark as Discord's Markdown; everything that is no mark of it is escaped."""
    root = SyntaxTreeNode(_parser().parse(_CONTROL.sub("", str(whole(text)))))
    return "\n\n".join(_blocks(root.children, 0))


def quoted(text: str) -> str:
    """What somebody said, as a quotation of at most LIMIT characters."""
    lines = _CONTROL.sub("", str(whole(text))).split("\n")
    shown = "\n".join(f"> {_text(line)}" for line in lines)
    return shown if len(shown) <= LIMIT else f"{shown[: LIMIT - 1]}…"


def rows_of(buttons: Sequence[Button], member: str) -> list[dict[str, Any]]:
    """Rows of buttons, 25 at most.

    Args:
        member: Whom they are for, where a channel has a conversation for each member.
    """
    shown = [
        {
            "type": _BUTTON,
            "style": _GREY,
            "label": " ".join(str(whole(one.label)).split())[:_LABEL_LENGTH] or "…",
            "custom_id": f"{one.token}:{member}" if member else one.token,
        }
        for one in buttons[: _ROWS * _BUTTONS_IN_ROW]
    ]
    starts = range(0, len(shown), _BUTTONS_IN_ROW)
    return [{"type": _ROW, "components": shown[at : at + _BUTTONS_IN_ROW]} for at in starts]


def link(url: str, label: str) -> str:
    """A link, or only the label where the address is none for the web.

    Args:
        label: Escaped.
    """
    if _TARGET.fullmatch(url) is None:
        return label
    # Discord ends an address at its first ")", and would read another link behind it.
    url = url.replace("(", "%28").replace(")", "%29")
    # Discord shows no link whose label looks like one.
    return f"{label} <{url}>" if "://" in label or not label else f"[{label}](<{url}>)"


def _sources(citations: Sequence[Citation]) -> Iterator[str]:
    """A small line for each source."""
    for number, one in enumerate(citations[:SOURCES], start=1):
        named = " › ".join(part for part in (one.title or one.id, one.heading) if part.strip())
        label = _escape(" ".join(_CONTROL.sub("", str(whole(named))).split()))
        yield f"-# \\[{number}\\] {link(one.url, label)}"


def _blocks(nodes: Sequence[SyntaxTreeNode], depth: int) -> Iterator[str]:
    for node in nodes:
        if (block := _block(node, depth)).strip():
            yield block


def _block(node: SyntaxTreeNode, depth: int) -> str:
    if node.type == "heading":
        shown = _inline(node.children, frozenset({"strong"}))
        return f"**{shown}**" if shown else ""
    if node.type in {"bullet_list", "ordered_list"}:
        return "\n".join(_items(node, depth))
    if node.type == "blockquote":
        inner = "\n\n".join(_blocks(node.children, depth))
        return "\n".join(f"> {line}" for line in inner.split("\n"))
    if node.type in {"fence", "code_block"}:
        language = _CODE_LANGUAGE.fullmatch(node.info.strip()) if node.info else None
        content = node.content.rstrip("\n").replace(_FENCE, "ˋˋˋ")
        return f"{_FENCE}{language[0] if language else ''}\n{content}\n{_FENCE}"
    if node.type == "hr":
        return "———"
    return _inline(node.children, frozenset()) if node.children else _escape(node.content)


def _items(node: SyntaxTreeNode, depth: int) -> Iterator[str]:
    first = int(node.attrs.get("start", 1))
    for number, item in enumerate(node.children, start=first):
        marker = f"{number}." if node.type == "ordered_list" else "-"
        blocks = list(_blocks(item.children, depth + 1)) or [""]
        yield "\n".join(["  " * depth + f"{marker} {blocks[0]}", *blocks[1:]])


def _inline(nodes: Sequence[SyntaxTreeNode], open_: frozenset[str]) -> str:
    return "".join(_span(node, open_) for node in nodes)


def _span(node: SyntaxTreeNode, open_: frozenset[str]) -> str:
    if node.type in {"softbreak", "hardbreak"}:
        return "\n"
    if mark := _MARKS.get(node.type):
        inner = _inline(node.children, open_ | {node.type})
        return inner if node.type in open_ or not inner else f"{mark}{inner}{mark}"
    if node.type == "code_inline":
        # Between single backticks Discord shows everything but a backtick.
        return f"`{node.content.replace('`', 'ˋ')}`"
    if node.type == "link":
        return _linked(node, open_)
    if node.type == "image":
        return link(str(node.attrs.get("src") or ""), _escape(node.content) or "image")
    return _inline(node.children, open_) if node.children else _text(node.content)


def _linked(node: SyntaxTreeNode, open_: frozenset[str]) -> str:
    address = str(node.attrs.get("href") or "")
    written = "".join(one.content for one in node.walk() if one.type == "text")
    if written == address and _TARGET.fullmatch(address):
        return f"<{address}>"
    # In a label an address would be a link of its own.
    if "://" in written:
        return link(address, _escape(written))
    return link(address, _inline(node.children, open_))


def _text(text: str) -> str:
    """Plain text; addresses in it become links."""
    out, end = [], 0
    for found in _ADDRESS.finditer(text):
        url = found[0].rstrip(".,:;!?'*_~)]}")
        if url.count("(") > url.count(")") and found[0][len(url) :].startswith(")"):
            url += ")"
        out += [_escape(text[end : found.start()]), f"<{url}>"]
        end = found.start() + len(url)
    return "".join([*out, _escape(text[end:])])


def _escape(text: str) -> str:
    escaped = _SPECIAL.sub(r"\\\g<0>", text)
    return _LIST.sub(_escaped_mark, escaped)


def _escaped_mark(found: re.Match[str]) -> str:
    space, bullet, number, dot = found.groups()
    return f"{space}\\{bullet}" if bullet else f"{space}{number}\\{dot}"
