"""One load of a knowledge base, up to the point where its new generation can come in force."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from kfbot.knowledge_base import LoadReport, Progress
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.knowledge_rows import Generation, Load, StoredDocument
from knowledge.changes import Changes, compare
from knowledge.documents import Chunk
from knowledge.embedding import Embedder
from knowledge.freshness import look
from knowledge.parsing import parse_files
from knowledge.sources import find_files
from knowledge.vectors import Pending, Vectors, key_of

#: Chunks that are embedded and stored before the next ones are: so much is lost by a kill.
_STAGED_AT_ONCE = 128


async def prepare_load(
    name: str,
    sources: Sequence[str],
    store: KnowledgeStore,
    embedder: Embedder,
    progress: Progress,
) -> tuple[Load, LoadReport]:
    """Read what changed in the sources, embed it and stage it.

    Raises:
        KnowledgeBaseUnavailable: The model does not answer, or no child process could start.
        StoreUnavailable: The database cannot be read or written.
    """
    before = (await store.generations()).get(name)
    key = key_of(embedder)
    from_scratch = before is None or before.embedding_key != key
    changes = await _find_changes(name, sources, store, progress, from_scratch=from_scratch)
    pending = list(changes.written)
    if from_scratch:
        done = {one.row.document_id for one in pending} | set(changes.removed)
        async for stored in store.chunks(name):
            if stored.document.document_id not in done:
                pending.append(_again(stored))
    vectors = Vectors(embedder)
    if not from_scratch and changes.changed:
        async for stored in store.chunks(name, changes.changed):
            vectors.keep(stored)
    await _stage(name, before, pending, store, vectors, progress)
    load = Load(
        knowledge_base=name,
        embedding_key=key,
        loaded_at=datetime.now(UTC),
        unreadable=changes.report.unreadable,
        counts=changes.report.counts,
        written=[one.row.document_id for one in pending],
        removed=changes.removed,
        files=changes.files,
        files_gone=changes.files_gone,
    )
    return load, changes.report


async def _find_changes(
    name: str,
    sources: Sequence[str],
    store: KnowledgeStore,
    progress: Progress,
    *,
    from_scratch: bool,
) -> Changes:
    progress("looking", 0, 1)
    stored, known = await store.documents(name), await store.files(name)
    seen = await asyncio.to_thread(lambda: look(find_files(sources), known, policy_key=""))
    missing = await asyncio.to_thread(_missing, sources)
    progress("looking", 1, 1)
    fresh = [one for one in seen.files if one.is_new]
    if fresh:
        progress("reading", 0, len(fresh))
    results = await parse_files(
        [one.file for one in fresh], lambda done: progress("reading", done, len(fresh))
    )
    parsed = {one.row.path: result for one, result in zip(fresh, results, strict=True)}
    return await asyncio.to_thread(
        compare, name, seen, parsed, stored, known, missing=missing, from_scratch=from_scratch
    )


def _missing(sources: Sequence[str]) -> list[str]:
    return [source for source in sources if not Path(source).exists()]


def _again(stored: StoredDocument) -> Pending:
    """A stored document as it is, to be embedded by another model."""
    chunks = (Chunk(one.heading, one.text, one.page) for one in stored.chunks)
    return Pending(stored.document, tuple(chunks))


async def _stage(
    name: str,
    before: Generation | None,
    pending: Sequence[Pending],
    store: KnowledgeStore,
    vectors: Vectors,
    progress: Progress,
) -> None:
    """Embed and store what a load that was broken off has not left there."""
    key = key_of(vectors.embedder)
    staged = await store.staged(name, key)
    wanted = {one.row.document_id: one.row for one in pending}
    there = {id for id, row in staged.items() if wanted.get(id) == row}
    await store.unstage(name, keep=there, embedding_key=key)
    todo = [one for one in pending if one.row.document_id not in there]
    total, done = sum(len(one.chunks) for one in todo), 0
    coming = (before.number if before else 0) + 1
    for part in _parts(todo):
        progress("embedding", done, total)
        await vectors.make(part)
        rows = await asyncio.to_thread(_rows, name, coming, part, vectors)
        await store.stage(name, key, rows)
        done += sum(len(one.chunks) for one in part)
    if todo:
        progress("embedding", done, total)


def _rows(
    name: str, generation: int, pending: Sequence[Pending], vectors: Vectors
) -> list[StoredDocument]:
    return [vectors.rows(name, generation, one) for one in pending]


def _parts(pending: Sequence[Pending]) -> Iterator[list[Pending]]:
    part: list[Pending] = []
    size = 0
    for one in pending:
        part.append(one)
        size += len(one.chunks)
        if size >= _STAGED_AT_ONCE:
            yield part
            part, size = [], 0
    if part:
        yield part
