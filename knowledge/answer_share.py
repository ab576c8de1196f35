"""Learns of a knowledge base what the words of an FAQ's answers tell about its questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowledge import word_match
from knowledge.index import Arrays
from knowledge.points import KINDS
from knowledge.variants_head import nearness

#: Where there is too little to learn from.
_UNTOLD = 0.1
_SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
#: What a full match with the words of a question or variant is worth beside a cosine of 1.
LEXICAL_SHARE = 0.15
#: Variants that are asked: at least, and at most.
_FEWEST = 30
_SAMPLED = 300
#: By how much the odds of an entry grow with its score, as a power of e.
_SCALE = 20.0


def answer_share(arrays: Arrays, prepared: Mapping[str, NDArray[Any]]) -> float:
    """What a full match with the words of an answer is worth beside a cosine of 1.

    Variants are asked as if a customer had asked them and their entry did not have them; the
    share is taken that makes their own entries the likeliest. Deterministic; takes 1 ms for
    each of 300 variants.

    Args:
        prepared: What `geometry.survey` and `word_match.answer_terms` gave.
    """
    counts = np.diff(arrays.starts)
    points = np.flatnonzero(arrays.kinds[arrays.owner] == KINDS.index("faq"))
    entries = np.unique(arrays.owner[points]).astype(np.int64)
    asked = points[counts[arrays.owner[points]] > 1]
    if len(asked) < _FEWEST or not len(prepared["answer_ids"]):
        return _UNTOLD
    asked = np.random.default_rng(0).permutation(asked)[:_SAMPLED]
    own = np.searchsorted(entries, arrays.owner[asked])
    pairs = [_held_back(arrays, prepared, point, entries, points) for point in asked.tolist()]
    scores, held = (np.stack(rows, dtype=np.float32) for rows in zip(*pairs, strict=True))
    likely = [_likelihood(scores + np.float32(share) * held, own) for share in _SHARES]
    return _SHARES[int(np.argmax(likely))]


def _held_back(
    arrays: Arrays,
    prepared: Mapping[str, NDArray[Any]],
    point: int,
    entries: NDArray[np.int64],
    points: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The score of each entry without its answer, and the share of words in its answer."""
    terms = arrays.term_ids[arrays.term_starts[point] : arrays.term_starts[point + 1]]
    words = word_match.lexical(arrays, points, terms, "faq")
    vector = prepared["shifted"][point].astype(np.float32)
    near = prepared["shifted"][points].astype(np.float32) @ vector
    to_centre = prepared["centroids"][entries].astype(np.float32) @ vector
    here, owner = points == point, arrays.owner[point]
    words[here], near[here] = 0, -1
    others = points[(arrays.owner[points] == owner) & ~here]
    rest = prepared["shifted"][others].astype(np.float32).sum(0)
    to_centre[entries == owner] = rest @ vector / max(float(np.linalg.norm(rest)), 1e-6)
    starts = np.searchsorted(arrays.owner[points], entries)
    meaning = nearness(
        np.maximum.reduceat(near, starts), to_centre, np.zeros_like(to_centre),
        np.diff(arrays.starts)[entries],
    )  # fmt: skip
    scores = meaning + LEXICAL_SHARE * np.maximum.reduceat(words, starts)
    return np.asarray(scores, np.float32), word_match.answers(prepared, entries, terms)


def _likelihood(scores: NDArray[np.float32], own: NDArray[np.int64]) -> float:
    """The mean logarithm of what a softmax gives to the right entry."""
    logs = _SCALE * (scores - scores.max(1, keepdims=True))
    logs -= np.log(np.exp(logs).sum(1, keepdims=True))
    return float(logs[np.arange(len(own)), own].mean())
