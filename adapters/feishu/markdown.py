"""CommonMark → the Markdown of Feishu's cards.

Whatever a customer or a document wrote stays text: it mentions nobody, and links lead to the web
alone. What the card's Markdown would read as a mark is written as an HTML entity, as Feishu's
page on the rich text component asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from adapters.requests import whole

#: A longer address is left out, and its label stays.
LINK_LENGTH = 1000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
#: Marks anywhere; at the start of a line; what is shown as an emoji; what is read as an entity.
_MARKS = re.compile(r"[*_~`\[\]<>\\$]")
_AT_START = re.compile(r"(?m)^([ \t]*)([#+\-])|^([ \t]*\d{1,9})([.)])(?=\s)")
_EMOJI = re.compile(r":(?=\w+:)")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_WEB = re.compile(r"https?://[^\s<>\"\\^`{|}\x00-\x1f\x7f]+", re.IGNORECASE)
#: An address in a text ends where Chinese begins.
_BARE = re.compile(r"(?i:https?)://[^\s<>\"\\^`{|}\x7f-\U0010ffff]+")
#: In an address these would end the link, or be read as marks.
_QUOTED = {one: f"%{ord(one):02X}" for one in "()[]*_~$'!"}
_MENTION = re.compile(r"<(?=\s*/?\s*at\b)", re.IGNORECASE)
_FENCE = "```"
_INDENT = "\u2003"
_AROUND = {"strong": "**", "em": "*", "s": "~~"}


def clean(text: str) -> str:
    """The text without control characters and halves of characters; line breaks are \\n."""
    unbroken = text.replace("\r\n", "\n").replace("\r", "\n")
    return str(whole(_CONTROL.sub("", unbroken)))


def unmentioning(text: str) -> str:
    """Text that is not escaped, so that no `<at …>` in it calls anybody."""
    return _MENTION.sub("<\u200b", text)


def escape(text: str) -> str:
    """Text as the card's Markdown shows it letter by letter."""
    text = _ENTITY.sub("&#38;", text)
    text = _MARKS.sub(lambda found: f"&#{ord(found[0])};", text)
    text = _EMOJI.sub("&#58;", text)
    return _AT_START.sub(_started, text)


def link(address: str, label: str) -> str:
    """A link, or only the label where the address is none for the web; `label` is plain."""
    label = " ".join(clean(label).split()) or address
    if len(address) > LINK_LENGTH or not _WEB.fullmatch(address):
        return escape(label)
    target = "".join(_QUOTED.get(one, one) for one in address)
    return f"[{escape(label)}]({target})"


def render(text: str) -> str:
    """CommonMark in the card's Markdown; "" where nothing can be seen."""
    root = SyntaxTreeNode(_parser().parse(clean(text)))
    return "\n\n".join(_blocks(root.children, 0)).strip()


@cache
def _parser() -> MarkdownIt:
    # HTML is text like any other; which addresses are links is for `link` to say.
    parser = MarkdownIt("commonmark", {"html": False}).enable("strikethrough")
    parser.validateLink = lambda url: True  # type: ignore[method-assign]
    parser.normalizeLink = lambda url: url  # type: ignore[method-assign]
    return parser


def _started(found: re.Match[str]) -> str:
    if found[2]:
        return f"{found[1]}&#{ord(found[2])};"
    return f"{found[3]}&#{ord(found[4])};"


def _blocks(nodes: Sequence[SyntaxTreeNode], depth: int) -> Iterator[str]:
    for node in nodes:
        if node.type in {"bullet_list", "ordered_list"}:
            yield "\n".join(_items(node, depth))
        elif node.type in {"fence", "code_block"}:
            code = unmentioning(node.content.rstrip("\n").replace(_FENCE, "ˋˋˋ"))
            yield f"{_FENCE}\n{code}\n{_FENCE}"
        elif node.type == "hr":
            yield "———"
        elif node.type == "blockquote":
            yield from _blocks(node.children, depth)
        elif node.type == "heading":
            words = _inline(node.children, bold=True)
            yield f"**{words}**" if words else ""
        else:
            yield _inline(node.children)


def _items(node: SyntaxTreeNode, depth: int) -> Iterator[str]:
    first = int(node.attrs.get("start", 1))
    for number, item in enumerate(node.children, start=first):
        marker = f"{number}." if node.type == "ordered_list" else "•"
        blocks = list(_blocks(item.children, depth + 1)) or [""]
        yield "\n".join([f"{_INDENT * depth}{marker} {blocks[0]}", *blocks[1:]])


def _inline(nodes: Sequence[SyntaxTreeNode], *, bold: bool = False) -> str:
    return "".join(_span(node, bold=bold) for node in nodes)


def _span(node: SyntaxTreeNode, *, bold: bool) -> str:
    if node.type in {"softbreak", "hardbreak"}:
        return "\n"
    if node.type in {"link", "image"}:
        address = str(node.attrs.get("href") or node.attrs.get("src") or "")
        return link(address, _plain(node))
    if node.type in _AROUND:
        mark = "" if bold and node.type == "strong" else _AROUND[node.type]
        words = _inline(node.children, bold=bold)
        return f"{mark}{words}{mark}" if words.strip() else words
    return _inline(node.children, bold=bold) if node.children else _text(node.content)


def _plain(node: SyntaxTreeNode) -> str:
    return "".join(map(_plain, node.children)) if node.children else node.content


def _text(text: str) -> str:
    """Plain text; addresses in it become links."""
    out, end = [], 0
    for found in _BARE.finditer(text):
        address = found[0].rstrip(".,:;!?'*_~)]")
        out += [escape(text[end : found.start()]), link(address, address)]
        end = found.start() + len(address)
    return "".join([*out, escape(text[end:])])
