"""Loading, searching and restarting knowledge bases: real files, SQLite, and index builds."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy.engine import make_url

from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.knowledge_base import LoadReport
from kfbot.observability import metrics
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.engine import Database
from kfbot.store.knowledge_rows import ChunkRow, DocumentRow, StoredDocument
from knowledge.geometry import GENERIC_QUESTIONS
from knowledge.intake import Intake
from knowledge.load import Knowledge
from knowledge.terms import counts, tokenise
from tests.integration.stores import put_in_force

DIMENSIONS = 64
#: An index build asks for these too, once a process.
GENERIC = {text for texts in GENERIC_QUESTIONS.values() for text in texts}
pytestmark = pytest.mark.asyncio


class WordEmbedder:
    """Texts that share words are near one another; notes what it was asked to embed."""

    dimensions = DIMENSIONS

    def __init__(self, key: str = "words") -> None:
        self.key = key
        self.passages: list[str] = []
        self.queries: list[str] = []
        self.before_each: Callable[[], None] = lambda: None

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.queries += [text for text in texts if text not in GENERIC]
        return self._embed(texts)

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.passages += texts
        return self._embed(texts)

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.before_each()
        vectors = np.full((len(texts), DIMENSIONS), 0.01, np.float32)
        for row, text in enumerate(texts):
            for term in tokenise(text):
                seed = np.random.default_rng(zlib.crc32(f"{self.key} {term}".encode()))
                vectors[row] += seed.standard_normal(DIMENSIONS).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write_faq(path: Path, **answers: str) -> None:
    rows = [
        {"id": f"faq-{topic}", "question": f"What about {topic}?", "answer": answer}
        for topic, answer in answers.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "sources" / "shop"
    folder.mkdir(parents=True)
    write_faq(folder / "faq.jsonl", refunds="old refunds", parcels="old parcels")
    (folder / "kettle.md").write_text("# Kettle\n\nThe kettle holds two litres.\n")
    return folder


@pytest.fixture
def office(tmp_path: Path) -> Path:
    folder = tmp_path / "sources" / "office"
    folder.mkdir(parents=True)
    write_faq(folder / "faq.jsonl", refunds="office refunds", holidays="office holidays")
    return folder


@pytest.fixture
def store(database: Database) -> KnowledgeStore:
    return KnowledgeStore(database)


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()


@asynccontextmanager
async def opened(
    store: KnowledgeStore, embedder: WordEmbedder, data_dir: Path, **sources: Path
) -> AsyncIterator[Knowledge]:
    knowledge = Knowledge(
        {name: Intake((str(path),)) for name, path in sources.items()}, store, embedder, data_dir
    )
    try:
        await knowledge.open()
        yield knowledge
    finally:
        await knowledge.aclose()


async def answer(knowledge: Knowledge, query: str, **options: Sequence[str]) -> str:
    return (await knowledge.search(query, **options)).passages[0].text  # type: ignore[arg-type]


def folders(data_dir: Path, name: str = "shop") -> set[str]:
    return {entry.partition("-")[0] for entry in os.listdir(data_dir / "index" / name)}


async def test_a_loaded_knowledge_base_answers(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        assert (await knowledge.search("refunds")).passages == ()
        assert await knowledge.load() == (LoadReport(knowledge_base="shop", added=3),)
        found = await knowledge.search("What about refunds?")
        assert found.passages[0].text == "old refunds"
        assert set(found.timings_ms) == {"embed", "route", "search", "rank"}
        assert "two litres" in await answer(knowledge, "How many litres does the kettle hold?")
        (status,) = await knowledge.status()
        assert (status.documents, status.chunks, status.generation) == (3, 3, 1)
        assert status.loaded_at is not None


async def test_loading_twice_changes_nothing(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        inode = os.stat(tmp_path / "index" / "shop" / os.listdir(tmp_path / "index" / "shop")[0])
        embedded = len(embedder.passages), len(embedder.queries)
        assert await knowledge.load() == (LoadReport(knowledge_base="shop", unchanged=3),)
        (status,) = await knowledge.status()
        assert status.generation == 1
        assert (len(embedder.passages), len(embedder.queries)) == embedded
        (folder,) = os.listdir(tmp_path / "index" / "shop")
        assert os.stat(tmp_path / "index" / "shop" / folder).st_ino == inode.st_ino


async def test_a_changed_file_replaces_its_own_chunks_only(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        before = {
            document.document.document_id: document async for document in store.chunks("shop")
        }
        embedder.passages.clear()
        embedder.queries.clear()
        write_faq(shop / "faq.jsonl", refunds="old refunds", parcels="new parcels")
        (shop / "kettle.md").write_text("# Kettle\n\nThe kettle holds three litres.\n")
        (report,) = await knowledge.load()
        assert report == LoadReport(knowledge_base="shop", changed=2, unchanged=1)
        after = {document.document.document_id: document async for document in store.chunks("shop")}
        assert after["faq-refunds"] == before["faq-refunds"]
        # Only the answer changed: what is searched has its vector already.
        assert embedder.queries == []
        assert len(embedder.passages) == 1
        assert await answer(knowledge, "What about parcels?") == "new parcels"
        assert "three litres" in await answer(knowledge, "kettle litres")


async def test_a_removed_file_takes_its_chunks_along(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        os.unlink(shop / "faq.jsonl")
        (report,) = await knowledge.load()
        assert (report.removed, report.unchanged) == (2, 1)
        found = await knowledge.search("What about refunds?")
        assert [passage.kind for passage in found.passages] == ["document"]
        (status,) = await knowledge.status()
        assert (status.documents, status.chunks, status.generation) == (1, 1, 2)


async def test_a_knowledge_base_may_become_empty(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        shutil.rmtree(shop)
        os.mkdir(shop)
        await knowledge.load()
        assert (await knowledge.search("What about refunds?")).passages == ()


async def test_what_cannot_be_read_is_named_and_the_rest_is_loaded(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    (shop / "more.jsonl").write_text('{"id": "x", "question"\n')
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        (report,) = await knowledge.load()
        assert report.added == 3
        assert len(report.unreadable) == 1
        assert "more.jsonl" in report.unreadable[0]
        (status,) = await knowledge.status()
        assert status.unreadable == report.unreadable


async def test_a_restart_opens_the_index_without_embedding(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
    made = os.stat(tmp_path / "index" / "shop").st_mtime_ns
    again = WordEmbedder()
    async with opened(store, again, tmp_path, shop=shop) as knowledge:
        assert (again.passages, again.queries) == ([], [])
        assert os.stat(tmp_path / "index" / "shop").st_mtime_ns == made
        assert await answer(knowledge, "What about refunds?") == "old refunds"


async def test_another_model_embeds_everything_again(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        await approve(store, embedder, "shop", "faq-night", "Are you open at night?", "No.")
    other = WordEmbedder("other")
    async with opened(store, other, tmp_path, shop=shop) as knowledge:
        with pytest.raises(KnowledgeBaseUnavailable, match="another model"):
            await knowledge.search("What about refunds?")
        (report,) = await knowledge.load()
        assert (report.added, report.changed, report.unchanged) == (0, 0, 4)
        assert (len(other.queries), len(other.passages)) == (3, 1)
        assert await answer(knowledge, "What about refunds?") == "old refunds"
        assert await answer(knowledge, "open at night") == "No."


async def approve(
    store: KnowledgeStore,
    embedder: WordEmbedder,
    name: str,
    document_id: str,
    question: str,
    answer: str,
) -> None:
    """Store an entry as the approval of an agent's answer does."""
    row = DocumentRow(
        document_id=document_id, kind="faq", source="approved", content_hash="", answer=answer
    )
    vector = embedder.embed_queries([question])[0].astype("<f2").tobytes()
    chunk = ChunkRow(
        id=document_id, position=0, heading="", text=question, vector=vector, terms=counts(question)
    )
    await put_in_force(store, name, embedder, [StoredDocument(row, (chunk,))])


async def test_approved_entries_survive_a_reload_and_are_not_overwritten(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        await approve(store, embedder, "shop", "faq-night", "Are you open at night?", "No.")
        write_faq(shop / "faq.jsonl", night="taken")
        (report,) = await knowledge.load()
        assert await answer(knowledge, "open at night") == "No."
        assert (report.removed, report.unchanged) == (2, 2)
        assert "faq-night" in report.unreadable[0]


async def test_two_knowledge_bases_never_mix(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path, office: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop, office=office) as knowledge:
        await knowledge.load()
        for name, text in (("shop", "old refunds"), ("office", "office refunds")):
            found = await knowledge.search("What about refunds?", names=[name])
            assert {passage.knowledge_base for passage in found.passages} == {name}
            assert found.passages[0].text == text
        both = await knowledge.search("What about refunds?")
        assert {passage.knowledge_base for passage in both.passages} == {"shop", "office"}
        assert (await knowledge.search("refunds", names=[])).passages == ()
        with pytest.raises(KnowledgeBaseUnavailable, match="'attic'"):
            await knowledge.search("refunds", names=["attic"])


async def test_only_the_named_knowledge_base_is_loaded(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path, office: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop, office=office) as knowledge:
        (report,) = await knowledge.load(["office"])
        assert report.knowledge_base == "office"
        assert await store.names() == ("office",)
        assert await answer(knowledge, "What about refunds?") == "office refunds"


async def test_a_question_during_a_reload_sees_the_old_state_or_the_new_one(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        write_faq(shop / "faq.jsonl", refunds="new refunds", parcels="new parcels")
        loading = asyncio.create_task(knowledge.load())
        seen = []
        while not loading.done():
            found = await knowledge.search("What about refunds and parcels?")
            texts = [passage.text for passage in found.passages if passage.kind == "faq"]
            seen.append({text.split()[0] for text in texts})
            await asyncio.sleep(0.01)
        await loading
        assert {"old"} in seen
        assert all(ages in ({"old"}, {"new"}) for ages in seen)
        assert await answer(knowledge, "What about refunds?") == "new refunds"
        # The generation before stays on the disk, for a way back.
        assert folders(tmp_path) == {"1", "2"}
        write_faq(shop / "faq.jsonl", refunds="newer refunds")
        await knowledge.load()
        assert folders(tmp_path) == {"2", "3"}


async def test_loads_wait_for_one_another(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        first, second = await asyncio.gather(knowledge.load(), knowledge.load())
        assert (first[0].added, second[0].added, second[0].unchanged) == (3, 0, 3)


async def test_progress_tells_how_many_texts_are_embedded(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    write_faq(shop / "faq.jsonl", **{f"topic{number}": "x" for number in range(70)})
    told: list[tuple[str, int, int]] = []
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load(progress=lambda *step: told.append(step))
    embedding = [step[1:] for step in told if step[0] == "embedding"]
    assert embedding[0] == (0, 71)
    assert embedding[-1] == (71, 71)
    assert [stage for stage in dict.fromkeys(step[0] for step in told)] == [
        "looking",
        "reading",
        "embedding",
        "indexing",
    ]


async def test_a_model_that_fails_during_a_load_leaves_the_old_state(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    def fail() -> None:
        raise KnowledgeBaseUnavailable("no answer from the model")

    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        (shop / "kettle.md").write_text("# Kettle\n\nThe kettle is gone.\n")
        embedder.before_each = fail
        with pytest.raises(KnowledgeBaseUnavailable, match="no answer"):
            await knowledge.load()
        embedder.before_each = lambda: None
        (status,) = await knowledge.status()
        assert status.generation == 1
        assert "two litres" in await answer(knowledge, "kettle litres")


async def test_a_load_that_is_cancelled_leaves_the_old_state(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        write_faq(shop / "faq.jsonl", refunds="new refunds")
        reached = asyncio.Event()
        loading = asyncio.create_task(
            knowledge.load(
                progress=lambda stage, *_: reached.set() if stage == "indexing" else None
            )
        )
        await reached.wait()
        await asyncio.sleep(0.1)
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        assert await answer(knowledge, "What about refunds?") == "old refunds"
        assert folders(tmp_path) == {"1"}
        await knowledge.load()
        assert await answer(knowledge, "What about refunds?") == "new refunds"


async def test_a_crash_before_the_index_is_built_is_made_up_for_at_the_next_start(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    (tmp_path / "index").write_text("in the way")
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        with pytest.raises(KnowledgeBaseUnavailable):
            await knowledge.load()
        (status,) = await knowledge.status()
        assert status.generation == 1
    os.unlink(tmp_path / "index")
    again = WordEmbedder()
    async with opened(store, again, tmp_path, shop=shop) as knowledge:
        assert (again.passages, again.queries) == ([], [])
        assert await answer(knowledge, "What about refunds?") == "old refunds"


async def test_why_a_load_failed_is_known_until_one_ends_well(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    def fail() -> None:
        raise KnowledgeBaseUnavailable("no answer from the model")

    def counted(result: str) -> float:
        labels = {"knowledge_base": "shop", "result": result}
        return metrics.REGISTRY.get_sample_value("kfbot_knowledge_loads_total", labels) or 0.0

    done, failed = counted("done"), counted("failed")
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        embedder.before_each = fail
        with pytest.raises(KnowledgeBaseUnavailable):
            await knowledge.load()
        assert [one.fault for one in await knowledge.status()] == ["no answer from the model"]
        embedder.before_each = lambda: None
        await knowledge.load()
        assert [one.fault for one in await knowledge.status()] == [""]
    assert (counted("done") - done, counted("failed") - failed) == (1, 1)


async def test_a_build_that_failed_is_tried_again_by_the_next_load(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    (tmp_path / "index").write_text("in the way")
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        with pytest.raises(KnowledgeBaseUnavailable):
            await knowledge.load()
        os.unlink(tmp_path / "index")
        assert await knowledge.load() == (LoadReport(knowledge_base="shop", unchanged=3),)
        assert await answer(knowledge, "What about refunds?") == "old refunds"


@pytest.mark.parametrize("victim", ["stamp.json", "vectors.npy", "documents.jsonl", "shard"])
async def test_a_damaged_index_is_built_again(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path, victim: str
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
    (folder,) = os.listdir(tmp_path / "index" / "shop")
    path = str(tmp_path / "index" / "shop" / folder / victim)
    if victim == "shard":
        shutil.rmtree(path)
    else:
        os.truncate(path, 10)
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        assert await answer(knowledge, "What about refunds?") == "old refunds"


async def test_before_it_is_open_it_cannot_be_asked(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    knowledge = Knowledge({"shop": Intake((str(shop),))}, store, embedder, tmp_path)
    with pytest.raises(KnowledgeBaseUnavailable, match="not open"):
        await knowledge.search("refunds")
    await knowledge.aclose()


async def test_a_source_that_is_gone_as_a_whole_keeps_what_it_gave(tmp_path: Path) -> None:
    source = tmp_path / "mounted"
    source.mkdir()
    (source / "a.md").write_text("# Returns\n\nBring it back within 15 days.", encoding="utf-8")
    async with Database(f"sqlite:///{tmp_path / 'k.sqlite3'}") as database:
        await database.upgrade()
        store = KnowledgeStore(database)
        async with Knowledge(
            {"k": Intake((str(source),))}, store, WordEmbedder(), tmp_path
        ) as knowledge:
            await knowledge.load()
            source.rename(tmp_path / "unmounted")
            [report] = await knowledge.load()
            found = await knowledge.search("returns")
    assert report.removed == 0
    assert report.unreadable == (f"{source}: does not exist; what was loaded from it stays",)
    assert [passage.document_id for passage in found.passages] == ["a.md"]


async def test_a_restored_backup_never_meets_an_index_of_later_days(
    database_url: str, tmp_path: Path, shop: Path, embedder: WordEmbedder
) -> None:
    """A restored database counts its generations again from where it was saved."""
    file = Path(str(make_url(database_url).database))

    async def load(refunds: str | None) -> str:
        async with (
            Database(database_url) as database,
            opened(KnowledgeStore(database), embedder, tmp_path, shop=shop) as knowledge,
        ):
            if refunds is not None:
                write_faq(shop / "faq.jsonl", refunds=refunds)
                await knowledge.load()
            return await answer(knowledge, "What about refunds?")

    assert await load("on Monday") == "on Monday"
    shutil.copy(file, tmp_path / "backup.sqlite3")
    assert await load("on Tuesday") == "on Tuesday"
    shutil.copy(tmp_path / "backup.sqlite3", file)
    assert await load("on Wednesday") == "on Wednesday"
    shutil.copy(tmp_path / "backup.sqlite3", file)
    assert await load(None) == "on Monday"
