"""Asks a Qdrant server for the points of an index, and keeps order among them there.

One collection holds the points of all knowledge bases. Those of a generation bear its name and
are complete before it is put into service; SQL says which one that is.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.knowledge_base import PassageKind
from knowledge.points import (
    GRAPH_BREADTH,
    KINDS,
    LABELS,
    Abroad,
    Engine,
    Found,
    Hits,
    Points,
    PointsMissing,
)
from knowledge.qdrant_server import (
    DENSE,
    ENGINE,
    GENERATION,
    KIND,
    NUMBER,
    SPARSE,
    TENANT,
    NotThere,
    Server,
    all_of,
    asking,
    check_version,
    collection_of,
    connected,
    partition_of,
    point_id,
    require_extra,
    server_of,
)
from knowledge.shard import Embedded

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, models

    from kfbot.settings import QdrantSettings
    from knowledge.index import Stamp

logger = logging.getLogger(__name__)

#: Generations of one knowledge base that are looked at when old ones are removed.
_GENERATIONS = 1000


class ServerPoints:
    """The points of one index on a server: its `Points`."""

    def __init__(self, client: AsyncQdrantClient, server: Server, stamp: Stamp, count: int) -> None:
        self._client = client
        self._server = server
        self._stamp = stamp
        self._count = count
        self._collection = collection_of(server, stamp)

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
        """See `Points.search`; one request."""
        if not kinds:
            return {}
        requests = []
        for kind in kinds:
            requests.append(self._by_meaning(kind, dense, limit, groups))
            requests.append(self._by_words(kind, terms, limit, groups))
            if abroad is not None:
                there = [*groups, [abroad.label]]
                requests.append(self._by_meaning(kind, abroad.vectors[kind], limit, there))
        async with self._asking():
            answers = await self._client.query_batch_points(self._collection, requests)
        hits = [_hits(answer.points) for answer in answers]
        ways = len(requests) // len(kinds)
        found = {kind: Found(*hits[ways * at : ways * (at + 1)]) for at, kind in enumerate(kinds)}
        if not any(len(one.dense.points) for one in found.values()):
            # Nothing that passes the filter, or nothing there any more?
            await self.check()
        return found

    async def payloads(self, points: Sequence[int]) -> dict[int, Mapping[str, Any]]:
        """See `Points.payloads`; one request."""
        if not points:
            return {}
        numbers = {point_id(self._stamp, point): point for point in points}
        async with self._asking():
            records = await self._client.retrieve(
                self._collection, list(numbers), with_payload=["_node_content"], with_vectors=False
            )
        if len(records) < len(numbers):
            raise self._missing(f"{len(numbers) - len(records)} of {len(numbers)}")
        return {numbers[str(record.id)]: _passage(record.payload or {}) for record in records}

    def close(self) -> None:
        """Nothing is held: the client is the engine's."""

    async def check(self) -> None:
        """See `Engine.check`."""
        async with self._asking():
            counted = await self._client.count(
                self._collection, count_filter=all_of(self._stamp), exact=True
            )
        if counted.count != self._count:
            raise self._missing(f"{self._count - counted.count} of {self._count}")

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        try:
            async with asking(self._server, self._server.timeout_seconds):
                yield
        except NotThere as error:
            raise self._missing("all") from error

    def _missing(self, how_many: str) -> PointsMissing:
        name = self._stamp.knowledge_base
        return PointsMissing(
            name,
            f"knowledge base {name}: Qdrant at {self._server.url} has lost its points"
            f" ({how_many}): they are written again of what is stored",
        )

    def _by_meaning(
        self,
        kind: PassageKind,
        vector: NDArray[np.float32],
        limit: int,
        groups: Sequence[Sequence[str]],
    ) -> models.QueryRequest:
        from qdrant_client import models

        return models.QueryRequest(
            query=vector.tolist(),
            using=DENSE,
            filter=self._among(kind, groups),
            params=models.SearchParams(hnsw_ef=GRAPH_BREADTH),
            limit=limit,
            with_payload=[NUMBER],
        )

    def _by_words(
        self,
        kind: PassageKind,
        terms: Mapping[int, float],
        limit: int,
        groups: Sequence[Sequence[str]],
    ) -> models.QueryRequest:
        from qdrant_client import models

        return models.QueryRequest(
            query=models.SparseVector(indices=list(terms), values=list(terms.values())),
            using=SPARSE,
            filter=self._among(kind, groups),
            limit=limit,
            with_payload=[NUMBER],
        )

    def _among(self, kind: PassageKind, groups: Sequence[Sequence[str]]) -> models.Filter:
        from qdrant_client import models

        chosen = all_of(self._stamp)
        assert isinstance(chosen.must, list)
        chosen.must.append(models.FieldCondition(key=KIND, match=models.MatchValue(value=kind)))
        chosen.must += [
            models.FieldCondition(key=LABELS, match=models.MatchAny(any=list(group)))
            for group in groups
        ]
        return chosen


class ServerEngine:
    """Keeps the points of all indexes on a server: an `Engine`."""

    name = ENGINE

    def __init__(self, client: AsyncQdrantClient, server: Server) -> None:
        self._client = client
        self._server = server

    @property
    def order(self) -> Mapping[str, Any]:
        """See `Engine.order`; it holds the key."""
        return asdict(self._server)

    def open(self, folder: Path, stamp: Stamp, count: int) -> Points:
        """See `Engine.open`."""
        return self._points(stamp, count)

    async def check(self, stamp: Stamp, count: int) -> None:
        """See `Engine.check`."""
        if count:
            await self._points(stamp, count).check()

    async def settle(self, stamp: Stamp, before: Stamp | None, *, last: bool) -> None:
        """See `Engine.settle`.

        The one before stays: for going back, and since another process may serve it for some
        seconds more.
        """
        try:
            await self._remove_old(stamp, before)
            if last:
                await self._point_alias(collection_of(self._server, stamp))
        except KnowledgeBaseUnavailable as error:
            logger.warning("not tidied up: %s", error, extra={"event": "qdrant_not_tidy"})

    def _points(self, stamp: Stamp, count: int) -> ServerPoints:
        return ServerPoints(self._client, self._server, stamp, count)

    async def _remove_old(self, stamp: Stamp, before: Stamp | None) -> None:
        from qdrant_client import models

        collection = collection_of(self._server, stamp)
        mine = models.FieldCondition(
            key=TENANT, match=models.MatchValue(value=stamp.knowledge_base)
        )
        async with asking(self._server, self._server.timeout_seconds):
            facet = await self._client.facet(
                collection, GENERATION, facet_filter=models.Filter(must=[mine]),
                limit=_GENERATIONS, exact=True,
            )  # fmt: skip
            found = {str(hit.value) for hit in facet.hits} - {partition_of(stamp)}
            # Another process may be ahead of this one.
            others = {one for one in found if _number(one) <= stamp.generation}
            kept = partition_of(before) if before else None
            if kept not in others:
                kept = max(others, key=_number, default=None)
            if old := sorted(others - {kept}):
                gone = models.FieldCondition(key=GENERATION, match=models.MatchAny(any=old))
                await self._client.delete(collection, models.Filter(must=[mine, gone]), wait=False)

    async def _point_alias(self, collection: str) -> None:
        """Let the alias mean this collection, at once and for all who ask it."""
        from qdrant_client import models

        alias = self._server.collection
        async with asking(self._server, self._server.timeout_seconds):
            aliases = (await self._client.get_aliases()).aliases
            meant = {one.alias_name: one.collection_name for one in aliases}.get(alias)
            if meant == collection:
                return
            create = models.CreateAlias(collection_name=collection, alias_name=alias)
            changes: list[Any] = [models.CreateAliasOperation(create_alias=create)]
            if meant is not None:
                delete = models.DeleteAlias(alias_name=alias)
                changes.insert(0, models.DeleteAliasOperation(delete_alias=delete))
            await self._client.update_collection_aliases(changes)
        logger.info(
            "Qdrant: %s is now %s, before %s", alias, collection, meant or "nothing",
            extra={"event": "qdrant_alias_switched"},
        )  # fmt: skip


@asynccontextmanager
async def open_engine(section: QdrantSettings) -> AsyncIterator[Engine]:
    """The engine of the settings: a server's if one is named, which is not asked yet.

    Raises:
        SettingsError: What talks to servers is not installed.
    """
    if not section.url:
        yield Embedded()
        return
    await asyncio.to_thread(require_extra)
    server = server_of(section)
    async with connected(server, server.timeout_seconds) as client:
        yield ServerEngine(client, server)


async def look_at(section: QdrantSettings) -> str:
    """The state of the server of the settings in one line, for a person.

    Raises:
        KnowledgeBaseUnavailable: It cannot be used.
        SettingsError: What talks to servers is not installed.
    """
    await asyncio.to_thread(require_extra)
    server = server_of(section)
    async with connected(server, server.timeout_seconds) as client:
        version = await check_version(client, server)
        async with asking(server, server.timeout_seconds):
            collections = (await client.get_collections()).collections
            aliases = (await client.get_aliases()).aliases
    meant = {one.alias_name: one.collection_name for one in aliases}.get(server.collection)
    ours = re.compile(re.escape(server.collection) + r"-[0-9a-f]{12}")
    mine = {one.name for one in collections if ours.fullmatch(one.name)}
    state = f"{server.url}, version {version}"
    if meant is None:
        return f"{state}, nothing written yet"
    others = ", ".join(sorted(mine - {meant}))
    unused = f"; of another model or format: {others}" if others else ""
    return f"{state}, {server.collection} is {meant}{unused}"


def _hits(points: Sequence[models.ScoredPoint]) -> Hits:
    count = len(points)
    return Hits(
        np.fromiter((int((point.payload or {})[NUMBER]) for point in points), np.int64, count),
        np.fromiter((point.score for point in points), np.float32, count),
    )


def _passage(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """A passage from the node that LlamaIndex wrote."""
    node = json.loads(payload["_node_content"])
    return {**node["metadata"], "text": node["text"]}


def _number(partition: str) -> int:
    number = partition.partition("-")[0]
    return int(number) if number.isdecimal() else -1
