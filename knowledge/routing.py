"""Chooses the few knowledge bases that a question is searched in, by small summaries of each.

Merging what several indexes found needs no router: their scores compare. But where there are
hundreds, each is known here by a few vectors and by its words, all of them in memory, and only
those that may hold the answer are searched. Where there are few, all are.

Nothing of a knowledge base that may not be asked counts: not even for how rare a word is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from knowledge import terms
from knowledge.index import Arrays
from knowledge.points import KINDS
from knowledge.ranking import FAQ_IS_NEARER, Question

#: Knowledge bases that are searched for one question, at most.
SEARCHED = 5
#: What it is worth that a knowledge base has all words of a question, beside a cosine of 1.
_WORDS_SHARE = 0.05

#: Vectors that stand for a knowledge base, of each kind.
_PROTOTYPES = 64
#: Points that they are found among, and how often they are moved.
_SAMPLED = 4096
_ROUNDS = 6

Vectors = NDArray[np.float32]
#: What of `summarise` a router reads.
SUMMARY: Final = ("prototypes", "reach", "vocabulary")


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """What a router knows of one knowledge base."""

    #: One row a prototype.
    prototypes: Vectors
    #: By how much a question is nearer to a point around a prototype than to the prototype.
    reach: Vectors
    #: Numbers of all its terms, sorted.
    vocabulary: NDArray[np.uint32]

    @classmethod
    def of(cls, prepared: Mapping[str, NDArray[Any]]) -> Summary:
        """From what `summarise` made."""
        prototypes, reach, vocabulary = (np.array(prepared[name]) for name in SUMMARY)
        return cls(prototypes.astype(np.float32), reach, vocabulary)

    def described(self, text: str, vector: Vectors) -> Summary:
        """The same with what the operator says of the knowledge base, and that as a vector."""
        said = np.array([terms.term_id(term) for term in terms.tokenise(text)], np.uint32)
        return Summary(
            np.concatenate([self.prototypes, vector[None, :]]),
            np.append(self.reach, np.float32(0)),
            np.union1d(self.vocabulary, said),
        )


def summarise(arrays: Arrays, answer_terms: NDArray[np.uint32]) -> dict[str, NDArray[Any]]:
    """A knowledge base in a few numbers, made where its index is built."""
    found = [
        _prototypes(arrays.vectors[arrays.kinds[arrays.owner] == place].astype(np.float32))
        for place in range(len(KINDS))
    ]
    nearer = [FAQ_IS_NEARER if kind == "faq" else 0.0 for kind in KINDS]
    reach = [one - shift for (_, one), shift in zip(found, nearer, strict=True)]
    known = [arrays.faq_terms, arrays.document_terms, answer_terms]
    return {
        "prototypes": np.concatenate([rows for rows, _ in found]).astype(np.float16),
        "reach": np.concatenate(reach).astype(np.float32),
        "vocabulary": np.unique(np.concatenate(known)).astype(np.uint32),
    }


class Router:
    """Chooses among knowledge bases; immutable."""

    def __init__(self, summaries: Mapping[str, Summary]) -> None:
        known = list(summaries.values())
        self._places = {name: place for place, name in enumerate(summaries)}
        self._starts = np.cumsum([0, *(len(one.reach) for one in known)])
        dimensions = max((one.prototypes.shape[1] for one in known), default=0)
        rows = [one.prototypes for one in known if len(one.reach)]
        self._prototypes = np.concatenate([np.zeros((0, dimensions), np.float32), *rows])
        self._reach = np.concatenate([np.zeros(0, np.float32), *(one.reach for one in known)])
        words = np.concatenate([np.zeros(0, np.uint32), *(one.vocabulary for one in known)])
        owners = np.repeat(np.arange(len(known)), [len(one.vocabulary) for one in known])
        order = np.argsort(words, kind="stable")
        self._words, self._owners = words[order], owners[order].astype(np.int32)

    def choose(
        self, question: Question, names: Sequence[str], limit: int = SEARCHED
    ) -> tuple[str, ...]:
        """The names of those that most likely hold the answer, the likeliest first.

        Whatever is not among `names` changes nothing.
        """
        asked = [name for name in names if name in self._places]
        if len(asked) <= limit:
            return tuple(asked)
        places = np.array([self._places[name] for name in asked])
        score = self._nearest(question)[places] + _WORDS_SHARE * self._words_held(question, places)
        # Rounded: how the same sum comes out depends on what else is summed beside it.
        best = np.argsort(-np.round(score, 4), kind="stable")[:limit]
        return tuple(asked[place] for place in best)

    def _nearest(self, question: Question) -> Vectors:
        """For each knowledge base, the greatest cosine to any of its points, about."""
        near = self._prototypes @ question.vector + self._reach
        found: Vectors = np.full(len(self._starts) - 1, -1, np.float32)
        filled = np.flatnonzero(np.diff(self._starts))
        if len(filled):
            found[filled] = np.maximum.reduceat(near, self._starts[filled])
        return found

    def _words_held(self, question: Question, places: NDArray[np.int64]) -> Vectors:
        """The share of the question's words that each has; rare ones weigh more."""
        size = len(self._starts) - 1
        ends = np.searchsorted(self._words, question.term_ids, "right")
        starts = np.searchsorted(self._words, question.term_ids, "left")
        held = np.zeros((len(starts), size), np.bool_)
        for row, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            held[row, self._owners[start:end]] = True
        among = held[:, places]
        weight = np.log1p((len(places) + 0.5) / (among.sum(1) + 0.5))
        # What nobody has tells nothing.
        weight = np.where(among.any(1), weight, 0)
        return np.asarray(weight @ among / max(float(weight.sum()), 1e-6), np.float32)


class Guide:
    """The router over the indexes in service, made anew when it is needed after a change."""

    def __init__(
        self, descriptions: Mapping[str, str], embed: Callable[[Sequence[str]], Vectors]
    ) -> None:
        """`descriptions`: what operators say of knowledge bases; `embed` turns them to vectors."""
        self._descriptions = descriptions
        self._embed = embed
        self._summaries: dict[str, Summary] = {}
        self._said: dict[str, Vectors] = {}
        self._router: Router | None = None

    def put(self, name: str, prepared: Mapping[str, NDArray[Any]]) -> None:
        """Note the summary of an index that is taken into service."""
        self._summaries[name] = Summary.of(prepared)
        self._router = None

    async def choose(self, question: Question, names: Sequence[str]) -> Sequence[str]:
        """The few knowledge bases to search; see `Router.choose`.

        Raises:
            KnowledgeBaseUnavailable: The model does not answer.
        """
        if len(names) <= SEARCHED:
            return names
        while (router := self._router) is None:
            known = dict(self._summaries)
            made = await asyncio.to_thread(self._make, known)
            if known == self._summaries:
                self._router = made
        return router.choose(question, names)

    def _make(self, known: Mapping[str, Summary]) -> Router:
        new = [name for name in known if self._descriptions.get(name) and name not in self._said]
        if new:
            texts = [self._descriptions[name] for name in new]
            self._said |= dict(zip(new, self._embed(texts), strict=True))
        return Router(
            {
                name: one.described(f"{name} {self._descriptions[name]}", self._said[name])
                if name in self._said
                else one
                for name, one in known.items()
            }
        )


def _prototypes(points: Vectors) -> tuple[Vectors, Vectors]:
    """Vectors that stand for many, and by how much they fall short of the nearest of them."""
    if len(points) <= _PROTOTYPES:
        return points, np.zeros(len(points), np.float32)
    chance = np.random.default_rng(0)
    sample = points[np.sort(chance.permutation(len(points))[:_SAMPLED])]
    centres = _spread(sample)
    for _ in range(_ROUNDS):
        nearest = (sample @ centres.T).argmax(1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, sample)
        kept = np.flatnonzero(np.bincount(nearest, minlength=len(centres)))
        centres = sums[kept] / np.linalg.norm(sums[kept], axis=1, keepdims=True)
    return centres, _reach(sample, centres)


def _spread(sample: Vectors) -> Vectors:
    """Points that are as far from one another as can be, one after the other."""
    chosen = [0]
    nearest = sample @ sample[0]
    while len(chosen) < _PROTOTYPES:
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, sample @ sample[chosen[-1]])
    return sample[chosen]


def _reach(sample: Vectors, centres: Vectors) -> Vectors:
    """As if each point were a question: how much nearer its neighbour is than its prototype."""
    near = sample @ centres.T
    group, to_centre = near.argmax(1), near.max(1)
    found: Vectors = np.zeros(len(centres), np.float32)
    for place in range(len(centres)):
        own = np.flatnonzero(group == place)
        if len(own) > 1:
            among = sample[own] @ sample[own].T
            np.fill_diagonal(among, -1)
            found[place] = (among.max(1) - to_centre[own]).mean()
    return found
