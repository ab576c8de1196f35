"""Questions to open indexes, and LlamaIndex's view of a shard."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from llama_index.core.schema import NodeRelationship, QueryBundle, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from numpy.typing import NDArray

from kfbot import confidence
from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.knowledge_base import Retrieval
from kfbot.store.chunks import ChunkRow, DocumentRow, StoredDocument
from knowledge import index_build, terms
from knowledge.earlier import embedded
from knowledge.index import Index, Stamp
from knowledge.reranking import Reranking
from knowledge.retrieval import HybridRetriever, find, to_retrieval
from knowledge.vector_store import EdgeVectorStore

DIMENSIONS = 64
LONG = " ".join(f"Paragraph {number} tells about the garden." for number in range(20))


def embed(text: str) -> NDArray[np.float32]:
    """A vector that is near where words are shared."""
    vector = np.full(DIMENSIONS, 0.01, np.float32)
    for term in terms.tokenise(text):
        seed = zlib.crc32(term.encode())
        vector += np.random.default_rng(seed).standard_normal(DIMENSIONS).astype(np.float32)
    return vector / np.float32(np.linalg.norm(vector))


async def embed_later(text: str) -> NDArray[np.float32]:
    return embed(text)


def stored(document_id: str, texts: Sequence[str], *, answer: str = "") -> StoredDocument:
    row = DocumentRow(
        document_id=document_id,
        kind="faq" if answer else "document",
        content_hash="",
        title="" if answer else document_id,
        url="https://shop.example/help",
        answer=answer,
    )
    chunks = tuple(
        ChunkRow(
            id=f"{document_id}:{position}",
            position=position,
            heading="",
            text=text,
            vector=embed(text).astype("<f2").tobytes(),
            terms=terms.counts(text),
        )
        for position, text in enumerate(texts)
    )
    return StoredDocument(row, chunks)


_CONTACT = "Please write to our support team, which answers within a day."
CONTENT: Mapping[str, Sequence[StoredDocument]] = {
    "shop": (
        stored("f1", ["How do I return an item?", "退货怎么办理"], answer="Within 30 days."),
        stored("f2", ["When does my parcel arrive?"], answer="After two days."),
        stored("warranty", ["The warranty covers broken kettles.", "It ends after two years."]),
        stored("garden", [f"{LONG} Watering cans are rinsed weekly. {LONG}"]),
    ),
    "office": (stored("f1", ["How do I return a laptop?"], answer="To the desk."),),
    "contact": tuple(
        stored(f"c{number}", [f"Whom do I ask about item {number}?"], answer=_CONTACT)
        for number in range(15)
    ),
}


def make(folder: Path, name: str) -> Index:
    async def documents() -> AsyncIterator[StoredDocument]:
        for document in CONTENT[name]:
            yield document

    stamp = Stamp(knowledge_base=name, generation=1, embedding_key="words", dimensions=DIMENSIONS)
    asyncio.run(index_build.write_job(documents(), stamp, folder, {}))
    np.save(folder / "generic.npy", np.stack([embed("问题"), embed("question")]))
    index_build.make(folder)
    return Index.open(folder / "index", stamp)


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Index]]:
    folder = tmp_path_factory.mktemp("indexes")
    made = {name: make(folder / name, name) for name in CONTENT}
    yield made
    for index in made.values():
        index.close()


def ask(text: str, *indexes: Index, limit: int = 10) -> Retrieval:
    return asyncio.run(find(indexes, text, embed(text), limit))


def test_what_all_entries_say_may_have_been_said_before(indexes: dict[str, Index]) -> None:
    before = asyncio.run(embedded("", ["Whom do I ask about item 3?", _CONTACT], embed_later))[1]
    question = "and about item 4?"
    found = asyncio.run(find([indexes["contact"]], question, embed(question), 10, earlier=before))
    assert all(passage.text != _CONTACT for passage in found.passages)


def test_what_was_said_is_not_found_again_by_a_question_that_stands_alone(
    indexes: dict[str, Index],
) -> None:
    question = "Whom do I ask about item 4?"
    said = ["Whom do I ask about item 3?", _CONTACT]
    _, before = asyncio.run(embedded("", said, embed_later, standalone=True))
    found = asyncio.run(find([indexes["contact"]], question, embed(question), 10, earlier=before))
    assert all(passage.text != _CONTACT for passage in found.passages)


def test_a_faq_entry_is_found_by_a_variant_and_gives_its_answer(indexes: dict[str, Index]) -> None:
    best = ask("退货怎么办理", indexes["shop"]).passages[0]
    assert (best.document_id, best.kind, best.chunk_id) == ("f1", "faq", "f1:1")
    assert best.question == "How do I return an item?"
    assert best.text == best.quote == "Within 30 days."


def test_a_document_gives_the_chunk_and_the_part_that_answers(indexes: dict[str, Index]) -> None:
    text = "Which paragraph of the garden tells how often watering cans are rinsed?"
    best = ask(text, indexes["shop"]).passages[0]
    assert (best.document_id, best.kind, best.title) == ("garden", "document", "garden")
    assert best.text.startswith(LONG)
    assert "rinsed weekly" in best.quote
    assert len(best.quote) < len(best.text)


def test_each_document_is_listed_once_best_first(indexes: dict[str, Index]) -> None:
    passages = ask("return a broken kettle, warranty", indexes["shop"]).passages
    assert sorted(passage.document_id for passage in passages) == ["f1", "f2", "garden", "warranty"]
    scores = [passage.score for passage in passages]
    assert scores == sorted(scores, reverse=True)
    assert passages[0].document_id == "warranty"


def test_no_more_than_the_limit_is_given(indexes: dict[str, Index]) -> None:
    assert len(ask("return", indexes["shop"], indexes["office"], limit=2).passages) == 2


def test_one_knowledge_base_gives_nothing_of_another(indexes: dict[str, Index]) -> None:
    passages = ask("How do I return an item?", indexes["office"]).passages
    assert {passage.knowledge_base for passage in passages} == {"office"}


def test_several_knowledge_bases_are_merged_by_score(indexes: dict[str, Index]) -> None:
    passages = ask("How do I return a laptop?", indexes["shop"], indexes["office"]).passages
    assert [(p.knowledge_base, p.document_id) for p in passages[:2]] == [
        ("office", "f1"),
        ("shop", "f1"),
    ]
    assert passages[0].text == "To the desk."


def test_evidence_and_times_come_along(indexes: dict[str, Index]) -> None:
    known = ask("When does my parcel arrive?", indexes["shop"])
    unknown = ask("zebra crossing", indexes["shop"])
    assert known.evidence["faq"]["lexical"] > 0.5 > unknown.evidence["faq"]["lexical"]
    assert set(known.timings_ms) == {"search", "rank"}


@pytest.mark.parametrize("text", ["", "??", "的", "zebra"])
def test_a_question_without_known_words_is_searched_by_meaning(
    indexes: dict[str, Index], text: str
) -> None:
    assert len(ask(text, indexes["shop"]).passages) == 4


def test_without_an_index_nothing_is_found() -> None:
    assert ask("anything").passages == ()


@pytest.mark.asyncio
async def test_the_retriever_gives_the_same_passages_as_nodes(indexes: dict[str, Index]) -> None:
    retriever = HybridRetriever(lambda: [indexes["shop"]], embed_later, limit=3)
    text = "How do I return an item?"
    nodes = await retriever.aretrieve(text)
    retrieval = to_retrieval(text, nodes)
    direct = await find([indexes["shop"]], text, embed(text), 3)
    assert retrieval.passages == direct.passages
    assert retrieval.evidence == direct.evidence
    assert set(retrieval.timings_ms) == {"embed", "search", "rank"}
    assert nodes[0].node.node_id == "f1:0"
    assert retriever.retrieve(QueryBundle(text, embedding=embed(text).tolist()))[0].score == (
        nodes[0].score
    )


def test_the_retriever_embeds_nothing_without_an_event_loop(indexes: dict[str, Index]) -> None:
    retriever = HybridRetriever(lambda: [indexes["shop"]], embed_later)
    with pytest.raises(ValueError, match="aretrieve"):
        retriever.retrieve("return")


def node(name: str, text: str, *, document: str = "a", **metadata: str) -> TextNode:
    return TextNode(
        id_=name,
        text=text,
        embedding=embed(text).tolist(),
        metadata=metadata,
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document)},
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeVectorStore]:
    store = EdgeVectorStore.create(tmp_path / "shard", DIMENSIONS)
    nodes = [
        node("1", "Refunds take five days.", language="en"),
        node("2", "Parcels are insured.", language="en", document="b"),
        node("3", "退款需要五天", language="zh", kind="faq", document="c"),
    ]
    assert store.add(nodes) == ["1", "2", "3"]
    yield store
    store.close()


def query(text: str, mode: VectorStoreQueryMode, **options: object) -> VectorStoreQuery:
    return VectorStoreQuery(
        query_embedding=embed(text).tolist(), query_str=text, mode=mode, **options
    )


def ids(store: EdgeVectorStore, text: str, mode: str = "default", **options: object) -> list[str]:
    options = {"similarity_top_k": 3} | options
    return store.query(query(text, VectorStoreQueryMode(mode), **options)).ids or []


def test_nodes_are_found_by_meaning_by_words_and_by_both(store: EdgeVectorStore) -> None:
    assert ids(store, "parcels insured")[0] == "2"
    assert sorted(ids(store, "parcels refund", "sparse")) == ["1", "2"]
    assert ids(store, "退款", "sparse") == ["3"]
    assert ids(store, "insured parcels", "hybrid")[0] == "2"
    assert len(ids(store, "parcels", "hybrid", hybrid_top_k=2)) == 2


def test_a_node_comes_back_as_it_was_added(store: EdgeVectorStore) -> None:
    result = store.query(query("退款需要五天", VectorStoreQueryMode.DEFAULT))
    assert result.nodes is not None
    assert result.similarities == [pytest.approx(1.0, abs=1e-3)]
    (found,) = result.nodes
    assert found.get_content() == "退款需要五天"
    assert (found.metadata["language"], found.ref_doc_id) == ("zh", "c")


@pytest.mark.asyncio
async def test_nodes_are_added_and_found_in_a_thread_too(store: EdgeVectorStore) -> None:
    await store.async_add([node("4", "Kettles whistle.")])
    result = await store.aquery(query("kettles whistle", VectorStoreQueryMode.DEFAULT))
    assert result.ids == ["4"]


def test_filters_choose_by_metadata(store: EdgeVectorStore) -> None:
    def chosen(*filters: MetadataFilter) -> list[str]:
        return sorted(ids(store, "refund", filters=MetadataFilters(filters=list(filters))))

    english = MetadataFilter(key="language", value="en")
    both = MetadataFilter(key="language", value=["en", "zh"], operator=FilterOperator.IN)
    assert chosen(english) == ["1", "2"]
    assert chosen(both, MetadataFilter(key="ref_doc_id", value="c")) == ["3"]
    assert ids(store, "refund", doc_ids=["b"]) == ["2"]
    assert ids(store, "refund", node_ids=["1"]) == ["1"]


def test_what_the_store_cannot_do_is_refused(store: EdgeVectorStore) -> None:
    two = [MetadataFilter(key="language", value="en"), MetadataFilter(key="kind", value="faq")]
    more = MetadataFilter(key="language", value="en", operator=FilterOperator.NE)
    with pytest.raises(ValueError, match="mmr"):
        ids(store, "refund", "mmr")
    with pytest.raises(ValueError, match="AND"):
        ids(store, "x", filters=MetadataFilters(filters=two, condition=FilterCondition.OR))
    with pytest.raises(ValueError, match="operator !="):
        ids(store, "x", filters=MetadataFilters(filters=[more]))
    with pytest.raises(ValueError, match="needs an embedding"):
        store.query(VectorStoreQuery(query_str="refund"))
    with pytest.raises(ValueError, match="needs the query's text"):
        store.query(VectorStoreQuery(mode=VectorStoreQueryMode.SPARSE))


def test_adding_a_node_again_replaces_it(store: EdgeVectorStore) -> None:
    store.add([node("2", "Kettles whistle.")])
    assert ids(store, "parcels insured", "sparse") == []
    assert ids(store, "kettles", "sparse") == ["2"]


def test_nodes_are_removed_by_document_by_id_and_by_metadata(store: EdgeVectorStore) -> None:
    store.delete("b")
    assert sorted(ids(store, "refund")) == ["1", "3"]
    store.delete_nodes(["1"])
    assert ids(store, "refund") == ["3"]
    filters = MetadataFilters(filters=[MetadataFilter(key="language", value="zh")])
    store.delete_nodes(filters=filters)
    assert ids(store, "refund") == []


def test_a_closed_store_opens_again_with_its_nodes(tmp_path: Path) -> None:
    first = EdgeVectorStore.create(tmp_path / "shard", DIMENSIONS)
    first.add([node("1", "Refunds take five days.")])
    first.close()
    again = EdgeVectorStore.open(tmp_path / "shard")
    assert ids(again, "refunds") == ["1"]
    again.close()


# With a reranker


class LikesWord:
    """Scores a text by how often it has a word; or fails."""

    key = "likes"

    def __init__(self, word: str, *, fails: bool = False) -> None:
        self.word, self.fails = word, fails
        self.asked: list[tuple[str, Sequence[str]]] = []

    async def score(self, question: str, texts: Sequence[str]) -> list[float]:
        self.asked.append((question, texts))
        if self.fails:
            raise KnowledgeBaseUnavailable("down")
        return [float(text.lower().count(self.word)) for text in texts]

    async def aclose(self) -> None:
        """Nothing to let go of."""


def ask_again(
    reranker: LikesWord, text: str, index: Index, *, candidates: int = 10, limit: int = 10
) -> Retrieval:
    reranking = Reranking(reranker, candidates=candidates, timeout_seconds=5)
    return asyncio.run(find([index], text, embed(text), limit, reranking=reranking))


QUESTION = "return a broken kettle, warranty"


def test_a_reranker_orders_passages_and_rank_scores_still_fall(indexes: dict[str, Index]) -> None:
    before = ask(QUESTION, indexes["shop"])
    assert before.passages[0].document_id == "warranty"
    reranker = LikesWord("parcel")
    found = ask_again(reranker, QUESTION, indexes["shop"])
    assert found.passages[0].document_id == "f2"
    assert [one.score for one in found.passages] == [one.score for one in before.passages]
    others = [one.document_id for one in before.passages if one.document_id != "f2"]
    assert [one.document_id for one in found.passages[1:]] == others
    [(question, texts)] = reranker.asked
    assert question == QUESTION
    # An entry is read with its question.
    assert "When does my parcel arrive?\nAfter two days." in texts


def test_evidence_is_on_the_passage_that_comes_first_then(indexes: dict[str, Index]) -> None:
    before = ask(QUESTION, indexes["shop"]).evidence
    found = ask_again(LikesWord("parcel"), QUESTION, indexes["shop"]).evidence
    assert found["faq"]["rerank"] == found["faq"]["rerank_lead"] == 1.0
    assert found["document"]["rerank"] == 0.0
    assert found["document"]["rerank_lead"] == -1.0
    # f2 was behind the other entry, and its evidence says so.
    assert before["faq"]["fused_margin"] > 0 > found["faq"]["fused_margin"]
    unmoved = {name: found["document"][name] for name in before["document"]}
    assert unmoved == pytest.approx(before["document"])


def test_what_is_moved_up_is_not_thought_likelier_for_that(indexes: dict[str, Index]) -> None:
    before = ask(QUESTION, indexes["shop"]).evidence
    found = ask_again(LikesWord("parcel"), QUESTION, indexes["shop"]).evidence
    shipped = confidence.model("faq", "first")
    assert shipped.probability(found["faq"]) <= shipped.probability(before["faq"])


def test_only_the_best_passages_are_looked_at_again(indexes: dict[str, Index]) -> None:
    before = [one.document_id for one in ask(QUESTION, indexes["shop"]).passages]
    reranker = LikesWord("no such word")
    found = ask_again(reranker, QUESTION, indexes["shop"], candidates=2, limit=4)
    assert [one.document_id for one in found.passages] == before
    assert [len(texts) for _, texts in reranker.asked] == [2]
    few = ask_again(LikesWord("parcel"), QUESTION, indexes["shop"], candidates=4, limit=1)
    assert [one.document_id for one in few.passages] == ["f2"]


def test_without_its_answer_all_is_as_without_it(indexes: dict[str, Index]) -> None:
    before = ask(QUESTION, indexes["shop"])
    found = ask_again(LikesWord("parcel", fails=True), QUESTION, indexes["shop"])
    assert found.passages == before.passages
    assert found.evidence == before.evidence


def test_it_reads_what_was_said_before(indexes: dict[str, Index]) -> None:
    vector, before = asyncio.run(embedded("and parcels?", ["return", "a laptop"], embed_later))
    reranker = LikesWord("parcel")
    reranking = Reranking(reranker, candidates=10, timeout_seconds=5)
    asyncio.run(
        find([indexes["shop"]], "and parcels?", vector, 3, earlier=before, reranking=reranking)
    )
    assert reranker.asked[0][0] == "return\na laptop\nand parcels?"
