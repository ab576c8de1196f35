"""Writes the points of an index to a Qdrant server, through LlamaIndex's vector store.

The words' weights bear the IDF of their knowledge base and kind, so that the server needs to know
of neither: it would reckon IDF over each shard of the whole collection, and over single knowledge
bases only since version 1.19. Whoever asks gives every term of the question the weight 1.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from knowledge.points import LABELS, EngineAway, PointsMissing
from knowledge.qdrant_points import ServerPoints
from knowledge.qdrant_server import (
    DENSE,
    GENERATION,
    KIND,
    NUMBER,
    SPARSE,
    TENANT,
    Server,
    asking,
    check_version,
    collection_of,
    connected,
    partition_of,
    point_id,
)

if TYPE_CHECKING:
    from llama_index.core.schema import TextNode
    from llama_index.vector_stores.qdrant import QdrantVectorStore
    from qdrant_client import AsyncQdrantClient

    from knowledge.index import Stamp
    from knowledge.shard import ShardPoint

#: Points in one request, some 10 KB each.
_BATCH = 64
#: Until a request is written on the server's disks.
_WRITE_SECONDS = 60.0
_TRIES = 6
#: Before the second try; then twice as long each time.
PAUSE_SECONDS = 0.5


async def fill(
    server: Server,
    stamp: Stamp,
    points: Iterable[ShardPoint],
    count: int,
    *,
    pause_seconds: float = PAUSE_SECONDS,
) -> None:
    """Write so many points, numbered from 0, and see that all are there.

    Writing twice is harmless; what another process has written is not written again.

    Raises:
        KnowledgeBaseUnavailable: Some may be missing.
    """
    async with connected(server, _WRITE_SECONDS) as client:
        await check_version(client, server)
        store = await asyncio.to_thread(_store, client, collection_of(server, stamp))
        await _patiently(partial(_prepare, client, server, stamp), pause_seconds)
        written = ServerPoints(client, server, stamp, count)
        with suppress(PointsMissing):
            await _patiently(written.check, pause_seconds)
            return
        remaining = iter(points)
        while batch := list(islice(remaining, _BATCH)):
            await _patiently(partial(_write, store, server, stamp, batch), pause_seconds)
        await _patiently(written.check, pause_seconds)


async def _patiently(action: Callable[[], Awaitable[None]], pause_seconds: float) -> None:
    """Try again, ever later, as long as the server may recover."""
    for attempt in range(_TRIES):
        try:
            return await action()
        except EngineAway:
            if attempt == _TRIES - 1:
                raise
        # Jitter: several processes may write the same points.
        await asyncio.sleep(pause_seconds * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311
    return None


def _store(client: AsyncQdrantClient, collection: str) -> QdrantVectorStore:
    from llama_index.vector_stores.qdrant import QdrantVectorStore

    return QdrantVectorStore(
        collection_name=collection,
        aclient=client,
        enable_hybrid=True,
        batch_size=_BATCH,
        # Tried again by ourselves: the store waits for nothing in between.
        max_retries=1,
        sparse_doc_fn=_unweighed,
        sparse_query_fn=_unweighed,
    )


def _unweighed(texts: list[str]) -> tuple[list[list[int]], list[list[float]]]:
    """Stands where each batch puts the weights that it brings along."""
    raise AssertionError("words are weighed beforehand")


async def _prepare(client: AsyncQdrantClient, server: Server, stamp: Stamp) -> None:
    """Have the collection and its payload indexes; several processes may do so at once."""
    from qdrant_client import models

    collection = collection_of(server, stamp)
    async with asking(server, _WRITE_SECONDS):
        if not await client.collection_exists(collection):
            await _create(client, server, stamp)
        tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
        await client.create_payload_index(collection, TENANT, tenant)
        for name in (GENERATION, KIND, LABELS):
            await client.create_payload_index(collection, name, models.PayloadSchemaType.KEYWORD)


async def _create(client: AsyncQdrantClient, server: Server, stamp: Stamp) -> None:
    from qdrant_client import models
    from qdrant_client.http.exceptions import UnexpectedResponse

    dense = models.VectorParams(
        size=stamp.dimensions,
        distance=models.Distance.DOT,
        datatype=models.Datatype.FLOAT16,
        # A graph for each knowledge base instead of one for all: nobody asks across them.
        hnsw_config=models.HnswConfigDiff(m=0, payload_m=16, ef_construct=100),
    )
    collection = collection_of(server, stamp)
    try:
        await client.create_collection(
            collection,
            vectors_config={DENSE: dense},
            sparse_vectors_config={SPARSE: models.SparseVectorParams()},
            shard_number=server.shard_number,
            replication_factor=server.replication_factor,
            write_consistency_factor=server.write_consistency_factor,
        )
    except UnexpectedResponse:
        # Another process may have been faster.
        if not await client.collection_exists(collection):
            raise


async def _write(
    store: QdrantVectorStore, server: Server, stamp: Stamp, batch: list[ShardPoint]
) -> None:
    weighed = (
        [list(point.terms) for point in batch],
        [list(point.terms.values()) for point in batch],
    )
    store.set_query_functions(sparse_doc_fn=lambda _: weighed)
    async with asking(server, _WRITE_SECONDS):
        await store.async_add([_node(stamp, point) for point in batch])


def _node(stamp: Stamp, point: ShardPoint) -> TextNode:
    from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

    metadata = {
        **point.payload,
        TENANT: stamp.knowledge_base,
        GENERATION: partition_of(stamp),
        NUMBER: point.id,
    }
    document = RelatedNodeInfo(node_id=str(metadata.pop("document_id")))
    return TextNode(
        id_=point_id(stamp, int(point.id)),
        text=metadata.pop("text"),
        embedding=list(point.vector),
        metadata=metadata,
        relationships={NodeRelationship.SOURCE: document},
    )
