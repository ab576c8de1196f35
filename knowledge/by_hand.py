"""Entries by hand: how they are cleaned, and which entries of the sources they come before."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace

from kfbot.errors import EntryRejected
from kfbot.knowledge_base import Entry, EntrySource
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.knowledge_rows import ChunkRow, DocumentRow, StoredDocument
from knowledge.chunking import cut
from knowledge.cleaning import CleaningPolicy, clean, clean_document
from knowledge.cleaning.duplicates import QUESTION_START, same_question, signature
from knowledge.documents import Document
from knowledge.vectors import Pending

#: Longer ids are no ids, longer questions no questions; answers are sent in parts.
_LONGEST_ID = 200
_LONGEST_QUESTION = 2_000
_LONGEST_ANSWER = 100_000
_MOST_VARIANTS = 1_000
#: What masking leaves in the place of private data.
_MASKED = re.compile(r"\[[^\[\]]{1,30}\]")


def pending_entry(entry: Entry, source: EntrySource, policy: CleaningPolicy) -> Pending:
    """An entry as it is stored, before its question and variants have vectors.

    Raises:
        EntryRejected: Nothing is left of its question or its answer, or it is too long.
    """
    _check_size(entry)
    document = Document(
        id=entry.id,
        kind="faq",
        question=clean(entry.question),
        answer=clean(entry.answer),
        variants=tuple(clean(variant) for variant in entry.variants),
    )
    cleaned, _ = clean_document(document, policy)
    if cleaned is None or not _says_something(cleaned.question):
        raise EntryRejected("nothing is left of the question once it is cleaned")
    if not _says_something(cleaned.answer):
        raise EntryRejected("nothing is left of the answer once it is cleaned")
    variants = tuple(variant for variant in cleaned.variants if _says_something(variant))
    cleaned = replace(cleaned, variants=variants)
    row = DocumentRow(
        document_id=cleaned.id,
        kind="faq",
        source=source,
        content_hash=cleaned.content_hash,
        answer=cleaned.answer,
        signature=signature(cleaned),
    )
    return Pending(row, cut(cleaned))


def entry_of(stored: StoredDocument) -> Entry:
    """An entry as it was added, but for what cleaning has changed."""
    question, *variants = (chunk.text for chunk in stored.chunks)
    return Entry(
        id=stored.document.document_id,
        question=question,
        answer=stored.document.answer,
        variants=tuple(variants),
    )


def overridden(rows: Iterable[DocumentRow]) -> dict[str, str]:
    """Ids of FAQ entries that ask what an entry by hand asks, each with the id of that one.

    Of two entries by hand the later one (`rows` in the order of storing) comes before the other.
    Entries with other fields are for other customers, and stay.
    """
    asked: dict[bytes, list[DocumentRow]] = {}
    for row in rows:
        if row.kind == "faq" and (mark := same_question(row.signature)):
            asked.setdefault(mark, []).append(row)
    found: dict[str, str] = {}
    for alike in asked.values():
        by_hand = [row.document_id for row in alike if row.source != "file"]
        if by_hand:
            ids = (row.document_id for row in alike)
            found |= {one: by_hand[-1] for one in ids if one != by_hand[-1]}
    return found


def said_of(overrides: Mapping[str, str]) -> tuple[str, ...]:
    """What is overridden, a line each."""
    return tuple(f"{theirs} by {mine}" for theirs, mine in sorted(overrides.items()))


async def overridden_in(store: KnowledgeStore, name: str) -> dict[str, str]:
    """What is `overridden` in a knowledge base, without reading all of it.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    entries = await store.entries(name)
    marks = {same_question(one.document.signature) for one in entries}
    rows = await store.signed(name, marks - {b""}, QUESTION_START)
    return overridden(rows.values())


async def with_variants(
    documents: AsyncIterator[StoredDocument], overrides: Mapping[str, str]
) -> AsyncIterator[StoredDocument]:
    """Documents without those that are overridden; how those are asked, finds what comes before.

    Args:
        overrides: See `overridden`.
    """
    ahead = {*overrides, *overrides.values()}
    held: list[StoredDocument] = []
    async for one in documents:
        if one.document.document_id in ahead:
            held.append(one)
        else:
            yield one
    for one in _joined(held, overrides):
        yield one


def answering(stored: Sequence[StoredDocument]) -> list[StoredDocument]:
    """Of all FAQ entries of a knowledge base those that answer, as `with_variants` gives them."""
    return _joined(stored, overridden(one.document for one in stored))


def _joined(stored: Iterable[StoredDocument], overrides: Mapping[str, str]) -> list[StoredDocument]:
    held: dict[str, StoredDocument] = {}
    more: dict[str, list[ChunkRow]] = {}
    for one in stored:
        document_id = one.document.document_id
        if document_id in overrides:
            more.setdefault(overrides[document_id], []).extend(one.chunks)
        else:
            held[document_id] = one
    found = []
    for document_id, one in held.items():
        known = {chunk.text for chunk in one.chunks}
        others = {chunk.text: chunk for chunk in more.get(document_id, ())}
        fresh = (chunk for text, chunk in others.items() if text not in known)
        found.append(StoredDocument(one.document, (*one.chunks, *fresh)))
    return found


def _check_size(entry: Entry) -> None:
    if not entry.id.strip() or len(entry.id) > _LONGEST_ID or not entry.id.isprintable():
        raise EntryRejected(f"an entry needs an id of 1 to {_LONGEST_ID} printable characters")
    questions = (entry.question, *entry.variants)
    if max(map(len, questions)) > _LONGEST_QUESTION:
        raise EntryRejected(f"a question is longer than {_LONGEST_QUESTION:,} characters")
    if len(entry.answer) > _LONGEST_ANSWER:
        raise EntryRejected(f"the answer is longer than {_LONGEST_ANSWER:,} characters")
    if len(entry.variants) > _MOST_VARIANTS:
        raise EntryRejected(f"there are more than {_MOST_VARIANTS:,} variants")


def _says_something(text: str) -> bool:
    return any(character.isalnum() for character in _MASKED.sub("", text))
