"""How well an embedding model finds what belongs together: hit@1, hit@5, MRR, and their gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kfbot.model.tuning.examples import Pair

_RESAMPLES = 2000
MEASURES = ("hit@1", "hit@5", "mrr")


@dataclass(frozen=True, slots=True)
class Task:
    """Queries, and candidates among which each has a right one."""

    queries: tuple[str, ...]
    #: The document of each query; of a pair without one its positive text.
    wanted: tuple[str, ...]
    #: Kind and text of each candidate.
    candidates: tuple[tuple[str, str], ...]
    #: The document of each candidate.
    documents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gain:
    """What tuning changed in one measure; the interval holds 95 of 100 resamples."""

    before: float
    after: float
    low: float
    high: float


def task_of(test: Sequence[Pair], train: Sequence[Pair]) -> Task:
    """What held-out queries are searched in: everything that is to be found in either file.

    A query that is a candidate too finds itself: it is left out.
    """
    found: dict[tuple[str, str], str] = {}
    for pair in (*test, *train):
        found.setdefault((pair.kind, pair.positive), document_of(pair))
    for pair in (*test, *train):
        for text in pair.negatives:
            found.setdefault((pair.kind, text), f"\0{text}")
    texts = {text for _, text in found}
    queries = {pair.query: document_of(pair) for pair in test if pair.query not in texts}
    return Task(tuple(queries), tuple(queries.values()), tuple(found), tuple(found.values()))


def document_of(pair: Pair) -> str:
    """What counts as found."""
    return pair.document or pair.positive


def ranks_of(
    task: Task, queries: NDArray[np.float32], candidates: NDArray[np.float32]
) -> NDArray[np.int64]:
    """The rank, from 1, of the right document of each query, by its nearest candidate.

    Args:
        queries: Rows of length one, as the candidates.
    """
    names = {name: place for place, name in enumerate(dict.fromkeys(task.documents))}
    of_candidate = np.array([names[name] for name in task.documents])
    ranks = np.empty(len(task.queries), np.int64)
    for place, wanted in enumerate(task.wanted):
        best = np.full(len(names), -2.0, np.float32)
        np.maximum.at(best, of_candidate, candidates @ queries[place])
        ranks[place] = 1 + int(np.sum(best > best[names[wanted]]))
    return ranks


def values_of(ranks: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Each measure of each query, 0 to 1."""
    return {
        "hit@1": (ranks <= 1).astype(np.float64),
        "hit@5": (ranks <= 5).astype(np.float64),
        "mrr": 1.0 / ranks,
    }


def gains_of(
    before: NDArray[np.int64], after: NDArray[np.int64], *, seed: int = 0
) -> Mapping[str, Gain]:
    """Means before and after, and a paired bootstrap interval of the difference, over queries."""
    generator = np.random.Generator(np.random.PCG64(seed))
    count = len(before)
    old, new = values_of(before), values_of(after)
    drawn = [generator.integers(0, count, count) for _ in range(_RESAMPLES)]
    gains = {}
    for name in MEASURES:
        difference = new[name] - old[name]
        means = [float(difference[chosen].mean()) for chosen in drawn]
        low, high = np.quantile(means, [0.025, 0.975])
        gains[name] = Gain(
            float(old[name].mean()), float(new[name].mean()), float(low), float(high)
        )
    return gains
