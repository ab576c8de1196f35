"""Access tokens: one for all calls, renewed in time, fetched once however many ask."""

from __future__ import annotations

import asyncio

import pytest

from adapters.access_tokens import AccessToken, LentToken
from kfbot.errors import ChannelUnavailable

pytestmark = pytest.mark.asyncio


class Platform:
    """Lends tokens t1, t2, …, when it is let."""

    def __init__(self, seconds: float = 7200) -> None:
        self.seconds = seconds
        self.now = 1000.0
        self.lent = 0
        self.failures: list[Exception] = []
        self.open = asyncio.Event()
        self.open.set()
        self.token = AccessToken(self.fetch, lambda: self.now)

    async def fetch(self) -> LentToken:
        await self.open.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.lent += 1
        return LentToken(f"t{self.lent}", self.seconds)


async def test_a_token_is_used_until_five_minutes_before_its_end() -> None:
    platform = Platform()
    assert await platform.token.get() == "t1"
    platform.now += 6899
    assert await platform.token.get() == "t1"
    platform.now += 1
    assert await platform.token.get() == "t2"


async def test_a_short_token_is_used_for_nine_tenths_of_its_time() -> None:
    platform = Platform(seconds=60)
    await platform.token.get()
    platform.now += 53
    assert await platform.token.get() == "t1"
    platform.now += 1
    assert await platform.token.get() == "t2"


async def test_calls_at_the_same_time_share_one_asking() -> None:
    platform = Platform()
    platform.open.clear()
    calls = [asyncio.create_task(platform.token.get()) for _ in range(20)]
    await asyncio.sleep(0)
    platform.open.set()
    assert await asyncio.gather(*calls) == ["t1"] * 20
    assert platform.lent == 1


async def test_time_counts_from_the_answer_to_the_asking() -> None:
    platform = Platform()
    platform.open.clear()
    asking = asyncio.create_task(platform.token.get())
    await asyncio.sleep(0)
    platform.now += 500
    platform.open.set()
    assert await asking == "t1"
    platform.now += 6899
    assert await platform.token.get() == "t1"


async def test_a_failed_asking_fails_its_call_and_the_next_one_asks_again() -> None:
    platform = Platform()
    platform.failures.append(ChannelUnavailable("shop", "down"))
    with pytest.raises(ChannelUnavailable, match="down"):
        await platform.token.get()
    assert await platform.token.get() == "t1"


async def test_a_failed_renewal_does_not_bring_the_old_token_back() -> None:
    platform = Platform()
    await platform.token.get()
    platform.now += 7000
    platform.failures.append(ChannelUnavailable("shop", "down"))
    with pytest.raises(ChannelUnavailable):
        await platform.token.get()
    assert await platform.token.get() == "t2"


async def test_a_cancelled_asking_leaves_the_next_one_free() -> None:
    platform = Platform()
    platform.open.clear()
    asking = asyncio.create_task(platform.token.get())
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    platform.open.set()
    assert await platform.token.get() == "t1"


async def test_a_refused_token_is_renewed_once_for_all_who_were_refused() -> None:
    platform = Platform()
    refused = await platform.token.get()
    assert platform.token.refused(refused)
    assert await platform.token.get() == "t2"
    # Another call was refused with the same token, and hears of it only now.
    assert not platform.token.refused(refused)
    assert await platform.token.get() == "t2"
    assert platform.lent == 2


async def test_nothing_is_refused_before_there_was_a_token() -> None:
    platform = Platform()
    assert not platform.token.refused("t0")


async def test_a_token_does_not_print() -> None:
    assert "t1" not in repr(LentToken("t1", 7200))
