"""Learns from an FAQ's variants what tells its entries from one another.

Multinomial logistic regression on the vectors of questions and variants, but for one thing: it
starts from how near the entries' centres are, and is paid for every step away from there. What is
learned is therefore a correction of that nearness, and trusted the more, the more variants an
entry has: one with its question alone is as near to a question as before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
_Slope = Callable[[Vectors], tuple[float, Vectors]]

#: What the nearest variant counts for beside the centre of all: an entry with many variants has
#: one near to anything.
_NEAREST = 0.2
#: What a correction is worth beside a cosine: what was learned with is nearer to the centres than
#: new questions are, and left less to put right.
_CORRECTION = 1.5
#: How much nearer to anything the centre of many variants is than a question alone.
_ADVANTAGE = 0.08
#: By how much the odds of an entry grow with its cosine, as a power of e.
_SCALE = 20.0
#: What a correction costs, beside one variant that is taken for another entry's.
_RIDGE = 10.0
#: Entries that a variant may be taken for: the nearest in its language.
_RIVALS = 16
#: Variants that are learned from at most: of one entry, and of all.
_OF_ONE = 100
_OF_ALL = 20_000
_STEPS = 15
_MEMORY = 3
#: Rows that are compared with all centres at once.
_BLOCK = 512


def nearness(
    nearest: Vectors, to_centre: Vectors, corrected: Vectors, counts: NDArray[np.int64]
) -> Vectors:
    """How near a question is to entries, such that those with few and many variants compare.

    Args:
        nearest: The cosine to the nearest variant of each entry.
        to_centre: The cosine to its centre.
        corrected: The product with what `train` gave.
        counts: How many questions and variants it has.
    """
    trust = 1 - 1 / counts
    plain = _NEAREST * nearest + (1 - _NEAREST) * to_centre
    return np.asarray(plain + trust * (_CORRECTION * corrected - _ADVANTAGE), np.float32)


def train(
    vectors: Vectors,
    owner: NDArray[np.int64],
    languages: NDArray[np.uint8],
    centroids: Vectors,
) -> Vectors:
    """What a question's vector is to be multiplied by, to correct its cosine to each entry.

    Deterministic. One core takes 1 s for 10,000 variants of 77 or 2,000 entries, 7 s for 40,000 of
    20,000 entries.

    Args:
        vectors: Of all questions and variants, of length one.
        owner: The entry of each, by its row in `centroids`.
        languages: The number of each one's language.
        centroids: The centre of each entry, of length one.
    """
    chosen = _chosen(owner, len(centroids))
    if not len(chosen) or len(centroids) < 2:
        return np.zeros_like(centroids)
    lesson = _Lesson.of(vectors, owner, languages, centroids, chosen)
    return _minimise(lesson.slope, lesson.steepness(), np.zeros_like(centroids))


def _chosen(owner: NDArray[np.int64], entries: int) -> NDArray[np.int64]:
    """Rows to learn from: a variant without another beside it has nothing to be found by."""
    mixed = np.random.default_rng(0).permutation(len(owner))
    by_entry = mixed[np.argsort(owner[mixed], kind="stable")]
    counts = np.bincount(owner, minlength=entries)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    wanted = by_entry[(place < _OF_ONE) & (counts[owner[by_entry]] > 1)]
    if len(wanted) > _OF_ALL:
        wanted = np.random.default_rng(0).permutation(wanted)[:_OF_ALL]
    return np.sort(wanted)


@dataclass(frozen=True, slots=True)
class _Lesson:
    """Variants, each with its own entry and its rivals: pairs, sorted by entry."""

    vectors: Vectors
    #: Entries with few variants count as much as those with many.
    weights: Vectors
    #: One row a variant: the cosine to its entry without it, then to its rivals.
    cosines: Vectors
    entries: int
    #: The place of each pair in `cosines`, and where an entry's pairs begin.
    pairs: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        vectors: Vectors,
        owner: NDArray[np.int64],
        languages: NDArray[np.uint8],
        centroids: Vectors,
        chosen: NDArray[np.int64],
    ) -> Self:
        size = len(centroids)
        rows, own = vectors[chosen], owner[chosen]
        sums = np.zeros_like(centroids)
        np.add.at(sums, owner, vectors)
        rest = sums[own] - rows
        rest /= np.maximum(np.linalg.norm(rest, axis=1, keepdims=True), 1e-6)
        # An entry's language is that of most of its variants.
        spoken = np.bincount(owner, languages, size) > np.bincount(owner, minlength=size) / 2
        rivals, cosines = _rivals(rows, own, languages[chosen], centroids, spoken)
        entries = np.column_stack([own, rivals]).ravel()
        pairs = np.argsort(entries, kind="stable")
        weights = 1 / np.bincount(own, minlength=size)[own]
        return cls(
            rows,
            np.asarray(weights / weights.mean(), np.float32),
            np.column_stack([(rows * rest).sum(1), cosines]),
            size,
            pairs,
            np.searchsorted(entries[pairs], np.arange(size + 1)),
        )

    def slope(self, corrections: Vectors) -> tuple[float, Vectors]:
        """The loss, and which way it grows."""
        moved = np.zeros(self.cosines.size, np.float32)
        for entry, pairs, rows in self._by_entry():
            moved[pairs] = rows @ corrections[entry]
        shares, logs = _softmax(_SCALE * (self.cosines + moved.reshape(self.cosines.shape)))
        loss = -float(self.weights @ logs[:, 0])
        loss += _RIDGE * _SCALE / 2 * float(np.vdot(corrections, corrections))
        shares[:, 0] -= 1
        errors = (_SCALE * self.weights[:, None] * shares).ravel()
        gradient = _RIDGE * _SCALE * corrections
        for entry, pairs, rows in self._by_entry():
            gradient[entry] += errors[pairs] @ rows
        return loss, gradient

    def steepness(self) -> Vectors:
        """About how fast the slope changes with each entry's correction: one row an entry."""
        shares, _ = _softmax(_SCALE * self.cosines)
        unsure = (self.weights[:, None] * shares * (1 - shares)).ravel()[self.pairs]
        sums = np.add.reduceat(np.append(unsure, 0), self.starts[:-1])
        sums[np.diff(self.starts) == 0] = 0
        return np.asarray(_RIDGE * _SCALE + _SCALE**2 / 4 * sums, np.float32)[:, None]

    def _by_entry(self) -> Any:
        width = self.cosines.shape[1]
        for entry in np.flatnonzero(np.diff(self.starts)).tolist():
            pairs = self.pairs[self.starts[entry] : self.starts[entry + 1]]
            yield entry, pairs, self.vectors[pairs // width]


def _rivals(
    rows: Vectors,
    own: NDArray[np.int64],
    languages: NDArray[np.uint8],
    centroids: Vectors,
    spoken: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], Vectors]:
    """The nearest other entries of each row, and their cosines."""
    count = min(_RIVALS, len(centroids) - 1)
    rivals = np.empty((len(rows), count), np.int64)
    cosines = np.empty((len(rows), count), np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        near = rows[block] @ centroids.T
        # What says the same in another language is no rival: far away it has no weight.
        near[languages[block, None] != spoken] = -1
        near[np.arange(len(near)), own[block]] = -2
        rivals[block] = np.argpartition(-near, count - 1, axis=1)[:, :count]
        cosines[block] = np.take_along_axis(near, rivals[block], axis=1)
    return rivals, cosines


def _softmax(scores: Vectors) -> tuple[Vectors, Vectors]:
    logs = scores - scores.max(1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(1, keepdims=True))
    return np.exp(logs), logs


def _minimise(slope: _Slope, steepness: Vectors, start: Vectors) -> Vectors:
    """Where a convex loss is least, by L-BFGS (Nocedal and Wright 2006, algorithm 7.4)."""
    at, (loss, gradient) = start, slope(start)
    steps: list[tuple[Vectors, Vectors]] = []
    for _ in range(_STEPS):
        direction = _direction(gradient, steps, steepness)
        descent = float(np.vdot(direction, gradient))
        length = 1.0
        better, (lower, turned) = at - direction, slope(at - direction)
        while lower > loss - 1e-4 * length * descent and length > 0.01:
            length /= 2
            better = at - np.float32(length) * direction
            lower, turned = slope(better)
        if lower >= loss:
            return at
        steps = [*steps, (better - at, turned - gradient)][-_MEMORY:]
        gained, at, loss, gradient = loss - lower, better, lower, turned
        if gained < 1e-4 * loss:
            break
    return at


def _direction(
    gradient: Vectors, steps: list[tuple[Vectors, Vectors]], steepness: Vectors
) -> Vectors:
    direction = gradient.copy()
    shares = []
    for step, change in reversed(steps):
        share = np.vdot(step, direction) / np.vdot(step, change)
        shares.append(share)
        direction -= share * change
    direction /= steepness
    if steps:
        step, change = steps[-1]
        direction *= np.vdot(step, change) / np.vdot(change / steepness, change)
    for (step, change), share in zip(steps, reversed(shares), strict=True):
        direction += step * (share - np.vdot(change, direction) / np.vdot(step, change))
    return direction
