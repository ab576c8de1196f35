"""Knowledge that another process loads: taken up whole, and by one process at a time."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
import sqlalchemy as sa

from kfbot.errors import KnowledgeBaseUnavailable, StoreUnavailable
from kfbot.knowledge_base import LoadReport
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.engine import Database
from kfbot.store.knowledge_rows import ChunkRow, DocumentRow, StoredDocument
from knowledge.intake import Intake
from knowledge.load import Knowledge
from knowledge.terms import counts
from tests.integration.stores import put_in_force
from tests.integration.test_knowledge_load import WordEmbedder, answer, folders, write_faq

pytestmark = pytest.mark.asyncio
TIMEOUT_SECONDS = 30


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "sources" / "shop"
    folder.mkdir(parents=True)
    write_faq(folder / "faq.jsonl", refunds="old refunds", parcels="old parcels")
    return folder


@asynccontextmanager
async def replica(
    url: str, data_dir: Path, embedder: WordEmbedder | None = None, **sources: Path
) -> AsyncIterator[Knowledge]:
    """The knowledge of one process among others."""
    paths = {name: Intake((str(path),)) for name, path in sources.items()}
    async with (
        Database(url) as database,
        Knowledge(paths, KnowledgeStore(database), embedder or WordEmbedder(), data_dir) as opened,
    ):
        yield opened


async def load(store: KnowledgeStore, name: str, **answers: str) -> None:
    """Load these answers, as another process does."""
    embedder = WordEmbedder()
    written = []
    for topic, text in answers.items():
        asked = f"What about {topic}?"
        row = DocumentRow(document_id=topic, kind="faq", content_hash="", answer=text)
        chunk = ChunkRow(
            id=f"{name}/{topic}/{text}",
            position=0,
            heading="",
            text=asked,
            vector=embedder.embed_queries([asked])[0].astype("<f2").tobytes(),
            terms=counts(asked),
        )
        written.append(StoredDocument(row, (chunk,)))
    await put_in_force(store, name, embedder, written)


@pytest_asyncio.fixture
async def elsewhere(postgres_url: str) -> AsyncIterator[KnowledgeStore]:
    """The store as another process sees it."""
    async with Database(postgres_url) as database:
        yield KnowledgeStore(database)


async def test_what_one_loads_is_answered_by_the_other_and_never_a_mixture(
    postgres_url: str, tmp_path: Path, shop: Path, elsewhere: KnowledgeStore
) -> None:
    async with replica(postgres_url, tmp_path / "b", shop=shop) as other:
        assert (await other.search("What about refunds?")).passages == ()
        await load(elsewhere, "shop", refunds="old refunds", parcels="old parcels")
        await other.refresh()
        assert await answer(other, "What about refunds?") == "old refunds"

        await load(elsewhere, "shop", refunds="new refunds", parcels="new parcels")
        refreshing = asyncio.create_task(other.refresh())
        seen = []
        while not refreshing.done():
            found = await other.search("What about refunds and parcels?")
            seen.append({passage.text.split()[0] for passage in found.passages})
            await asyncio.sleep(0.01)
        await refreshing
        assert seen[0] == {"old"}
        assert all(ages in ({"old"}, {"new"}) for ages in seen)
        assert await answer(other, "What about refunds?") == "new refunds"
        assert folders(tmp_path / "b") == {"1", "2"}


async def test_without_news_a_refresh_asks_for_generations_and_calibrations_alone(
    postgres_url: str, tmp_path: Path, shop: Path, elsewhere: KnowledgeStore
) -> None:
    await load(elsewhere, "shop", refunds="old refunds")
    statements: list[str] = []
    async with replica(postgres_url, tmp_path / "a", shop=shop) as one:
        engine = one._store._database.connections.engine.sync_engine
        sa.event.listen(
            engine, "before_cursor_execute", lambda *call: statements.append(str(call[2]))
        )
        await one.refresh()
    assert ["calibration" in one for one in statements] == [True, False]
    assert all("count(" not in one for one in statements)


async def test_two_first_loads_at_once_store_it_once(
    postgres_url: str, tmp_path: Path, shop: Path
) -> None:
    async with (
        replica(postgres_url, tmp_path / "a", shop=shop) as one,
        replica(postgres_url, tmp_path / "b", shop=shop) as other,
    ):
        reports = await asyncio.gather(one.load(), other.load())
        assert sorted(report.added for [report] in reports) == [0, 2]
        [status] = await other.status()
        assert (status.generation, status.documents) == (1, 2)
        for either in (one, other):
            assert await answer(either, "What about refunds?") == "old refunds"


async def locks(database: Database) -> list[int]:
    """The server processes of the sessions that hold a load's lock, or wait for one."""
    query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'kfbot lock' ORDER BY 1"
    return list(await database.read(lambda c: c.execute(sa.text(query)).scalars().all()))


async def gone(database: Database, *, but: int) -> None:
    """Until only so many of these sessions are left; they end a moment after their clients."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            if len(await locks(database)) == but:
                return
            await asyncio.sleep(0.02)


async def test_a_load_waits_for_another_process_and_gives_its_session_back(
    postgres_url: str,
) -> None:
    async with Database(postgres_url) as one, Database(postgres_url) as other:

        async def wait(name: str) -> None:
            async with KnowledgeStore(other).loading(name):
                pass

        async with KnowledgeStore(one).loading("shop"):
            await wait("office")
            waiting = asyncio.create_task(wait("shop"))
            await gone(one, but=2)
            assert not waiting.done()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await gone(one, but=1)
            waiting = asyncio.create_task(wait("shop"))
        await asyncio.wait_for(waiting, TIMEOUT_SECONDS)
        await gone(one, but=0)


async def test_a_load_that_lost_its_lock_stores_nothing(
    postgres_url: str, tmp_path: Path, shop: Path
) -> None:
    killed = False

    class KilledEmbedder(WordEmbedder):
        def embed_queries(self, texts):  # type: ignore[no-untyped-def]
            asyncio.run_coroutine_threadsafe(kill(), loop).result(TIMEOUT_SECONDS)
            return super().embed_queries(texts)

    async def kill() -> None:
        nonlocal killed
        if not killed:
            killed = True
            [pid] = await locks(database)
            end = sa.select(sa.func.pg_terminate_backend(pid))
            await database.read(lambda c: c.execute(end).scalar_one())
            # Nobody has to wait for the dead.
            async with KnowledgeStore(database).loading("shop"):
                pass

    loop = asyncio.get_running_loop()
    async with (
        Database(postgres_url) as database,
        replica(postgres_url, tmp_path / "a", KilledEmbedder(), shop=shop) as one,
    ):
        with pytest.raises(StoreUnavailable, match="nothing was stored"):
            await one.load()
        [status] = await one.status()
        assert status.generation == 0
        assert await one.load() == (LoadReport(knowledge_base="shop", added=2),)


async def test_what_another_model_made_leaves_an_open_index_in_service(
    postgres_url: str, tmp_path: Path, shop: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def warnings() -> list[str]:
        return [one.message for one in caplog.records if one.levelno >= logging.WARNING]

    async with replica(postgres_url, tmp_path / "a", shop=shop) as before:
        await before.load()
        async with replica(postgres_url, tmp_path / "b", WordEmbedder("other"), shop=shop) as after:
            [warning] = warnings()
            assert warning.endswith("embedded by another model: load it again")
            write_faq(shop / "faq.jsonl", refunds="new refunds")
            await after.load()
            assert await answer(after, "What about refunds?") == "new refunds"
            caplog.clear()
            for _ in range(3):
                await before.refresh()
                assert await answer(before, "What about refunds?") == "old refunds"
            [warning] = warnings()
            assert "stays in service" in warning
            # Without an index it cannot answer, until somebody loads with its model.
            async with replica(postgres_url, tmp_path / "c", shop=shop) as late:
                with pytest.raises(KnowledgeBaseUnavailable, match="another model"):
                    await late.search("What about refunds?")
                await before.load()
                await late.refresh()
                assert await answer(late, "What about refunds?") == "new refunds"


async def test_what_cannot_be_taken_up_leaves_the_old_state_and_the_rest_is_taken_up(
    postgres_url: str,
    tmp_path: Path,
    shop: Path,
    elsewhere: KnowledgeStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await load(elsewhere, "shop", refunds="old refunds")
    async with replica(postgres_url, tmp_path / "b", shop=shop, office=shop) as other:
        await load(elsewhere, "shop", refunds="new refunds")
        await load(elsewhere, "office", holidays="new holidays")
        shutil.rmtree(tmp_path / "b" / "index" / "shop")
        (tmp_path / "b" / "index" / "shop").write_text("in the way")
        await other.refresh()
        [failed] = [one for one in caplog.records if one.levelno == logging.ERROR]
        assert failed.message.startswith("knowledge base shop stays as it was: ")
        assert await answer(other, "What about refunds?", names=["shop"]) == "old refunds"
        assert await answer(other, "What about holidays?", names=["office"]) == "new holidays"
        os.unlink(tmp_path / "b" / "index" / "shop")
        await other.refresh()
        assert await answer(other, "What about refunds?", names=["shop"]) == "new refunds"


class OvertakenStore(KnowledgeStore):
    """While its documents are read for the first time, another process stores a load."""

    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def chunks(
        self, name: str, document_ids: Collection[str] | None = None
    ) -> AsyncIterator[StoredDocument]:
        meanwhile, self.meanwhile = self.meanwhile, None
        async for document in super().chunks(name, document_ids):
            yield document
            if meanwhile is not None:
                await meanwhile()
                meanwhile = None


async def test_an_index_is_never_made_of_another_generation_than_it_says(
    postgres_url: str, tmp_path: Path, shop: Path
) -> None:
    async with Database(postgres_url) as database:
        store = OvertakenStore(database)
        await load(store, "shop", refunds="old refunds")
        async with Knowledge(
            {"shop": Intake((str(shop),))}, store, WordEmbedder(), tmp_path / "b"
        ) as other:
            await load(store, "shop", refunds="new refunds")
            store.meanwhile = partial(load, store, "shop", refunds="newer refunds")
            await other.refresh()
            assert await answer(other, "What about refunds?") == "newer refunds"
            assert folders(tmp_path / "b") == {"1", "3"}
