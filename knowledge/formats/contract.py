"""What a reader of a file format takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TextIO

from kfbot.errors import DocumentUnreadable
from knowledge.cleaning import clean, find_encoding
from knowledge.documents import Document, Section, SourceFile
from knowledge.sources.folders import shown_name


class FileFault(ValueError):
    """A file cannot be read; its text says why, in a few words for the operator."""


@dataclass(frozen=True, slots=True)
class Found:
    """A document whose id may still be missing, and where in its file it stands."""

    document: Document
    #: Like "line 7: "; "" when it fills the file.
    place: str = ""
    #: How often each step of reading did something worth reporting: "pages read by OCR", …
    counts: Mapping[str, int] = field(default_factory=dict)


#: Reads a file that is there and not empty. Yields documents and named faults in their places,
#: nothing at all when the file says nothing; may raise FileFault, OSError and UnicodeError.
Reader = Callable[[SourceFile], Iterator[Found | DocumentUnreadable]]


def open_text(file: SourceFile, *, newline: str | None = None) -> TextIO:
    """Open a text file in its encoding.

    Raises:
        FileFault: It is no text.
        OSError: It cannot be read.
    """
    encoding = find_encoding(file.path)
    if encoding is None:
        raise FileFault("binary, not text")
    return encoding.open(file.path, newline=newline)


def read_text(file: SourceFile) -> str:
    """The whole text of a file, cleaned; raises like `open_text`, and UnicodeError."""
    with open_text(file) as stream:
        return clean(stream.read())


def whole_file(
    file: SourceFile,
    sections: tuple[Section, ...],
    *,
    title: str = "",
    url: str = "",
    metadata: Mapping[str, str] | None = None,
    counts: Mapping[str, int] | None = None,
) -> Iterator[Found]:
    """The one document that fills a file; none when there are no sections.

    What the file says of itself (`metadata`) goes before what its source says of it.
    """
    if sections:
        yield Found(
            Document(
                id=file.name,
                kind="document",
                title=title or shown_name(file.path.stem),
                url=url or file.url,
                path=str(file.path),
                sections=sections,
                metadata={**file.metadata, **(metadata or {})},
            ),
            counts=counts or {},
        )
