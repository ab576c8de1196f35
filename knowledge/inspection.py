"""What is read from files, chunk by chunk, for an operator who asks why an answer was missed."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path
from typing import Any

from kfbot.errors import DocumentUnreadable
from kfbot.knowledge_base import Progress
from knowledge.chunking import measure
from knowledge.cleaning import CleaningPolicy
from knowledge.parsing import parse_files
from knowledge.reading import Parsed, ParsedDocument
from knowledge.sources import find_files


async def inspect(sources: list[str], cache: Path, progress: Progress) -> list[dict[str, Any]]:
    """Read sources as a load does, and keep nothing; one JSON object a file.

    Each has name, unreadable (lines), counts (of steps) and documents, these have id, kind,
    title, url, fields, answer and chunks, and those heading, page (null: none), units (see
    `chunking`) and text.

    Raises:
        KnowledgeBaseUnavailable: The machine has no room for a child process.
    """
    found = await asyncio.to_thread(lambda: list(find_files(sources, cache)))
    files = [one for one in found if not isinstance(one, DocumentUnreadable)]
    progress("reading", 0, len(files))
    finished = count(1)

    async def done(number: int, parsed: Parsed, seconds: float) -> None:
        progress("reading", next(finished), len(files))

    results = await parse_files(files, CleaningPolicy(), done)
    missing = [
        _file(one.source, Parsed(unreadable=(str(one),)))
        for one in found
        if isinstance(one, DocumentUnreadable)
    ]
    return missing + [_file(one.name, result) for one, result in zip(files, results, strict=True)]


def _file(name: str, parsed: Parsed) -> dict[str, Any]:
    return {
        "name": name,
        "unreadable": list(parsed.unreadable),
        "counts": dict(parsed.counts),
        "documents": [_document(one) for one in parsed.documents],
    }


def _document(parsed: ParsedDocument) -> dict[str, Any]:
    document = parsed.document
    return {
        "id": document.id,
        "kind": document.kind,
        "title": document.title,
        "url": document.url,
        "fields": dict(document.metadata),
        "answer": document.answer,
        "chunks": [
            {
                "heading": chunk.heading,
                "page": chunk.page or None,
                "units": round(measure(chunk.text)),
                "text": chunk.text,
            }
            for chunk in parsed.chunks
        ],
    }
