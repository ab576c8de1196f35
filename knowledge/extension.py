"""Extends the index in service by what was added by hand since it was built.

Building an index of 100,000 passages takes a minute; writing its arrays anew with a few rows more
takes a second. The points stay as they are, those of entries that are gone are passed over, and
new ones are compared one by one. What was learned from all entries (centres, spread, word
statistics) is that of the index until it is built again, which the next load does that changes
something.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from kfbot.store.chunks import KnowledgeStore
from kfbot.store.knowledge_rows import StoredDocument
from knowledge import index, terms
from knowledge.by_hand import overridden, with_variants
from knowledge.cleaning.duplicates import QUESTION_START, same_question
from knowledge.geometry import language_number, placed
from knowledge.index_build import document_entry, entry_mark, json_line, move, payload_of
from knowledge.labels import names_of
from knowledge.points import KINDS
from knowledge.ranking import FAQ_IS_NEARER
from knowledge.shard import FOLDER

#: With more changes than these an index is built anew.
MOST_CHANGES = 500
_FAQ = KINDS.index("faq")
_Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Change:
    """What is in force now beside what an index was built from."""

    added: Sequence[StoredDocument]
    #: Documents of the index that are not in force any more, by number.
    hidden: Sequence[int]


async def find_change(store: KnowledgeStore, folder: Path, name: str) -> Change | None:
    """What entries by hand change about an index; None: it has to be built anew.

    The index is of the generation that is in force.

    Raises:
        KnowledgeBaseUnavailable: The index is damaged.
        StoreUnavailable: The database cannot be read.
    """
    base = await asyncio.to_thread(index.read_base, folder)
    entries = {one.document.document_id: one for one in await store.entries(name)}
    marks = {bytes.fromhex(asked) for _, asked in base.entries.values()}
    marks |= {same_question(one.document.signature) for one in entries.values()}
    rows = await store.signed(name, marks - {b""}, QUESTION_START)
    ids = {*entries, *rows}
    documents = with_variants(store.chunks(name, ids), overridden(rows.values()))
    wanted = [one async for one in documents]
    looked_for = {*ids, *base.entries}
    built = await asyncio.to_thread(index.find_documents, folder, looked_for, base.documents)
    change = _compared(base, wanted, built)
    is_small = len(change.added) + len(change.hidden) <= MOST_CHANGES
    return change if is_small and _fits(folder, change) else None


def _compared(
    base: index.Base,
    wanted: Sequence[StoredDocument],
    built: Mapping[str, tuple[int, index.DocumentEntry]],
) -> Change:
    merged = {id for _, entry in built.values() for id in entry.duplicates}
    added = []
    kept = set()
    for one in wanted:
        document_id = one.document.document_id
        if one.document.source == "file":
            is_there = document_id in built or document_id in merged
        else:
            is_there = base.entries.get(document_id) == entry_mark(one)
        if is_there:
            kept.add(document_id)
        else:
            added.append(one)
    return Change(added, sorted(number for id, (number, _) in built.items() if id not in kept))


def _fits(folder: Path, change: Change) -> bool:
    """Whether what is added can be ranked by what the index knows."""
    known = np.load(folder / "prepared.fields.npy").tolist()
    added = names_of(one.document.fields for one in change.added)
    has_faq = bool(np.load(folder / "points.npy")[_FAQ])
    return has_faq and set(added) <= set(known)


def extend(source: Path, target: Path, stamp: index.Stamp, change: Change) -> None:
    """Make the index in `source` that of `stamp`, in a folder of its own. Blocks.

    Raises:
        OSError: Nothing is left behind.
    """
    job = target.parent / f".job-{uuid4().hex}"
    try:
        job.mkdir()
        _write(source, job, change)
        index.seal(job, stamp)
        move(job, target)
    finally:
        shutil.rmtree(job, ignore_errors=True)


def _write(source: Path, job: Path, change: Change) -> None:
    base = index.read_base(source)
    if (source / FOLDER).is_dir():
        shutil.copytree(source / FOLDER, job / FOLDER, copy_function=_link)
    arrays, prepared = index.Arrays.load(source), index.load_prepared(source)
    more = _Rows.of(change.added, arrays, prepared, base)
    _extended(arrays, more, base).save(job)
    index.save_prepared(job, _extended_prepared(prepared, more, base))
    _write_documents(source, job, change.added, base)
    index.save_base(job, replace(base, hidden=tuple(change.hidden)))
    with (job / index.ADDED).open("wb") as file:
        file.writelines(
            json_line([payload_of(one, chunk), dict(one.document.fields)])
            for one in change.added
            for chunk in one.chunks
        )


def _link(source: str, target: str) -> None:
    # No file of an index ever changes.
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@dataclass(frozen=True, slots=True)
class _Rows:
    """What is added, as rows of the arrays."""

    #: Of each point: its document, as a number from 0.
    owner: NDArray[np.int64]
    vectors: NDArray[np.float16]
    languages: NDArray[np.uint8]
    words: Sequence[Mapping[int, float]]
    #: Of each document.
    answers: Sequence[Mapping[int, float]]
    places: Mapping[str, _Array]

    @classmethod
    def of(
        cls,
        added: Sequence[StoredDocument],
        arrays: index.Arrays,
        prepared: Mapping[str, _Array],
        base: index.Base,
    ) -> _Rows:
        chunks = [chunk for one in added for chunk in one.chunks]
        owner = np.repeat(np.arange(len(added)), [len(one.chunks) for one in added])
        dimensions = arrays.vectors.shape[1]
        raw = b"".join(chunk.vector for chunk in chunks)
        vectors = np.frombuffer(raw, "<f2").reshape(-1, dimensions)
        languages = np.array([language_number(chunk.text) for chunk in chunks], np.uint8)
        length = float(prepared["faq_length"][0])
        said = float(prepared["answer_length"][0])
        return cls(
            owner,
            vectors,
            languages,
            [_weighed(chunk.terms, length) for chunk in chunks],
            [_weighed(terms.counts(one.document.answer), said) for one in added],
            placed(prepared, vectors.astype(np.float32), languages, owner, len(added)),
        )


def _weighed(counts: Mapping[str, int], length: float) -> dict[int, float]:
    return dict(sorted(terms.weights(counts, length).items()))


def _extended(arrays: index.Arrays, more: _Rows, base: index.Base) -> index.Arrays:
    size, points = base.documents, base.points
    kinds = np.concatenate([arrays.kinds[:size], np.full(len(more.answers), _FAQ, np.uint8)])
    owner = np.concatenate([arrays.owner[:points], (more.owner + size).astype(np.int32)])
    counts = np.bincount(more.owner, minlength=len(more.answers))
    starts, ids, weights = _appended(
        arrays.term_starts, arrays.term_ids, arrays.term_weights, points, more.words
    )
    known, idf = _known(arrays.faq_terms, arrays.faq_idf, ids, int(arrays.points[_FAQ]))
    return replace(
        arrays,
        owner=owner,
        starts=np.concatenate([arrays.starts[: size + 1], points + np.cumsum(counts)]),
        kinds=kinds,
        points=np.bincount(kinds[owner], minlength=len(KINDS)).astype(np.int64),
        vectors=np.concatenate([arrays.vectors[:points], more.vectors]),
        term_starts=starts,
        term_ids=ids,
        term_weights=weights,
        faq_terms=known,
        faq_idf=idf,
    )


def _extended_prepared(
    prepared: Mapping[str, _Array], more: _Rows, base: index.Base
) -> dict[str, _Array]:
    size, points = base.documents, base.points
    starts, ids, weights = _appended(
        prepared["answer_starts"], prepared["answer_ids"], prepared["answer_weights"], size,
        more.answers,
    )  # fmt: skip
    known, idf = _known(prepared["answer_terms"], prepared["answer_idf"], ids, size)
    corrections = np.zeros((len(more.answers), more.vectors.shape[1]), np.float16)
    reach = np.full(len(more.vectors), -FAQ_IS_NEARER, np.float32)
    spoken = [number for words in (*more.words, *more.answers) for number in words]
    return {
        **prepared,
        "languages": np.concatenate([prepared["languages"][:points], more.languages]),
        "shifted": np.concatenate([prepared["shifted"][:points], more.places["shifted"]]),
        "centroids": np.concatenate([prepared["centroids"][:size], more.places["centroids"]]),
        "means": np.concatenate([prepared["means"][:size], more.places["means"]]),
        "corrections": np.concatenate([prepared["corrections"][:size], corrections]),
        "answer_starts": starts,
        "answer_ids": ids,
        "answer_weights": weights,
        "answer_terms": known,
        "answer_idf": idf,
        "prototypes": np.concatenate([prepared["prototypes"][: base.prototypes], more.vectors]),
        "reach": np.concatenate([prepared["reach"][: base.prototypes], reach]),
        "vocabulary": np.union1d(prepared["vocabulary"], np.array(spoken, np.uint32)),
    }


def _appended(
    starts: _Array, ids: _Array, weights: _Array, rows: int, more: Sequence[Mapping[int, float]]
) -> tuple[_Array, _Array, _Array]:
    """Words of rows that lie one after the other, with those of more rows behind."""
    end = int(starts[rows])
    lengths = np.cumsum([len(words) for words in more], dtype=np.int64)
    added = np.array([number for words in more for number in words], np.uint32)
    heavy = np.array([weight for words in more for weight in words.values()], np.float32)
    return (
        np.concatenate([starts[: rows + 1], end + lengths]),
        np.concatenate([ids[:end], added]),
        np.concatenate([weights[:end], heavy]),
    )


def _known(known: _Array, idf: _Array, ids: _Array, size: int) -> tuple[_Array, _Array]:
    """All words, sorted, with their IDF: that of a new one is as if one of all had it."""
    fresh = np.setdiff1d(ids, known)
    rare = np.full(len(fresh), np.log(1 + (size - 0.5) / 1.5) if size else 0.0, np.float32)
    words, weights = np.concatenate([known, fresh]), np.concatenate([idf, rare])
    order = np.argsort(words, kind="stable")
    return words[order].astype(np.uint32), weights[order].astype(np.float32)


def _write_documents(
    source: Path, job: Path, added: Collection[StoredDocument], base: index.Base
) -> None:
    lines = [json_line(document_entry(one)) for one in added]
    offsets = np.load(source / "offsets.npy")[: base.documents + 1]
    ends = offsets[-1] + np.cumsum([len(line) for line in lines], dtype=np.int64)
    np.save(job / "offsets.npy", np.concatenate([offsets, ends]))
    with (source / index.DOCUMENTS).open("rb") as old, (job / index.DOCUMENTS).open("wb") as new:
        new.write(old.read(int(offsets[-1])))
        new.writelines(lines)
