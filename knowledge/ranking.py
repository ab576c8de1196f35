"""Orders the documents that a search found: numpy only.

Meaning and words are added up, words as a share of what the question could reach at most: where
question and passages differ in language, or the words are unknown, that share is about zero and
meaning decides alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfbot.knowledge_base import PassageKind
from knowledge import terms
from knowledge.geometry import language_number, survey, unit
from knowledge.habits import usual_words
from knowledge.index import Arrays, DocumentEntry
from knowledge.shard import KINDS, Found

#: What a full match of words is worth beside a cosine of 1.
_LEXICAL_SHARE: Mapping[PassageKind, float] = {"faq": 0.15, "document": 0.4}
#: What a full match with the words of an FAQ's answer is worth.
_ANSWER_SHARE = 0.1
#: By how much the cosine to a question is greater than to a passage that answers.
_FAQ_IS_NEARER = 0.03
#: What a difference of scores comes to as a difference of plain cosines.
_SPREAD = 0.2


@dataclass(frozen=True, slots=True)
class Question:
    """A question as ranking sees it."""

    text: str
    #: L2-normalised.
    vector: NDArray[np.float32]
    terms: tuple[str, ...]
    #: The distinct terms' numbers, ascending.
    term_ids: NDArray[np.uint32]
    #: Its place in `geometry.LANGUAGES`.
    language: int

    @classmethod
    def of(cls, text: str, vector: NDArray[np.float32]) -> Question:
        """A question from its text and its vector."""
        found = tuple(terms.tokenise(text))
        ids = np.unique(np.array([terms.term_id(term) for term in found], np.uint32))
        return cls(text, vector, found, ids, language_number(text))


@dataclass(frozen=True, slots=True)
class Ranked:
    """Documents of one kind, best first, each with its best point."""

    kind: PassageKind
    documents: NDArray[np.int64]
    points: NDArray[np.int64]
    scores: NDArray[np.float32]
    #: Cosine, and BM25 as a share of what the question could reach, of the document.
    dense: NDArray[np.float32]
    lexical: NDArray[np.float32]
    #: The greatest plain cosine of any point.
    nearest: float

    def comparable(self) -> NDArray[np.float32]:
        """Scores that can be set beside those of other kinds and knowledge bases.

        Plain cosines compare, scores do not. Questions lie nearer to questions than to
        passages that answer them, which is made up for.
        """
        if not len(self.scores):
            return self.scores
        lead = self.nearest - (_FAQ_IS_NEARER if self.kind == "faq" else 0.0)
        return np.asarray(lead + _SPREAD * (self.scores - self.scores[0]), np.float32)


def prepare(
    arrays: Arrays,
    documents: Sequence[DocumentEntry],
    texts: Sequence[str],
    generic: NDArray[np.float32],
) -> dict[str, NDArray[Any]]:
    """What ranking keeps beside an index, made once where the index is built."""
    answers = _answer_terms(documents)
    habits = usual_words(arrays, answers["answer_starts"], answers["answer_ids"])
    return survey(arrays, texts, generic) | answers | {"usual_words": habits}


def rank(
    arrays: Arrays,
    prepared: Mapping[str, NDArray[Any]],
    question: Question,
    kind: PassageKind,
    found: Found,
) -> Ranked:
    """Order the documents of the points that were found of one kind."""
    hits = np.union1d(found.dense.points, found.sparse.points)
    documents = np.unique(arrays.owner[hits]).astype(np.int64)
    nearest = float(found.dense.scores[0]) if len(found.dense.scores) else 0.0
    if not len(documents):
        empty, none = np.zeros(0, np.int64), np.zeros(0, np.float32)
        return Ranked(kind, empty, empty, none, none, none, nearest)
    points = points_of(arrays, documents)
    group = np.searchsorted(documents, arrays.owner[points])
    asked = shifted_question(prepared, question, kind)
    near = prepared["shifted"][points].astype(np.float32) @ asked
    words = _lexical(arrays, points, question, kind)
    share = np.float32(_LEXICAL_SHARE[kind])
    best = np.lexsort((-(near + share * words), group))
    # The first of each group in this order is the document's best point.
    chosen = points[best[np.searchsorted(group[best], np.arange(len(documents)))]]
    dense: NDArray[np.float32] = np.full(len(documents), -1, np.float32)
    lexical: NDArray[np.float32] = np.zeros(len(documents), np.float32)
    np.maximum.at(dense, group, near)
    np.maximum.at(lexical, group, words)
    if kind == "faq":
        to_all = prepared["centroids"][documents].astype(np.float32) @ asked
        dense = np.asarray((dense + to_all) / 2, np.float32)
    scores = dense + share * lexical
    if kind == "faq":
        scores = scores + np.float32(_ANSWER_SHARE) * _answers(prepared, documents, question)
    order = np.argsort(-scores, kind="stable")
    return Ranked(
        kind, documents[order], chosen[order], scores[order].astype(np.float32),
        dense[order], lexical[order], nearest,
    )  # fmt: skip


def points_of(arrays: Arrays, documents: NDArray[np.int64]) -> NDArray[np.int64]:
    """All points of documents, in order."""
    starts, ends = arrays.starts[documents], arrays.starts[documents + 1]
    return _ranges(starts, ends - starts)


def shifted_question(
    prepared: Mapping[str, NDArray[Any]], question: Question, kind: PassageKind
) -> NDArray[np.float32]:
    """The question as `shifted` points are: from the centre, whitened, of length one."""
    return unit(white_question(prepared, question, kind))


def white_question(
    prepared: Mapping[str, NDArray[Any]], question: Question, kind: PassageKind
) -> NDArray[np.float32]:
    """The question from the centre of its language, whitened."""
    shifted = question.vector - prepared[f"{kind}_asked"][question.language]
    return np.asarray(shifted @ prepared[f"{kind}_whiten"], np.float32)


def _ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    before = np.cumsum(lengths) - lengths
    flat: NDArray[np.int64] = np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
    return flat


def _lexical(
    arrays: Arrays, points: NDArray[np.int64], question: Question, kind: PassageKind
) -> NDArray[np.float32]:
    """BM25 of points, divided by the IDF of all the question's terms."""
    idf = arrays.idf(kind, question.term_ids)
    return _gain(
        question.term_ids, idf, points, arrays.term_starts, arrays.term_ids, arrays.term_weights
    )


def _answers(
    prepared: Mapping[str, NDArray[Any]], documents: NDArray[np.int64], question: Question
) -> NDArray[np.float32]:
    """The same of the answers of FAQ entries."""
    known = prepared["answer_terms"]
    if not len(known):
        return np.zeros(len(documents), np.float32)
    at = np.minimum(np.searchsorted(known, question.term_ids), len(known) - 1)
    unknown = prepared["answer_unknown_idf"][0]
    idf = np.where(known[at] == question.term_ids, prepared["answer_idf"][at], unknown)
    return _gain(
        question.term_ids, idf, documents, prepared["answer_starts"],
        prepared["answer_ids"], prepared["answer_weights"],
    )  # fmt: skip


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
    flat = _ranges(starts[rows], lengths)
    found = ids[flat]
    at = np.minimum(np.searchsorted(asked, found), len(asked) - 1)
    gain = np.where(asked[at] == found, idf[at] * weights[flat], 0)
    return np.asarray(np.bincount(row, gain, len(rows)) / idf.sum(), np.float32)


def _answer_terms(documents: Sequence[DocumentEntry]) -> dict[str, NDArray[Any]]:
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
        "answer_unknown_idf": np.log1p(np.array([(size + 0.5) / 0.5])).astype(np.float32),
    }
