"""Knowledge stays fresh: what is not read again, goes on after a kill, is taken back, or breaks."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kfbot.errors import KnowledgeBaseUnavailable, StoreUnavailable
from kfbot.reloading import Reloading, ReloadPlan
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.engine import Database
from kfbot.store.knowledge_rows import Load
from kfbot.store.tables import knowledge_chunk, knowledge_document
from knowledge import parsing
from knowledge.load import Knowledge
from tests.integration.stores import count
from tests.integration.test_knowledge_load import WordEmbedder, answer, opened, shop, write_faq

pytestmark = pytest.mark.asyncio
#: The fixture is that of the other file.
__all__ = ["shop"]


@pytest.fixture
def store(database: Database) -> KnowledgeStore:
    return KnowledgeStore(database)


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were handed to the parsers."""
    names: list[str] = []
    parse = parsing._Child.parse

    async def noted(self: parsing._Child, file: object, policy: object) -> object:
        names.append(file.name)  # type: ignore[attr-defined]
        return await parse(self, file, policy)  # type: ignore[arg-type]

    monkeypatch.setattr(parsing._Child, "parse", noted)
    return names


def with_parser(monkeypatch: pytest.MonkeyPatch, folder: Path, reader: str) -> None:
    """Have the children read .txt files with another reader, given as the body of a function."""
    lines = "\n".join(f"    {line}" for line in reader.splitlines())
    (folder / "other_parser.py").write_text(
        "import knowledge.formats as formats, knowledge.parsing as parsing\n"
        f"def read(file):\n{lines}\n    yield from ()\n"
        "formats.READERS['.txt'] = read\n"
        "parsing.main()\n"
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(parsing, "CHILD", "other_parser")


# Files that did not change


async def test_files_that_did_not_change_are_not_read_again(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path, parsed: list[str]
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        parsed.clear()
        (shop / "kettle.md").touch()
        (shop / "new.md").write_text("# New\n\nIt is new.")
        [report] = await knowledge.load()
        assert parsed == ["new.md"]
        assert (report.added, report.changed, report.removed, report.unchanged) == (1, 0, 0, 3)
        assert await answer(knowledge, "What about refunds?") == "old refunds"


async def test_a_change_that_keeps_size_and_time_is_seen(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    file = shop / "faq.jsonl"
    write_faq(file, refunds="old refunds")
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        write_faq(file, refunds="new refunds")
        os.utime(file, ns=times)
        await knowledge.load()
        assert await answer(knowledge, "What about refunds?") == "new refunds"


async def test_an_id_that_two_files_use_is_free_for_the_other_once_the_first_is_gone(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        write_faq(shop / "later.jsonl", refunds="later refunds")
        [report] = await knowledge.load()
        assert "is used twice, first in faq.jsonl" in report.unreadable[0]
        (shop / "faq.jsonl").unlink()
        [report] = await knowledge.load()
        assert report.unreadable == ()
        assert await answer(knowledge, "What about refunds?") == "later refunds"


# A load that is broken off


class Dying(WordEmbedder):
    """Embeds so many passages, and then no more."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if len(self.passages) + len(texts) > self.room:
            raise KnowledgeBaseUnavailable("the model is gone")
        return super().embed_passages(texts)


def write_pages(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:03}.md").write_text(f"# Page {number}\n\nIt is about topic{number}.")


async def test_a_load_goes_on_where_it_was_broken_off(
    store: KnowledgeStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_pages(tmp_path / "pages", 300)
    async with opened(store, Dying(200), tmp_path / "a", pages=tmp_path / "pages") as knowledge:
        with pytest.raises(KnowledgeBaseUnavailable):
            await knowledge.load()
        assert (await knowledge.search("topic7")).passages == ()
    after = WordEmbedder()
    async with opened(store, after, tmp_path / "a", pages=tmp_path / "pages") as knowledge:
        assert "another model" not in caplog.text
        assert (await knowledge.search("topic7")).passages == ()
        [report] = await knowledge.load()
        assert report.added == 300
        assert 100 <= len(after.passages) <= 200
        assert "topic7." in await answer(knowledge, "topic7")
        assert "topic299." in await answer(knowledge, "topic299")


async def test_a_slow_file_is_not_read_again_by_the_load_after_one_that_was_broken_off(
    store: KnowledgeStore,
    tmp_path: Path,
    parsed: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("knowledge.remembered.SLOW_SECONDS", 0.0)
    write_pages(tmp_path / "pages", 3)
    folder = tmp_path / "a" / "sources" / "parsed"
    async with opened(store, Dying(0), tmp_path / "a", pages=tmp_path / "pages") as knowledge:
        with pytest.raises(KnowledgeBaseUnavailable):
            await knowledge.load()
        assert parsed == ["000.md", "001.md", "002.md"]
        [damaged, *_] = sorted(folder.rglob("*.parsed"))
        damaged.write_bytes(b"damaged")
    parsed.clear()
    (tmp_path / "pages" / "001.md").write_text("# Page 1\n\nIt is about topic1 and changed.")
    async with opened(store, WordEmbedder(), tmp_path / "a", pages=tmp_path / "pages") as knowledge:
        [report] = await knowledge.load()
        assert report.added == 3
        assert len(parsed) in (1, 2)
        assert "001.md" in parsed
        assert "changed" in await answer(knowledge, "topic1")
    assert not list(folder.rglob("*.parsed"))


async def test_what_a_broken_load_left_is_not_put_in_force_when_the_file_changed_since(
    store: KnowledgeStore, tmp_path: Path
) -> None:
    write_pages(tmp_path / "pages", 300)
    async with opened(store, Dying(200), tmp_path / "a", pages=tmp_path / "pages") as knowledge:
        with pytest.raises(KnowledgeBaseUnavailable):
            await knowledge.load()
    (tmp_path / "pages" / "007.md").write_text("# Page 7\n\nIt is about topic7 and changed.")
    (tmp_path / "pages" / "008.md").unlink()
    async with opened(store, WordEmbedder(), tmp_path / "a", pages=tmp_path / "pages") as knowledge:
        [report] = await knowledge.load()
        assert report.added == 299
        assert "changed" in await answer(knowledge, "topic7")
        [status] = await knowledge.status()
        assert status.documents == 299


# Back to the generation before


async def test_a_load_can_be_taken_back_and_done_again_without_embedding(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        write_faq(shop / "faq.jsonl", refunds="new refunds", letters="new letters")
        (shop / "kettle.md").unlink()
        await knowledge.load()
        assert await answer(knowledge, "What about refunds?") == "new refunds"
        await knowledge.roll_back("shop")
        assert await answer(knowledge, "What about refunds?") == "old refunds"
        assert await answer(knowledge, "What about parcels?") == "old parcels"
        assert "two litres" in await answer(knowledge, "kettle litres")
        [status] = await knowledge.status()
        assert (status.documents, status.rolled_back) == (3, True)
        asked = len(embedder.queries)
        [report] = await knowledge.load()
        assert (report.added, report.changed, report.removed) == (1, 1, 2)
        assert len(embedder.queries) == asked
        assert await answer(knowledge, "What about letters?") == "new letters"
        assert (await knowledge.search("kettle litres")).passages[0].text != "two litres"
        [status] = await knowledge.status()
        assert (status.documents, status.rolled_back) == (2, False)


async def test_there_is_one_generation_to_go_back_to(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        with pytest.raises(KnowledgeBaseUnavailable, match="no generation to go back to"):
            await knowledge.roll_back("shop")
        for text in ("second", "third"):
            write_faq(shop / "faq.jsonl", refunds=text)
            await knowledge.load()
        await knowledge.roll_back("shop")
        assert await answer(knowledge, "What about refunds?") == "second"
        with pytest.raises(KnowledgeBaseUnavailable, match="no generation to go back to"):
            await knowledge.roll_back("shop")


async def test_rows_of_old_generations_do_not_pile_up(
    store: KnowledgeStore, database: Database, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        for number in range(6):
            write_faq(shop / "faq.jsonl", refunds=f"text {number}", parcels=f"text {number}")
            await knowledge.load()
    assert await count(database, knowledge_document) == 3 + 2
    assert await count(database, knowledge_chunk) == 3 + 2


async def test_a_switch_never_puts_less_in_force_than_was_staged(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        [stored] = [document async for document in store.chunks("shop", ["faq-refunds"])]
        [chunk] = stored.chunks
        staged = [replace(stored, chunks=(replace(chunk, id="another"),))]
        key = (await store.generations())["shop"].embedding_key
        await store.stage("shop", key, staged)
        load = Load(
            knowledge_base="shop",
            embedding_key=key,
            loaded_at=datetime.now(UTC),
            written=["faq-refunds", "faq-parcels"],
        )
        with pytest.raises(StoreUnavailable, match="1 documents are staged instead of 2"):
            await store.apply(load)
        assert await answer(knowledge, "What about refunds?") == "old refunds"


# By itself


async def test_a_changed_file_is_loaded_by_itself_and_a_state_taken_back_is_left_alone(
    store: KnowledgeStore,
    embedder: WordEmbedder,
    tmp_path: Path,
    shop: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kfbot.reloading.LOOK_SECONDS", 0.01)
    looks: list[str] = []
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        look = knowledge.fingerprint

        async def noted(name: str) -> str:
            looks.append(name)
            return await look(name)

        monkeypatch.setattr(knowledge, "fingerprint", noted)
        following = asyncio.create_task(
            Reloading(knowledge, {"shop": ReloadPlan(on_change=True)}).run()
        )
        try:
            async with asyncio.timeout(60):
                await _until(knowledge, "old refunds")
                write_faq(shop / "faq.jsonl", refunds="new refunds")
                await _until(knowledge, "new refunds")
                await knowledge.roll_back("shop")
                write_faq(shop / "faq.jsonl", refunds="newest refunds")
                looks.clear()
                await _wait_for(lambda: len(looks) > 4)
            assert await answer(knowledge, "What about refunds?") == "old refunds"
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def _until(knowledge: Knowledge, text: str) -> None:
    while True:
        found = await knowledge.search("What about refunds?")
        if found.passages and found.passages[0].text == text:
            return
        await asyncio.sleep(0.05)


async def _wait_for(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def test_a_knowledge_base_is_loaded_at_set_times(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        plan = ReloadPlan(every=timedelta(milliseconds=20))
        repeating = asyncio.create_task(Reloading(knowledge, {"shop": plan}).run())
        try:
            async with asyncio.timeout(60):
                await _until(knowledge, "old refunds")
                write_faq(shop / "faq.jsonl", refunds="new refunds")
                await _until(knowledge, "new refunds")
        finally:
            repeating.cancel()
            await asyncio.gather(repeating, return_exceptions=True)


# Files that break their parser


@pytest.mark.parametrize(
    ("reader", "reason"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "broke down (SIGSEGV)"),
        ("import os\nos._exit(3)", "broke down"),
        ("raise RuntimeError('quoting the customer')", "its parser failed (RuntimeError)"),
        ("bytearray(64 * 1024**3)", "needs more than 4 GB of memory"),
        ("def f(): f()\nf()", "is nested too deeply"),
        ("print('among the frames', flush=True)\nraise ValueError", "failed (ValueError)"),
    ],
)
async def test_a_file_that_breaks_its_parser_is_named_and_the_rest_is_loaded(
    store: KnowledgeStore,
    embedder: WordEmbedder,
    tmp_path: Path,
    shop: Path,
    monkeypatch: pytest.MonkeyPatch,
    reader: str,
    reason: str,
) -> None:
    with_parser(monkeypatch, tmp_path, reader)
    (shop / "a.txt").write_text("text")
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        [report] = await knowledge.load()
        assert report.added == 3
        [line] = report.unreadable
        assert line.startswith("a.txt: ")
        assert reason in line
        assert "customer" not in line
        assert await answer(knowledge, "What about refunds?") == "old refunds"


async def test_a_file_that_takes_too_long_is_left_out_and_tried_again_next_time(
    store: KnowledgeStore,
    embedder: WordEmbedder,
    tmp_path: Path,
    shop: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (shop / "a.txt").write_text("text about patience")
    with_parser(monkeypatch, tmp_path, "import time\ntime.sleep(1000)")
    monkeypatch.setattr(parsing, "FILE_SECONDS", 3.0)
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        [report] = await knowledge.load()
        assert report.unreadable == ("a.txt: took longer than 3 s, left out",)
        monkeypatch.undo()
        [report] = await knowledge.load()
        assert (report.added, report.unreadable) == (1, ())


async def test_no_child_outlives_a_load_that_is_broken_off(
    store: KnowledgeStore,
    embedder: WordEmbedder,
    tmp_path: Path,
    shop: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pid_file = tmp_path / "pid"
    with_parser(
        monkeypatch,
        tmp_path,
        f"import os, time\nopen({str(pid_file)!r}, 'w').write(str(os.getpid()))\ntime.sleep(1000)",
    )
    (shop / "a.txt").write_text("text")
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        loading = asyncio.create_task(knowledge.load())
        async with asyncio.timeout(60):
            await _wait_for(lambda: pid_file.exists() and bool(pid_file.read_text()))
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), signal.SIG_DFL)
