"""Knowledge whose points lie on a Qdrant server: switching, going back, faults, and LlamaIndex."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from llama_index.core.vector_stores.types import (
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

from kfbot.answer import Answering, answer_question
from kfbot.errors import KfbotError, KnowledgeBaseUnavailable
from kfbot.opening import check_qdrant
from kfbot.settings import QdrantSettings
from kfbot.store.chunks import KnowledgeStore
from knowledge.embedding import Embedder, open_embedder
from knowledge.index import Stamp
from knowledge.intake import Intake
from knowledge.load import Knowledge
from knowledge.qdrant_fill import fill
from knowledge.qdrant_points import open_engine
from knowledge.qdrant_server import ENGINE, Server, collection_of
from knowledge.shard import ShardPoint
from knowledge.vector_store import sparse_query
from tests.cache import MODEL_CACHE
from tests.integration.test_knowledge_load import WordEmbedder, answer, write_faq
from tests.platforms.qdrant import QdrantServer

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]
in_this_process = pytest.mark.usefixtures("without_children")

SAMPLES = Path(__file__).parents[2] / "knowledge" / "samples"
EVERYDAY = Path(__file__).parents[1] / "evaluation" / "sample_everyday.jsonl"
KEY = "very-secret-key"
EMBEDDED = QdrantSettings()


@pytest.fixture
def qdrant() -> Iterator[QdrantServer]:
    with QdrantServer() as server:
        yield server


@pytest.fixture
def store(database: object) -> KnowledgeStore:
    return KnowledgeStore(database)  # type: ignore[arg-type]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "sources" / "shop"
    folder.mkdir(parents=True)
    write_faq(folder / "faq.jsonl", refunds="old refunds", parcels="old parcels")
    return folder


@asynccontextmanager
async def opened(
    section: QdrantSettings,
    store: KnowledgeStore,
    embedder: Embedder,
    folder: Path,
    **sources: Path,
) -> AsyncIterator[Knowledge]:
    intakes = {name: Intake((str(path),)) for name, path in sources.items()}
    async with (
        open_engine(section) as engine,
        Knowledge(intakes, store, embedder, folder, engine=engine) as knowledge,
    ):
        yield knowledge


@pytest.fixture(params=["embedded", "server"])
def either(request: pytest.FixtureRequest, qdrant: QdrantServer) -> QdrantSettings:
    return QdrantSettings(url=qdrant.url) if request.param == "server" else EMBEDDED


def has_shard(folder: Path) -> bool:
    return any(folder.glob("index/shop/*/shard"))


def partitions(qdrant: QdrantServer) -> set[str]:
    """The numbers of the generations on the server."""
    return {name.partition("-")[0] for name in qdrant.partitions("kfbot")}


@in_this_process
async def test_a_load_is_switched_to_and_taken_back_without_embedding(
    either: QdrantSettings, store: KnowledgeStore, tmp_path: Path, shop: Path
) -> None:
    embedder = WordEmbedder()
    async with opened(either, store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        assert await answer(knowledge, "What about refunds?") == "old refunds"
        write_faq(shop / "faq.jsonl", refunds="new refunds", kettles="new kettles")
        await knowledge.load()
        assert await answer(knowledge, "What about refunds?") == "new refunds"
        assert await answer(knowledge, "What about kettles?") == "new kettles"
        embedder.passages.clear()
        await knowledge.roll_back("shop")
        assert await answer(knowledge, "What about refunds?") == "old refunds"
        assert embedder.passages == []


async def test_a_build_that_is_broken_off_leaves_the_old_in_service(
    either: QdrantSettings, store: KnowledgeStore, tmp_path: Path, shop: Path
) -> None:
    embedder = WordEmbedder()
    async with opened(either, store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        write_faq(shop / "faq.jsonl", refunds="new refunds")

        def break_off(stage: str, done: int, total: int) -> None:
            if stage == "indexing":
                loading.cancel()

        loading = asyncio.create_task(knowledge.load(progress=break_off))
        with pytest.raises(asyncio.CancelledError):
            await loading
        assert await answer(knowledge, "What about refunds?") == "old refunds"
        await knowledge.refresh()
        assert await answer(knowledge, "What about refunds?") == "new refunds"


async def test_a_build_killed_while_it_writes_leaves_the_old_in_service(
    qdrant: QdrantServer, store: KnowledgeStore, tmp_path: Path, shop: Path
) -> None:
    section = QdrantSettings(url=qdrant.url)
    async with opened(section, store, WordEmbedder(), tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        write_faq(shop / "faq.jsonl", refunds="new refunds")
        qdrant.requests.clear()
        qdrant.fault, qdrant.faulty = -2, "/points"
        loading = asyncio.create_task(knowledge.load())
        while not any(request.startswith("PUT") for request in qdrant.requests):
            await asyncio.sleep(0.01)
            assert not loading.done()
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        qdrant.fault = 0
        assert await answer(knowledge, "What about refunds?") == "old refunds"
    async with opened(section, store, WordEmbedder(), tmp_path, shop=shop) as knowledge:
        assert await answer(knowledge, "What about refunds?") == "new refunds"


@in_this_process
async def test_the_setting_moves_what_is_stored_there_and_back_without_embedding(
    qdrant: QdrantServer, store: KnowledgeStore, tmp_path: Path, shop: Path
) -> None:
    async with opened(EMBEDDED, store, WordEmbedder(), tmp_path, shop=shop) as knowledge:
        await knowledge.load()
    embedder = WordEmbedder()
    for section in (QdrantSettings(url=qdrant.url), EMBEDDED):
        async with opened(section, store, embedder, tmp_path, shop=shop) as knowledge:
            assert await answer(knowledge, "What about refunds?") == "old refunds"
            assert has_shard(tmp_path) is (section is EMBEDDED)
    assert embedder.passages == []
    assert sum(qdrant.partitions("kfbot").values()) == 2


@in_this_process
async def test_one_generation_before_stays_on_the_server(
    qdrant: QdrantServer, store: KnowledgeStore, tmp_path: Path, shop: Path
) -> None:
    section = QdrantSettings(url=qdrant.url)
    async with opened(section, store, WordEmbedder(), tmp_path, shop=shop) as knowledge:
        for number in range(1, 4):
            write_faq(shop / "faq.jsonl", refunds=f"refunds {number}")
            await knowledge.load()
        assert partitions(qdrant) == {"2", "3"}
        assert await answer(knowledge, "What about refunds?") == "refunds 3"


@pytest.mark.parametrize("restarted", [False, True])
@in_this_process
async def test_a_server_that_lost_everything_is_filled_again(
    qdrant: QdrantServer, store: KnowledgeStore, tmp_path: Path, shop: Path, restarted: bool
) -> None:
    section, embedder = QdrantSettings(url=qdrant.url), WordEmbedder()
    async with opened(section, store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        embedder.passages.clear()
        qdrant.forget()
        if not restarted:
            with pytest.raises(KnowledgeBaseUnavailable, match=r"shop.* has lost its points"):
                await knowledge.search("What about refunds?")
            await knowledge.refresh()
            assert await answer(knowledge, "What about refunds?") == "old refunds"
    async with opened(section, store, embedder, tmp_path, shop=shop) as knowledge:
        assert await answer(knowledge, "What about refunds?") == "old refunds"
    assert embedder.passages == []


@in_this_process
async def test_customers_get_a_person_while_the_server_is_away(
    qdrant: QdrantServer, store: KnowledgeStore, tmp_path: Path, shop: Path
) -> None:
    section = QdrantSettings(url=qdrant.url, timeout_seconds=0.3)
    async with opened(section, store, WordEmbedder(), tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        for fault in (500, -1, -2):
            qdrant.fault = fault
            turn = await answer_question("What about refunds?", Answering(knowledge))
            assert turn.decision == "handoff"
        qdrant.fault = 0
        assert await answer(knowledge, "What about refunds?") == "old refunds"
        qdrant.fault = 503
    # A server that is away does not keep the bot from starting.
    async with opened(section, store, WordEmbedder(), tmp_path, shop=shop) as knowledge:
        with pytest.raises(KnowledgeBaseUnavailable, match="in trouble"):
            await knowledge.search("What about refunds?")
        qdrant.fault = 0
        assert await answer(knowledge, "What about refunds?") == "old refunds"


FAULTS = [
    (401, "refuses the key (401): correct [qdrant] api_key (KFBOT_QDRANT__API_KEY)"),
    (403, "refuses the key (403)"),
    (400, "refuses (400): out of order"),
    (429, "is in trouble (429): out of order"),
    (500, "is in trouble (500): out of order"),
    (-1, "cannot be reached: Server disconnected"),
    (-2, "did not answer within 0.2 s: look whether"),
]


@pytest.mark.parametrize(("fault", "said"), FAULTS)
@in_this_process
async def test_each_fault_of_the_server_is_one_line_without_the_key(
    qdrant: QdrantServer, store: KnowledgeStore, tmp_path: Path, shop: Path, fault: int, said: str
) -> None:
    section = QdrantSettings(url=qdrant.url, api_key=KEY, timeout_seconds=0.2)  # type: ignore[arg-type]
    qdrant.fault = fault
    async with opened(section, store, WordEmbedder(), tmp_path, shop=shop) as knowledge:
        for asked in (check_qdrant(section), knowledge.load()):
            with pytest.raises(KnowledgeBaseUnavailable) as caught:
                await asked
            assert said in str(caught.value)
            assert qdrant.url in str(caught.value)
            assert "\n" not in str(caught.value)
            assert KEY not in str(caught.value)


async def test_what_is_no_qdrant_or_nothing_at_all_is_told(qdrant: QdrantServer) -> None:
    with pytest.raises(KfbotError, match=r"cannot be reached: .*: start it, or correct"):
        await check_qdrant(QdrantSettings(url="http://127.0.0.1:1"))
    with pytest.raises(KfbotError, match=r"refuses \(404\)"):
        await check_qdrant(QdrantSettings(url=f"{qdrant.url}/elsewhere"))
    qdrant.version = "1.9.7"
    with pytest.raises(KfbotError, match=r"is version 1.9.7: kfbot needs 1.12 or newer"):
        await check_qdrant(QdrantSettings(url=qdrant.url))


async def test_the_key_opens_the_server() -> None:
    with QdrantServer(api_key=KEY) as qdrant:
        right = QdrantSettings(url=qdrant.url, api_key=KEY)  # type: ignore[arg-type]
        assert await check_qdrant(right) == f"{qdrant.url}, version 1.19.0, nothing written yet"
        with pytest.raises(KnowledgeBaseUnavailable, match="refuses the key"):
            await check_qdrant(QdrantSettings(url=qdrant.url))


def stamp(**changes: object) -> Stamp:
    fields: dict[str, object] = {
        "knowledge_base": "shop", "generation": 1, "embedding_key": "words", "dimensions": 2,
        "engine": ENGINE,
    }  # fmt: skip
    return Stamp(**(fields | changes))  # type: ignore[arg-type]


def points(count: int) -> Iterator[ShardPoint]:
    for number in range(count):
        payload = {"document_id": "d", "text": f"text {number}", "kind": "faq", "labels": []}
        yield ShardPoint(number, "faq", [1.0, 0.0], {number: 1.0}, payload)


async def test_writing_goes_on_after_the_servers_passing_trouble(qdrant: QdrantServer) -> None:
    qdrant.fault, qdrant.faults, qdrant.faulty = 500, 3, "/points"
    server = Server(url=qdrant.url)
    await fill(server, stamp(), points(150), 150, pause_seconds=0)
    assert list(qdrant.partitions(collection_of(server, stamp())).values()) == [150]
    assert sum(request.startswith("PUT") and request.endswith("/points")
               for request in qdrant.requests) == 3 + 3  # fmt: skip
    # What is there is not written again.
    qdrant.requests.clear()
    await fill(server, stamp(), points(150), 150)
    assert not any(request.endswith("/points") for request in qdrant.requests)


async def test_writing_gives_up_in_the_end_and_says_why(qdrant: QdrantServer) -> None:
    qdrant.fault, qdrant.faulty = 500, "/points"
    with pytest.raises(KnowledgeBaseUnavailable, match="in trouble"):
        await fill(Server(url=qdrant.url), stamp(), points(1), 1, pause_seconds=0)


async def test_two_processes_that_write_the_same_do_no_harm(qdrant: QdrantServer) -> None:
    server = Server(url=qdrant.url)
    await asyncio.gather(*(fill(server, stamp(), points(130), 130) for _ in range(3)))
    assert list(qdrant.partitions(collection_of(server, stamp())).values()) == [130]


async def test_the_collection_is_made_as_the_settings_say(qdrant: QdrantServer) -> None:
    server = Server(
        url=qdrant.url, shard_number=3, replication_factor=2, write_consistency_factor=2
    )
    await fill(server, stamp(), points(1), 1)
    (made,) = qdrant.created.values()
    assert (made.shard_number, made.replication_factor, made.write_consistency_factor) == (3, 2, 2)
    tenants = [field for _, field, schema in qdrant.indexed if getattr(schema, "is_tenant", False)]
    assert tenants == ["knowledge_base"]
    others = [
        collection_of(Server(url=qdrant.url), stamp()),
        collection_of(server, stamp(embedding_key="other")),
        collection_of(server, stamp(format="other")),
    ]
    assert len({*others, *qdrant.created}) == 4


@in_this_process
async def test_the_alias_moves_once_all_is_there_for_another_model(
    qdrant: QdrantServer, store: KnowledgeStore, tmp_path: Path, shop: Path
) -> None:
    office = tmp_path / "sources" / "office"
    office.mkdir()
    write_faq(office / "faq.jsonl", refunds="office refunds")
    section, both = QdrantSettings(url=qdrant.url), {"shop": shop, "office": office}
    async with opened(section, store, WordEmbedder(), tmp_path, **both) as knowledge:
        await knowledge.load()
    (first,) = qdrant.aliases().values()
    async with opened(section, store, WordEmbedder("other"), tmp_path, **both) as knowledge:
        await knowledge.load(["shop"])
        assert qdrant.aliases() == {"kfbot": first}
        await knowledge.load(["office"])
        second = qdrant.aliases()["kfbot"]
        assert second != first
        assert await answer(knowledge, "What about refunds?", names=["shop"]) == "old refunds"
    assert f"kfbot is {second}; of another model or format: {first}" in (
        await check_qdrant(section)
    )


@in_this_process
async def test_llamaindex_users_find_it_under_the_alias(
    qdrant: QdrantServer, store: KnowledgeStore, tmp_path: Path, shop: Path
) -> None:
    from llama_index.vector_stores.qdrant import QdrantVectorStore
    from qdrant_client import AsyncQdrantClient

    (shop / "kettle.md").write_text("# Kettle\n\nThe kettle holds two litres.\n")
    section, embedder = QdrantSettings(url=qdrant.url), WordEmbedder()
    async with opened(section, store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
    client = AsyncQdrantClient(url=qdrant.url, check_compatibility=False)
    found = QdrantVectorStore(
        "kfbot", aclient=client, enable_hybrid=True,
        sparse_doc_fn=sparse_query, sparse_query_fn=sparse_query,
    )  # fmt: skip
    asked = "kettle litres"
    for mode in (VectorStoreQueryMode.HYBRID, VectorStoreQueryMode.SPARSE):
        query = VectorStoreQuery(
            query_embedding=embedder.embed_queries([asked])[0].tolist(),
            query_str=asked,
            mode=mode,
            filters=MetadataFilters(filters=[MetadataFilter(key="knowledge_base", value="shop")]),
        )
        result = await found.aquery(query)
        assert result.nodes is not None
        assert "two litres" in result.nodes[0].get_content()
        assert result.nodes[0].ref_doc_id == "kettle.md"
    await client.close()


@in_this_process
async def test_the_sample_shop_is_answered_as_from_the_embedded_index(
    qdrant: QdrantServer, store: KnowledgeStore, tmp_path: Path
) -> None:
    embedder = await asyncio.to_thread(open_embedder, "bundled", MODEL_CACHE)
    questions = [json.loads(line)["text"] for line in EVERYDAY.read_text("utf-8").splitlines()][
        ::26
    ]
    found: list[list[tuple[str, str]]] = []
    part = part_of_the_samples(tmp_path / "samples")
    for section in (EMBEDDED, QdrantSettings(url=qdrant.url)):
        async with opened(section, store, embedder, tmp_path, samples=part) as knowledge:
            await knowledge.load()
            found.append([await first(knowledge, question) for question in questions])
    assert found[0] == found[1]
    assert len(set(found[0])) > len(questions) / 3


def part_of_the_samples(folder: Path) -> Path:
    """Some of each kind and language: embedding all of the shop takes a minute."""
    shutil.copytree(SAMPLES / "en", folder, ignore=shutil.ignore_patterns("faq.jsonl"))
    entries = (SAMPLES / "zh" / "faq.jsonl").read_text("utf-8").splitlines(keepends=True)
    (folder / "faq.jsonl").write_text("".join(entries[:30]), "utf-8")
    return folder


async def first(knowledge: Knowledge, question: str) -> tuple[str, str]:
    passage = (await knowledge.search(question)).passages[0]
    return passage.document_id, passage.quote
