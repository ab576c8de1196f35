"""CommonMark → text for platforms that show none of its marks; with the sources of an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from adapters.requests import whole
from kfbot.messages import Citation, OutboundMessage

#: As many as an answer is written from.
SOURCES = 6


@cache
def _parser() -> MarkdownIt:
    # HTML is text like any other.
    return MarkdownIt("commonmark", {"html": False}).enable("strikethrough")


def to_plain_text(message: OutboundMessage) -> str:
    """The message as a person would type it, its sources below; "" where nothing can be seen."""
    body = markdown_to_text(message.text)
    if not body:
        return ""
    return "\n\n".join(
        [body, *(["\n".join(named)] if (named := sources(message.citations)) else [])]
    )


def sources(citations: Sequence[Citation]) -> list[str]:
    """A line for each source: its number, its name and, if it has one, its address."""
    return [f"[{n}] {source(one)}" for n, one in enumerate(citations[:SOURCES], start=1)]


def source(citation: Citation) -> str:
    """What a source is called, and where it is."""
    parts = (citation.title or citation.id, citation.heading)
    named = " › ".join(part for part in parts if part.strip())
    shown = f"{named} {citation.url}" if citation.url else named
    return " ".join(str(whole(shown)).split())


def markdown_to_text(text: str) -> str:
    """CommonMark without its marks; links keep their address, lists their numbers."""
    root = SyntaxTreeNode(_parser().parse(str(whole(text))))
    return "\n\n".join(_blocks(root.children, 0)).strip()


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
