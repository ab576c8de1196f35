"""A calibration from the store to the answer: kept, told to others, ignored when out of date."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from kfbot.calibration import Adjustment, Calibration, Curve
from kfbot.cli import checking
from kfbot.confidence import signals_version
from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.store import tables
from kfbot.store.calibrations import CalibrationStore
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.engine import Database
from knowledge.calibrated import Calibrations
from knowledge.intake import Intake
from knowledge.load import Knowledge
from knowledge.reranking import Reranking
from knowledge.vectors import key_of
from tests.integration.conftest import ServedBot
from tests.integration.test_knowledge_load import WordEmbedder, write_faq

pytestmark = pytest.mark.asyncio

NEVER = Adjustment(Curve(shift=-30.0), ((5.0, 0.9),), 412)
MADE = Calibration(
    adjustments={"faq": NEVER},
    embedding_key=key_of(WordEmbedder()),
    signals=signals_version(),
    generation=1,
    made_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
    source="operator",
    counts={"in": 300, "far": 112},
)


@pytest_asyncio.fixture
async def either(url: str) -> AsyncIterator[Database]:
    """A database of each kind that has one knowledge base."""
    async with Database(url) as database:
        known = sa.insert(tables.knowledge_base).values(name="shop", generation=1, unreadable=[])
        await database.write(lambda connection: connection.execute(known).rowcount)
        yield database


async def test_it_comes_back_as_it_was_stored(either: Database) -> None:
    store = CalibrationStore(either)
    assert await store.find() == {}
    await store.put("shop", MADE)
    assert await store.find() == {"shop": MADE}


async def test_a_new_one_takes_the_place_of_the_one_before(either: Database) -> None:
    store = CalibrationStore(either)
    newer = replace(MADE, generation=2)
    await store.put("shop", MADE)
    await store.put("shop", newer)
    assert await store.find() == {"shop": newer}
    await store.put("shop", None)
    assert await store.find() == {}


async def test_what_was_never_loaded_is_not_calibrated(either: Database) -> None:
    with pytest.raises(KnowledgeBaseUnavailable, match="gone was never loaded"):
        await CalibrationStore(either).put("gone", MADE)


async def test_one_that_is_damaged_is_left_out_and_logged(
    either: Database, caplog: pytest.LogCaptureFixture
) -> None:
    store = CalibrationStore(either)
    await store.put("shop", MADE)
    damaged = sa.update(tables.calibration).values(adjustments={"faq": {"curve": 1}})
    await either.write(lambda connection: connection.execute(damaged).rowcount)
    assert await store.find() == {}
    assert "calibration of shop cannot be used" in caplog.text


async def test_others_are_told(either: Database) -> None:
    heard: list[str] = []
    either.subscribe(heard.append)
    await CalibrationStore(either).put("shop", MADE)
    assert "knowledge shop" in heard


# In the knowledge base


@pytest_asyncio.fixture
async def knowledge(database: Database, tmp_path: Path) -> AsyncIterator[Knowledge]:
    source = tmp_path / "faq.jsonl"
    write_faq(source, refunds="old refunds", parcels="old parcels")
    store = KnowledgeStore(database)
    shop = {"shop": Intake((str(source),))}
    async with Knowledge(shop, store, WordEmbedder(), tmp_path) as opened:
        await opened.load()
        yield opened


async def calibrations(knowledge: Knowledge) -> Any:
    return (await knowledge.search("What about refunds?")).calibrations


async def test_what_is_found_comes_with_the_calibration_in_force(knowledge: Knowledge) -> None:
    assert await calibrations(knowledge) == {}
    await knowledge.calibrate("shop", MADE)
    assert await calibrations(knowledge) == {"shop": MADE}
    (state,) = await knowledge.status()
    assert state.calibration == MADE
    assert not state.calibration_is_stale
    await knowledge.calibrate("shop", None)
    assert await calibrations(knowledge) == {}


async def test_another_process_takes_it_up_at_its_next_refresh(
    knowledge: Knowledge, database: Database
) -> None:
    await CalibrationStore(database).put("shop", MADE)
    assert await calibrations(knowledge) == {}
    await knowledge.refresh()
    assert await calibrations(knowledge) == {"shop": MADE}


@pytest.mark.parametrize("change", [{"signals": "others"}, {"embedding_key": "another model"}])
async def test_one_that_is_out_of_date_is_not_used_and_that_is_logged_once(
    knowledge: Knowledge, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    with caplog.at_level(logging.WARNING):
        await knowledge.calibrate("shop", replace(MADE, **change))
        await knowledge.refresh()
    assert await calibrations(knowledge) == {}
    (state,) = await knowledge.status()
    assert state.calibration_is_stale
    assert caplog.text.count("run kfbot calibrate shop") == 1


async def test_what_was_read_before_it_was_stored_does_not_take_its_place() -> None:
    """A refresh has read the old state and is not done yet when a new one is stored."""

    class Slow:
        def __init__(self) -> None:
            self.stored: dict[str, Calibration] = {}
            self.gate, self.reading = asyncio.Event(), asyncio.Event()

        async def find(self) -> dict[str, Calibration]:
            found = dict(self.stored)
            if not self.reading.is_set():
                self.reading.set()
                await self.gate.wait()
            return found

        async def put(self, name: str, calibration: Calibration) -> None:
            self.stored[name] = calibration
            self.gate.set()

    store = Slow()
    key = key_of(WordEmbedder())
    calibrations = Calibrations(store, key, signals_version())  # type: ignore[arg-type]
    refreshing = asyncio.create_task(calibrations.refresh())
    await store.reading.wait()
    await calibrations.put("shop", MADE)
    await refreshing
    assert calibrations.in_force(["shop"]) == {"shop": MADE}


# With a reranker


class Likes:
    """A reranker that scores by how often a word is there."""

    key = "likes@1"

    async def score(self, question: str, texts: Sequence[str]) -> list[float]:
        return [float(text.count("parcels")) for text in texts]

    async def aclose(self) -> None:
        """Nothing to let go of."""


async def test_a_calibration_holds_with_the_reranker_that_it_was_made_with(
    database: Database, tmp_path: Path
) -> None:
    source = tmp_path / "faq.jsonl"
    write_faq(source, refunds="old refunds", parcels="old parcels")
    shop = {"shop": Intake((str(source),))}
    store, reranking = KnowledgeStore(database), Reranking(Likes(), candidates=5, timeout_seconds=5)
    with_it = replace(MADE, signals=signals_version(Likes.key))
    async with Knowledge(shop, store, WordEmbedder(), tmp_path, reranking=reranking) as knowledge:
        await knowledge.load()
        found = await knowledge.search("What about refunds?")
        assert found.passages[0].document_id == "faq-parcels"
        assert found.evidence["faq"]["rerank"] > 0
        assert "rerank" in found.timings_ms
        await knowledge.calibrate("shop", MADE)
        assert await calibrations(knowledge) == {}
        await knowledge.calibrate("shop", with_it)
        assert await calibrations(knowledge) == {"shop": with_it}
    async with Knowledge(shop, store, WordEmbedder(), tmp_path) as knowledge:
        assert await calibrations(knowledge) == {}


# kfbot check


@pytest.mark.parametrize(
    ("embedding", "reranker", "says"),
    [
        (MADE.embedding_key, "", "✓ calibration shop: 2026-03-01, from 412 questions"),
        ("another model", "", "– calibration shop: out of date and not used"),
        (MADE.embedding_key, "likes@1", "– calibration shop: out of date and not used"),
    ],
)
async def test_check_goes_by_the_models_of_the_settings(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    embedding: str,
    reranker: str,
    says: str,
) -> None:
    async def check_embedding(*_: object) -> tuple[str, int]:
        return embedding, 384

    async def check_reranker(*_: object) -> str:
        return reranker

    # Opening models would take most of the time, and shows nothing here.
    monkeypatch.setattr(checking, "check_embedding", check_embedding)
    monkeypatch.setattr(checking, "check_reranker", check_reranker)
    (tmp_path / "faq.jsonl").write_text("")
    file = tmp_path / "kfbot.toml"
    file.write_text(
        'data_dir = "."\n[knowledge.shop]\nsources = ["faq.jsonl"]\n'
        + ('[reranker]\nmodel = "m"\n' if reranker else "")
    )
    async with Database(f"sqlite:///{tmp_path / 'kfbot.sqlite3'}") as database:
        await database.upgrade()
        known = sa.insert(tables.knowledge_base).values(
            name="shop", generation=1, unreadable=[], embedding_key=MADE.embedding_key
        )
        await database.write(lambda connection: connection.execute(known).rowcount)
        await CalibrationStore(database).put("shop", MADE)
    await checking.check(file)
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert says in said


# Over HTTP


PATH = "/api/v1/knowledge/fake/calibration"


async def send(bot: ServedBot, method: str, path: str, **options: Any) -> tuple[int, Any]:
    async with bot.http.request(method, bot.url + path, **options) as response:
        return response.status, await response.json()


async def test_a_server_takes_a_calibration_and_gives_it_up(bot: ServedBot) -> None:
    status, body = await send(bot, "PUT", PATH, json=MADE.as_data())
    assert (status, body["data"]) == (200, {"calibrated": True})
    assert bot.knowledge.calibration == MADE
    _, body = await bot.get("/api/v1/knowledge")
    assert body["data"][0]["calibration"] == {
        "made_at": "2026-03-01T12:00:00+00:00", "questions": 412, "source": "operator",
        "generation": 1, "stale": False,
    }  # fmt: skip
    status, body = await send(bot, "DELETE", PATH)
    assert (status, body["data"]) == (200, {"calibrated": False})
    assert bot.knowledge.calibration is None


@pytest.mark.parametrize("body", ["", "[]", "{", '{"adjustments": 1}', "[" * 100_000])
async def test_what_is_no_calibration_is_refused_in_one_line(bot: ServedBot, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    status, answer = await send(bot, "PUT", PATH, data=body, headers=headers)
    assert status == 400
    assert answer["msg"].startswith("this is no calibration")
    assert bot.knowledge.calibration is None


async def test_a_knowledge_base_that_there_is_not_is_named(bot: ServedBot) -> None:
    path = "/api/v1/knowledge/gone/calibration"
    status, answer = await send(bot, "PUT", path, json=MADE.as_data())
    assert (status, answer["msg"]) == (404, "there is no knowledge base gone, only fake")
