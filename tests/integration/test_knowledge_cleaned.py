"""What a load cleans: masked, free of noise, said once; and had back by another policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfbot.answer import Answering, answer_question
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.engine import Database
from knowledge.cleaning import CleaningPolicy
from knowledge.intake import Intake
from knowledge.load import Knowledge
from tests.integration.test_knowledge_load import WordEmbedder

pytestmark = pytest.mark.asyncio
KETTLE = (
    "# Kettle\n\nThe kettle holds two litres. It boils them within four minutes, and switches"
    " itself off when nothing is left in it. Descale it every month with citric acid.\n"
)


@pytest.fixture
def store(database: Database) -> KnowledgeStore:
    return KnowledgeStore(database)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "docs"
    made.mkdir()
    return made


def base(store: KnowledgeStore, tmp_path: Path, folder: Path, **changes: object) -> Knowledge:
    intake = Intake((str(folder),), **changes)  # type: ignore[arg-type]
    return Knowledge({"shop": intake}, store, WordEmbedder(), tmp_path / "data")


async def test_private_data_is_masked_before_it_is_stored_and_had_back_by_another_policy(
    store: KnowledgeStore, tmp_path: Path, folder: Path
) -> None:
    (folder / "case.md").write_text(
        "# Case\n\nThe customer's card is 4111 1111 1111 1111, he says."
    )
    async with base(store, tmp_path, folder) as knowledge:
        [report] = await knowledge.load()
        assert report.counts == {"bank_card masked": 1}
        found = await knowledge.search("card")
        assert "4111" not in found.passages[0].text
        stored = [document async for document in store.chunks("shop")]
        assert "4111" not in repr(stored)
    async with base(store, tmp_path, folder, policy=CleaningPolicy(mask=frozenset())) as knowledge:
        [report] = await knowledge.load()
        assert (report.changed, report.counts) == (1, {})
        assert "4111" in (await knowledge.search("card")).passages[0].text


async def test_documents_that_say_the_same_are_found_once_and_all_their_ids_are_kept(
    store: KnowledgeStore, tmp_path: Path, folder: Path
) -> None:
    (folder / "kettle.md").write_text(KETTLE)
    (folder / "kettle-copy.md").write_text(KETTLE.replace("\n\nThe", "\n\n\nThe"))
    (folder / "three-litres.md").write_text(KETTLE.replace("two litres", "three litres"))
    async with base(store, tmp_path, folder) as knowledge:
        [report] = await knowledge.load()
        assert (report.added, report.duplicates) == (3, 1)
        found = await knowledge.search("kettle litres")
        assert {one.document_id: one.duplicates for one in found.passages} == {
            "kettle.md": ("kettle-copy.md",),
            "three-litres.md": (),
        }
        turn = await answer_question("kettle two litres", Answering(knowledge))
        assert {document_id for _, document_id in turn.ranked} == {
            "kettle.md",
            "kettle-copy.md",
            "three-litres.md",
        }


async def test_what_stands_for_a_duplicate_leaves_it_its_place_when_it_goes(
    store: KnowledgeStore, tmp_path: Path, folder: Path
) -> None:
    (folder / "kettle.md").write_text(KETTLE)
    (folder / "kettle-copy.md").write_text(KETTLE)
    async with base(store, tmp_path, folder) as knowledge:
        await knowledge.load()
        (folder / "kettle.md").unlink()
        await knowledge.load()
        [passage] = (await knowledge.search("kettle litres")).passages
        assert (passage.document_id, passage.duplicates) == ("kettle-copy.md", ())


async def test_duplicates_can_be_kept(store: KnowledgeStore, tmp_path: Path, folder: Path) -> None:
    (folder / "kettle.md").write_text(KETTLE)
    (folder / "kettle-copy.md").write_text(KETTLE)
    async with base(store, tmp_path, folder) as knowledge:
        await knowledge.load()
    async with base(store, tmp_path, folder, merges_duplicates=False) as knowledge:
        [report] = await knowledge.load()
        assert report.duplicates == 0
        assert len((await knowledge.search("kettle litres")).passages) == 2


async def test_entries_that_answer_one_question_differently_are_named(
    store: KnowledgeStore, tmp_path: Path, folder: Path
) -> None:
    (folder / "faq.csv").write_text(
        "id,question,answer\n1,How long do refunds take?,Two days.\n"
        "2,How long do refunds take?,Nine."
    )
    async with base(store, tmp_path, folder) as knowledge:
        [report] = await knowledge.load()
        assert report.conflicts == ("1 and 2",)


async def test_a_document_of_nothing_but_noise_is_named(
    store: KnowledgeStore, tmp_path: Path, folder: Path
) -> None:
    (folder / "blank.txt").write_text("This page intentionally left blank.\n")
    (folder / "kettle.md").write_text(KETTLE)
    async with base(store, tmp_path, folder) as knowledge:
        [report] = await knowledge.load()
        assert report.unreadable == ("blank.txt: nothing but noise is in it",)
        assert report.added == 1
