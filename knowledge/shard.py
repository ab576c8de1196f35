"""A Qdrant shard in a folder: the one file that knows qdrant-edge-py.

Each kind of passage has a dense and a sparse vector of its own, so that neither its word
statistics nor its nearest neighbours mix with those of the other kind, and no filter is needed.

What qdrant-edge-py does holds the GIL. Searching takes 0.5–3 ms; opening 30–100 ms;
filling, optimising and flushing take seconds and belong in a process of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from qdrant_edge import (
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeShard,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    FieldCondition,
    Filter,
    HnswIndexConfig,
    KeywordIndexParams,
    MatchAny,
    MatchValue,
    Modifier,
    Point,
    Query,
    QueryBatchRequest,
    QueryRequest,
    ScoredPoint,
    SearchParams,
    SparseVector,
    UpdateOperation,
    VectorStorageDatatype,
)

from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.knowledge_base import PassageKind
from knowledge.points import (
    GRAPH_BREADTH,
    GRAPH_FROM_POINTS,
    KINDS,
    LABELS,
    Abroad,
    Found,
    Hits,
    Points,
)

if TYPE_CHECKING:
    from knowledge.index import Stamp

ENGINE = f"qdrant-edge-py {version('qdrant-edge-py')}"
#: The folder of an index's points, inside the index's own.
FOLDER = "shard"
_BATCH = 500

PointId = int | str


@dataclass(frozen=True, slots=True)
class ShardPoint:
    """What is stored of one passage."""

    #: A number, or a UUID.
    id: PointId
    kind: PassageKind
    vector: Sequence[float]
    #: BM25 weights by term number.
    terms: Mapping[int, float]
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Match:
    """A point with its payload, as `Shard.find` gives it."""

    id: PointId
    score: float
    payload: Mapping[str, Any]


class Shard:
    """An open shard. Several threads may read from it; one may write.

    One whose point ids are the numbers of an index holds that index's points (`Points`); asking
    it does not suspend.
    """

    def __init__(self, shard: EdgeShard) -> None:
        self._shard = shard

    @classmethod
    def create(cls, folder: Path, dimensions: int, *, expected_points: int = 0) -> Self:
        """Make an empty shard in a folder that does not exist yet."""
        graph = 16 if expected_points >= GRAPH_FROM_POINTS else 0
        folder.mkdir(parents=True)
        config = EdgeConfig(
            vectors={
                kind: EdgeVectorParams(
                    size=dimensions,
                    distance=Distance.Dot,
                    datatype=VectorStorageDatatype.Float16,
                )
                for kind in KINDS
            },
            sparse_vectors={
                _sparse(kind): EdgeSparseVectorParams(modifier=Modifier.Idf) for kind in KINDS
            },
            hnsw_config=HnswIndexConfig(m=graph, ef_construct=100, full_scan_threshold=10_000),
            # A threshold of 1 KB: optimize() then makes even a small shard compact, which opens
            # in half the time and needs 60 MB less than one that is still open for writing.
            optimizers=EdgeOptimizersConfig(indexing_threshold=1, default_segment_number=1),
            max_search_threads=1,
            # The folder is made in one go; without a log it is also never locked.
            wal_enabled=False,
        )
        return cls(EdgeShard.create(str(folder), config))

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the shard in a folder.

        Raises:
            KnowledgeBaseUnavailable: There is none, or it is damaged.
        """
        try:
            return cls(EdgeShard.load(str(folder)))
        except BaseException as error:
            # Some damage makes the engine panic, which is no Exception in Python.
            if isinstance(error, Exception) or type(error).__name__ == "PanicException":
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise KnowledgeBaseUnavailable(f"index {folder}: {reason}") from error
            raise

    def add(self, points: Iterable[ShardPoint]) -> None:
        """Add points, or replace those with the same id."""
        remaining = iter(points)
        while batch := [_point(point) for point in islice(remaining, _BATCH)]:
            self._shard.update(UpdateOperation.upsert_points(batch))

    def remove(self, ids: Sequence[PointId]) -> None:
        """Remove points by id."""
        self._shard.update(UpdateOperation.delete_points(_engine_ids(ids)))

    def remove_where(self, equals: Mapping[str, Any]) -> None:
        """Remove the points whose payload has these values."""
        self._shard.update(UpdateOperation.delete_points_by_filter(_filter(equals)))

    def finish(self) -> None:
        """Make what was added compact, and write it to the disk."""
        labels = UpdateOperation.create_field_index(LABELS, KeywordIndexParams())
        self._shard.update(labels)
        self._shard.optimize()
        self._shard.flush()

    def close(self) -> None:
        """Release files and memory."""
        self._shard.close()

    @property
    def size(self) -> int:
        """How many points there are."""
        return self._shard.info().points_count

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
        """See `Points.search`; payloads are not read."""
        vector, chosen = dense.tolist(), _labelled(groups)
        requests = []
        for kind in kinds:
            requests.append(_dense_request(kind, vector, limit, chosen))
            requests.append(_sparse_request(kind, terms, limit, chosen))
            if abroad is not None:
                there = _labelled([*groups, [abroad.label]])
                moved = abroad.vectors[kind].tolist()
                requests.append(_dense_request(kind, moved, limit, there))
        hits = [_hits(found) for found in self._shard.query_batch(QueryBatchRequest(requests))]
        ways = len(requests) // max(len(kinds), 1)
        return {kind: Found(*hits[ways * at : ways * (at + 1)]) for at, kind in enumerate(kinds)}

    async def payloads(self, points: Sequence[int]) -> dict[int, Mapping[str, Any]]:
        """See `Points.payloads`."""
        records = self._shard.retrieve(_engine_ids(points), with_payload=True, with_vector=False)
        found: dict[int, Mapping[str, Any]] = {
            int(record.id): record.payload or {} for record in records
        }
        if len(found) < len(set(points)):
            raise KnowledgeBaseUnavailable("the index lacks points: it has to be made again")
        return found

    def find(
        self,
        limit: int,
        *,
        dense: Sequence[float] | None = None,
        terms: Mapping[int, float] | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> list[Match]:
        """The best points of all kinds, by meaning or by words, with their payloads.

        `where` gives payload fields with the value, or the list of values, that they must have.
        """
        chosen = _filter(where) if where else None
        matches = [
            Match(_plain_id(found.id), found.score, found.payload or {})
            for kind in KINDS
            for found in self._shard.query(
                _dense_request(kind, list(dense), limit, chosen, with_payload=True)
                if dense is not None
                else _sparse_request(kind, terms or {}, limit, chosen, with_payload=True)
            )
        ]
        return sorted(matches, key=lambda match: -match.score)[:limit]


class Embedded:
    """Keeps the points of each index in a shard in the index's folder: an `Engine`."""

    name = ENGINE
    order = None

    def open(self, folder: Path, stamp: Stamp, count: int) -> Points:
        """Open the shard. Takes 30–100 ms."""
        shard = Shard.open(folder / FOLDER)
        if shard.size != count:
            shard.close()
            raise KnowledgeBaseUnavailable(f"index {folder}: points are missing")
        return shard

    async def check(self, stamp: Stamp, count: int) -> None:
        """Whoever opens the folder sees it."""

    async def settle(self, stamp: Stamp, before: Stamp | None, *, last: bool) -> None:
        """Folders are removed as a whole."""


def _sparse(kind: PassageKind) -> str:
    return f"{kind}-terms"


def _point(point: ShardPoint) -> Point:
    terms = SparseVector(indices=list(point.terms), values=list(point.terms.values()))
    return Point(
        _engine_ids([point.id])[0],
        {point.kind: list(point.vector), _sparse(point.kind): terms},
        dict(point.payload),
    )


def _dense_request(
    kind: PassageKind,
    vector: list[float],
    limit: int,
    chosen: Filter | None = None,
    *,
    with_payload: bool = False,
) -> QueryRequest:
    return QueryRequest(
        limit=limit,
        query=Query.Nearest(vector, using=kind),
        params=SearchParams(hnsw_ef=GRAPH_BREADTH),
        filter=chosen,
        with_payload=with_payload,
    )


def _sparse_request(
    kind: PassageKind,
    terms: Mapping[int, float],
    limit: int,
    chosen: Filter | None = None,
    *,
    with_payload: bool = False,
) -> QueryRequest:
    vector = SparseVector(indices=list(terms), values=list(terms.values()))
    return QueryRequest(
        limit=limit,
        query=Query.Nearest(vector, using=_sparse(kind)),
        filter=chosen,
        with_payload=with_payload,
    )


def _hits(found: Sequence[ScoredPoint]) -> Hits:
    count = len(found)
    return Hits(
        np.fromiter((int(point.id) for point in found), np.int64, count),
        np.fromiter((point.score for point in found), np.float32, count),
    )


def _filter(equals: Mapping[str, Any]) -> Filter:
    return Filter(
        must=[
            FieldCondition(
                key, match=MatchAny(value) if isinstance(value, list) else MatchValue(value)
            )
            for key, value in equals.items()
        ]
    )


def _labelled(groups: Sequence[Sequence[str]]) -> Filter | None:
    if not groups:
        return None
    return Filter(must=[FieldCondition(LABELS, match=MatchAny(list(one))) for one in groups])


def _engine_ids(ids: Sequence[PointId]) -> list[Any]:
    return list(ids)


def _plain_id(point_id: Any) -> PointId:
    return point_id if isinstance(point_id, int) else str(point_id)
