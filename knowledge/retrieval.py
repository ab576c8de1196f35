"""Finds passages for a question, as a LlamaIndex retriever over the open indexes.

LlamaIndex takes two seconds to import and 0.1 ms a question; import this module late.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np
from llama_index.core.async_utils import asyncio_run
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from numpy.typing import NDArray

from kfbot.confidence import RERANK, RERANK_LEAD
from kfbot.knowledge_base import Passage, PassageKind, Retrieval
from knowledge import ranking, terms
from knowledge.earlier import NOTHING_EARLIER, Earlier, completed
from knowledge.evidence import evidence
from knowledge.extract import best_quote
from knowledge.index import DocumentEntry, Index
from knowledge.labels import groups_of
from knowledge.points import Found
from knowledge.reranking import Reranking

#: Points taken from each way of searching, a kind.
CANDIDATES = 50
#: Passages of which the part that answers is looked for: more are never shown.
QUOTED = 3
#: Earlier messages that a reranker reads before a question that may lean on them.
_READ_BEFORE = 2

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
        earlier: Earlier = NOTHING_EARLIER,
        reranking: Reranking | None = None,
    ) -> None:
        """Prepare.

        Args:
            indexes: Asked once the question is embedded, so that a new index is used at once.
                They stay open until the answer is there.
            embed: Gives the vector of a question that comes without one.
            limit: Passages to return, at most.
            where: See `find`.
            earlier: See `find`.
            reranking: See `find`.
        """
        super().__init__()
        self._indexes = indexes
        self._embed = embed
        self._limit = limit
        self._where = where
        self._earlier = earlier
        self._reranking = reranking

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if query_bundle.embedding is None:
            raise ValueError("give the question's embedding, or use aretrieve")
        nodes: list[NodeWithScore] = asyncio_run(self._aretrieve(query_bundle))
        return nodes

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if query_bundle.embedding is not None:
            vector = np.asarray(query_bundle.embedding, np.float32)
            return _to_nodes(await self._find(query_bundle.query_str, vector))
        began = time.perf_counter()
        vector = await self._embed(terms.simplify(query_bundle.query_str))
        embed_ms = (time.perf_counter() - began) * 1000
        return _to_nodes(await self._find(query_bundle.query_str, vector), embed=embed_ms)

    async def _find(self, text: str, vector: Vector) -> Retrieval:
        indexes = self._indexes()
        return await find(
            indexes, text, vector, self._limit, self._where, self._earlier, self._reranking
        )


async def retrieve(
    indexes: Sequence[Index],
    query: str,
    vector: Vector,
    limit: int,
    where: Mapping[str, str] | None = None,
    earlier: Earlier = NOTHING_EARLIER,
    reranking: Reranking | None = None,
) -> Retrieval:
    """What `find` gives, by way of LlamaIndex."""

    async def embedded(_: str) -> Vector:
        return vector

    retriever = HybridRetriever(
        lambda: indexes,
        embedded,
        limit=limit,
        where=where or _EVERYTHING,
        earlier=earlier,
        reranking=reranking,
    )
    bundle = QueryBundle(query, embedding=vector.tolist())
    return to_retrieval(query, await retriever.aretrieve(bundle))


async def find(
    indexes: Sequence[Index],
    text: str,
    vector: Vector,
    limit: int,
    where: Mapping[str, str] = _EVERYTHING,
    earlier: Earlier = NOTHING_EARLIER,
    reranking: Reranking | None = None,
) -> Retrieval:
    """Search each index and merge what they give. Blocks for 1–5 ms.

    Args:
        indexes: Kept open by the caller meanwhile.
        where: Fields with the value that documents must have, if they have the field; others
            count for nothing.
        earlier: What the question leaves out is taken from it; what it says as a whole is not
            found again.
        reranking: Orders the best ones, as far as it answers; what it says of the first passage
            of each kind is evidence.

    Raises:
        KnowledgeBaseUnavailable: A server that holds the points does not answer.
    """
    began = time.perf_counter()
    question = ranking.Question.of(text, earlier.mixed_into(vector))
    asked = [completed(question, index.arrays, index.prepared, earlier) for index in indexes]
    pairs = list(zip(indexes, asked, strict=True))
    found = await asyncio.gather(*(_search(index, one, where) for index, one in pairs))
    searched = time.perf_counter()
    wanted = limit if reranking is None else max(limit, reranking.candidates)
    ranked = (
        _choices(index, one, kinds, wanted, earlier)
        for (index, one), kinds in zip(pairs, found, strict=True)
    )
    offered = [choice for some in await asyncio.gather(*ranked) for choice in some]
    choices = sorted(offered, key=lambda choice: -choice.score)
    reranked_ms = 0.0
    if reranking is not None and choices:
        waiting = time.perf_counter()
        choices = await _reranked(reranking, text, earlier, choices)
        reranked_ms = (time.perf_counter() - waiting) * 1000
    passages = tuple(
        _passage(choice, question if place < QUOTED else None)
        for place, choice in enumerate(choices[:limit])
    )
    signals = {leader.ranked.kind: _evidence(leader) for leader in _leaders(choices)}
    spent = {"search": searched - began, "rank": time.perf_counter() - searched}
    timings = {stage: seconds * 1000 for stage, seconds in spent.items()}
    if reranked_ms:
        timings |= {"rank": timings["rank"] - reranked_ms, "rerank": reranked_ms}
    return Retrieval(query=text, passages=passages, evidence=signals, timings_ms=timings)


async def _reranked(
    reranking: Reranking, text: str, earlier: Earlier, choices: Sequence[_Choice]
) -> list[_Choice]:
    """The choices, best first, with the best ones in the reranker's order if it answers.

    Rank scores stay with the places, so that they fall from each to the next.
    """
    first, others = choices[: reranking.candidates], choices[reranking.candidates :]
    asked = "\n".join([*earlier.texts[-_READ_BEFORE:], text])
    scores = await reranking.scores(asked, [_read_by_reranker(choice) for choice in first])
    if scores is None:
        return list(choices)
    order = sorted(range(len(first)), key=lambda place: -scores[place])
    best, second = scores[order[0]], scores[order[min(1, len(order) - 1)]]
    said = [
        {RERANK: score, RERANK_LEAD: score - (second if place == order[0] else best)}
        for place, score in enumerate(scores)
    ]
    pairs = zip(first, order, strict=True)
    moved = [
        replace(first[place], score=stood.score, reranked=said[place]) for stood, place in pairs
    ]
    return [*moved, *others]


def _read_by_reranker(choice: _Choice) -> str:
    """What is said to answer, under what it is called."""
    entry = choice.index.document(int(choice.ranked.documents[choice.place]))
    name = entry.question or " › ".join(filter(None, (entry.title, choice.payload["heading"])))
    return f"{name}\n{_text(entry, choice.payload)}"


async def _search(
    index: Index, question: ranking.Question, where: Mapping[str, str]
) -> dict[PassageKind, Found]:
    return await index.search(
        question.vector,
        question.term_ids.tolist(),
        CANDIDATES,
        groups=groups_of(where, index.prepared["fields"].tolist()),
        abroad=ranking.abroad(index.arrays, index.prepared, question),
    )


async def _choices(
    index: Index,
    question: ranking.Question,
    found: Mapping[PassageKind, Found],
    limit: int,
    earlier: Earlier,
) -> list[_Choice]:
    """Documents with scores that compare across kinds and indexes."""
    ranked = []
    for kind, hits in found.items():
        ranked.append(ranking.rank(index.arrays, index.prepared, question, kind, hits))
        # Milliseconds each, and many questions may be at this point: others get their turn.
        await asyncio.sleep(0)
    # All that may be read of, at once: from a server everything else would be waiting.
    more = len(earlier.said)
    wanted = [one.points[: max(limit, ranking.close_race(one)) + more].tolist() for one in ranked]
    payloads = await index.payloads(list(chain(*wanted)))
    return [
        _Choice(float(score), index, question, settled, place, payloads[int(settled.points[place])])
        for fresh in (_fresh(index, question, one, payloads, earlier) for one in ranked)
        for settled in [_settled(index, question, fresh, payloads)]
        for place, score in enumerate(settled.comparable()[:limit])
        # So many may have been said before that the next were not read.
        if int(settled.points[place]) in payloads
    ]


def _fresh(
    index: Index,
    question: ranking.Question,
    ranked: ranking.Ranked,
    payloads: Mapping[int, Mapping[str, Any]],
    earlier: Earlier,
) -> ranking.Ranked:
    """Without documents of which what would be shown has been said before."""
    if not earlier.said:
        return ranked
    said: list[bool] = []
    for document, point in zip(ranked.documents.tolist(), ranked.points.tolist(), strict=True):
        if point not in payloads:
            break
        text = _text(index.document(document), payloads[point])
        shown = _quote(text, index, ranked.kind, question) if len(said) < QUOTED else text
        said.append(earlier.has(text) or earlier.has(shown))
    if not any(said):
        return ranked
    fresh = ranked.only(~np.array(said + [False] * (len(ranked.documents) - len(said)), np.bool_))
    near = index.arrays.vectors[fresh.points].astype(np.float32) @ question.vector
    return replace(fresh, nearest=float(near.max(initial=0.0)))


def _settled(
    index: Index,
    question: ranking.Question,
    ranked: ranking.Ranked,
    payloads: Mapping[int, Mapping[str, Any]],
) -> ranking.Ranked:
    if not (close := ranking.close_race(ranked)):
        return ranked
    points = ranked.points[:close].tolist()
    texts = [payloads[point]["text"] for point in points if point in payloads]
    return ranking.settle(index.arrays, index.prepared, question, ranked, texts)


def _leaders(choices: Sequence[_Choice]) -> list[_Choice]:
    """The first choice of each kind."""
    best: dict[PassageKind, _Choice] = {}
    for choice in choices:
        best.setdefault(choice.ranked.kind, choice)
    return list(best.values())


def _evidence(best: _Choice) -> dict[str, float]:
    index = best.index
    ranked = best.ranked.led_by(best.place) if best.place else best.ranked
    found = evidence(index.arrays, index.prepared, best.question, ranked, best.payload["text"])
    return {**found, **best.reranked}


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
    #: As it is asked of that index.
    question: ranking.Question
    ranked: ranking.Ranked
    place: int
    payload: Mapping[str, Any]
    #: What a reranker says of it, as evidence.
    reranked: Mapping[str, float] = field(default_factory=dict)


def _passage(choice: _Choice, question: ranking.Question | None) -> Passage:
    payload = choice.payload
    entry = choice.index.document(int(choice.ranked.documents[choice.place]))
    text = _text(entry, payload)
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


def _text(entry: DocumentEntry, payload: Mapping[str, Any]) -> str:
    return entry.answer if entry.kind == "faq" else str(payload["text"])


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
