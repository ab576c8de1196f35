"""CommonMark → Slack's mrkdwn, in pieces of a given length.

Whatever the text says, it mentions nobody: `&`, `<` and `>` of it are escaped, and what is put
between our own `<` and `>` begins with http:, https: or mailto:.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import takewhile, zip_longest
from unicodedata import east_asian_width

from markdown_it import MarkdownIt
from markdown_it.token import Token

#: A longer address is shown as text.
LINK_LENGTH = 1000
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
#: Where Chinese follows an address without a blank, it is no part of it.
#: Only the scheme in either case: in a set without case the range would exclude s and k too, for
#: ſ and the sign of the Kelvin.
_LINKED = re.compile(r"(?i:https?)://[^\s<>|\"`\x7f-\U0010ffff]+")
_TARGET = re.compile(r"(?:https?://|mailto:)[^\s<>|\x00-\x1f]+", re.IGNORECASE)
_MARKS = {"strong": "*", "em": "_", "s": "~"}
#: Stand behind a mark until what is beside it is known.
_OPENS, _CLOSES = "\1", "\2"
#: Slack sees a mark only beside a blank or punctuation, so words get a blank of no width.
_OPENS_IN_WORD = re.compile(rf"(?<=[^\s(\[{{\"'*_~])(?=[*_~]{_OPENS})")
_CLOSES_IN_WORD = re.compile(rf"(?<={_CLOSES})(?=[^\s.,:;!?)\]}}\"'*_~])")
_ZERO_WIDTH = "\u200b"
#: Control characters, and halves of characters.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_INDENT = "    "
#: What must not be cut, or a single character.
_ATOM = re.compile(r"<[^<>]*>|&(?:amp|lt|gt);|.", re.DOTALL)
#: Where a long text is cut best, the best first.
_BOUNDARIES = ("\n", "。！？；.!?;", " ，、")
_FENCE = "```"


def escape(text: str) -> str:
    """The text so that Slack shows it as it is, and sees no mention, link or entity in it."""
    return re.sub("[&<>]", lambda found: _ESCAPES[found[0]], text)


def link(url: str, label: str) -> str:
    """A link, or only the label where the address is none for the web or for mail."""
    label = " ".join(label.split())
    # A bar would end the address.
    shown = escape(label).replace("|", "¦")
    whole = f"<{escape(url)}|{shown}>" if shown and label != url else f"<{escape(url)}>"
    return whole if _TARGET.fullmatch(url) and len(whole) <= LINK_LENGTH else escape(label)


def render(text: str, limit: int) -> tuple[str, ...]:
    """The text in mrkdwn, in pieces of at most `limit` (more than LINK_LENGTH) characters.

    No piece is empty; of a blank text there are none.
    """
    pieces: list[str] = []
    for block in _blocks(_parser().parse(_CONTROL.sub("", text))):
        for part in block.parts(limit):
            if pieces and len(pieces[-1]) + len(part) + 2 <= limit:
                pieces[-1] += f"\n\n{part}"
            else:
                pieces.append(part)
    return tuple(pieces)


@cache
def _parser() -> MarkdownIt:
    # HTML is text: customers and documents write it, Slack has none.
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    # The address is judged by `link`; what that refuses keeps its label.
    parser.validateLink = lambda url: True  # type: ignore[method-assign]
    return parser


@dataclass(frozen=True)
class _Block:
    text: str
    #: Shown letter by letter, not escaped yet; every part of it needs its own fences.
    code: bool = False

    def parts(self, limit: int) -> Iterator[str]:
        if not self.code:
            yield from (part for part in _split(self.text, limit) if part.strip())
            return
        text = escape(self.text.replace(_FENCE, "ˋˋˋ"))
        for part in _split(text, limit - 2 * len(_FENCE) - 2):
            yield f"{_FENCE}\n{part}\n{_FENCE}"


@dataclass
class _Writer:
    """Collects lines; a block is finished where nothing is open any more."""

    #: The number of the next item of each open list; None: bullets.
    lists: list[int | None] = field(default_factory=list)
    quotes: int = 0
    in_heading: bool = False
    lines: list[str] = field(default_factory=list)
    #: What the next line begins with: the bullet of an item.
    mark: str = ""

    def write(self, text: str) -> None:
        for line in text.split("\n"):
            indent = _INDENT * max(len(self.lists) - 1, 0)
            bullet = self.mark or ("  " if self.lists else "")
            self.lines.append("> " * bool(self.quotes) + indent + bullet + line)
            self.mark = ""

    def open_item(self) -> None:
        number = self.lists[-1]
        self.mark = "• " if number is None else f"{number}. "
        if number is not None:
            self.lists[-1] = number + 1


def _blocks(tokens: Sequence[Token]) -> Iterator[_Block]:
    writer = _Writer()
    rest = iter(tokens)
    for token in rest:
        if token.type == "table_open" and not token.level:
            yield _Block(_table(rest), code=True)
        elif token.type in ("fence", "code_block") and not token.level:
            yield _Block(token.content.rstrip("\n"), code=True)
        elif token.type == "inline":
            writer.write(_inline(token.children or [], in_heading=writer.in_heading))
        elif token.type in ("fence", "code_block"):
            writer.write("\n".join(map(_code, token.content.rstrip("\n").split("\n"))))
        elif token.type == "hr":
            writer.write("———")
        else:
            _open_or_close(writer, token)
        if not token.level and token.nesting <= 0 and writer.lines:
            yield _Block("\n".join(writer.lines))
            writer.lines.clear()


def _open_or_close(writer: _Writer, token: Token) -> None:
    match token.type:
        case "bullet_list_open":
            writer.lists.append(None)
        case "ordered_list_open":
            writer.lists.append(int(token.attrs.get("start", 1)))
        case "bullet_list_close" | "ordered_list_close":
            writer.lists.pop()
        case "list_item_open":
            writer.open_item()
        case "blockquote_open" | "blockquote_close":
            writer.quotes += token.nesting
        case "heading_open" | "heading_close":
            writer.in_heading = token.nesting > 0


def _table(tokens: Iterator[Token]) -> str:
    """The rows up to the end of the table, in columns of one width each."""
    rows: list[list[str]] = []
    for token in takewhile(lambda token: token.type != "table_close", tokens):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            text = "".join(child.content or " " for child in token.children or [])
            rows[-1].append(" ".join(text.split()))
    widths = [max(map(_width, column)) for column in zip_longest(*rows, fillvalue="")]
    return "\n".join(
        "  ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=False)
        ).rstrip()
        for row in rows
    )


def _width(text: str) -> int:
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def _code(text: str) -> str:
    # mrkdwn cannot quote a backtick.
    text = escape(text.replace("`", "ˋ"))
    return f"`{text}`" if text.strip() else text


def _inline(tokens: Sequence[Token], *, in_heading: bool) -> str:
    out: list[str] = []
    links: list[tuple[str, int]] = []
    for token in tokens:
        kind, _, side = token.type.rpartition("_")
        if kind == "link" and side == "open":
            links.append((str(token.attrs.get("href", "")), len(out)))
        elif kind == "link":
            url, start = links.pop()
            out[start:] = [link(url, "".join(out[start:]))]
        elif links:
            # In a label Slack shows marks as they are.
            out.append(token.content or " " * token.type.endswith("break"))
        elif kind in _MARKS:
            mark = "" if in_heading and kind == "strong" else _MARKS[kind]
            out.append(mark and mark + (_OPENS if side == "open" else _CLOSES))
        else:
            out.append(_leaf(token))
    text = "".join(out)
    return _beside_words(f"*{_OPENS}{text}*{_CLOSES}" if in_heading and text.strip() else text)


def _leaf(token: Token) -> str:
    match token.type:
        case "softbreak" | "hardbreak":
            return "\n"
        case "code_inline":
            return _code(token.content)
        case "image":
            return link(str(token.attrs.get("src", "")), token.content or "image")
        case _:
            return _text(token.content)


def _text(text: str) -> str:
    """Plain text; addresses in it become links."""
    out, end = [], 0
    for found in _LINKED.finditer(text):
        url = found[0].rstrip(".,:;!?'*_~)]}")
        if url.count("(") > url.count(")") and found[0][len(url) :].startswith(")"):
            url += ")"
        out += [escape(text[end : found.start()]), link(url, url)]
        end = found.start() + len(url)
    return "".join([*out, escape(text[end:])])


def _beside_words(text: str) -> str:
    text = _CLOSES_IN_WORD.sub(_ZERO_WIDTH, _OPENS_IN_WORD.sub(_ZERO_WIDTH, text))
    return text.replace(_OPENS, "").replace(_CLOSES, "")


def _split(text: str, limit: int) -> Iterator[str]:
    """Parts of at most `limit` characters, cut at sense boundaries, links and escapes whole."""
    while len(text) > limit:
        cut = _cut(text, limit)
        yield text[:cut].rstrip()
        text = text[cut:].lstrip("\n")
    yield text


def _cut(text: str, limit: int) -> int:
    within = takewhile(lambda atom: atom.end() <= limit, _ATOM.finditer(text))
    ends = [atom.end() for atom in within]
    for boundary in _BOUNDARIES:
        good = [end for end in ends if text[end - 1] in boundary and end >= limit // 3]
        if good:
            return good[-1]
    return ends[-1]
