"""How much of a question's words entries and passages carry: BM25 as a share of the possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfbot.knowledge_base import PassageKind
from knowledge import terms
from knowledge.index import Arrays, DocumentEntry
from knowledge.points import KINDS


def in_sorted(asked: NDArray[np.uint32], ids: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which of the asked are among ids that stand in order."""
    if not len(ids):
        return np.zeros(len(asked), np.bool_)
    at = np.minimum(np.searchsorted(ids, asked), len(ids) - 1)
    return np.asarray(ids[at] == asked)


def ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """All numbers of ranges, one range after the other."""
    before = np.cumsum(lengths) - lengths
    flat: NDArray[np.int64] = np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
    return flat


def lexical(
    arrays: Arrays,
    points: NDArray[np.int64],
    term_ids: NDArray[np.uint32],
    kind: PassageKind,
) -> NDArray[np.float32]:
    """BM25 of points, divided by the IDF of all the question's terms.

    Args:
        term_ids: Of the question: distinct, ascending.
    """
    idf = arrays.idf(kind, term_ids)
    return _gain(term_ids, idf, points, arrays.term_starts, arrays.term_ids, arrays.term_weights)


def answers(
    prepared: Mapping[str, NDArray[Any]],
    documents: NDArray[np.int64],
    term_ids: NDArray[np.uint32],
) -> NDArray[np.float32]:
    """The same of the answers of FAQ entries; `prepared`: what `answer_terms` gave."""
    known = prepared["answer_terms"]
    if not len(known):
        return np.zeros(len(documents), np.float32)
    at = np.minimum(np.searchsorted(known, term_ids), len(known) - 1)
    unknown = prepared["answer_unknown_idf"][0]
    idf = np.where(known[at] == term_ids, prepared["answer_idf"][at], unknown)
    return _gain(
        term_ids, idf, documents, prepared["answer_starts"],
        prepared["answer_ids"], prepared["answer_weights"],
    )  # fmt: skip


def answer_terms(documents: Sequence[DocumentEntry]) -> dict[str, NDArray[Any]]:
    """The words of FAQ answers, document by document, and how rare each is among them."""
    counted = [terms.counts(entry.answer) for entry in documents]
    lengths = [sum(counts.values()) for counts in counted if counts]
    average = sum(lengths) / max(len(lengths), 1)
    weighed = [dict(sorted(terms.weights(counts, average).items())) for counts in counted]
    ids = np.array([number for row in weighed for number in row], np.uint32)
    size = sum(entry.kind == KINDS[0] for entry in documents)
    known, having = np.unique(ids, return_counts=True)
    return {
        "answer_starts": np.cumsum([0, *map(len, weighed)], dtype=np.int64),
        "answer_ids": ids,
        "answer_weights": np.array([v for row in weighed for v in row.values()], np.float32),
        "answer_terms": known,
        "answer_idf": np.log(1 + (size - having + 0.5) / (having + 0.5)).astype(np.float32),
        "answer_length": np.array([average], np.float32),
        "answer_unknown_idf": np.log1p(np.array([(size + 0.5) / 0.5])).astype(np.float32),
    }


def _gain(
    asked: NDArray[np.uint32],
    idf: NDArray[np.float32],
    rows: NDArray[np.int64],
    starts: NDArray[np.int64],
    ids: NDArray[np.uint32],
    weights: NDArray[np.float32],
) -> NDArray[np.float32]:
    """BM25 of rows whose terms lie one after the other, as a share of the possible."""
    if not len(asked) or not len(rows):
        return np.zeros(len(rows), np.float32)
    lengths = starts[rows + 1] - starts[rows]
    row = np.repeat(np.arange(len(rows)), lengths)
    flat = ranges(starts[rows], lengths)
    found = ids[flat]
    at = np.minimum(np.searchsorted(asked, found), len(asked) - 1)
    gain = np.where(asked[at] == found, idf[at] * weights[flat], 0)
    return np.asarray(np.bincount(row, gain, len(rows)) / idf.sum(), np.float32)
