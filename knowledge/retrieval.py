"""Finds passages for a question, as a LlamaIndex retriever over the open indexes.

LlamaIndex takes two seconds to import and 0.1 ms a question; import this module late.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from heapq import nlargest
from types import MappingProxyType
from typing import Any

import numpy as np
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from numpy.typing import NDArray

from kfbot.knowledge_base import Passage, PassageKind, Retrieval
from knowledge import ranking, terms
from knowledge.evidence import evidence
from knowledge.extract import best_quote
from knowledge.index import Index
from knowledge.labels import groups_of
from knowledge.shard import Found

#: Points taken from each way of searching, a kind.
CANDIDATES = 50
#: Passages of which the part that answers is looked for: more are never shown.
QUOTED = 3

Vector = NDArray[np.float32]
_EVERYTHING: Mapping[str, str] = MappingProxyType({})

_METADATA = [field.name for field in fields(Passage) if field.name not in ("text", "score")]


class HybridRetriever(BaseRetriever):
    """Searches indexes by meaning and by words and ranks what both find.

    Every node is a passage; `to_retrieval` gives the passages back with evidence and times.
    """

    def __init__(
        self,
        indexes: Callable[[], Sequence[Index]],
        embed: Callable[[str], Awaitable[Vector]],
        *,
        limit: int = 10,
        where: Mapping[str, str] = _EVERYTHING,
    ) -> None:
        """Prepare.

        Args:
            indexes: Asked once the question is embedded, so that a new index is used at once.
            embed: Gives the vector of a question that comes without one.
            limit: Passages to return, at most.
            where: See `find`.
        """
        super().__init__()
        self._indexes = indexes
        self._embed = embed
        self._limit = limit
        self._where = where

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if query_bundle.embedding is None:
            raise ValueError("give the question's embedding, or use aretrieve")
        vector = np.asarray(query_bundle.embedding, np.float32)
        return _to_nodes(self._find(query_bundle.query_str, vector))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if query_bundle.embedding is not None:
            return self._retrieve(query_bundle)
        began = time.perf_counter()
        vector = await self._embed(terms.simplify(query_bundle.query_str))
        embed_ms = (time.perf_counter() - began) * 1000
        # From here on nothing is awaited: an index may be closed once it is not handed out.
        return _to_nodes(self._find(query_bundle.query_str, vector), embed=embed_ms)

    def _find(self, text: str, vector: Vector) -> Retrieval:
        return find(self._indexes(), text, vector, self._limit, self._where)


async def retrieve(
    indexes: Sequence[Index],
    query: str,
    vector: Vector,
    limit: int,
    where: Mapping[str, str] | None = None,
) -> Retrieval:
    """What `find` gives, by way of LlamaIndex."""

    async def embedded(_: str) -> Vector:
        return vector

    retriever = HybridRetriever(lambda: indexes, embedded, limit=limit, where=where or _EVERYTHING)
    bundle = QueryBundle(query, embedding=vector.tolist())
    return to_retrieval(query, await retriever.aretrieve(bundle))


def find(
    indexes: Sequence[Index],
    text: str,
    vector: Vector,
    limit: int,
    where: Mapping[str, str] = _EVERYTHING,
) -> Retrieval:
    """Search each index and merge what they give. Blocks for 1–5 ms.

    Args:
        where: Fields with the value that documents must have, if they have the field; others
            count for nothing.
    """
    began = time.perf_counter()
    question = ranking.Question.of(text, vector)
    found = [_search(index, question, where) for index in indexes]
    searched = time.perf_counter()
    choices = [
        choice
        for index, kinds in zip(indexes, found, strict=True)
        for kind, hits in kinds.items()
        for choice in _choices(index, _rank(index, question, kind, hits), limit)
    ]
    best = nlargest(limit, choices, key=lambda choice: choice.score)
    payloads = [choice.index.payloads([choice.point])[0] for choice in best]
    passages = tuple(
        _passage(choice, payload, question if place < QUOTED else None)
        for place, (choice, payload) in enumerate(zip(best, payloads, strict=True))
    )
    signals = {leader.ranked.kind: _evidence(leader, question) for leader in _leaders(choices)}
    done = time.perf_counter()
    return Retrieval(
        query=text,
        passages=passages,
        evidence=signals,
        timings_ms={"search": (searched - began) * 1000, "rank": (done - searched) * 1000},
    )


def _search(
    index: Index, question: ranking.Question, where: Mapping[str, str]
) -> dict[PassageKind, Found]:
    return index.search(
        question.vector,
        question.term_ids.tolist(),
        CANDIDATES,
        groups=groups_of(where, index.prepared["fields"].tolist()),
        abroad=ranking.abroad(index.arrays, index.prepared, question),
    )


def _rank(
    index: Index, question: ranking.Question, kind: PassageKind, hits: Found
) -> ranking.Ranked:
    ranked = ranking.rank(index.arrays, index.prepared, question, kind, hits)
    if not (close := ranking.close_race(ranked)):
        return ranked
    texts = [payload["text"] for payload in index.payloads(ranked.points[:close].tolist())]
    return ranking.settle(index.arrays, index.prepared, question, ranked, texts)


def _choices(index: Index, ranked: ranking.Ranked, limit: int) -> list[_Choice]:
    """Documents with scores that compare across kinds and indexes."""
    return [
        _Choice(float(score), index, ranked, place)
        for place, score in enumerate(ranked.comparable()[:limit])
    ]


def _leaders(choices: Sequence[_Choice]) -> list[_Choice]:
    """The best choice of each kind."""
    best: dict[PassageKind, _Choice] = {}
    for choice in sorted(choices, key=lambda choice: -choice.score):
        best.setdefault(choice.ranked.kind, choice)
    return list(best.values())


def _evidence(best: _Choice, question: ranking.Question) -> dict[str, float]:
    index = best.index
    (payload,) = index.payloads([best.point])
    return evidence(index.arrays, index.prepared, question, best.ranked, payload["text"])


def to_retrieval(query: str, nodes: Sequence[NodeWithScore]) -> Retrieval:
    """What `HybridRetriever` found, in the words of the core."""
    if not nodes:
        return Retrieval(query=query)
    return Retrieval(
        query=query,
        passages=tuple(_to_passage(node) for node in nodes),
        evidence=nodes[0].node.metadata["evidence"],
        timings_ms=nodes[0].node.metadata["timings_ms"],
    )


@dataclass(frozen=True, slots=True)
class _Choice:
    """A document that an index offers."""

    score: float
    index: Index
    ranked: ranking.Ranked
    place: int

    @property
    def point(self) -> int:
        return int(self.ranked.points[self.place])


def _passage(
    choice: _Choice, payload: Mapping[str, Any], question: ranking.Question | None
) -> Passage:
    entry = choice.index.document(int(choice.ranked.documents[choice.place]))
    text = entry.answer if entry.kind == "faq" else payload["text"]
    return Passage(
        knowledge_base=choice.index.knowledge_base,
        document_id=entry.document_id,
        chunk_id=payload["chunk_id"],
        kind=entry.kind,
        title=entry.title,
        heading=payload["heading"],
        page=payload["page"],
        duplicates=tuple(entry.duplicates),
        url=entry.url,
        text=text,
        quote=_quote(text, choice.index, entry.kind, question) if question else "",
        question=entry.question,
        score=choice.score,
    )


def _quote(text: str, index: Index, kind: PassageKind, question: ranking.Question) -> str:
    if kind == "faq":
        return text
    distinct = sorted(set(question.terms))
    ids = np.array([terms.term_id(term) for term in distinct], np.uint32)
    weights = dict(zip(distinct, index.arrays.idf(kind, ids).tolist(), strict=True))
    return best_quote(weights, text, terms.tokenise)


def _to_nodes(found: Retrieval, **timings_ms: float) -> list[NodeWithScore]:
    nodes = [_to_node(passage) for passage in found.passages]
    if nodes:
        nodes[0].node.metadata |= {
            "evidence": dict(found.evidence),
            "timings_ms": timings_ms | dict(found.timings_ms),
        }
    return nodes


def _to_node(passage: Passage) -> NodeWithScore:
    metadata: dict[str, Any] = {name: getattr(passage, name) for name in _METADATA}
    node = TextNode(id_=passage.chunk_id, text=passage.text, metadata=metadata)
    return NodeWithScore(node=node, score=passage.score)


def _to_passage(found: NodeWithScore) -> Passage:
    metadata = found.node.metadata
    return Passage(
        text=found.node.get_content(),
        score=found.score or 0.0,
        **{name: metadata[name] for name in _METADATA},
    )
