"""Where the points of an index lie and are searched: in a folder, or on a server.

A point is what can be found of one passage: its vector, its words and its payload. What ranking
needs beside it lies in the index's own files, wherever the points are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.knowledge_base import PassageKind

if TYPE_CHECKING:
    from knowledge.index import Stamp

KINDS: tuple[PassageKind, ...] = get_args(PassageKind)
#: The payload's list of words that a search may ask for.
LABELS = "labels"
#: From so many points on a graph finds the nearest vectors, with this breadth. Below, all are
#: compared: exact, and 3 ms at 20,000 points.
GRAPH_FROM_POINTS = 20_000
GRAPH_BREADTH = 128


class PointsMissing(KnowledgeBaseUnavailable):
    """Points of an index are gone; it has to be made again of what is stored."""

    def __init__(self, knowledge_base: str, message: str) -> None:
        super().__init__(message)
        self.knowledge_base = knowledge_base


class EngineAway(KnowledgeBaseUnavailable):
    """An engine cannot be reached or is in trouble: later it may answer."""


@dataclass(frozen=True, slots=True)
class Hits:
    """Points found in one way, best first."""

    points: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Found:
    """What one search found of one kind."""

    dense: Hits
    sparse: Hits
    #: By meaning among texts of the other language, where that was asked for.
    foreign: Hits | None = None

    def points(self) -> NDArray[np.int64]:
        """All that were found, each once."""
        ways = [self.dense, self.sparse, *([self.foreign] if self.foreign else [])]
        return np.unique(np.concatenate([hits.points for hits in ways]))


@dataclass(frozen=True, slots=True)
class Abroad:
    """How to look among texts of the other language, which lie farther away."""

    #: That those texts have.
    label: str
    #: Of each kind, the question without what its own language adds to it.
    vectors: Mapping[PassageKind, NDArray[np.float32]]


class Points(Protocol):
    """The points of one open index, numbered from 0."""

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
        """The nearest points by meaning and by words (BM25), of each kind, in one go.

        Word statistics are those of this index and kind alone.

        Args:
            kinds: Those of which there are points.
            groups: Labels; of each group a point must have one.
            abroad: Look in the other language too.

        Raises:
            KnowledgeBaseUnavailable: They cannot be asked now.
        """
        ...

    async def payloads(self, points: Sequence[int]) -> dict[int, Mapping[str, Any]]:
        """What is kept of points, at least chunk_id, heading, text and page.

        Raises:
            KnowledgeBaseUnavailable: They cannot be asked now, or one is missing.
        """
        ...

    def close(self) -> None:
        """Release files and memory."""
        ...


class Engine(Protocol):
    """Keeps the points of all indexes."""

    @property
    def name(self) -> str:
        """Which engine, and its format: an index of another one is made again."""
        ...

    @property
    def order(self) -> Mapping[str, Any] | None:
        """What the process that builds an index is told to reach it; None: nothing."""
        ...

    def open(self, folder: Path, stamp: Stamp, count: int) -> Points:
        """Open the points of an index that lies in a folder. Blocks, but asks nobody.

        Raises:
            KnowledgeBaseUnavailable: They must be written again.
        """
        ...

    async def check(self, stamp: Stamp, count: int) -> None:
        """Make sure that all points of an index are there.

        Raises:
            PointsMissing: They must be written again.
            EngineAway: Nobody knows now.
            KnowledgeBaseUnavailable: Only a person can help.
        """
        ...

    async def settle(self, stamp: Stamp, before: Stamp | None, *, last: bool) -> None:
        """Called once an index is in service: drop what no process can be asked for any more.

        Never raises for a server that is away: it is made up for the next time.

        Args:
            before: The index that was in service until now.
            last: No other knowledge base waits for an index of this model.
        """
        ...
