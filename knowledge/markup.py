"""The outline of a document: title and sections under their headings; Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from markdown_it import MarkdownIt

from knowledge.documents import Section
from knowledge.front_matter import split_front_matter

_PATH_SEPARATOR = " › "


@dataclass(frozen=True, slots=True)
class Page:
    """What a document says, by its headings."""

    #: "" when it names none.
    title: str
    url: str
    sections: tuple[Section, ...]
    #: See `Document.metadata`.
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """A heading with the text down to the next one; level 0 stands before the first."""

    level: int
    heading: str
    text: str
    #: See `Section.page`.
    page: int = 0


def web_address(text: str) -> str:
    """The text if it is an address that a browser may be sent to, else ""."""
    address = text.strip()
    return address if re.fullmatch(r"https?://[^\s<>\"]+", address, re.IGNORECASE) else ""


def sections_of(entries: Sequence[Entry], title: str) -> tuple[Section, ...]:
    """The entries that have text, each with the path of its headings but the title."""
    sections: list[Section] = []
    path: list[Entry] = []
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
            sections.append(Section(heading, text, entry.page))
    return tuple(sections)


def heading_of(text: str) -> str:
    """A heading on one line, without the mark that joins headings to a path."""
    return " ".join(text.split()).replace("›", ">")


# Markdown

_ANCHOR = re.compile(r"\s*\{#[^}]*\}\s*$")
_COMMENT = re.compile(r"\s*<!--.*-->\s*", re.DOTALL)


def read_markdown(text: str) -> Page:
    """Read CommonMark with tables; a section keeps its text as it was written.

    The only "# Heading" is the title and stands in no path; front matter becomes the metadata.
    """
    facts, body = split_front_matter(text)
    lines = body.split("\n")
    entries: list[Entry] = []
    level, heading, start = 0, "", 0
    tokens = MarkdownIt("commonmark").enable("table").disable("inline").parse(body)
    for number, token in enumerate(tokens):
        if token.level or token.map is None:
            continue
        if token.type == "html_block" and _COMMENT.fullmatch(token.content):
            lines[slice(*token.map)] = [""] * (token.map[1] - token.map[0])
        if token.type == "heading_open":
            entries.append(Entry(level, heading, "\n".join(lines[start : token.map[0]])))
            level, start = int(token.tag[1:]), token.map[1]
            heading = heading_of(_plain(tokens[number + 1].content))
    entries.append(Entry(level, heading, "\n".join(lines[start:])))
    first = next((entry for entry in entries if entry.level), None)
    title = facts.pop("title", "")
    if not title and first is not None and first.level == 1:
        title = first.heading
    url = web_address(facts.pop("url", ""))
    return Page(title, url, sections_of(entries, title), facts)


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
