"""The rows of a lane: read in order, kept apart, finished once; on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from kfbot.adapter import Capabilities
from kfbot.errors import RowUnreadable
from kfbot.messages import (
    ConversationId,
    ConversationMoved,
    DeliveryReceipt,
    OutboundMessage,
    Sender,
)
from kfbot.store import tables
from kfbot.store.conversations import ConversationStore, add_address, add_conversation
from kfbot.store.engine import Database
from kfbot.store.messages import MessageStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.transcripts import TranscriptStore
from kfbot.store.work import PAGE
from kfbot.turn import Outcome
from tests.conftest import Clock
from tests.integration.stores import CHAT, claimed, message, outcome_in, replied, states, unsent

pytestmark = pytest.mark.asyncio


@pytest.fixture
def database_url(url: str) -> str:
    """On both databases."""
    return url


async def spoil(database: Database, table: sa.Table, row_id: int, payload: Any) -> None:
    """Have a row hold what this version cannot read."""
    spoilt = table.update().where(table.c.id == row_id).values(payload=payload)
    await database.write(lambda connection: connection.execute(spoilt).rowcount)


# What is to be done


async def test_what_is_to_be_done_comes_in_pages_and_in_order(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    clock: Clock,
) -> None:
    lane, work = await replied(
        messages, outcomes, conversations, clock, *(f"reply {one}" for one in range(PAGE + 2))
    )
    assert [one.message.text for one in work.unsent] == [f"reply {one}" for one in range(PAGE)]
    events = [message(clock, number) for number in range(2, PAGE + 4)]
    for event in events:
        await messages.accept(event)
    work = await messages.work(lane)
    assert [stored.event for stored in work.waiting or ()] == events[:PAGE]


async def test_events_are_not_read_while_there_is_something_to_send_at_once(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    clock: Clock,
) -> None:
    lane, work = await replied(messages, outcomes, conversations, clock, "a")
    assert (await messages.work(lane, whole=False)).waiting is None
    await messages.not_sent(work.unsent[0], "busy", retry_at=clock() + timedelta(seconds=5))
    assert (await messages.work(lane, whole=False)).waiting == ()


@pytest.mark.parametrize("payload", [{"type": "FromTheFuture"}, {}, {"type": "MessageReceived"}])
async def test_what_comes_before_an_event_that_cannot_be_read_is_worked_on_first(
    messages: MessageStore, database: Database, clock: Clock, payload: Mapping[str, Any]
) -> None:
    accepted = [await messages.accept(message(clock, number)) for number in range(3)]
    await spoil(database, tables.inbox, accepted[1].inbox_id, payload)
    [lane] = await claimed(messages)
    [first] = (await messages.work(lane)).waiting or ()
    assert first.inbox_id == accepted[0].inbox_id
    await spoil(database, tables.inbox, accepted[0].inbox_id, payload)
    with pytest.raises(RowUnreadable) as caught:
        await messages.work(lane)
    assert (caught.value.kind, caught.value.row_id) == ("inbox", accepted[0].inbox_id)


async def test_a_message_that_cannot_be_read_is_named_and_can_be_given_up(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    database: Database,
    clock: Clock,
) -> None:
    lane, work = await replied(messages, outcomes, conversations, clock, "a", "b")
    await spoil(database, tables.outbox, work.unsent[0].outbox_id, {"text": "secret"})
    with pytest.raises(RowUnreadable) as caught:
        await messages.work(lane)
    assert (caught.value.kind, caught.value.row_id) == ("outbox", work.unsent[0].outbox_id)
    assert "secret" not in str(caught.value)
    await messages.give_up_message(caught.value.row_id, str(caught.value))
    assert await unsent(messages, lane) == work.unsent[1:]


# Sending


async def test_messages_wait_in_order_and_are_sent_once(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    database: Database,
    clock: Clock,
) -> None:
    lane, work = await replied(messages, outcomes, conversations, clock, "one", "two")
    first, second = work.unsent
    assert (first.message.text, second.message.text) == ("one", "two")
    await messages.sent(lane, first, DeliveryReceipt(("platform-1",)))
    assert await unsent(messages, lane) == (second,)
    assert await states(database, tables.outbox) == ["sent", "new"]
    transcript = await TranscriptStore(database).transcript(lane.conversation_id)
    assert [one.platform_id for one in transcript] == ["message-1", "platform-1", None]


async def test_a_given_up_message_does_not_come_back(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    database: Database,
    clock: Clock,
) -> None:
    lane, work = await replied(messages, outcomes, conversations, clock, "one")
    [stored] = work.unsent
    retry_at = clock() + timedelta(seconds=5)
    await messages.not_sent(stored, "busy", retry_at=retry_at)
    [again] = await unsent(messages, lane)
    assert again == replace(stored, attempts=1, retry_at=retry_at)
    await messages.not_sent(again, "never", retry_at=None)
    assert await unsent(messages, lane) == ()
    assert await states(database, tables.outbox) == ["dead"]
    assert await messages.release(lane)


async def test_who_failed_too_late_does_not_bring_back_what_another_sent(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    database: Database,
    clock: Clock,
) -> None:
    lane, work = await replied(messages, outcomes, conversations, clock, "one")
    [stored] = work.unsent
    await messages.sent(lane, stored, DeliveryReceipt())
    await messages.not_sent(stored, "no answer in time", retry_at=clock())
    await messages.cancel(stored)
    await messages.give_up_message(stored.outbox_id, "damaged")
    await messages.reserve(stored, rate_per_second=1)
    assert await states(database, tables.outbox) == ["sent"]


async def test_what_waits_goes_to_the_address_that_the_conversation_has_now(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    clock: Clock,
) -> None:
    lane, _ = await replied(messages, outcomes, conversations, clock, "one")
    new = ConversationId("shop", "supergroup", member="7")
    moved = ConversationMoved(event_id="m", conversation=CHAT, moved_to=new, sent_at=clock())
    await messages.accept(moved)
    before = await conversations.get(lane.conversation_id)
    outcome = Outcome(before=before, after=before, moved_to=new)
    waiting = (await messages.work(lane)).waiting or ()
    await outcomes.commit(lane, waiting, outcome, Capabilities())
    [stored] = await unsent(messages, lane)
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
    [stored] = await unsent(messages, lane)
    assert stored.message == OutboundMessage(
        conversation=CHAT, id=stored.message.id, text="Hi ?there",
        sender=Sender("ann", "agent", "ann"),
    )  # fmt: skip
    assert stored.ownership_epoch is None


async def test_turns_that_are_finished_together_keep_their_words_apart(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    database: Database,
    clock: Clock,
) -> None:
    chats = [ConversationId("shop", f"chat-{number}") for number in range(5)]
    for number, chat in enumerate(chats):
        await messages.accept(message(clock, number, chat))
    lanes = await claimed(messages)
    events = [(await messages.work(lane)).waiting or () for lane in lanes]
    replies = [
        await outcome_in(conversations, lane, *(f"{lane.conversation_id} {one}" for one in "ab"))
        for lane in lanes
    ]
    await asyncio.gather(
        *(
            outcomes.commit(lane, finished, outcome, Capabilities())
            for lane, finished, outcome in zip(lanes, events, replies, strict=True)
        )
    )
    for lane, [event] in zip(lanes, events, strict=True):
        number = lane.conversation_id
        texts = [one.message.text for one in await unsent(messages, lane)]
        assert texts == [f"{number} a", f"{number} b"]
        transcript = await TranscriptStore(database).transcript(number)
        assert [one.text for one in transcript] == [event.event.text, *texts]
        data = await TranscriptStore(database).turn_data(number, event.event.event_id)
        assert data is not None
        assert data["text"] == f"{number} a {number} b"


# Owners


async def test_a_case_keeps_the_time_when_it_was_taken(
    messages: MessageStore, outcomes: OutcomeStore, database: Database, clock: Clock
) -> None:
    accepted = await messages.accept(message(clock, 1))
    claim = {"agent": "ann", "notice": "", "pushed": False}
    await outcomes.change_owner(accepted.conversation_id, "claim", **claim)  # type: ignore[arg-type]
    look = sa.select(tables.case.c.claimed_by, tables.case.c.claimed_at)
    first = await database.read(lambda c: c.execute(look).one())
    clock.advance(minutes=5)
    await outcomes.agent_says(accepted.conversation_id, "ann", "still here", pushed=False)
    assert await database.read(lambda c: c.execute(look).one()) == first
    assert first.claimed_by == "ann"


async def test_a_long_text_of_an_agent_goes_in_parts(
    messages: MessageStore, outcomes: OutcomeStore, database: Database, clock: Clock
) -> None:
    accepted = await messages.accept(message(clock, 1))
    long = "One sentence. " * 10
    last = await outcomes.agent_says(
        accepted.conversation_id, "ann", long, pushed=True, text_length=40
    )
    [lane] = await claimed(messages)
    texts = [stored.message.text for stored in await unsent(messages, lane)]
    assert len(texts) == 5
    assert all(len(text) <= 40 for text in texts)
    assert " ".join(texts).strip() == long.strip()
    transcript = await TranscriptStore(database).transcript(accepted.conversation_id)
    assert transcript[-1].id == last


# Conversations


async def test_a_channels_conversations_are_listed_the_latest_first_where_they_are_now(
    database: Database, messages: MessageStore, conversations: ConversationStore, clock: Clock
) -> None:
    first, moved, other = (ConversationId("shop", name) for name in ("first", "moved", "other"))
    member = ConversationId("shop", "group", member="7")
    empty = ConversationId("shop", "empty")
    elsewhere = ConversationId("another", "chat")
    await database.write(lambda c: add_conversation(c, empty, clock()))
    for number, chat in enumerate((first, moved, elsewhere, member, first)):
        await messages.accept(message(clock, number, chat))
    found = await conversations.find(moved)
    assert found is not None
    await database.write(lambda c: add_address(c, found.id, other))
    assert await conversations.latest("shop") == (first, member, other, empty)
    assert await conversations.latest("shop", limit=2) == (first, member)
