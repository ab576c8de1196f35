"""Replicas on one PostgreSQL: who lives keeps its lanes, who died loses them at once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa

from kfbot.bootstrap import wire
from kfbot.changes import EVERYTHING
from kfbot.messages import ConversationId
from kfbot.settings import Settings
from kfbot.store import presence, tables
from kfbot.store.engine import Database
from kfbot.store.messages import MessageStore
from kfbot.store.notices import LANE, conversation_notice
from kfbot.store.presence import Presence, lock_of, new_owner
from kfbot.testing import FakeAdapter
from tests.conftest import Clock
from tests.dialogues.conftest import ENTRIES, staged
from tests.integration.stores import claimed, message

pytestmark = pytest.mark.asyncio
REFUND = "When will my refund arrive?"
TIMEOUT_SECONDS = 30
#: A process that claims a lane and does nothing more.
CLAIMING = """
import asyncio, sys
from datetime import UTC, datetime
from kfbot.store.engine import Database
from kfbot.store.messages import MessageStore
from kfbot.store.presence import Presence

async def main(url, owner, now):
    async with Database(url) as database, Presence(database, owner):
        messages = MessageStore(database, lambda: datetime.fromisoformat(now))
        lanes = await messages.claim(owner, limit=9, lease_seconds=3600)
        print(len(lanes), flush=True)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


def chat(number: int) -> ConversationId:
    return ConversationId("shop", f"chat-{number}")


async def end_session(database: Database, owner: str) -> None:
    """End the session that says that this process lives."""
    query = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database d ON d.oid = database"
        " WHERE locktype = 'advisory' AND datname = current_database()"
        " AND ((classid::bigint << 32) | objid::bigint) = :lock"
    )
    ended = await database.read(
        lambda c: c.execute(query, {"lock": lock_of(owner)}).scalars().all()
    )
    assert ended == [True]


async def crashes(database: Database) -> list[int]:
    inbox = tables.inbox.c
    query = sa.select(inbox.crashes).order_by(inbox.id)
    return list(await database.read(lambda c: c.execute(query).scalars()))


async def heard(queue: asyncio.Queue[str], notice: str) -> None:
    """Until this was told."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while await queue.get() != notice:
            pass


@asynccontextmanager
async def process_with_lanes(url: str, owner: str, clock: Clock) -> AsyncIterator[int]:
    """A real process that has claimed all that is ready, and is killed in the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLAIMING, url, owner, clock().isoformat(),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(TIMEOUT_SECONDS):
            yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


async def test_a_killed_process_loses_its_lanes_long_before_its_lease_ends(
    database: Database, database_url: str, clock: Clock
) -> None:
    messages, owner = MessageStore(database, clock), new_owner()
    await messages.accept(message(clock, 1))
    async with process_with_lanes(database_url, owner, clock) as claimed_lanes:
        assert claimed_lanes == 1
        assert await messages.free_lost("other") == 0
    async with asyncio.timeout(TIMEOUT_SECONDS):
        # The server has to notice that nobody is there any more.
        while not await messages.free_lost("other"):  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0)
    assert await crashes(database) == [1]
    [lane] = await claimed(messages, "other")
    assert lane.epoch == 2


async def test_a_process_that_lives_keeps_its_lanes_as_long_as_its_lease_and_no_longer(
    database: Database, clock: Clock
) -> None:
    messages = MessageStore(database, clock)
    for number in range(2):
        await messages.accept(message(clock, number, chat(number)))
    one, other = new_owner(), new_owner()
    async with Presence(database, one), Presence(database, other):
        [first] = await messages.claim(one, limit=1, lease_seconds=30)
        clock.advance(seconds=10)
        [second] = await messages.claim(other, limit=1, lease_seconds=30)
        for _ in range(3):
            clock.advance(seconds=9)
            for owner in (one, other, "third"):
                assert await messages.free_lost(owner) == 0
            await messages.renew(one, [first], lease_seconds=30)
        clock.advance(seconds=4)
        # The other one stands still: it lives, and renews nothing.
        assert await messages.free_lost(other) == 0
        assert await messages.free_lost(one) == 1
        [taken] = await messages.claim(one, limit=9, lease_seconds=30, running=[
            first.conversation_id
        ])  # fmt: skip
        assert taken.conversation_id == second.conversation_id
    assert await crashes(database) == [0, 1]


async def test_a_process_whose_session_was_lost_is_alive_again_and_looks_at_everything(
    database: Database, database_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "AGAIN_SECONDS", 0.01)
    owner, told = new_owner(), asyncio.Queue[str]()
    async with Database(database_url) as other, Presence(database, owner):
        database.subscribe(told.put_nowait)
        for _ in range(3):
            await end_session(other, owner)
            await heard(told, EVERYTHING)
            messages = MessageStore(other, clock)
            await messages.accept(message(clock, 1))
            [lane] = await messages.claim(owner, limit=9, lease_seconds=30)
            assert await messages.free_lost("third") == 0
            await messages.release(lane, ready_at=clock())
            await heard(told, LANE)
    assert await crashes(database) == [0]


async def test_whoever_watches_anything_is_woken_by_a_session_that_was_lost(
    database: Database, database_url: str, clock: Clock
) -> None:
    owner = new_owner()
    async with (
        Database(database_url) as other,
        Presence(database, owner),
        staged(database, clock, FakeAdapter()) as stage,
    ):
        with stage.application.changes.watching(conversation_notice(1)) as changed:
            await end_session(other, owner)
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await changed.wait()


async def test_who_waits_for_an_answer_hears_of_it_where_another_replica_gave_it(
    database_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody looks without being told.
    monkeypatch.setattr("kfbot.inbox.POLL_SECONDS", 10 * TIMEOUT_SECONDS)
    async with (
        Database(database_url) as asked,
        Presence(asked, new_owner()),
        Database(database_url) as answering,
        Presence(answering, new_owner()),
        staged(answering, clock, FakeAdapter()) as stage,
    ):
        # It takes questions, and leaves the work to others.
        idle = wire(Settings(), asked, stage.knowledge, channels={}, clock=clock)
        accepted = await idle.inbox.accept(stage.message(REFUND))
        assert await idle.inbox.settled(accepted, timeout_seconds=TIMEOUT_SECONDS)
        await stage.sent_out()
        assert [one.text for one in stage.channel.sent] == [ENTRIES[REFUND]]
