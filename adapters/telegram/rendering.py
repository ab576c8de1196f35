"""CommonMark → the HTML that Telegram knows. Whatever a document or a customer wrote stays text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from kfbot.messages import Button, OutboundMessage

#: Telegram's limit, in UTF-16 units of the text as it is seen.
LIMIT = 4096
#: Longest text that the core gives us, in characters, of at most two units each: with its sources
#: it stays within the limit.
TEXT_LENGTH = 1800
#: As many as an answer is written from.
SOURCES = 6
#: All of their names together; four or fewer have an equal share of it.
_SOURCES_LENGTH = 200
_LABEL_LENGTH = 60
_DEEPEST_INDENT = 3

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_TAG = re.compile(r"<[^>]*>")
_CODE_LANGUAGE = re.compile(r"[A-Za-z0-9+#_-]{1,32}")
#: Of a source, in a text that a chat model wrote.
_MARK = re.compile(r"\[\d{1,2}\]")
_INLINE_TAGS = {"strong": "b", "em": "i", "s": "s"}


@cache
def _parser() -> MarkdownIt:
    # HTML is text like any other.
    return MarkdownIt("commonmark", {"html": False}).enable("strikethrough")


def to_html(message: OutboundMessage) -> str:
    """The message as Telegram's HTML, with its sources; "" if it does not fit, or shows nothing."""
    body = markdown_to_html(message.text)
    if not seen(body).strip():
        return ""
    sources = "\n".join(_sources(message))
    whole = f"{body}\n\n{sources}" if sources else body
    return next((form for form in (whole, body) if units(seen(form)) <= LIMIT), "")


def to_plain(message: OutboundMessage) -> str:
    """The message without any form, as it was written."""
    return cleaned(message.text).strip()


def seen(markup: str) -> str:
    """What is seen of Telegram's HTML."""
    return html.unescape(_TAG.sub("", markup))


def units(text: str) -> int:
    """Length in UTF-16 units, as Telegram counts."""
    return len(text.encode("utf-16-le")) // 2


def cleaned(text: str) -> str:
    """The text without control characters and halves of characters, which no JSON may hold."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _CONTROL.sub("", whole.replace("\r\n", "\n").replace("\r", "\n"))


def markdown_to_html(text: str) -> str:
    """CommonMark as Telegram's HTML: tags are balanced, everything else is escaped."""
    root = SyntaxTreeNode(_parser().parse(cleaned(text)))
    return "\n\n".join(_blocks(root.children, 0, frozenset()))


def keyboard(buttons: Sequence[Button]) -> dict[str, Any] | None:
    """Choices below one another, short ones side by side; None: no buttons."""
    rows: list[list[dict[str, str]]] = []
    for button in buttons:
        shown = {
            "text": cut(cleaned(button.label).strip(), _LABEL_LENGTH) or "…",
            "callback_data": button.token,
        }
        # Helpful and not helpful are one question.
        if button.action == "not_helpful" and rows and len(rows[-1]) == 1:
            rows[-1].append(shown)
        else:
            rows.append([shown])
    return {"inline_keyboard": rows} if rows else None


def cut(text: str, length: int) -> str:
    """The beginning of a text."""
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def _sources(message: OutboundMessage) -> Iterator[str]:
    """A line for each source, under the numbers that the text has for it."""
    length = _SOURCES_LENGTH // min(max(len(message.citations), 4), SOURCES)
    shown: dict[str, list[int]] = {}
    for number, citation in enumerate(message.citations, start=1):
        parts = (citation.title or citation.id, citation.heading)
        name = " › ".join(" ".join(cleaned(part).split()) for part in parts if part)
        source = _link(citation.url, _escape(cut(name, length)))
        shown.setdefault(source, []).append(number)
    is_marked = _MARK.search(message.text) is not None
    for place, (source, numbers) in enumerate(list(shown.items())[:SOURCES], start=1):
        marks = "".join(f"[{number}]" for number in (numbers if is_marked else [place]))
        yield f"{marks} {source}"


def _blocks(nodes: Sequence[SyntaxTreeNode], depth: int, open_: frozenset[str]) -> Iterator[str]:
    for node in nodes:
        if (block := _block(node, depth, open_)).strip():
            yield block


def _block(node: SyntaxTreeNode, depth: int, open_: frozenset[str]) -> str:
    if node.type == "heading":
        return _tagged("b", _inline(node.children, open_ | {"b"}), open_)
    if node.type in {"bullet_list", "ordered_list"}:
        return "\n".join(_items(node, depth, open_))
    if node.type == "blockquote":
        inner = "\n\n".join(_blocks(node.children, depth, open_ | {"blockquote"}))
        return _tagged("blockquote", inner, open_)
    if node.type in {"fence", "code_block"}:
        return _code(node)
    if node.type == "hr":
        return "———"
    return _inline(node.children, open_) if node.children else _escape(node.content)


def _items(node: SyntaxTreeNode, depth: int, open_: frozenset[str]) -> Iterator[str]:
    first = int(node.attrs.get("start", 1))
    indent = "  " * min(depth, _DEEPEST_INDENT)
    for number, item in enumerate(node.children, start=first):
        marker = f"{number}." if node.type == "ordered_list" else "•"
        blocks = list(_blocks(item.children, depth + 1, open_))
        yield "\n".join([f"{indent}{marker} {blocks[0] if blocks else ''}", *blocks[1:]])


def _code(node: SyntaxTreeNode) -> str:
    content = _escape(node.content.rstrip("\n"))
    language = _CODE_LANGUAGE.match(node.info.strip()) if node.info else None
    if language is None:
        return f"<pre>{content}</pre>"
    return f'<pre><code class="language-{language[0]}">{content}</code></pre>'


def _inline(nodes: Sequence[SyntaxTreeNode], open_: frozenset[str]) -> str:
    return "".join(_span(node, open_) for node in nodes)


def _span(node: SyntaxTreeNode, open_: frozenset[str]) -> str:
    if node.type in {"softbreak", "hardbreak"}:
        return "\n"
    if node.type in _INLINE_TAGS:
        tag = _INLINE_TAGS[node.type]
        return _tagged(tag, _inline(node.children, open_ | {tag}), open_)
    if node.type == "code_inline":
        return f"<code>{_escape(node.content)}</code>"
    if node.type == "link":
        return _linked(node.attrs.get("href"), _inline(node.children, open_ | {"a"}), open_)
    if node.type == "image":
        source = node.attrs.get("src")
        return _linked(source, _escape(node.content) or _escape(str(source)), open_)
    return _inline(node.children, open_) if node.children else _escape(node.content)


def _tagged(tag: str, inner: str, open_: frozenset[str]) -> str:
    """Telegram knows no tag inside of its like."""
    return inner if tag in open_ or not inner else f"<{tag}>{inner}</{tag}>"


def _linked(address: object, inner: str, open_: frozenset[str]) -> str:
    return inner if "a" in open_ else _link(str(address or ""), inner)


def _link(address: str, inner: str) -> str:
    return f'<a href="{html.escape(address)}">{inner}</a>' if _may_link(address) else inner


def _may_link(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    if any(character.isspace() for character in address) or cleaned(address) != address:
        return False
    # tg://user would call a person whom a document names.
    if parts.scheme == "tg":
        return parts.netloc == "resolve"
    return parts.scheme == "mailto" or (parts.scheme in {"http", "https"} and bool(parts.netloc))


def _escape(text: str) -> str:
    return html.escape(text, quote=False)
