"""Entries by hand: in force at once, after every load, beside what the sources say."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kfbot.errors import EntryRejected, KnowledgeBaseUnavailable, StoreUnavailable
from kfbot.knowledge_base import Entry
from kfbot.settings import QdrantSettings
from kfbot.store.backup import back_up
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.engine import Database
from kfbot.store.knowledge_rows import StoredDocument
from knowledge.calibration.asking import Asked
from knowledge.calibration.run import Bench, calibrate
from knowledge.load import Knowledge
from tests.integration.test_knowledge_load import WordEmbedder, answer, opened, shop, write_faq
from tests.integration.test_qdrant_server import either, qdrant
from tests.integration.test_qdrant_server import opened as kept_at

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("without_children")]
#: The fixtures are those of the other files.
__all__ = ["either", "qdrant", "shop"]

LAMPS = Entry(id="lamps", question="What about lamps?", answer="approved lamps")


@pytest.fixture
def store(database: Database) -> KnowledgeStore:
    return KnowledgeStore(database)


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()


async def found(knowledge: Knowledge, question: str) -> list[str]:
    """The ids of what is found, best first, duplicates behind the one that is shown."""
    passages = (await knowledge.search(question)).passages
    return [id for one in passages for id in (one.document_id, *one.duplicates)]


async def test_an_entry_is_answered_at_once_and_after_loads_and_a_restart(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        await knowledge.add_entry("shop", LAMPS, source="approved")
        assert await answer(knowledge, "What about lamps?") == "approved lamps"
        write_faq(shop / "faq.jsonl", parcels="new parcels")
        [report] = await knowledge.load()
        assert (report.changed, report.removed, report.unchanged) == (1, 1, 2)
        assert await answer(knowledge, "What about lamps?") == "approved lamps"
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        assert await answer(knowledge, "What about lamps?") == "approved lamps"
        assert await knowledge.added("shop") == (LAMPS,)


async def test_an_entry_added_again_is_replaced_and_removed_it_is_gone(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        await knowledge.add_entry("shop", LAMPS, source="chat")
        other = replace(LAMPS, answer="other lamps", variants=("And bulbs?",))
        await knowledge.add_entry("shop", other, source="approved")
        assert await answer(knowledge, "And bulbs?") == "other lamps"
        assert await knowledge.added("shop") == (other,)
        assert await knowledge.remove_entry("shop", "lamps")
        assert "lamps" not in await found(knowledge, "What about lamps?")
        assert await knowledge.added("shop") == ()
        assert not await knowledge.remove_entry("shop", "lamps")
        assert not await knowledge.remove_entry("shop", "faq-refunds")


async def test_going_back_a_generation_keeps_entries_as_they_are_now(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    gone = Entry(id="gone", question="What about vases?", answer="approved vases")
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        await knowledge.add_entry("shop", gone, source="approved")
        write_faq(shop / "faq.jsonl", refunds="new refunds")
        await knowledge.load()
        await knowledge.add_entry("shop", LAMPS, source="approved")
        await knowledge.remove_entry("shop", "gone")
        assert await knowledge.roll_back("shop") == 1
        assert await answer(knowledge, "What about refunds?") == "old refunds"
        assert await answer(knowledge, "What about lamps?") == "approved lamps"
        assert "gone" not in await found(knowledge, "What about vases?")


async def test_ids_of_files_and_entries_do_not_collide(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        taken = replace(LAMPS, id="faq-refunds")
        with pytest.raises(EntryRejected, match="'faq-refunds' is a document's of the sources"):
            await knowledge.add_entry("shop", taken, source="approved")
        assert await answer(knowledge, "What about refunds?") == "old refunds"
        write_faq(shop / "faq.jsonl", parcels="old parcels")
        await knowledge.load()
        await knowledge.add_entry("shop", taken, source="approved")
        # The file had this id in the generation before, which is had back: the entry keeps it.
        await knowledge.roll_back("shop")
        assert await answer(knowledge, "What about lamps?") == "approved lamps"
        assert "faq-refunds" in await knowledge.document_ids()
        write_faq(shop / "faq.jsonl", refunds="new refunds", parcels="old parcels")
        [report] = await knowledge.load()
        assert "is an approved entry's" in report.unreadable[0]
        assert await answer(knowledge, "What about lamps?") == "approved lamps"


async def test_an_entry_added_while_a_load_reads_is_kept_and_so_is_the_load(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        write_faq(shop / "faq.jsonl", refunds="new refunds", lamps="file lamps")
        mine = Entry(id="faq-lamps", question="What about lights?", answer="approved lights")
        added: list[asyncio.Task[None]] = []

        def add(stage: str, done: int, total: int) -> None:
            if stage == "embedding" and not added:
                added.append(
                    asyncio.create_task(knowledge.add_entry("shop", mine, source="approved"))
                )

        await knowledge.load(progress=add)
        await added[0]
        assert await answer(knowledge, "What about lights?") == "approved lights"
        assert await answer(knowledge, "What about refunds?") == "new refunds"
        [report] = await knowledge.load()
        assert "'faq-lamps' is an approved entry's" in report.unreadable[0]


async def test_two_entries_added_at_once_are_both_kept(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    entries = [
        Entry(id=f"entry-{word}", question=f"What about {word}?", answer=f"approved {word}")
        for word in ("lamps", "vases", "chairs")
    ]
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        await asyncio.gather(
            *(knowledge.add_entry("shop", entry, source="chat") for entry in entries)
        )
        for entry in entries:
            assert await answer(knowledge, entry.question) == entry.answer


async def test_another_embedding_model_keeps_entries(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        await knowledge.add_entry("shop", LAMPS, source="approved")
    async with opened(store, WordEmbedder("other"), tmp_path, shop=shop) as knowledge:
        with pytest.raises(KnowledgeBaseUnavailable, match="another model's; load it again"):
            await knowledge.add_entry("shop", replace(LAMPS, id="late"), source="approved")
        await knowledge.load()
        assert await answer(knowledge, "What about lamps?") == "approved lamps"
        await knowledge.add_entry("shop", replace(LAMPS, answer="newer lamps"), source="approved")
        assert await answer(knowledge, "What about lamps?") == "newer lamps"
        assert len(await knowledge.added("shop")) == 1


async def test_an_entry_changed_while_another_model_embeds_is_not_lost(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    other = WordEmbedder("other")
    async with (
        opened(store, embedder, tmp_path / "old", shop=shop) as old,
        opened(store, other, tmp_path / "new", shop=shop) as new,
    ):
        await old.load()
        await old.add_entry("shop", LAMPS, source="approved")
        changed: list[asyncio.Task[None]] = []
        better = replace(LAMPS, answer="better lamps")

        def change(stage: str, done: int, total: int) -> None:
            if stage == "embedding" and not changed:
                changed.append(
                    asyncio.create_task(old.add_entry("shop", better, source="approved"))
                )

        # Whichever comes first, the other is told to try again.
        with suppress(StoreUnavailable):
            await new.load(progress=change)
        await asyncio.gather(*changed, return_exceptions=True)
        await new.load()
        [kept] = await new.added("shop")
        assert await answer(new, "What about lamps?") == kept.answer


async def test_an_entry_comes_before_one_of_the_sources_that_asks_the_same(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    row = {
        "id": "faq-refunds", "question": "What about refunds?", "answer": "old refunds",
        "variants": ["Money back when?"],
    }  # fmt: skip
    (shop / "faq.jsonl").write_text(json.dumps(row) + "\n")
    mine = Entry(id="mine", question="what about REFUNDS", answer="approved refunds")
    later = replace(mine, id="later", answer="later refunds")
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        await knowledge.add_entry("shop", mine, source="approved")
        assert (await found(knowledge, "What about refunds?"))[:1] == ["mine"]
        assert "faq-refunds" not in await found(knowledge, "What about refunds?")
        assert await answer(knowledge, "Money back when?") == "approved refunds"
        [state] = await knowledge.status()
        assert (state.added, state.overridden) == (1, ("faq-refunds by mine",))
        await knowledge.add_entry("shop", later, source="approved")
        assert await answer(knowledge, "What about refunds?") == "later refunds"
        await knowledge.remove_entry("shop", "later")
        await knowledge.remove_entry("shop", "mine")
        assert await answer(knowledge, "Money back when?") == "old refunds"


async def test_a_load_says_what_entries_come_before(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        await knowledge.add_entry("shop", LAMPS, source="approved")
        write_faq(shop / "faq.jsonl", lamps="file lamps")
        [report] = await knowledge.load()
        assert report.overridden == ("faq-lamps by lamps",)
        assert report.conflicts == ()
        assert await answer(knowledge, "What about lamps?") == "approved lamps"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (replace(LAMPS, question="  \u200b "), "nothing is left of the question"),
        (replace(LAMPS, question="13800138000"), "nothing is left of the question"),
        (replace(LAMPS, answer=""), "nothing is left of the answer"),
        (replace(LAMPS, id=""), "an entry needs an id"),
        (replace(LAMPS, question="a" * 2001), "a question is longer"),
    ],
)
async def test_an_entry_of_which_nothing_is_left_is_rejected(
    store: KnowledgeStore,
    embedder: WordEmbedder,
    tmp_path: Path,
    shop: Path,
    entry: Entry,
    reason: str,
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        with pytest.raises(EntryRejected, match=reason):
            await knowledge.add_entry("shop", entry, source="approved")
        assert await knowledge.added("shop") == ()


async def test_private_data_of_an_entry_is_masked_before_it_is_stored(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    private = "13800138000"
    entry = Entry(
        id="call", question=f"May I call {private}?", answer=f"Call {private}.",
        variants=(f"Is {private} yours?",),
    )  # fmt: skip
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        await knowledge.add_entry("shop", entry, source="approved")
        assert await answer(knowledge, "May I call?") == "Call [mobile]."
        assert private not in repr(await knowledge.added("shop"))
        assert not any(private in text for text in embedder.queries)


async def test_what_was_never_loaded_or_is_unknown_takes_no_entry(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        with pytest.raises(KnowledgeBaseUnavailable, match="was never loaded: load it first"):
            await knowledge.add_entry("shop", LAMPS, source="approved")
        with pytest.raises(KnowledgeBaseUnavailable, match="there is no knowledge base 'other'"):
            await knowledge.add_entry("other", LAMPS, source="approved")


async def test_what_is_added_is_found_as_if_the_index_were_built_anew(
    store: KnowledgeStore,
    embedder: WordEmbedder,
    tmp_path: Path,
    shop: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = {"id": "faq-vases", "question": "What about vases?", "answer": "old vases"}
    (shop / "vases.jsonl").write_text(json.dumps({**row, "product": "vase"}) + "\n")
    asked = ["What about lamps?", "What about vases?", "What about parcels?", "kettle litres"]
    async with opened(store, embedder, tmp_path / "one", shop=shop) as knowledge:
        await knowledge.load()
        builds: list[object] = []
        monkeypatch.setattr("knowledge.workshop.build", builds.append)
        await knowledge.add_entry("shop", LAMPS, source="approved")
        mine = Entry(id="mine", question="What about parcels?", answer="approved parcels")
        await knowledge.add_entry("shop", mine, source="approved")
        await knowledge.add_entry("shop", replace(LAMPS, answer="newer lamps"), source="chat")
        gone = Entry(id="gone", question="What about vases?", answer="approved vases")
        await knowledge.add_entry("shop", gone, source="approved")
        await knowledge.remove_entry("shop", "gone")
        assert builds == []
        extended = [await found(knowledge, one) for one in asked]
        kettles = await knowledge.search("What about vases?", where={"product": "kettle"})
        assert "faq-vases" not in [one.document_id for one in kettles.passages]
        assert "What about parcels?" in await knowledge.examples("en", 9)
        assert len(await knowledge.examples("en", 9)) == 4
        monkeypatch.undo()
    async with opened(store, embedder, tmp_path / "other", shop=shop) as knowledge:
        assert [await found(knowledge, one) for one in asked] == extended
    async with opened(store, embedder, tmp_path / "one", shop=shop) as knowledge:
        assert [await found(knowledge, one) for one in asked] == extended
        assert [one[0] for one in extended] == ["lamps", "faq-vases", "mine", "kettle.md"]


async def test_an_entry_by_hand_is_added_replaced_and_removed_without_a_build(
    either: QdrantSettings,
    store: KnowledgeStore,
    tmp_path: Path,
    shop: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with kept_at(either, store, WordEmbedder(), tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        builds: list[object] = []
        monkeypatch.setattr("knowledge.workshop.build", builds.append)
        await knowledge.add_entry("shop", LAMPS, source="approved")
        assert await answer(knowledge, "What about lamps?") == "approved lamps"
        await knowledge.add_entry("shop", replace(LAMPS, answer="newer"), source="approved")
        assert await answer(knowledge, "What about lamps?") == "newer"
        assert await answer(knowledge, "What about refunds?") == "old refunds"
    # A restart opens what was extended.
    async with kept_at(either, store, WordEmbedder(), tmp_path, shop=shop) as knowledge:
        assert await answer(knowledge, "What about lamps?") == "newer"
        await knowledge.remove_entry("shop", "lamps")
        found = await knowledge.search("What about lamps?")
        assert "lamps" not in [one.document_id for one in found.passages]
        assert builds == []


async def test_another_process_takes_up_an_entry(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with (
        opened(store, embedder, tmp_path / "one", shop=shop) as one,
        opened(store, embedder, tmp_path / "other", shop=shop) as other,
    ):
        await one.load()
        await other.refresh()
        await one.add_entry("shop", LAMPS, source="approved")
        await other.refresh()
        assert await answer(other, "What about lamps?") == "approved lamps"


async def test_a_backup_holds_entries(
    store: KnowledgeStore, database_url: str, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        await knowledge.add_entry("shop", LAMPS, source="approved")
        await asyncio.to_thread(back_up, database_url, tmp_path / "copy.sqlite3")
    async with (
        Database(f"sqlite:///{tmp_path / 'copy.sqlite3'}") as restored,
        opened(KnowledgeStore(restored), embedder, tmp_path / "there", shop=shop) as knowledge,
    ):
        assert await answer(knowledge, "What about lamps?") == "approved lamps"


async def test_a_load_after_going_back_is_not_taken_for_the_one_that_was_taken_back(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    async with (
        opened(store, embedder, tmp_path / "one", shop=shop) as one,
        opened(store, embedder, tmp_path / "other", shop=shop) as other,
    ):
        await one.load()
        write_faq(shop / "faq.jsonl", refunds="wrong refunds")
        await one.load()
        await other.refresh()
        assert await answer(other, "What about refunds?") == "wrong refunds"
        # All of it before the other process looks again: both generations have the number 2.
        await one.roll_back("shop")
        write_faq(shop / "faq.jsonl", refunds="right refunds")
        await one.load()
        await one.add_entry("shop", LAMPS, source="approved")
        await other.refresh()
        assert await answer(other, "What about refunds?") == "right refunds"
        assert await answer(other, "What about lamps?") == "approved lamps"


async def test_the_many_variants_of_what_is_gone_do_not_stand_before_what_is_there(
    store: KnowledgeStore, embedder: WordEmbedder, tmp_path: Path, shop: Path
) -> None:
    asked = "What about lamps?"
    variants = tuple(f"What about lamps, case {number}?" for number in range(80))
    async with opened(store, embedder, tmp_path / "one", shop=shop) as knowledge:
        await knowledge.load()
        await knowledge.add_entry("shop", replace(LAMPS, variants=variants), source="approved")
        write_faq(shop / "faq.jsonl", refunds="old refunds", parcels="new parcels")
        await knowledge.load()
        await knowledge.remove_entry("shop", "lamps")
        extended = await found(knowledge, asked)
    async with opened(store, embedder, tmp_path / "other", shop=shop) as knowledge:
        built = await found(knowledge, asked)
        assert sorted(extended) == sorted(built) == ["faq-parcels", "faq-refunds", "kettle.md"]


async def test_calibration_asks_what_answers_and_not_what_an_entry_by_hand_comes_before(
    store: KnowledgeStore,
    embedder: WordEmbedder,
    tmp_path: Path,
    shop: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[StoredDocument] = []

    async def note(name: str, entries: list[StoredDocument], *_: object) -> list[Asked]:
        asked.extend(entries)
        return []

    monkeypatch.setattr("knowledge.calibration.run.ask_made", note)
    row = {"id": "faq-refunds", "question": "What about refunds?", "answer": "old refunds"}
    (shop / "faq.jsonl").write_text(json.dumps({**row, "variants": ["Money back?"]}) + "\n")
    mine = Entry(id="mine", question="what about refunds", answer="approved refunds")
    async with opened(store, embedder, tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        await knowledge.add_entry("shop", mine, source="approved")
    bench = Bench(
        base=None, embedder=embedder, generations=await store.generations(), reranking=None,
        stored=store.chunks, in_force={}, out_of_scope=None, replaces_labelled=False,
        now=datetime.now(UTC),
    )  # fmt: skip
    await calibrate(bench, ["shop"], None, lambda stage, done, total: None)
    [entry] = asked
    assert entry.document.document_id == "mine"
    assert "Money back?" in [chunk.text for chunk in entry.chunks]
