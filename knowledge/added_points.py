"""Points that were added to an index since it was built: few, in memory, compared one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kfbot.knowledge_base import PassageKind
from knowledge.labels import labels_of, language_label
from knowledge.points import KINDS, Abroad, Found, Hits, Points

if TYPE_CHECKING:
    from knowledge.index import Arrays, Base


#: So many more are asked for, at most, where points that are passed over may come first.
_MOST_HIDDEN = 200


class AddedPoints:
    """The points of an index, and those that were added: all of them FAQ entries'."""

    def __init__(
        self,
        points: Points,
        base: Base,
        arrays: Arrays,
        prepared: Mapping[str, Any],
        payloads: Sequence[Mapping[str, Any]],
        fields: Sequence[Mapping[str, str]],
    ) -> None:
        """Connect both.

        Args:
            points: Those that the index was built of.
            payloads: Of each point that was added.
            fields: Of the document of each.
        """
        self._points = points
        self._arrays = arrays
        self._first = base.points
        self._payloads = payloads
        self._hidden = np.array(base.hidden, np.int64)
        hidden_points = arrays.starts[self._hidden + 1] - arrays.starts[self._hidden]
        self._more = min(int(hidden_points.sum()), _MOST_HIDDEN)
        names = prepared["fields"].tolist()
        languages = prepared["languages"][self._first :].tolist()
        self._labels = [
            {*labels_of(held, names), language_label(language)}
            for held, language in zip(fields, languages, strict=True)
        ]

    async def search(
        self,
        dense: NDArray[np.float32],
        terms: Mapping[int, float],
        limit: int,
        kinds: Sequence[PassageKind] = KINDS,
        *,
        groups: Sequence[Sequence[str]] = (),
        abroad: Abroad | None = None,
    ) -> dict[PassageKind, Found]:
        """See `Points.search`."""
        found = await self._points.search(
            dense, terms, limit + self._more, kinds, groups=groups, abroad=abroad
        )
        shown = {
            kind: Found(
                self._shown(one.dense, limit),
                self._shown(one.sparse, limit),
                self._shown(one.foreign, limit) if one.foreign else None,
            )
            for kind, one in found.items()
        }
        if "faq" not in shown or not self._payloads:
            return shown
        mine, faq = self._among(groups), shown["faq"]
        foreign = faq.foreign
        if abroad is not None and foreign is not None:
            there = self._among([*groups, [abroad.label]])
            near = self._near(there, abroad.vectors["faq"])
            foreign = _merged(foreign, there, near, limit)
        said = self._words(mine, terms)
        shown["faq"] = Found(
            _merged(faq.dense, mine, self._near(mine, dense), limit),
            _merged(faq.sparse, mine[said > 0], said[said > 0], limit),
            foreign,
        )
        return shown

    async def payloads(self, points: Sequence[int]) -> dict[int, Mapping[str, Any]]:
        """See `Points.payloads`."""
        built = [point for point in points if point < self._first]
        found = await self._points.payloads(built) if built else {}
        added = {p: self._payloads[p - self._first] for p in points if p >= self._first}
        return {**found, **added}

    def close(self) -> None:
        """Release files and memory."""
        self._points.close()

    def _shown(self, hits: Hits, limit: int) -> Hits:
        """The best ones without points of documents that are in force no more."""
        if not len(self._hidden) or not len(hits.points):
            return hits
        kept = ~np.isin(self._arrays.owner[hits.points], self._hidden)
        return Hits(hits.points[kept][:limit], hits.scores[kept][:limit])

    def _among(self, groups: Sequence[Sequence[str]]) -> NDArray[np.int64]:
        """The added points that have a label of each group."""
        numbers = [
            self._first + place
            for place, labels in enumerate(self._labels)
            if all(not labels.isdisjoint(group) for group in groups)
        ]
        return np.array(numbers, np.int64)

    def _near(self, points: NDArray[np.int64], vector: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self._arrays.vectors[points].astype(np.float32) @ vector, np.float32)

    def _words(self, points: NDArray[np.int64], terms: Mapping[int, float]) -> NDArray[np.float32]:
        """BM25 of points."""
        arrays = self._arrays
        asked = np.array(sorted(terms), np.uint32)
        starts = arrays.term_starts[self._first :]
        ids, weights = arrays.term_ids[starts[0] :], arrays.term_weights[starts[0] :]
        found = np.flatnonzero(np.isin(ids, asked))
        owner = np.searchsorted(starts, found + starts[0], side="right") - 1
        reached = arrays.idf("faq", ids[found]) * weights[found]
        scores = np.bincount(owner, reached, minlength=len(starts) - 1)
        return scores[points - self._first].astype(np.float32)


def _merged(hits: Hits, points: NDArray[np.int64], scores: NDArray[np.float32], limit: int) -> Hits:
    """The best of both."""
    numbers = np.concatenate([hits.points, points])
    reached = np.concatenate([hits.scores, scores])
    best = np.argsort(-reached, kind="stable")[:limit]
    return Hits(numbers[best], reached[best])
