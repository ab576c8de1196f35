"""Inbox, lanes and outbox on a real database: once, in order, fenced, and over a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from kfbot.adapter import Capabilities
from kfbot.conversation import Turn
from kfbot.errors import ConversationChanged, StoreUnavailable
from kfbot.messages import (
    ConversationId,
    ConversationMoved,
    DeliveryReceipt,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    OutboundMessage,
    Sender,
)
from kfbot.store import tables
from kfbot.store.acceptance import Accepted
from kfbot.store.conversations import ConversationStore
from kfbot.store.engine import Database
from kfbot.store.lanes import Lane
from kfbot.store.messages import MessageStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.transcripts import TranscriptStore
from kfbot.turn import Outcome, Reply
from tests.conftest import Clock
from tests.integration.test_store_engine import full_disk, locked_by_another_process
from tests.postgres import new_database, postgres_server

pytestmark = pytest.mark.asyncio
CHAT = ConversationId("shop", "chat-1")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres_server(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(scope="module")
def template(server: str) -> Iterator[str]:
    """The name of a PostgreSQL database with the newest schema, to be copied."""

    async def create(url: str) -> None:
        async with Database(url) as database:
            await database.upgrade()

    with new_database(server) as url:
        asyncio.run(create(url))
        yield str(sa.make_url(url).database)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database with the newest schema."""
    if request.param == "sqlite":
        yield request.getfixturevalue("database_url")
        return
    server = request.getfixturevalue("server")
    with new_database(server, like=request.getfixturevalue("template")) as copy:
        yield copy


@pytest_asyncio.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with Database(url) as opened:
        yield opened


@pytest.fixture
def messages(database: Database, clock: Clock) -> MessageStore:
    return MessageStore(database, clock)


@pytest.fixture
def outcomes(database: Database, clock: Clock) -> OutcomeStore:
    return OutcomeStore(database, clock)


@pytest.fixture
def conversations(database: Database) -> ConversationStore:
    return ConversationStore(database)


def message(
    clock: Clock, number: int, chat: ConversationId = CHAT, **fields: Any
) -> MessageReceived:
    values: dict[str, Any] = {
        "event_id": f"event-{number}",
        "conversation": chat,
        "message_id": f"message-{number}",
        "sender": Sender("customer-1"),
        "sent_at": clock(),
        "text": f"text {number}",
    }
    return MessageReceived(**values | fields)


async def count(database: Database, table: sa.Table) -> int:
    query = sa.select(sa.func.count()).select_from(table)
    return int(await database.read(lambda c: c.execute(query).scalar_one()))


async def states(database: Database, table: sa.Table) -> list[str]:
    async with database.reading() as connection:
        return list(
            (await connection.execute(sa.select(table.c.state).order_by(table.c.id))).scalars()
        )


async def claimed(
    messages: MessageStore, owner: str = "one", *, limit: int = 9
) -> tuple[Lane, ...]:
    return await messages.claim(owner, limit=limit, lease_seconds=30)


async def answered(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    lane: Lane,
    *texts: str,
) -> None:
    """Finish what waits in a lane with replies of the bot."""
    before = await conversations.get(lane.conversation_id)
    turn = Turn(question="q", decision="answer", confidence=1.0, text=" ".join(texts))
    replies = tuple(Reply(text=text) for text in texts)
    outcome = Outcome(before=before, after=before, turn=turn, replies=replies)
    await outcomes.commit(lane, await messages.waiting(lane), outcome, Capabilities())


# Accepting


async def test_fifty_repeats_at_once_are_one_event(
    messages: MessageStore, database: Database, clock: Clock
) -> None:
    event = message(clock, 1)
    accepted = await asyncio.gather(*(messages.accept(event) for _ in range(50)))
    assert sorted(one.repeated for one in accepted) == [False] + [True] * 49
    assert len({(one.inbox_id, one.conversation_id) for one in accepted}) == 1
    for table in (tables.inbox, tables.message, tables.conversation, tables.customer, tables.lane):
        assert await count(database, table) == 1, table.name


async def test_a_repeat_is_known_after_it_was_worked_on(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    clock: Clock,
) -> None:
    accepted = await messages.accept(message(clock, 1))
    [lane] = await claimed(messages)
    await answered(messages, outcomes, conversations, lane, "yes")
    again = await messages.accept(message(clock, 1, text="changed"))
    assert again == Accepted(accepted.inbox_id, accepted.conversation_id, repeated=True)
    assert await messages.waiting(lane) == ()


async def test_the_same_event_id_on_another_channel_is_another_event(
    messages: MessageStore, clock: Clock
) -> None:
    one = await messages.accept(message(clock, 1))
    other = await messages.accept(message(clock, 1, ConversationId("crm", "chat-1")))
    assert not other.repeated
    assert one.conversation_id != other.conversation_id


async def test_the_inbox_keeps_the_order_of_acceptance(
    messages: MessageStore, clock: Clock
) -> None:
    chats = [ConversationId("shop", f"chat-{number % 3}") for number in range(60)]
    events = [message(clock, number, chat) for number, chat in enumerate(chats)]
    accepted = await asyncio.gather(*(messages.accept(event) for event in events))
    assert [one.inbox_id for one in accepted] == sorted(one.inbox_id for one in accepted)
    lanes = await claimed(messages)
    assert len(lanes) == 3
    for lane in lanes:
        waiting = [stored.event for stored in await messages.waiting(lane)]
        expected = [
            event
            for event, one in zip(events, accepted, strict=True)
            if one.conversation_id == lane.conversation_id
        ]
        assert waiting == expected


@pytest.mark.parametrize(
    ("text", "kept"),
    [("a\0b", "ab"), ("half \ud83d", "half ?"), ("\ud83d\udc4d"[:1] + "x", "?x"), ("👍", "👍")],
)
async def test_words_that_no_database_takes_are_made_storable(
    messages: MessageStore, database: Database, clock: Clock, text: str, kept: str
) -> None:
    name = Sender("7", display_name="Ann\0")
    accepted = await messages.accept(message(clock, 1, text=text, sender=name))
    [lane] = await claimed(messages)
    [stored] = await messages.waiting(lane)
    assert isinstance(stored.event, MessageReceived)
    assert (stored.event.text, stored.event.sender.display_name) == (kept, "Ann")
    [said] = await TranscriptStore(database).transcript(accepted.conversation_id)
    assert said.text == kept


async def test_an_edit_and_a_deletion_change_the_transcript(
    messages: MessageStore, database: Database, clock: Clock
) -> None:
    accepted = await messages.accept(message(clock, 1))
    edit = MessageEdited(
        event_id="e", conversation=CHAT, message_id="message-1", sender=Sender("customer-1"),
        sent_at=clock(), text="new\0 text",
    )  # fmt: skip
    transcripts = TranscriptStore(database)
    await messages.accept(edit)
    assert [one.text for one in await transcripts.transcript(accepted.conversation_id)] == [
        "new text"
    ]
    gone = MessageDeleted(event_id="d", conversation=CHAT, message_id="message-1", sent_at=clock())
    await messages.accept(gone)
    assert [one.text for one in await transcripts.transcript(accepted.conversation_id)] == [""]


async def test_what_cannot_be_stored_is_not_acknowledged(
    database_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfbot.store.engine.BUSY_TIMEOUT_SECONDS", 0.01)
    async with Database(database_url) as database:
        messages = MessageStore(database, clock)
        with locked_by_another_process(database_url), pytest.raises(StoreUnavailable):
            await messages.accept(message(clock, 1))
        assert not (await messages.accept(message(clock, 1))).repeated


async def test_on_a_full_disk_exactly_the_acknowledged_events_are_kept(
    database_url: str, clock: Clock
) -> None:
    kept = []
    with full_disk(database_url):
        async with Database(database_url) as database:
            messages = MessageStore(database, clock)
            events = [message(clock, number, text="x" * 2000) for number in range(40)]
            for event in events:
                try:
                    await messages.accept(event)
                except StoreUnavailable:
                    break
                kept.append(event)
    assert 0 < len(kept) < 40
    async with Database(database_url) as database:
        messages = MessageStore(database, clock)
        [lane] = await claimed(messages)
        assert [stored.event for stored in await messages.waiting(lane)] == kept


async def test_two_processes_that_are_told_the_same_store_it_once(
    database: Database, url: str, clock: Clock
) -> None:
    chats = [ConversationId("shop", f"chat-{number % 4}") for number in range(40)]
    events = [message(clock, number, chat) for number, chat in enumerate(chats)]
    async with Database(url) as other:
        stores = [MessageStore(one, clock) for one in (database, other)]
        accepted = await asyncio.gather(
            *(store.accept(event) for event in events for store in stores)
        )
    for one, again in zip(accepted[::2], accepted[1::2], strict=True):
        assert one.inbox_id == again.inbox_id
        assert one.conversation_id == again.conversation_id
        assert one.repeated != again.repeated
    assert await count(database, tables.inbox) == await count(database, tables.message) == 40
    assert await count(database, tables.conversation) == 4
    assert await count(database, tables.customer) == 1


# Lanes


async def test_a_lane_has_one_owner_until_its_lease_ends(
    messages: MessageStore, clock: Clock
) -> None:
    await messages.accept(message(clock, 1))
    [first] = await claimed(messages, "one")
    assert await claimed(messages, "two") == ()
    clock.advance(seconds=29)
    await messages.renew([first], lease_seconds=30)
    clock.advance(seconds=29)
    assert await claimed(messages, "two") == ()
    clock.advance(seconds=2)
    [second] = await claimed(messages, "two")
    assert (second.conversation_id, second.epoch) == (first.conversation_id, first.epoch + 1)


async def test_two_processes_never_take_the_same_lane(
    messages: MessageStore, url: str, clock: Clock
) -> None:
    for number in range(30):
        await messages.accept(message(clock, number, ConversationId("shop", f"chat-{number}")))
    async with Database(url) as other:
        stores = (messages, MessageStore(other, clock))
        taken = await asyncio.gather(
            *(claimed(store, f"process-{number}", limit=2)
              for _ in range(10) for number, store in enumerate(stores))
        )  # fmt: skip
    lanes = [lane.conversation_id for some in taken for lane in some]
    assert len(lanes) == len(set(lanes)) == 30


async def test_a_lane_in_work_is_not_taken_twice_by_its_owner_after_a_jump_of_the_clock(
    messages: MessageStore, clock: Clock
) -> None:
    await messages.accept(message(clock, 1))
    [lane] = await claimed(messages, "one")
    clock.advance(hours=9)
    running = [lane.conversation_id]
    assert await messages.claim("one", limit=9, lease_seconds=30, running=running) == ()
    assert len(await messages.claim("one", limit=9, lease_seconds=30)) == 1


async def test_the_lane_that_waited_longest_is_taken_first(
    messages: MessageStore, clock: Clock
) -> None:
    accepted = [
        await messages.accept(message(clock, number, ConversationId("shop", f"chat-{number}")))
        for number in range(5)
    ]
    taken = [lane.conversation_id for _ in range(5) for lane in await claimed(messages, limit=1)]
    assert taken == [one.conversation_id for one in accepted]


async def test_a_lane_with_work_is_not_given_back(messages: MessageStore, clock: Clock) -> None:
    await messages.accept(message(clock, 1))
    [lane] = await claimed(messages)
    assert not await messages.release(lane)
    assert await claimed(messages, "two") == ()
    assert await messages.release(lane, ready_at=clock() + timedelta(seconds=5))
    assert await claimed(messages, "two") == ()
    clock.advance(seconds=6)
    assert len(await claimed(messages, "two")) == 1


async def test_a_lane_without_work_falls_idle_until_something_comes(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    clock: Clock,
) -> None:
    await messages.accept(message(clock, 1))
    [lane] = await claimed(messages)
    await answered(messages, outcomes, conversations, lane)
    assert await messages.release(lane)
    assert await messages.next_ready_at() is None
    assert await claimed(messages) == ()
    await messages.accept(message(clock, 2))
    assert len(await claimed(messages)) == 1


async def test_who_lost_the_lane_can_change_nothing(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    database: Database,
    clock: Clock,
) -> None:
    await messages.accept(message(clock, 1))
    [stale] = await claimed(messages, "one")
    clock.advance(seconds=31)
    [lane] = await claimed(messages, "two")
    with pytest.raises(ConversationChanged, match="another worker"):
        await answered(messages, outcomes, conversations, stale, "stale")
    assert await states(database, tables.inbox) == ["new"]
    assert await count(database, tables.outbox) == await count(database, tables.turn) == 0
    await messages.renew([stale], lease_seconds=3000)
    await messages.release(stale, ready_at=clock())
    assert await claimed(messages, "three") == ()
    await answered(messages, outcomes, conversations, lane, "fresh")
    [stored] = await messages.unsent(lane)
    with pytest.raises(ConversationChanged, match="another worker"):
        await messages.begin_send(stale, stored)
    assert await messages.begin_send(lane, stored) == "now"
    assert stored.message.text == "fresh"


async def test_a_killed_process_leaves_lanes_that_the_next_one_frees(
    messages: MessageStore, clock: Clock
) -> None:
    await messages.accept(message(clock, 1))
    [stale] = await claimed(messages, "one")
    await messages.forget_leases()
    [lane] = await claimed(messages, "two")
    assert lane.epoch == stale.epoch + 1


# Outbox


async def test_messages_wait_in_order_and_are_sent_once(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    database: Database,
    clock: Clock,
) -> None:
    await messages.accept(message(clock, 1))
    [lane] = await claimed(messages)
    await answered(messages, outcomes, conversations, lane, "one", "two")
    first, second = await messages.unsent(lane)
    assert (first.message.text, second.message.text) == ("one", "two")
    assert await messages.begin_send(lane, first) == "now"
    assert await states(database, tables.outbox) == ["sending", "new"]
    await messages.sent(first, DeliveryReceipt(("platform-1",)))
    assert await messages.unsent(lane) == (second,)
    transcript = await TranscriptStore(database).transcript(lane.conversation_id)
    assert [one.platform_id for one in transcript] == ["message-1", "platform-1", None]


async def test_a_message_on_its_way_at_a_kill_is_sent_again_as_the_same(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    url: str,
    clock: Clock,
) -> None:
    await messages.accept(message(clock, 1))
    [lane] = await claimed(messages)
    await answered(messages, outcomes, conversations, lane, "one")
    [stored] = await messages.unsent(lane)
    await messages.begin_send(lane, stored)
    async with Database(url) as reopened:
        again = MessageStore(reopened, clock)
        await again.forget_leases()
        [lane] = await claimed(again, "two")
        assert await again.unsent(lane) == (stored,)
        assert await again.begin_send(lane, stored) == "now"


async def test_a_given_up_message_does_not_come_back(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    database: Database,
    clock: Clock,
) -> None:
    await messages.accept(message(clock, 1))
    [lane] = await claimed(messages)
    await answered(messages, outcomes, conversations, lane, "one")
    [stored] = await messages.unsent(lane)
    retry_at = clock() + timedelta(seconds=5)
    await messages.not_sent(stored, "busy", retry_at=retry_at)
    [again] = await messages.unsent(lane)
    assert again == replace(stored, attempts=1, retry_at=retry_at)
    assert await messages.begin_send(lane, again) == "later"
    clock.advance(seconds=6)
    assert await messages.begin_send(lane, again) == "now"
    await messages.not_sent(again, "never", retry_at=None)
    assert await messages.unsent(lane) == ()
    assert await states(database, tables.outbox) == ["dead"]
    assert await messages.release(lane)


async def test_what_waits_goes_to_the_address_that_the_conversation_has_now(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    clock: Clock,
) -> None:
    await messages.accept(message(clock, 1))
    [lane] = await claimed(messages)
    await answered(messages, outcomes, conversations, lane, "one")
    new = ConversationId("shop", "supergroup", member="7")
    moved = ConversationMoved(event_id="m", conversation=CHAT, moved_to=new, sent_at=clock())
    await messages.accept(moved)
    before = await conversations.get(lane.conversation_id)
    outcome = Outcome(before=before, after=before, moved_to=new)
    await outcomes.commit(lane, await messages.waiting(lane), outcome, Capabilities())
    [stored] = await messages.unsent(lane)
    assert stored.message.conversation == new
    assert await conversations.find(CHAT) == await conversations.find(new)


async def test_a_message_for_the_platform_keeps_every_field(
    messages: MessageStore,
    outcomes: OutcomeStore,
    clock: Clock,
) -> None:
    accepted = await messages.accept(message(clock, 1))
    await outcomes.agent_says(accepted.conversation_id, "ann", "Hi \ud800there\0", pushed=True)
    [lane] = await claimed(messages)
    [stored] = await messages.unsent(lane)
    assert stored.message == OutboundMessage(
        conversation=CHAT, id=stored.message.id, text="Hi ?there",
        sender=Sender("ann", "agent", "ann"),
    )  # fmt: skip
    assert stored.ownership_epoch is None


# Owners


async def test_a_case_keeps_the_time_when_it_was_taken(
    messages: MessageStore, outcomes: OutcomeStore, database: Database, clock: Clock
) -> None:
    accepted = await messages.accept(message(clock, 1))
    claim = {"agent": "ann", "notice": "", "pushed": False}
    await outcomes.change_owner(accepted.conversation_id, "claim", **claim)  # type: ignore[arg-type]
    async with database.reading() as connection:
        first = (await connection.execute(sa.select(tables.case))).one()
    clock.advance(minutes=5)
    await outcomes.agent_says(accepted.conversation_id, "ann", "still here", pushed=False)
    async with database.reading() as connection:
        again = (await connection.execute(sa.select(tables.case))).one()
    assert again == first
    assert first.claimed_by == "ann"


async def test_a_long_text_of_an_agent_goes_in_parts(
    messages: MessageStore, outcomes: OutcomeStore, clock: Clock
) -> None:
    accepted = await messages.accept(message(clock, 1))
    long = "One sentence. " * 10
    await outcomes.agent_says(accepted.conversation_id, "ann", long, pushed=True, text_length=40)
    [lane] = await claimed(messages)
    texts = [stored.message.text for stored in await messages.unsent(lane)]
    assert len(texts) == 5
    assert all(len(text) <= 40 for text in texts)
    assert " ".join(texts).strip() == long.strip()
