"""Token budgets on both databases: kept over restarts, shared by replicas, told once a day."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import date

import pytest
import pytest_asyncio

from kfbot.chat_model import ChatMessage, Usage
from kfbot.errors import ChatModelUnavailable, StoreUnavailable
from kfbot.model import budget
from kfbot.model.budget import Budgeted
from kfbot.store.engine import Database
from kfbot.store.token_use import TokenUse
from kfbot.testing import FakeChatModel
from tests.conftest import Clock

pytestmark = pytest.mark.asyncio
PROMPT = (ChatMessage("user", "How long do returns take?"),)
TODAY = date(2026, 1, 5)
#: The fake counts each of these as a token.
TEN = "a b c d e f g h i j"


@pytest_asyncio.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with Database(url) as opened:
        yield opened


def budgeted(use: TokenUse, clock: Clock, total: int = 0, **by_channel: int) -> Budgeted:
    model = FakeChatModel([TEN] * 20)
    return Budgeted(model, use, clock, tokens_per_day=total, by_channel=by_channel)


async def ask(model: Budgeted, channel: str = "shop") -> None:
    pieces = model.complete(PROMPT, max_tokens=50, usage=Usage(), channel=channel)
    async for _ in pieces:
        pass


async def test_a_spent_budget_stops_every_channel_until_the_next_day(
    database: Database, clock: Clock
) -> None:
    model = budgeted(TokenUse(database), clock, 20)
    await ask(model)
    await ask(model, "help")
    with pytest.raises(ChatModelUnavailable, match="budget of all channels is spent: 20 tokens"):
        await ask(model)
    clock.advance(days=1)
    await ask(model)
    await model.aclose()


async def test_a_channel_has_a_budget_of_its_own(database: Database, clock: Clock) -> None:
    model = budgeted(TokenUse(database), clock, shop=10)
    await ask(model)
    with pytest.raises(ChatModelUnavailable, match="budget of channel shop"):
        await ask(model)
    await ask(model, "help")
    await model.aclose()


async def test_a_budget_survives_a_restart_and_is_shared_by_replicas(
    database: Database, clock: Clock
) -> None:
    use = TokenUse(database)
    first, second = budgeted(use, clock, 20), budgeted(use, clock, 20)
    await ask(first)
    await ask(first)
    await first.aclose()
    with pytest.raises(ChatModelUnavailable, match="budget"):
        await ask(second)
    await second.aclose()
    assert await use.spent(TODAY) == {"shop": 20}


async def test_a_spent_budget_is_told_once_a_day(
    database: Database, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    model = budgeted(TokenUse(database), clock, 10)
    for _ in range(2):
        await ask(model)
        for _ in range(3):
            with pytest.raises(ChatModelUnavailable):
                await ask(model)
        clock.advance(days=1)
    await model.aclose()
    told = [one for one in caplog.records if getattr(one, "event", "") == "budget_spent"]
    assert [one.levelno for one in told] == [logging.WARNING] * 2


async def test_what_was_taken_counts_also_where_it_broke_off(
    database: Database, clock: Clock
) -> None:
    use = TokenUse(database)
    model = budgeted(use, clock)
    async with aclosing(model.complete(PROMPT, max_tokens=50, usage=Usage())) as pieces:
        for _ in range(3):
            await anext(pieces)
    await model.aclose()
    assert await use.spent(TODAY) == {"": 3}


async def test_one_turns_completions_at_the_same_time_count_once_each(
    database: Database, clock: Clock
) -> None:
    use, usage = TokenUse(database), Usage()
    model = budgeted(use, clock)

    async def one() -> None:
        async for _ in model.complete(PROMPT, max_tokens=50, usage=usage, channel="shop"):
            await asyncio.sleep(0)

    await asyncio.gather(*(one() for _ in range(5)))
    await model.aclose()
    assert usage.completion_tokens == 50
    assert await use.spent(TODAY) == {"shop": 50}


async def test_a_limit_is_looked_up_once_for_many_completions(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    use, looks = TokenUse(database), 0
    spent = use.spent

    async def counted(day: date) -> dict[str, int]:
        nonlocal looks
        looks += 1
        return await spent(day)

    monkeypatch.setattr(use, "spent", counted)
    # However slow the machine is.
    monkeypatch.setattr(budget, "REFRESH_SECONDS", 1000.0)
    model = budgeted(use, clock, 1000)
    await asyncio.gather(*(ask(model) for _ in range(15)))
    await model.aclose()
    assert looks == 1


async def test_a_database_that_is_gone_stops_no_answer_and_loses_no_count(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    use = TokenUse(database)

    async def gone(*_: object) -> None:
        raise StoreUnavailable("the database is gone")

    model = budgeted(use, clock, 1000)
    with monkeypatch.context() as patch:
        patch.setattr(use, "spent", gone)
        patch.setattr(use, "add", gone)
        await ask(model)
        await ask(model)
    await ask(model)
    await model.aclose()
    assert await use.spent(TODAY) == {"shop": 30}


async def test_what_is_just_being_written_down_is_not_counted_twice(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    use, stored, goes_on = TokenUse(database), dict[str, int](), asyncio.Event()

    async def add(_: date, channel: str, tokens: int) -> None:
        stored[channel] = stored.get(channel, 0) + tokens
        await goes_on.wait()

    async def spent(_: date) -> dict[str, int]:
        return dict(stored)

    monkeypatch.setattr(use, "add", add)
    monkeypatch.setattr(use, "spent", spent)
    monkeypatch.setattr(budget, "REFRESH_SECONDS", 0.0)
    model = budgeted(use, clock, 20)
    await ask(model)
    asking = asyncio.create_task(ask(model))
    for _ in range(20):
        await asyncio.sleep(0)
    goes_on.set()
    await asking
    await model.aclose()
    assert stored == {"shop": 20}
