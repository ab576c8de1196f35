"""Web pages: their outline, lists and tables, without navigation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from bs4 import BeautifulSoup
from bs4.element import NavigableString, PageElement, Tag
from bs4.exceptions import ParserRejectedMarkup

from knowledge.formats.contract import FileFault
from knowledge.formats.tables import Cell, fill_spans, split_caption, table_text
from knowledge.formats.unseen import unseen
from knowledge.front_matter import FACTS, name_facts
from knowledge.markup import Entry, Page, heading_of, sections_of, web_address
from knowledge.sentences import CJK

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
    """Read a web page without its navigation; lists become "- " lines, tables CommonMark.

    Raises:
        FileFault: It is no HTML.
    """
    soup = _parse(text)
    facts = _facts(soup)
    title = _flat(soup.title) if soup.title else facts.get("title", "")
    top = soup.find("h1")
    title = title or (_flat(top) if top else "")
    link = soup.find("link", rel="canonical", href=True)
    url = web_address(str(link["href"]) if link else facts.get("url", ""))
    shown = {name: fact for name, fact in facts.items() if name not in ("title", "url")}
    return Page(title, url, sections_of(_entries(soup), title), shown)


def read_chapter(text: str) -> list[Entry]:
    """The headings and texts of a page that is part of a larger document.

    Raises:
        FileFault: It is no HTML.
    """
    return _entries(_parse(text))


def _parse(text: str) -> BeautifulSoup:
    try:
        # Beautiful Soup warns about an XML declaration, and about a page without any tag.
        return BeautifulSoup(re.sub(r"<\?xml[^>]*>", "", text) + "\n", "html.parser")
    except (ParserRejectedMarkup, AssertionError):
        raise FileFault("not HTML") from None


def _entries(soup: BeautifulSoup) -> list[Entry]:
    dropped = soup.find_all(lambda tag: bool(_DROPPED.fullmatch(tag.name)))
    for tag in (*unseen(soup), *dropped):
        if not tag.decomposed:
            tag.decompose()
    return _HtmlReader().read(soup)


def _facts(soup: BeautifulSoup) -> Mapping[str, str]:
    """What the page's <meta> tags, and its language, say that filters may ask for."""
    values: dict[str, object] = {}
    for tag in soup.find_all("meta", content=True):
        name = str(tag.get("name") or tag.get("property") or "")
        # "article:modified_time", "DC.date"
        values.setdefault(re.split("[:.]", name)[-1], str(tag["content"]))
    if soup.html and soup.html.get("lang"):
        values["language"] = str(soup.html["lang"])
    return {name: fact for name, fact in name_facts(values).items() if name in FACTS}


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

    entries: list[Entry] = field(default_factory=list)
    heading: tuple[int, str] = (0, "")
    #: Kind and text of the blocks under this heading; neighbours of one kind are lines together.
    blocks: list[tuple[str, str]] = field(default_factory=list)
    inline: list[str] = field(default_factory=list)
    #: For each open list the number of its last item, None for bullets.
    lists: list[int | None] = field(default_factory=list)
    #: The rows of the open table, and how many of them are its header.
    rows: list[list[Cell]] = field(default_factory=list)
    header_rows: int = 0
    #: The cells of the open row: columns and rows that each covers, and its text in pieces.
    cells: list[tuple[int, int, list[str]]] = field(default_factory=list)
    only_heads: bool = True
    #: How many <thead> are open.
    open_heads: int = 0
    bullet: str = ""
    tables: int = 0

    def read(self, root: Tag) -> list[Entry]:
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
        (self.cells[-1][2] if self.cells else self.inline).append(text)

    def _enter(self, tag: Tag) -> bool:
        """Begin a tag; False when it has been read to its end."""
        if tag.name == "br":
            self._write(_LINE_BREAK)
        elif not _is_inline(tag):
            self._end_block()
        # In a cell only the headings of a page laid out by tables are more than text.
        if (level := _HEADINGS.get(tag.name, 0)) and (level <= 2 or not self.cells):
            self._end_section()
            self.heading = (level, heading_of(_flat(tag)))
            return False
        if tag.name == "pre" and not self.cells:
            self.blocks.append(("text", tag.get_text().strip("\n")))
            return False
        self._enter_table(tag)
        self._enter_list(tag)
        return True

    def _enter_table(self, tag: Tag) -> None:
        # End tags of rows and cells are optional, so a new one ends the last one.
        if tag.name == "table":
            self._end_table()
        elif tag.name == "tr":
            self._end_row()
        elif tag.name in ("td", "th"):
            self.cells.append((_span(tag, "colspan"), _span(tag, "rowspan"), []))
            self.only_heads &= tag.name == "th" or self.open_heads > 0
        self.open_heads += tag.name == "thead"

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
        self.open_heads -= tag.name == "thead"
        if tag.name == "table":
            self._end_table()
        elif tag.name == "tr":
            self._end_row()
        elif tag.name in ("ul", "ol") and self.lists:
            self.lists.pop()
        elif tag.name == "li":
            self.bullet = ""

    def _end_row(self) -> None:
        if not self.cells:
            return
        self.header_rows += self.only_heads and self.header_rows == len(self.rows)
        self.rows.append(
            [Cell(_collapse("".join(parts)), across, down) for across, down, parts in self.cells]
        )
        self.cells.clear()
        self.only_heads = True

    def _end_table(self) -> None:
        self._end_row()
        if not self.rows:
            return
        grid = fill_spans(self.rows)
        captions, rows = split_caption(grid)
        header_rows = self.header_rows - (len(grid) - len(rows))
        self.tables += 1
        lines = [" | ".join(filter(None, row)) for row in rows if any(row)]
        if any(" | " in line for line in lines) and len(lines) > 1:
            lines = [table_text(rows, header_rows=header_rows)]
        self.blocks.extend(("text", caption) for caption in captions)
        self.blocks.extend((f"table {self.tables}", line) for line in lines)
        self.rows.clear()
        self.header_rows = 0

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
        self._end_table()
        self._end_block()
        text = ""
        kind_before = "text"
        for kind, block in self.blocks:
            together = kind == kind_before and kind != "text"
            text += ("\n" if together else "\n\n") + block if text else block
            kind_before = kind
        self.blocks.clear()
        if text or self.heading[0]:
            self.entries.append(Entry(*self.heading, text))


def _span(tag: Tag, name: str) -> int:
    value = str(tag.get(name, ""))
    return int(value) if re.fullmatch("[0-9]{1,5}", value) else 1
