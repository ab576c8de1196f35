"""What a loader makes of a source: documents and FAQ entries, before they are cut and embedded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kfbot.knowledge_base import PassageKind


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that a source led to."""

    #: Where it lies on this machine.
    path: Path
    #: How it is named to people, and the id of a document that fills the file.
    name: str
    #: Its address on the web, when it has one.
    url: str = ""
    #: What its source says about it: see `Document.metadata`.
    metadata: Mapping[str, str] = field(default_factory=dict)
    #: Where it came from, for good, when `path` is a copy: "/srv/faq.zip/inner/a.md"; begins with
    #: its source. It is the `Document.path` of what is read from it.
    origin: str = ""

    @property
    def place(self) -> str:
        """Where it came from: its origin, or its path."""
        return self.origin or str(self.path)


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of a document under one heading."""

    #: Headings from the outermost in, joined by " › "; "" before the first one.
    heading: str
    #: Plain text or CommonMark, not empty.
    text: str
    #: The page that it begins on, from 1; 0: the format has no pages.
    page: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document (`sections`) or an FAQ entry (`question`, `answer`, `variants`)."""

    #: FAQ: the entry's id. Document: path relative to its source, or the id that it carries.
    id: str
    kind: PassageKind
    title: str = ""
    url: str = ""
    #: Path of the file that it came from.
    path: str = ""
    sections: tuple[Section, ...] = ()
    question: str = ""
    answer: str = ""
    variants: tuple[str, ...] = ()
    #: What filters may ask for: "product", "version", "date" (ISO 8601), "language", …
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def content_hash(self) -> str:
        """SHA-256 over everything but the path: the same content is not loaded again."""
        content = asdict(self) | {"path": ""}
        return hashlib.sha256(
            json.dumps(content, ensure_ascii=False, sort_keys=True).encode()
        ).hexdigest()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A searchable piece of a document, or a question or variant of an FAQ entry."""

    heading: str
    text: str
    #: See `Section.page`.
    page: int = 0
