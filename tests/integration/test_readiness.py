"""/readyz: every reason with its code, and words only for who may know."""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from kfbot.errors import ChannelUnauthorized, StoreUnavailable
from kfbot.grounding.writing import Writer
from kfbot.knowledge_base import KnowledgeStatus
from kfbot.observability import vitals
from kfbot.store.gauges import GaugeStore, Standing
from kfbot.testing import FakeAdapter, FakeChatModel, FakeKnowledgeBase
from tests.integration.conftest import ENTRIES, Served, ServedBot

pytestmark = pytest.mark.asyncio


class Loaded(FakeKnowledgeBase):
    """A knowledge base in a state."""

    def __init__(self, *states: dict[str, Any]) -> None:
        super().__init__(ENTRIES)
        self._states = states

    async def status(self) -> tuple[KnowledgeStatus, ...]:
        [usual] = await super().status()
        return tuple(replace(usual, **state) for state in self._states)


async def ready(bot: ServedBot, query: str = "") -> tuple[int, list[str], list[str]]:
    """Status, codes and words."""
    status, body = await bot.get(f"/readyz{query}")
    assert body["status"] == ("degraded" if body["codes"] else "ok")
    return status, body["codes"], body["reasons"]


async def test_strangers_are_told_the_code_and_nothing_else(served: Served) -> None:
    shop = FakeAdapter("shop")
    web = {"tokens": ["api-token"], "metrics_token": "only-to-look"}
    async with served(channels={"shop": shop}, web=web) as bot:
        bot.application.outbox.stopped["shop"] = str(ChannelUnauthorized("shop", "xoxb revoked"))
        status, body = await bot.get("/readyz")
        assert status == 503
        assert body == {
            "status": "degraded",
            "codes": ["channel_down"],
            "reasons": [],
            "dead_letters": None,
        }
        for token in ("api-token", "only-to-look"):
            headers = {"Authorization": f"Bearer {token}"}
            _, body = await bot.get("/readyz", headers=headers)
            assert "xoxb revoked" in body["reasons"][0]
            assert body["dead_letters"] == {"inbox": 0, "outbox": 0}


async def test_a_fault_that_is_excluded_takes_no_replica_off_the_network(
    served: Served,
) -> None:
    async with served(channels={"shop": FakeAdapter("shop")}) as bot:
        bot.application.outbox.stopped["shop"] = "revoked"
        assert (await ready(bot))[0] == 503
        assert await ready(bot, "?exclude=disk_low&exclude=channel_down") == (200, [], [])


@pytest.mark.parametrize(
    ("states", "status", "codes"),
    [
        ([{"generation": 0}], 503, ["knowledge_not_loaded"]),
        ([{"name": "new", "generation": 0}, {}], 200, ["knowledge_not_loaded"]),
        ([{"fault": "the folder is gone"}], 200, ["knowledge_load_failed"]),
        ([{}], 200, []),
    ],
)
async def test_knowledge_that_is_missing_or_old_is_told(
    served: Served, states: list[dict[str, Any]], status: int, codes: list[str]
) -> None:
    async with served(base=Loaded(*states)) as bot:
        found = await ready(bot)
        assert found[:2] == (status, codes)
        assert len(found[2]) == len(codes)


async def test_a_chat_model_that_is_away_degrades_and_no_more(served: Served) -> None:
    model = FakeChatModel([], fault="small: does not answer")
    async with served(writer=Writer(model)) as bot:
        status, codes, [reason] = await ready(bot)
        assert (status, codes) == (200, ["chat_model_unavailable"])
        assert "does not answer" in reason
        model.fault = ""
        assert await ready(bot) == (200, [], [])


@pytest.mark.parametrize(
    ("free", "status", "codes"),
    [
        (10_000_000, 503, ["disk_full"]),
        (500_000_000, 200, ["disk_low"]),
        (5_000_000_000, 200, []),
    ],
)
async def test_a_disk_that_is_full_is_told_before_it_is(
    bot: ServedBot, monkeypatch: pytest.MonkeyPatch, free: int, status: int, codes: list[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: (10**12, 10**12 - free, free))
    assert (await ready(bot))[:2] == (status, codes)


@pytest.mark.parametrize(("seconds", "codes"), [(299, []), (301, ["outbox_standing_still"])])
async def test_messages_that_stand_still_are_told(
    served: Served, monkeypatch: pytest.MonkeyPatch, seconds: int, codes: list[str]
) -> None:
    real = GaugeStore.standing

    async def standing(self: GaugeStore) -> Standing:
        found = await real(self)
        return replace(found, due_since=found.at - timedelta(seconds=seconds))

    monkeypatch.setattr(GaugeStore, "standing", standing)
    async with served() as bot:
        assert (await ready(bot))[:2] == (200, codes)


async def test_a_reading_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vitals, "WAIT_SECONDS", 0.01)
    answer = asyncio.Event()
    begun = 0

    async def read() -> str:
        nonlocal begun
        begun += 1
        await answer.wait()
        return "there"

    fresh = vitals._Fresh(read, 0.0)
    assert [await fresh.get() for _ in range(3)] == [None] * 3
    assert begun == 1
    answer.set()
    assert await fresh.get() == "there"
    await fresh.close()


async def test_a_reading_that_breaks_is_said_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outcomes: list[Exception | str] = [ValueError("a bug"), "there"]

    async def read() -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    fresh = vitals._Fresh(read, 0.0)
    assert await fresh.get() is None
    assert [getattr(one, "event", "") for one in caplog.records] == ["vitals_unread"]
    fresh._due = 0.0
    assert await fresh.get() == "there"


async def test_one_reading_serves_all_who_ask_before_it_is_old() -> None:
    asked = 0

    async def read() -> int:
        nonlocal asked
        asked += 1
        return asked

    fresh = vitals._Fresh(read, 1000.0)
    assert [await fresh.get() for _ in range(5)] == [1] * 5
    await fresh.close()


async def test_after_a_failure_that_took_long_it_is_soon_looked_again() -> None:
    async def read() -> str:
        await asyncio.sleep(0.1)
        raise StoreUnavailable("database: gone")

    fresh = vitals._Fresh(read, 0.0)
    assert await fresh.get() is None
    assert fresh._due - time.monotonic() < 1.0
    await fresh.close()
