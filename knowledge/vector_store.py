"""A LlamaIndex vector store over one Qdrant shard in a folder, for whoever works with LlamaIndex.

The customer's question does not come this way: `Index` asks the shard for bare point numbers.
For what lies on a Qdrant server, LlamaIndex has a store of its own: see docs/qdrant.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode, MetadataMode, TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

from knowledge import terms
from knowledge.shard import Match, PointId, Shard, ShardPoint

#: BM25 holds long texts back against this many terms, since nodes come one after the other.
AVERAGE_LENGTH = 150
#: Share of the meaning, beside the words, in a hybrid search that names none.
ALPHA = 0.5

_MODES = {
    VectorStoreQueryMode.DEFAULT,
    VectorStoreQueryMode.SPARSE,
    VectorStoreQueryMode.HYBRID,
}


class EdgeVectorStore(BasePydanticVectorStore):
    """Nodes in one shard folder: dense, sparse (BM25) and hybrid queries, metadata filters.

    A node's metadata `kind` ("faq" or "document", the default) chooses the word statistics that
    it counts in. Adding a node again replaces it. Filters: EQ and IN, joined by AND.
    """

    stores_text: bool = True
    flat_metadata: bool = False

    _shard: Shard = PrivateAttr()

    def __init__(self, shard: Shard) -> None:
        super().__init__(stores_text=True)
        self._shard = shard

    @classmethod
    def create(cls, folder: Path, dimensions: int) -> EdgeVectorStore:
        """Make an empty store in a folder that does not exist yet."""
        return cls(Shard.create(folder, dimensions))

    @classmethod
    def open(cls, folder: Path) -> EdgeVectorStore:
        """Open the store in a folder.

        Raises:
            KnowledgeBaseUnavailable: There is none, or it is damaged.
        """
        return cls(Shard.open(folder))

    @classmethod
    def class_name(cls) -> str:
        """The name that LlamaIndex writes down."""
        return "EdgeVectorStore"

    @property
    def client(self) -> Shard:
        """The shard."""
        return self._shard

    def close(self) -> None:
        """Write everything to the disk and release it."""
        self._shard.finish()
        self._shard.close()

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Add nodes that have embeddings, or replace those with the same id."""
        self._shard.add(_to_point(node) for node in nodes)
        return [node.node_id for node in nodes]

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Add nodes in a thread."""
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Remove the nodes of a document."""
        self._shard.remove_where({"ref_doc_id": ref_doc_id})

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Remove nodes by id, or by what their metadata says."""
        if node_ids:
            self._shard.remove([_point_id(node_id) for node_id in node_ids])
        if filters is not None:
            self._shard.remove_where(_where(filters))

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Find nodes by meaning (DEFAULT), by words (SPARSE) or by both (HYBRID).

        Raises:
            ValueError: A mode or filter that this store does not know, or the query lacks the
                embedding or the text that its mode needs.
        """
        if query.mode not in _MODES:
            raise ValueError(f"query mode {query.mode.value} is not supported")
        where = _where(query.filters) if query.filters is not None else {}
        if query.doc_ids:
            where["ref_doc_id"] = query.doc_ids
        if query.node_ids:
            where["node_id"] = query.node_ids
        found: list[list[Match]] = []
        limit = query.similarity_top_k
        if query.mode is not VectorStoreQueryMode.SPARSE:
            found.append(self._by_meaning(query, limit, where))
        if query.mode is not VectorStoreQueryMode.DEFAULT:
            found.append(self._by_words(query, query.sparse_top_k or limit, where))
        if len(found) == 1:
            return _result([(match, match.score) for match in found[0]])
        alpha = ALPHA if query.alpha is None else query.alpha
        return _result(_merge(found[0], found[1], alpha)[: query.hybrid_top_k or limit])

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Like `query`, in a thread."""
        return await asyncio.to_thread(self.query, query, **kwargs)

    def _by_meaning(
        self, query: VectorStoreQuery, limit: int, where: Mapping[str, Any]
    ) -> list[Match]:
        if query.query_embedding is None:
            raise ValueError(f"query mode {query.mode.value} needs an embedding")
        return self._shard.find(limit, dense=query.query_embedding, where=where)

    def _by_words(
        self, query: VectorStoreQuery, limit: int, where: Mapping[str, Any]
    ) -> list[Match]:
        if query.query_str is None:
            raise ValueError(f"query mode {query.mode.value} needs the query's text")
        asked = {terms.term_id(term): 1.0 for term in terms.tokenise(query.query_str)}
        return self._shard.find(limit, terms=asked, where=where)


def sparse_query(texts: Sequence[str]) -> tuple[list[list[int]], list[list[float]]]:
    """The terms of questions: `sparse_query_fn` for a `QdrantVectorStore` over kfbot's points.

    Every term weighs 1: IDF is in the points already.
    """
    asked = [sorted({terms.term_id(term) for term in terms.tokenise(text)}) for text in texts]
    return asked, [[1.0] * len(numbers) for numbers in asked]


def _point_id(node_id: str) -> PointId:
    """The engine takes UUIDs and numbers; any other id gets a UUID of its own."""
    try:
        return str(UUID(node_id))
    except ValueError:
        return str(uuid5(NAMESPACE_OID, node_id))


def _to_point(node: BaseNode) -> ShardPoint:
    payload = node_to_metadata_dict(node, remove_text=False) | {"node_id": node.node_id}
    counted = terms.counts(node.get_content(MetadataMode.NONE))
    return ShardPoint(
        id=_point_id(node.node_id),
        kind="faq" if node.metadata.get("kind") == "faq" else "document",
        vector=node.get_embedding(),
        terms=terms.weights(counted, AVERAGE_LENGTH),
        payload=payload,
    )


def _to_node(match: Match) -> BaseNode:
    payload = dict(match.payload)
    if "_node_content" in payload:
        return metadata_dict_to_node(payload)
    # A point of an index of ours.
    text = payload.pop("text", "")
    return TextNode(id_=payload.pop("chunk_id", str(match.id)), text=text, metadata=payload)


def _result(scored: Sequence[tuple[Match, float]]) -> VectorStoreQueryResult:
    nodes = [_to_node(match) for match, _ in scored]
    return VectorStoreQueryResult(
        nodes=nodes,
        similarities=[score for _, score in scored],
        ids=[node.node_id for node in nodes],
    )


def _merge(
    dense: Sequence[Match], sparse: Sequence[Match], alpha: float
) -> list[tuple[Match, float]]:
    """Both lists in one, each stretched to 0..1 and weighed by alpha and 1 - alpha."""
    total: dict[PointId, float] = {}
    matches: dict[PointId, Match] = {}
    for found, share in ((dense, alpha), (sparse, 1 - alpha)):
        scores = [match.score for match in found]
        low, high = (min(scores), max(scores)) if scores else (0.0, 1.0)
        for match in found:
            relative = (match.score - low) / (high - low) if high > low else 1.0
            matches.setdefault(match.id, match)
            total[match.id] = total.get(match.id, 0.0) + share * relative
    return sorted(
        ((matches[point], score) for point, score in total.items()), key=lambda pair: -pair[1]
    )


def _where(filters: MetadataFilters) -> dict[str, Any]:
    if filters.condition not in (FilterCondition.AND, None) and len(filters.filters) > 1:
        raise ValueError("filters are joined by AND only")
    where: dict[str, Any] = {}
    for one in filters.filters:
        if not isinstance(one, MetadataFilter):
            raise ValueError("filters inside filters are not supported")
        if one.operator not in (FilterOperator.EQ, FilterOperator.IN):
            raise ValueError(f"filter operator {one.operator.value} is not supported")
        if one.key in where:
            raise ValueError(f"two filters for {one.key!r} are not supported")
        where[one.key] = one.value
    return where
