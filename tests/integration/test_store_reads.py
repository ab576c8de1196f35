"""Reads that are asked for together go together, and none suffers for another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
import sqlalchemy as sa

from kfbot.adapter import Capabilities
from kfbot.errors import ConversationChanged, StoreUnavailable
from kfbot.messages import ConversationId
from kfbot.store import tables
from kfbot.store.conversations import ConversationStore
from kfbot.store.engine import Database
from kfbot.store.lanes import Lane
from kfbot.store.messages import MessageStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.work import Work
from tests.conftest import Clock
from tests.integration.stores import claimed, message, outcome_in, statements

pytestmark = pytest.mark.asyncio
CHATS = [ConversationId("shop", f"chat-{number}") for number in range(8)]


def doubled(connection: sa.Connection, items: Sequence[int]) -> list[int | Exception]:
    """Twice each; a negative one spoils the whole query."""
    if min(items) < 0:
        raise ValueError("negative")
    numbers = sa.select(sa.literal(sum(items)))
    assert connection.execute(numbers).scalar_one() == sum(items)
    return [2 * item for item in items]


async def lanes_of(messages: MessageStore, clock: Clock) -> list[Lane]:
    await asyncio.gather(
        *(messages.accept(message(clock, number, chat)) for number, chat in enumerate(CHATS))
    )
    return sorted(await claimed(messages), key=lambda lane: lane.conversation_id)


async def test_reads_that_are_asked_for_together_share_a_statement(database: Database) -> None:
    with statements() as heard:
        results = await asyncio.gather(*(database.read_together(doubled, n) for n in range(9)))
    assert results == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    assert len([one for one in heard if one.startswith("SELECT")]) == 1


async def test_a_read_that_fails_does_not_fail_its_neighbours(database: Database) -> None:
    asked = (database.read_together(doubled, number) for number in (1, -1, 3))
    one, bad, three = await asyncio.gather(*asked, return_exceptions=True)
    assert (one, three) == (2, 6)
    assert isinstance(bad, ValueError)


async def test_whoever_gives_up_does_not_break_off_the_reads_of_others(database: Database) -> None:
    tasks = [asyncio.create_task(database.read_together(doubled, number)) for number in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    first, given_up, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert (first, last) == (0, 4)
    assert isinstance(given_up, asyncio.CancelledError)
    assert await database.read_together(doubled, 5) == 10


async def test_a_database_that_is_gone_is_said_to_all_who_read(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(query: object) -> None:
        raise OSError("gone")

    monkeypatch.setattr(database.connections, "read", gone)
    asked = (database.read_together(doubled, number) for number in range(3))
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 3


async def test_lanes_are_read_together_and_each_gets_its_own(url: str, clock: Clock) -> None:
    async with Database(url) as database:
        messages = MessageStore(database, clock)
        lanes = await lanes_of(messages, clock)
        with statements() as heard:
            found = await asyncio.gather(*(messages.work(lane) for lane in lanes))
    for number, work in enumerate(found):
        assert work.conversation.address == CHATS[number]
        [stored] = work.waiting or ()
        assert stored.event.event_id == f"event-{number}"
    assert len([one for one in heard if one.startswith("SELECT")]) == 2


async def test_of_two_lanes_of_a_conversation_only_the_newer_has_work_and_may_commit(
    url: str, clock: Clock
) -> None:
    async with Database(url) as database:
        messages, outcomes = MessageStore(database, clock), OutcomeStore(database, clock)
        conversations = ConversationStore(database)
        await messages.accept(message(clock, 1))
        [old] = await claimed(messages, "one")
        [new] = await claimed(messages, "one")
        works = await asyncio.gather(messages.work(old), messages.work(new), return_exceptions=True)
        assert isinstance(works[0], ConversationChanged)
        assert isinstance(works[1], Work)
        outcome = await outcome_in(conversations, new, "yes")
        waiting = works[1].waiting or ()
        late, done = await asyncio.gather(
            *(outcomes.commit(lane, waiting, outcome, Capabilities()) for lane in (old, new)),
            return_exceptions=True,
        )
        assert isinstance(late, ConversationChanged)
        assert done is None
        said = await database.read(
            lambda c: c.execute(sa.select(tables.outbox.c.payload)).scalars().all()
        )
        assert [payload["text"] for payload in said] == ["yes"]
