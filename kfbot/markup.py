"""CommonMark that shows what somebody wrote letter by letter, and CommonMark as text. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

_MARKUP = re.compile(r"[\\`*_\[\]<>&~|#]|^(?:[-+=](?=\s|$|[-=])|\d+(?=[.)]))", re.MULTILINE)


def plain(text: str) -> str:
    """CommonMark that shows a text letter by letter, line by line."""
    # An indented line could be code, in which nothing is escaped.
    lines = "\n".join(line.strip() for line in text.strip().splitlines())
    return _MARKUP.sub(_escaped, lines)


def _escaped(found: re.Match[str]) -> str:
    # Of a list's number the point behind it is what counts.
    return found[0] + "\\" if found[0].isdigit() else f"\\{found[0]}"


def unmarked(text: str) -> str:
    """CommonMark without its marks; links keep their address, lists their numbers."""
    root = SyntaxTreeNode(_parser().parse(text))
    return "\n\n".join(_blocks(root.children, 0)).strip()


@cache
def _parser() -> MarkdownIt:
    # HTML is text like any other.
    return MarkdownIt("commonmark", {"html": False}).enable("strikethrough")


def _blocks(nodes: Sequence[SyntaxTreeNode], depth: int) -> Iterator[str]:
    for node in nodes:
        if node.type in {"bullet_list", "ordered_list"}:
            yield "\n".join(_items(node, depth))
        elif node.type in {"fence", "code_block"}:
            yield node.content.rstrip("\n")
        elif node.type == "hr":
            yield "———"
        elif node.type == "blockquote":
            yield from _blocks(node.children, depth)
        else:
            yield _inline(node.children)


def _items(node: SyntaxTreeNode, depth: int) -> Iterator[str]:
    first = int(node.attrs.get("start", 1))
    for number, item in enumerate(node.children, start=first):
        marker = f"{number}." if node.type == "ordered_list" else "•"
        blocks = list(_blocks(item.children, depth + 1)) or [""]
        yield "\n".join(["  " * depth + f"{marker} {blocks[0]}", *blocks[1:]])


def _inline(nodes: Sequence[SyntaxTreeNode]) -> str:
    return "".join(_span(node) for node in nodes)


def _span(node: SyntaxTreeNode) -> str:
    if node.type in {"softbreak", "hardbreak"}:
        return "\n"
    if node.type in {"link", "image"}:
        label = _inline(node.children) if node.type == "link" else node.content
        address = str(node.attrs.get("href") or node.attrs.get("src") or "")
        return label if label == address else f"{label} {address}".strip()
    return _inline(node.children) if node.children else node.content
