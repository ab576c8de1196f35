"""How fast messages go in each chat and over a whole channel, whoever sends."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from kfbot.messages import ConversationId
from kfbot.store import pacing, tables
from kfbot.store.engine import Database
from kfbot.store.pacing import FREE_FOR, Pace, forget_chats, take_slot
from tests.conftest import Clock

pytestmark = pytest.mark.asyncio

CHAT = ConversationId("shop", "-100", member="7")
MEMBER = ConversationId("shop", "-100", member="8")
OTHER = ConversationId("shop", "-200")


@pytest.fixture
def database_url(url: str) -> str:
    """On both databases."""
    return url


async def take(
    database: Database, now: datetime, pace: Pace, chat: ConversationId = CHAT
) -> tuple[datetime, bool]:
    return await database.write(lambda c: take_slot(c, chat, pace, now))


async def test_two_messages_of_a_chat_go_apart_whoever_of_its_members_they_are_for(
    database: Database, clock: Clock
) -> None:
    now, pace = clock(), Pace(seconds_per_chat=3.0)
    later = now + timedelta(seconds=3)
    assert await take(database, now, pace) == (now, True)
    assert await take(database, now, pace, MEMBER) == (later, False)
    assert await take(database, now, pace, OTHER) == (now, True)
    assert await take(database, later, pace, MEMBER) == (later, True)


async def test_who_waits_for_a_chat_takes_none_of_the_channels_times(
    database: Database, clock: Clock
) -> None:
    now, pace = clock(), Pace(rate_per_second=1, burst=1, seconds_per_chat=10.0)
    await take(database, now, pace)
    for _ in range(5):
        await take(database, now, pace, MEMBER)
    # The second of the channel's times, not the seventh.
    assert await take(database, now, pace, OTHER) == (now + timedelta(seconds=1), True)


async def test_a_chat_is_held_until_the_channels_time_is_over(
    database: Database, clock: Clock
) -> None:
    now, pace = clock(), Pace(rate_per_second=1, burst=1, seconds_per_chat=3.0)
    await take(database, now, pace, OTHER)
    assert await take(database, now, pace) == (now + timedelta(seconds=1), True)
    assert await take(database, now, pace, MEMBER) == (now + timedelta(seconds=4), False)


async def test_in_no_second_go_more_than_the_rate_and_what_a_burst_adds(
    database: Database, clock: Clock
) -> None:
    now, pace = clock(), Pace(rate_per_second=20, burst=4)
    slots = [(await take(database, now, pace))[0] for _ in range(100)]
    assert slots[:5] == [*[now] * 4, now + timedelta(seconds=0.05)]
    second = timedelta(seconds=1)
    assert max(sum(start <= slot < start + second for slot in slots) for start in slots) == 23


async def test_writers_at_the_same_time_never_get_the_same_time_of_a_chat(
    database: Database, url: str, clock: Clock
) -> None:
    now, pace = clock(), Pace(seconds_per_chat=1.0)
    async with Database(url) as elsewhere:
        taken = await asyncio.gather(
            *(take((database, elsewhere)[n % 2], now, pace) for n in range(10))
        )
    assert [was_taken for _, was_taken in taken].count(True) == 1


async def test_chats_that_have_been_free_for_long_are_forgotten_and_channels_are_not(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "FORGETTING", 0.0)
    now, pace = clock(), Pace(rate_per_second=1, seconds_per_chat=1.0)
    later = now + FREE_FOR + timedelta(seconds=10)
    await take(database, now, pace)
    await take(database, later, pace, OTHER)
    await database.write(lambda c: forget_chats(c, later))
    query = sa.select(tables.channel.c.name).order_by(tables.channel.c.name)
    names = await database.read(lambda c: list(c.execute(query).scalars()))
    assert names == ["shop", "shop\n-200"]
