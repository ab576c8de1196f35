"""Reads the outline of Markdown and HTML: title and sections under their headings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from bs4 import BeautifulSoup
from bs4.element import NavigableString, PageElement, Tag
from markdown_it import MarkdownIt

from knowledge.documents import Section
from knowledge.sentences import CJK

_PATH_SEPARATOR = " › "


@dataclass(frozen=True, slots=True)
class Page:
    """What a document says, by its headings."""

    #: "" when it names none.
    title: str
    url: str
    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A heading with the text down to the next one; level 0 stands before the first."""

    level: int
    heading: str
    text: str


def web_address(text: str) -> str:
    """The text if it is an address that a browser may be sent to, else ""."""
    address = text.strip()
    return address if re.fullmatch(r"https?://[^\s<>\"]+", address, re.IGNORECASE) else ""


def _sections(entries: Sequence[_Entry], title: str) -> tuple[Section, ...]:
    """The entries that have text, each with the path of its headings but the title."""
    sections: list[Section] = []
    path: list[_Entry] = []
    top = [entry for entry in entries if entry.level == 1]
    for number, entry in enumerate(entries):
        while path and path[-1].level >= entry.level:
            path.pop()
        is_title = [entry] == top and entry.heading in title
        if entry.heading and not is_title:
            path.append(entry)
        text = entry.text.strip("\n").rstrip()
        has_children = number + 1 < len(entries) and entries[number + 1].level > entry.level
        if not text.strip() and not has_children:
            # A heading that stands alone is all that is said there.
            text = entry.heading
        if text:
            heading = _PATH_SEPARATOR.join(above.heading for above in path)
            sections.append(Section(heading, text))
    return tuple(sections)


def _heading(text: str) -> str:
    return " ".join(text.split()).replace("›", ">")


# Markdown

_FRONT_MATTER = re.compile(r"\A---[^\S\n]*\n(.*?\n)?(?:---|\.\.\.)[^\S\n]*(?:\n|\Z)", re.DOTALL)
_FRONT_MATTER_LINE = re.compile(r"\s*(?:[\w .-]+:(?:\s.*)?|[ \t]+\S.*|-\s.*|#.*|[\]}])?")
_ANCHOR = re.compile(r"\s*\{#[^}]*\}\s*$")
_COMMENT = re.compile(r"\s*<!--.*-->\s*", re.DOTALL)


def read_markdown(text: str) -> Page:
    """Read CommonMark with tables; a section keeps its text as it was written.

    The only "# Heading" is the title and stands in no path; front matter may name `title`, `url`.
    """
    front, body = _split_front_matter(text)
    lines = body.split("\n")
    entries: list[_Entry] = []
    level, heading, start = 0, "", 0
    tokens = MarkdownIt("commonmark").enable("table").disable("inline").parse(body)
    for number, token in enumerate(tokens):
        if token.level or token.map is None:
            continue
        if token.type == "html_block" and _COMMENT.fullmatch(token.content):
            lines[slice(*token.map)] = [""] * (token.map[1] - token.map[0])
        if token.type == "heading_open":
            entries.append(_Entry(level, heading, "\n".join(lines[start : token.map[0]])))
            level, start = int(token.tag[1:]), token.map[1]
            heading = _heading(_plain(tokens[number + 1].content))
    entries.append(_Entry(level, heading, "\n".join(lines[start:])))
    first = next((entry for entry in entries if entry.level), None)
    title = front.get("title", "")
    if not title and first is not None and first.level == 1:
        title = first.heading
    return Page(title, web_address(front.get("url", "")), _sections(entries, title))


def _split_front_matter(text: str) -> tuple[dict[str, str], str]:
    match = _FRONT_MATTER.match(text)
    lines = (match[1] or "").split("\n") if match else []
    # Two rules with text between them look the same.
    if match is None or not all(_FRONT_MATTER_LINE.fullmatch(line) for line in lines):
        return {}, text
    values = {}
    for line in lines:
        key, colon, value = line.partition(":")
        if colon and not key.startswith((" ", "\t", "#", "-")):
            values[key.strip().lower()] = _unquote(value.strip())
    return values, text[match.end() :]


def _unquote(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


@cache
def _inline_parser() -> MarkdownIt:
    # To make one takes longer than to parse a heading, and some files are nothing but headings.
    return MarkdownIt("commonmark")


def _plain(markdown: str) -> str:
    """The text of a heading without its markup."""
    parts = []
    for token in _inline_parser().parseInline(_ANCHOR.sub("", markdown)):
        for child in token.children or []:
            parts.append(" " if child.type in ("softbreak", "hardbreak") else child.content)
    return "".join(parts)


# HTML

_DROPPED = re.compile(
    "script|style|nav|header|footer|noscript|template|svg|iframe|select|button|title"
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_INLINE = re.compile(
    "a|abbr|b|bdi|bdo|cite|code|data|del|dfn|em|font|i|ins|kbd|label|mark|q|rp|rt|ruby|s|samp|small"
    "|span|strike|strong|sub|sup|time|tt|u|var|wbr"
)
_LINE_BREAK = "\v"
_BREAK_IN_CHINESE = re.compile(rf"(?<=[{CJK}，。、；：！？])[ \t]*\n\s*(?=[{CJK}])")


def read_html(text: str) -> Page:
    """Read a web page without its navigation; lists become "- " lines, table rows "a | b" lines.

    Raises:
        bs4.exceptions.ParserRejectedMarkup: It is no HTML.
    """
    # Beautiful Soup warns about an XML declaration, and about a page without any tag.
    soup = BeautifulSoup(re.sub(r"<\?xml[^>]*>", "", text) + "\n", "html.parser")
    title = _flat(soup.title) if soup.title else ""
    top = soup.find("h1")
    title = title or (_flat(top) if top else "")
    link = soup.find("link", rel="canonical", href=True)
    url = web_address(str(link["href"])) if link else ""
    for tag in soup.find_all(lambda tag: bool(_DROPPED.fullmatch(tag.name))):
        if not tag.decomposed:
            tag.decompose()
    return Page(title, url, _sections(_HtmlReader().read(soup), title))


def _flat(tag: Tag) -> str:
    """All text in a tag, on one line."""
    parts = []
    for node in tag.descendants:
        if isinstance(node, Tag):
            parts.append("" if _is_inline(node) else " ")
        elif type(node) is NavigableString:
            parts.append(str(node))
    return _collapse("".join(parts))


def _is_inline(tag: Tag) -> bool:
    return _INLINE.fullmatch(tag.name) is not None


def _collapse(text: str) -> str:
    return " ".join(_BREAK_IN_CHINESE.sub("", text).split())


@dataclass(slots=True)
class _HtmlReader:
    """Walks the tree once and writes down its blocks; needs no deep stack for deep trees."""

    entries: list[_Entry] = field(default_factory=list)
    heading: tuple[int, str] = (0, "")
    #: Kind and text of the blocks under this heading; neighbours of one kind are lines together.
    blocks: list[tuple[str, str]] = field(default_factory=list)
    inline: list[str] = field(default_factory=list)
    #: For each open list the number of its last item, None for bullets.
    lists: list[int | None] = field(default_factory=list)
    #: The cells of the open table row, each in pieces.
    cells: list[list[str]] = field(default_factory=list)
    bullet: str = ""
    tables: int = 0

    def read(self, root: Tag) -> list[_Entry]:
        stack: list[tuple[PageElement, bool]] = [(root, False)]
        while stack:
            node, seen = stack.pop()
            if not isinstance(node, Tag):
                # Comments and declarations are of classes derived from it.
                if type(node) is NavigableString:
                    self._write(str(node))
            elif seen:
                self._leave(node)
            elif self._enter(node):
                stack.append((node, True))
                stack.extend((child, False) for child in reversed(node.contents))
        self._end_section()
        return self.entries

    def _write(self, text: str) -> None:
        (self.cells[-1] if self.cells else self.inline).append(text)

    def _enter(self, tag: Tag) -> bool:
        """Begin a tag; False when it has been read to its end."""
        if tag.name == "br":
            self._write(_LINE_BREAK)
        elif not _is_inline(tag):
            self._end_block()
        # In a cell only the headings of a page laid out by tables are more than text.
        if (level := _HEADINGS.get(tag.name, 0)) and (level <= 2 or not self.cells):
            self._end_section()
            self.heading = (level, _heading(_flat(tag)))
            return False
        if tag.name == "pre" and not self.cells:
            self.blocks.append(("text", tag.get_text().strip("\n")))
            return False
        self._enter_table(tag)
        self._enter_list(tag)
        return True

    def _enter_table(self, tag: Tag) -> None:
        # End tags of rows and cells are optional, so a new one ends the last one.
        if tag.name in ("table", "tr"):
            self._end_row()
            self.tables += tag.name == "table"
        elif tag.name in ("td", "th"):
            self.cells.append([])

    def _enter_list(self, tag: Tag) -> None:
        if tag.name in ("ul", "ol"):
            self.lists.append(0 if tag.name == "ol" else None)
        elif tag.name == "li":
            mark = "- "
            if self.lists and (last := self.lists[-1]) is not None:
                self.lists[-1] = last + 1
                mark = f"{last + 1}. "
            self.bullet = "  " * (len(self.lists) - 1) + mark

    def _leave(self, tag: Tag) -> None:
        if tag.name != "br" and not _is_inline(tag):
            self._end_block()
        if tag.name in ("table", "tr"):
            self._end_row()
        elif tag.name in ("ul", "ol") and self.lists:
            self.lists.pop()
        elif tag.name == "li":
            self.bullet = ""

    def _end_row(self) -> None:
        cells = [_collapse("".join(parts)) for parts in self.cells]
        self.cells.clear()
        if any(cells):
            self.blocks.append((f"table {self.tables}", " | ".join(cells).rstrip(" |")))

    def _end_block(self) -> None:
        if self.cells:
            self._write(" ")
            return
        lines = [_collapse(line) for line in "".join(self.inline).split(_LINE_BREAK)]
        self.inline.clear()
        text = "\n".join(line for line in lines if line)
        if not text:
            return
        if self.lists:
            indent = "  " * len(self.lists)
            text = (self.bullet or indent) + text.replace("\n", "\n" + indent)
            self.bullet = ""
        self.blocks.append(("list" if self.lists else "text", text))

    def _end_section(self) -> None:
        self._end_row()
        self._end_block()
        text = ""
        kind_before = "text"
        for kind, block in self.blocks:
            together = kind == kind_before and kind != "text"
            text += ("\n" if together else "\n\n") + block if text else block
            kind_before = kind
        self.blocks.clear()
        if text or self.heading[0]:
            self.entries.append(_Entry(*self.heading, text))
