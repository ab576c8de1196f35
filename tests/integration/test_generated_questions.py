"""Questions that a model writes for chunks: stored, searched by, kept, and done without."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kfbot.errors import ChatModelUnavailable, CompletionInvalid
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.engine import Database
from knowledge.intake import Intake
from knowledge.load import Knowledge
from tests.integration.test_knowledge_load import WordEmbedder

pytestmark = pytest.mark.asyncio

KETTLE = "The kettle holds two litres."
LAMP = "The lamp needs a bulb."


class Model:
    """Writes the questions that it was told, by a word of the chunk; notes what it was asked."""

    def __init__(self, **questions: Sequence[str]) -> None:
        self.questions = questions
        self.asked: list[str] = []
        self.fault: Exception | None = None

    async def __call__(self, place: str, text: str, count: int) -> Sequence[str]:
        self.asked.append(text)
        if self.fault is not None:
            raise self.fault
        return [one for word, some in self.questions.items() if word in text for one in some]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "kettle.md").write_text(f"# Kettle\n\n{KETTLE}\n")
    (folder / "lamp.md").write_text(f"# Lamp\n\n{LAMP}\n")
    return folder


@pytest.fixture
def model() -> Model:
    return Model(kettle=["How much water fits in?"], lamp=["Why is it dark?", "Is it broken?"])


@pytest.fixture
def store(database: Database) -> KnowledgeStore:
    return KnowledgeStore(database)


@asynccontextmanager
async def opened(
    store: KnowledgeStore, folder: Path, model: Model | None, count: int = 2, key: str = "words"
) -> AsyncIterator[Knowledge]:
    intakes = {"shop": Intake((str(folder),), generated_questions=count)}
    data_dir = folder.parent / "data"
    async with Knowledge(intakes, store, WordEmbedder(key), data_dir, ask=model) as knowledge:
        yield knowledge


async def questions(knowledge: Knowledge) -> int:
    (status,) = await knowledge.status()
    return status.questions


async def test_a_chunk_is_found_by_its_questions_and_shown_as_it_is(
    store: KnowledgeStore, shop: Path, model: Model
) -> None:
    seen: list[tuple[str, int, int]] = []
    async with opened(store, shop, model) as knowledge:
        (report,) = await knowledge.load(progress=lambda *step: seen.append(step))
        assert (report.added, report.warnings) == (2, ())
        (status,) = await knowledge.status()
        assert (status.documents, status.chunks, status.questions) == (2, 2, 3)
        found = await knowledge.search("How much water fits in?")
        assert found.passages[0].document_id == "kettle.md"
        assert KETTLE in found.passages[0].text
        shown = [part for one in found.passages for part in (one.text, one.quote, one.question)]
        assert not any("water" in part for part in shown)
        assert len(found.passages) == 2
        assert await knowledge.examples("en", 5) == ()
    assert [step for step in seen if step[0] == "questions"][-1] == ("questions", 2, 2)


async def test_only_a_chunk_that_changed_is_asked_about_again(
    store: KnowledgeStore, shop: Path, model: Model
) -> None:
    async with opened(store, shop, model) as knowledge:
        await knowledge.load()
        (shop / "lamp.md").write_text("# Lamp\n\nThe lamp needs two bulbs.\n")
        model.asked.clear()
        await knowledge.load()
        assert [text for text in model.asked if "kettle" in text] == []
        assert len(model.asked) == 1
        assert await questions(knowledge) == 3
        generation = (await knowledge.status())[0].generation
        await knowledge.load()
        assert (len(model.asked), (await knowledge.status())[0].generation) == (1, generation)
        await knowledge.roll_back("shop")
        assert await questions(knowledge) == 3


async def test_an_index_that_is_lost_is_made_without_the_model(
    store: KnowledgeStore, shop: Path, model: Model
) -> None:
    async with opened(store, shop, model) as knowledge:
        await knowledge.load()
    data_dir = shop.parent / "data"
    data_dir.rename(shop.parent / "away")
    model.asked.clear()
    async with opened(store, shop, model) as knowledge:
        found = await knowledge.search("How much water fits in?")
        assert found.passages[0].document_id == "kettle.md"
    # Another embedding model reads the questions that are there.
    async with opened(store, shop, model, key="other words") as knowledge:
        await knowledge.load()
        assert await questions(knowledge) == 3
    assert model.asked == []


@pytest.mark.parametrize("fault", [ChatModelUnavailable("gone"), CompletionInvalid("no text")])
async def test_a_load_goes_on_without_the_model_and_the_next_makes_up_for_it(
    store: KnowledgeStore,
    shop: Path,
    model: Model,
    fault: Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model.fault = fault
    caplog.set_level(logging.INFO)
    async with opened(store, shop, model) as knowledge:
        (report,) = await knowledge.load()
        assert report.added == 2
        assert [line.partition(":")[0] for line in report.warnings] == [
            "2 chunks wait for their generated questions"
        ]
        events = [one.__dict__.get("event") for one in caplog.records]
        assert events.count("questions_missing") == 1
        # Nothing is gained: no new generation, and going back leads to what was before.
        generation = (await knowledge.status())[0].generation
        await knowledge.load()
        assert (await knowledge.status())[0].generation == generation
        model.fault = None
        (report,) = await knowledge.load()
        assert (report.unchanged, report.warnings) == (2, ())
        assert await questions(knowledge) == 3


async def test_a_model_that_is_away_is_asked_once_and_the_questions_before_are_kept(
    store: KnowledgeStore, shop: Path, model: Model
) -> None:
    for number in range(20):
        (shop / f"{number}.md").write_text(f"# Cup\n\nCup {number} is blue.\n")
    async with opened(store, shop, model, 1) as knowledge:
        await knowledge.load()
        before = await questions(knowledge)
    model.asked.clear()
    model.fault = ChatModelUnavailable("gone")
    async with opened(store, shop, model, 2) as knowledge:
        (report,) = await knowledge.load()
        assert report.warnings
        # A few are under way at the same time.
        assert len(model.asked) <= 4
        assert await questions(knowledge) == before == 2


async def test_fewer_questions_and_none_need_no_model(
    store: KnowledgeStore, shop: Path, model: Model
) -> None:
    async with opened(store, shop, model) as knowledge:
        await knowledge.load()
    for count, left in ((1, 2), (0, 0)):
        async with opened(store, shop, None, count) as knowledge:
            (report,) = await knowledge.load()
            assert (report.unchanged, report.warnings) == (2, ())
            assert await questions(knowledge) == left


async def test_private_data_is_not_stored_with_a_question(
    store: KnowledgeStore, shop: Path
) -> None:
    model = Model(
        kettle=["Do I write to jane.doe@example.com for the kettle?", "Does it hold two?"]
    )
    async with opened(store, shop, model) as knowledge:
        await knowledge.load()
    stored = [one.text async for each in store.chunks("shop") for one in each.questions]
    assert stored == ["Does it hold two?"]


async def test_entries_of_an_faq_are_not_asked_about(
    store: KnowledgeStore, shop: Path, model: Model
) -> None:
    (shop / "lamp.md").unlink()
    (shop / "faq.jsonl").write_text('{"id": "a", "question": "A lamp?", "answer": "A lamp."}\n')
    async with opened(store, shop, model) as knowledge:
        await knowledge.load()
        assert len(model.asked) == 1
        generation = (await knowledge.status())[0].generation
        await knowledge.load()
        assert (await knowledge.status())[0].generation == generation
