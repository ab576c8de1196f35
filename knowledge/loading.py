"""One load of a knowledge base, up to the point where its new generation can come in force."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from kfbot.knowledge_base import LoadReport, Progress
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.knowledge_rows import DocumentRow, Generation, Load, StoredDocument
from knowledge.asked import Ask, Asking
from knowledge.by_hand import overridden, said_of
from knowledge.changes import Changes, compare
from knowledge.cleaning import CleaningPolicy
from knowledge.cleaning.duplicates import Signed, find_conflicts, find_duplicates
from knowledge.documents import Chunk
from knowledge.embedding import Embedder
from knowledge.freshness import SeenFile, look
from knowledge.intake import Intake
from knowledge.parsing import parse_files
from knowledge.path_fields import tell_fields
from knowledge.reading import Parsed
from knowledge.remembered import recall, remember
from knowledge.sources import find_files
from knowledge.vectors import Pending, Vectors, key_of

#: Chunks that are embedded and stored before the next ones are: so much is lost by a kill.
_STAGED_AT_ONCE = 128


async def prepare_load(
    name: str,
    intake: Intake,
    store: KnowledgeStore,
    embedder: Embedder,
    cache: Path,
    progress: Progress,
    ask: Ask | None = None,
) -> tuple[Load, LoadReport]:
    """Read what changed in the sources, embed it and stage it.

    `cache` is where copies of sources lie that are no files of this machine, `ask` the chat model
    that writes questions for chunks (None: there is none).

    Raises:
        KnowledgeBaseUnavailable: The model does not answer, or no child process could start.
        StoreUnavailable: The database cannot be read or written.
    """
    before = (await store.generations()).get(name)
    key = key_of(embedder)
    from_scratch = before is None or before.embedding_key != key
    asking = Asking(intake.generated_questions, ask, progress)
    changes = await _find_changes(
        name, intake, store, cache, progress, asking, from_scratch=from_scratch
    )
    vectors = Vectors(embedder)
    pending = await _pending(name, changes, store, vectors, asking, from_scratch=from_scratch)
    due = frozenset(() if from_scratch else changes.due)
    written = await _stage(name, before, pending, store, vectors, asking, due, progress)
    load = Load(
        knowledge_base=name,
        embedding_key=key,
        loaded_at=datetime.now(UTC),
        unreadable=changes.report.unreadable,
        counts=changes.report.counts,
        written=written,
        removed=changes.removed,
        files=changes.files,
        files_gone=changes.files_gone,
    )
    warning = asking.warning()
    return load, replace(changes.report, warnings=(warning,) if warning else ())


async def _pending(
    name: str,
    changes: Changes,
    store: KnowledgeStore,
    vectors: Vectors,
    asking: Asking,
    *,
    from_scratch: bool,
) -> list[Pending]:
    """What changed, and what is to be embedded or asked about anew as it is.

    What was embedded and asked about before, and is good still, is kept for it.
    """
    pending = list(changes.written)
    touched = None if from_scratch else {*changes.changed, *changes.due}
    if touched is None or touched:
        done = {one.row.document_id for one in pending} | set(changes.removed)
        async for stored in store.chunks(name, touched):
            asking.keep(stored)
            if not from_scratch:
                vectors.keep(stored)
            if stored.document.document_id not in done:
                pending.append(_again(stored))
    return pending


def duplicates_among(rows: Iterable[DocumentRow]) -> Mapping[str, str]:
    """Ids of documents that say the same as another, each with the id of that one.

    Those with other fields are others: a filter must find each of them.
    """
    alike: dict[tuple[tuple[str, str], ...], list[DocumentRow]] = {}
    for row in rows:
        alike.setdefault(tuple(sorted(row.fields.items())), []).append(row)
    return {
        duplicate: kept
        for group in alike.values()
        for duplicate, kept in find_duplicates(_signed(group)).items()
    }


def _signed(rows: Iterable[DocumentRow]) -> list[Signed]:
    return [Signed(row.document_id, row.path, row.signature) for row in rows if row.signature]


def _compared(
    changes: Changes, stored: Mapping[str, DocumentRow], *, merges_duplicates: bool
) -> LoadReport:
    """The report, with what the documents that will be in force say twice or against another."""
    rows = {id: row for id, row in stored.items() if id not in changes.removed}
    rows |= {one.row.document_id: one.row for one in changes.written}
    overrides = overridden(rows.values())
    rest = [row for id, row in rows.items() if id not in overrides]
    pairs = find_conflicts(_signed(rest))
    duplicates = len(duplicates_among(rest)) if merges_duplicates else 0
    return replace(
        changes.report,
        duplicates=changes.report.duplicates + duplicates,
        conflicts=tuple(f"{one} and {other}" for one, other in pairs),
        overridden=said_of(overrides),
    )


async def _find_changes(
    name: str,
    intake: Intake,
    store: KnowledgeStore,
    cache: Path,
    progress: Progress,
    asking: Asking,
    *,
    from_scratch: bool,
) -> Changes:
    progress("looking", 0, 1)
    stored, known = await store.documents(name), await store.files(name)
    seen = await asyncio.to_thread(
        lambda: look(
            tell_fields(find_files(intake.sources, cache, intake.fetching), intake.path_fields),
            known,
            policy=intake.policy,
        )
    )
    progress("looking", 1, 1)
    fresh = [one for one in seen.files if one.is_new]
    parsed = await _parsed(fresh, intake.policy, parsed_folder(cache, name), progress)
    changes = await asyncio.to_thread(
        compare, name, seen, parsed, stored, known, from_scratch=from_scratch
    )
    merges = intake.merges_duplicates
    report = await asyncio.to_thread(_compared, changes, stored, merges_duplicates=merges)
    gone = {one.row.document_id for one in changes.written} | set(changes.removed)
    due = [id for id, row in stored.items() if asking.is_due(row) and id not in gone]
    return replace(changes, report=report, due=due)


async def _parsed(
    fresh: Sequence[SeenFile], policy: CleaningPolicy, folder: Path, progress: Progress
) -> dict[str, Parsed]:
    """What files gave, by path; those that a broken load has read before are not read again."""
    found = await asyncio.to_thread(
        lambda: {one.row.path: known for one in fresh if (known := recall(folder, one.row))}
    )
    todo = [one for one in fresh if one.row.path not in found]
    total, finished = len(fresh), count(len(found) + 1)
    if fresh:
        progress("reading", len(found), total)

    async def done(number: int, parsed: Parsed, seconds: float) -> None:
        await asyncio.to_thread(remember, folder, todo[number].row, parsed, seconds)
        progress("reading", next(finished), total)

    results = await parse_files([one.file for one in todo], policy, done)
    return found | {one.row.path: given for one, given in zip(todo, results, strict=True)}


def parsed_folder(cache: Path, name: str) -> Path:
    """Where the results of slow files are kept until their load is in force."""
    return cache / "parsed" / hashlib.blake2s(name.encode(), digest_size=8).hexdigest()


def _again(stored: StoredDocument) -> Pending:
    """A stored document as it is, to be embedded by another model or asked about."""
    chunks = (Chunk(one.heading, one.text, one.page) for one in stored.chunks)
    questions = tuple((one.asks or 0, one.text) for one in stored.questions)
    return Pending(stored.document, tuple(chunks), questions)


async def _stage(
    name: str,
    before: Generation | None,
    pending: Sequence[Pending],
    store: KnowledgeStore,
    vectors: Vectors,
    asking: Asking,
    due: Collection[str],
    progress: Progress,
) -> list[str]:
    """Ask about, embed and store what a load that was broken off has not left there.

    Returns the ids of all that is staged: without those that were only due to be asked about, and
    of which nothing new is known.
    """
    key = key_of(vectors.embedder)
    staged = await store.staged(name, key)
    wanted = {one.row.document_id: one.row for one in pending}
    there = {
        id
        for id, row in staged.items()
        if id in wanted and replace(wanted[id], asked=row.asked) == row and not asking.is_due(row)
    }
    await store.unstage(name, keep=there, embedding_key=key)
    todo = [one for one in pending if one.row.document_id not in there]
    total, done = sum(len(one.chunks) for one in todo), 0
    coming = (before.number if before else 0) + 1
    await asyncio.to_thread(asking.expect, todo)
    for chunks in _parts(todo):
        progress("embedding", done, total)
        pairs = zip(chunks, await asking.fill(chunks), strict=True)
        part = [
            new for old, new in pairs if new.row.document_id not in due or asking.is_gain(old, new)
        ]
        await vectors.make(part)
        rows = await asyncio.to_thread(_rows, name, coming, part, vectors)
        await store.stage(name, key, rows)
        there |= {one.row.document_id for one in part}
        done += sum(len(one.chunks) for one in chunks)
    if todo:
        progress("embedding", done, total)
    return list(there)


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
