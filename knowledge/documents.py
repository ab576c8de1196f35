"""What a loader makes of a source: documents and FAQ entries, before they are cut and embedded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from kfbot.knowledge_base import PassageKind


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of a document under one heading."""

    #: Headings from the outermost in, joined by " › "; "" before the first one.
    heading: str
    #: Plain text or CommonMark, not empty.
    text: str


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
