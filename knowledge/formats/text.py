"""Markdown, HTML and plain text."""

from __future__ import annotations

from collections.abc import Iterator

from bs4.exceptions import ParserRejectedMarkup

from knowledge.documents import Section, SourceFile
from knowledge.formats.contract import FileFault, Found, read_text, whole_file
from knowledge.markup import read_html, read_markdown


def read_markdown_file(file: SourceFile) -> Iterator[Found]:
    """See `Reader`."""
    page = read_markdown(read_text(file))
    yield from whole_file(file, page.sections, title=page.title, url=page.url)


def read_html_file(file: SourceFile) -> Iterator[Found]:
    """See `Reader`."""
    try:
        page = read_html(read_text(file))
    except ParserRejectedMarkup:
        raise FileFault("not HTML") from None
    yield from whole_file(file, page.sections, title=page.title, url=page.url)


def read_plain(file: SourceFile) -> Iterator[Found]:
    """See `Reader`."""
    text = read_text(file).strip("\n").rstrip()
    yield from whole_file(file, (Section("", text),) if text else ())
