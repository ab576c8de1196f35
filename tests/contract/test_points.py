"""What every engine promises of an index's points: embedded ones, and those on a Qdrant server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kfbot.settings import QdrantSettings
from kfbot.store.knowledge_rows import ChunkRow, DocumentRow, StoredDocument
from knowledge import index_build, terms
from knowledge.index import Index, Stamp
from knowledge.labels import matches
from knowledge.points import Engine, Found, PointsMissing
from knowledge.qdrant_points import open_engine
from knowledge.retrieval import find
from tests.integration.test_several_knowledge_bases import run_all
from tests.platforms.qdrant import QdrantServer
from tests.unit.knowledge.test_retrieval import DIMENSIONS, embed

pytestmark = pytest.mark.asyncio

GENERIC = np.stack([embed("问题"), embed("question")])
SUBJECTS = ("refunds", "parcels", "kettles", "invoices", "warranty", "退款", "包裹", "发票")
PRODUCTS = ("kettle", "toaster", "")
BASES = ("shop", "Shop", "office")
#: Each way of searching asks for so many.
LIMIT = 7
#: The embedded engine rounds a question's vector to 16 bits, the client's local mode does not.
ALIKE = 2e-3


def entry(name: str, *texts: str, answer: str = "", product: str = "") -> StoredDocument:
    row = DocumentRow(
        document_id=name,
        kind="faq" if answer else "document",
        content_hash="",
        title=name,
        url=f"https://shop.example/{name}",
        answer=answer,
        fields={"product": product} if product else {},
    )
    chunks = [
        ChunkRow(
            id=f"{name}:{position}",
            position=position,
            heading=f"Heading {position}",
            text=text,
            page=position,
            vector=embed(text).astype("<f2").tobytes(),
            terms=terms.counts(text),
        )
        for position, text in enumerate(texts)
    ]
    return StoredDocument(row, tuple(chunks))


class Home:
    """Builds indexes whose points one engine keeps."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self._folder = folder
        self._opened: list[Index] = []

    async def build(
        self, documents: Sequence[StoredDocument], name: str = "shop", generation: int = 1
    ) -> Index:
        async def stream() -> AsyncIterator[StoredDocument]:
            for document in documents:
                yield document

        stamp = Stamp(
            knowledge_base=name,
            generation=generation,
            revision=str(self._folder),
            embedding_key="words",
            dimensions=DIMENSIONS,
            engine=self.engine.name,
        )
        job = self._folder / f"job{len(self._opened)}"
        await index_build.write_job(stream(), stamp, job, {})
        np.save(job / "generic.npy", GENERIC)
        await asyncio.to_thread(index_build.make, job, self.engine.order)
        opened = Index.open(job / "index", stamp, self.engine)
        await self.engine.check(stamp, len(opened.arrays.owner))
        self._opened.append(opened)
        return opened

    def close(self) -> None:
        for index in self._opened:
            index.close()


@asynccontextmanager
async def home_of(section: QdrantSettings, folder: Path) -> AsyncIterator[Home]:
    async with open_engine(section) as engine:
        home = Home(engine, folder)
        try:
            yield home
        finally:
            home.close()


@pytest.fixture(scope="module")
def qdrant() -> Iterator[QdrantServer]:
    with QdrantServer() as server:
        yield server


@pytest_asyncio.fixture(params=["embedded", "server"])
async def home(
    request: pytest.FixtureRequest, qdrant: QdrantServer, tmp_path: Path
) -> AsyncIterator[Home]:
    section = QdrantSettings(url=qdrant.url) if request.param == "server" else QdrantSettings()
    async with home_of(section, tmp_path) as made:
        yield made


async def search(index: Index, text: str, **options: Any) -> dict[str, Found]:
    ids = [terms.term_id(term) for term in terms.tokenise(text)]
    found = await index.search(embed(text), ids, LIMIT, **options)
    return {str(kind): hits for kind, hits in found.items()}


FEW = (
    entry("warranty", "The warranty covers kettles.", "It ends after two years."),
    entry("empty"),
    entry("returns", "How do I return an item?", "退货怎么办理", answer="Within 30 days."),
)


async def test_points_are_found_by_meaning_and_by_words_each_kind_apart(home: Home) -> None:
    index = await home.build(FEW)
    found = await search(index, "The warranty covers kettles.")
    assert set(found) == {"faq", "document"}
    assert found["document"].dense.points.tolist()[0] == 0
    assert found["document"].dense.scores[0] == pytest.approx(1, abs=1e-3)
    assert sorted(found["faq"].dense.points.tolist()) == [2, 3]
    assert found["document"].sparse.points.tolist() == [0]
    assert found["faq"].sparse.points.tolist() == []


async def test_a_kind_that_there_is_not_is_not_given(home: Home) -> None:
    index = await home.build(FEW[:1])
    assert set(await search(index, "warranty")) == {"document"}
    assert await search(await home.build(FEW[1:2], generation=2), "warranty") == {}


async def test_what_is_kept_of_points_is_read_back(home: Home) -> None:
    index = await home.build(FEW)
    found = await index.payloads([3, 0])
    assert set(found) == {0, 3}
    assert found[3]["text"] == "退货怎么办理"
    assert (found[0]["chunk_id"], found[0]["heading"], found[0]["page"]) == (
        "warranty:0", "Heading 0", 0,
    )  # fmt: skip
    assert await index.payloads([]) == {}


async def test_a_question_without_words_is_searched_by_meaning(home: Home) -> None:
    found = (await search(await home.build(FEW), "??"))["faq"]
    assert len(found.dense.points) == 2
    assert len(found.sparse.points) == 0


async def test_words_weigh_what_they_weigh_in_their_own_knowledge_base_and_kind(
    home: Home,
) -> None:
    rare = [entry(f"d{number}", f"garden chapter {number}") for number in range(6)]
    mine = await home.build([*rare, entry("refunds", "refunds in the garden")], "mine")
    # Next door, and among the entries, everybody talks of refunds.
    crowd = [entry(f"f{number}", f"refunds {number}", answer="Yes.") for number in range(6)]
    await home.build([entry(f"d{number}", f"refunds {number}") for number in range(6)], "other")
    both = await home.build([*rare, entry("refunds", "refunds in the garden"), *crowd], "both")
    for index in (mine, both):
        (score,) = (await search(index, "refunds"))["document"].sparse.scores
        point, term = 6, np.array([terms.term_id("refund")], np.uint32)
        held = slice(*index.arrays.term_starts[point : point + 2])
        weight = index.arrays.term_weights[held][index.arrays.term_ids[held] == term[0]]
        assert score == pytest.approx(float(weight[0] * index.arrays.idf("document", term)[0]))


async def test_only_points_with_a_label_of_each_group_are_found(home: Home) -> None:
    index = await home.build(
        [entry(f"{product}{n}", f"cleaning {n}", product=product) for product in PRODUCTS
         for n in range(3)]
    )  # fmt: skip
    found = await search(index, "cleaning", groups=[["product=kettle", "product="]])
    for hits in (found["document"].dense, found["document"].sparse):
        assert sorted(hits.points.tolist()) == [0, 1, 2, 6, 7, 8]
    nothing = await search(index, "cleaning", groups=[["product=kettle"], ["product=toaster"]])
    assert nothing["document"].points().tolist() == []


async def test_texts_of_the_other_language_are_looked_for_apart(home: Home) -> None:
    crowd = [entry(f"zh{number}", f"退款 说明 {number}") for number in range(2 * LIMIT)]
    index = await home.build([*crowd, entry("en", "refunds explained")])
    found = await find([index], "退款 说明", embed("退款 说明"), 100)
    assert "en" in {passage.document_id for passage in found.passages}


def mixed(base: str) -> list[StoredDocument]:
    """Entries and documents in both languages; ids are the same in all knowledge bases."""
    made = []
    for number, subject in enumerate(SUBJECTS):
        product, secret = PRODUCTS[number % 3], f"secret-{base}-{number}"
        told = f"{subject} {secret} {SUBJECTS[number - 3]}"
        made.append(entry(f"d{number}", told, f"more on {subject}", product=product))
        asked = f"What about {subject}?"
        made.append(entry(f"f{number}", asked, answer=secret, product=product))
    return made


QUESTIONS = st.lists(
    st.sampled_from([*SUBJECTS, "What about", "secret", "more", *BASES]), min_size=1, max_size=5
).map(" ".join)
FILTERS = st.sampled_from([{}, {"product": "kettle"}, {"product": "toaster"}])


@pytest.mark.slow
async def test_one_knowledge_base_gives_nothing_of_another(home: Home) -> None:
    indexes = {base: await home.build(mixed(base), base) for base in BASES}
    seen = set()

    @settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(question=QUESTIONS, base=st.sampled_from(BASES), where=FILTERS)
    async def nothing_leaks(question: str, base: str, where: Mapping[str, str]) -> None:
        found = await find([indexes[base]], question, embed(question), 100, where)
        shown = json.dumps([passage.text for passage in found.passages])
        assert not any(f"secret-{other}-" in shown for other in BASES if other != base)
        fields = {d.document.document_id: d.document.fields for d in mixed(base)}
        assert all(matches(fields[passage.document_id], where) for passage in found.passages)
        seen.update(passage.document_id for passage in found.passages)

    await run_all(nothing_leaks)
    assert len(seen) == 2 * len(SUBJECTS)


@pytest.mark.slow
async def test_both_engines_find_the_same_and_rank_it_the_same(
    qdrant: QdrantServer, tmp_path: Path
) -> None:
    documents = [*mixed("shop"), *FEW]
    async with (
        home_of(QdrantSettings(), tmp_path / "here") as here,
        home_of(QdrantSettings(url=qdrant.url), tmp_path / "there") as there,
    ):
        for base in BASES[1:]:
            await there.build(mixed(base), base)
        embedded, server = [await home.build(documents) for home in (here, there)]

        @settings(
            max_examples=80,
            deadline=None,
            suppress_health_check=[HealthCheck.function_scoped_fixture],
        )
        @given(question=QUESTIONS, where=FILTERS)
        async def the_same(question: str, where: Mapping[str, str]) -> None:
            one, other = [
                await find([index], question, embed(question), 100, where)
                for index in (embedded, server)
            ]
            assert {p.chunk_id for p in one.passages} == {p.chunk_id for p in other.passages}
            again = {passage.chunk_id: passage for passage in other.passages}
            for above, below in pairwise(one.passages):
                assert again[above.chunk_id].score > again[below.chunk_id].score - ALIKE
            for passage in one.passages:
                twin = again[passage.chunk_id]
                assert passage.score == pytest.approx(twin.score, abs=ALIKE)
                assert replace(passage, score=0, quote="") == replace(twin, score=0, quote="")
            for kind, signals in one.evidence.items():
                assert signals == pytest.approx(other.evidence[kind], abs=0.01)
            ids = [terms.term_id(term) for term in terms.tokenise(question)]
            ways = [await index.search(embed(question), ids, 100) for index in (embedded, server)]
            for kind, found in ways[0].items():
                assert scores(found) == pytest.approx(scores(ways[1][kind]), abs=ALIKE)

        await run_all(the_same)


def scores(found: Found) -> dict[str, float]:
    return {
        f"{way} {point}": score
        for way in ("dense", "sparse")
        for point, score in zip(
            getattr(found, way).points.tolist(), getattr(found, way).scores.tolist(), strict=True
        )
    }


async def test_writing_the_same_index_twice_changes_nothing(home: Home) -> None:
    first, second = await home.build(FEW), await home.build(FEW)
    assert (await first.payloads([1])) == (await second.payloads([1]))
    assert (await search(first, "warranty"))["document"].sparse.points.tolist() == [0]


async def test_generations_do_not_mix(home: Home) -> None:
    old = await home.build(FEW)
    new = await home.build([entry("warranty", "No warranty any more.")], generation=2)
    assert (await old.payloads([0]))[0]["text"] == "The warranty covers kettles."
    assert (await new.payloads([0]))[0]["text"] == "No warranty any more."
    assert sorted((await search(old, "warranty"))["document"].dense.points.tolist()) == [0, 1]
    await home.engine.settle(new.stamp, old.stamp, last=True)
    assert (await old.payloads([0]))[0]["text"] == "The warranty covers kettles."


async def test_points_that_are_gone_are_missed_instead_of_not_found(
    qdrant: QdrantServer, tmp_path: Path
) -> None:
    async with home_of(QdrantSettings(url=qdrant.url), tmp_path) as home:
        engine = home.engine
        old = await home.build(FEW, "gone")
        newer = [await home.build(FEW[:1], "gone", number) for number in (2, 3)]
        await engine.settle(newer[1].stamp, newer[0].stamp, last=True)
        for asked in (search(old, "warranty"), old.payloads([0]), engine.check(old.stamp, 4)):
            with pytest.raises(PointsMissing, match=r"base gone: Qdrant at \S+ has lost"):
                await asked
        # A filter that nothing passes is no loss.
        assert not len((await search(newer[0], "x", groups=[["y"]]))["document"].points())
