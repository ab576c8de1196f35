"""Markdown, HTML and plain text."""

from __future__ import annotations

from collections.abc import Iterator

from knowledge.documents import Section, SourceFile
from knowledge.formats.contract import Found, read_text, whole_file
from knowledge.formats.html import read_html
from knowledge.front_matter import split_front_matter
from knowledge.markup import Page, read_markdown, web_address


def page_document(file: SourceFile, page: Page) -> Iterator[Found]:
    """The document that a page is."""
    yield from whole_file(
        file, page.sections, title=page.title, url=page.url, metadata=page.metadata
    )


def read_markdown_file(file: SourceFile) -> Iterator[Found]:
    """See `Reader`."""
    yield from page_document(file, read_markdown(read_text(file)))


def read_html_file(file: SourceFile) -> Iterator[Found]:
    """See `Reader`."""
    yield from page_document(file, read_html(read_text(file)))


def read_plain(file: SourceFile) -> Iterator[Found]:
    """See `Reader`."""
    facts, body = split_front_matter(read_text(file))
    text = body.strip("\n").rstrip()
    title, url = facts.pop("title", ""), web_address(facts.pop("url", ""))
    sections = (Section("", text),) if text else ()
    yield from page_document(file, Page(title, url, sections, facts))
