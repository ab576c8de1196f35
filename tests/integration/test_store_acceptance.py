"""Events are stored once, in order, with their words, whoever brings them; on both databases."""

from __future__ import annotations

import asyncio

import pytest

from kfbot.conversation import State
from kfbot.messages import (
    ConversationId,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    OwnershipChanged,
    Sender,
)
from kfbot.store import tables
from kfbot.store.acceptance import Accepted
from kfbot.store.conversations import ConversationStore
from kfbot.store.engine import Database
from kfbot.store.messages import MessageStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.transcripts import TranscriptStore
from tests.conftest import Clock
from tests.integration.stores import (
    CHAT,
    answered,
    claimed,
    count,
    message,
    statements,
    states,
)

pytestmark = pytest.mark.asyncio


@pytest.fixture
def database_url(url: str) -> str:
    """On both databases."""
    return url


def edit(clock: Clock, number: int, text: str) -> MessageEdited:
    return MessageEdited(
        event_id=f"edit-{number}", conversation=CHAT, message_id=f"message-{number}",
        sender=Sender("customer-1"), sent_at=clock(), text=text,
    )  # fmt: skip


async def said(database: Database, conversation_id: int) -> list[str]:
    transcript = await TranscriptStore(database).transcript(conversation_id)
    return [one.text for one in transcript]


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
    assert (await messages.work(lane)).waiting == ()


async def test_the_same_event_id_on_another_channel_is_another_event(
    messages: MessageStore, clock: Clock
) -> None:
    events = [message(clock, 1), message(clock, 1, ConversationId("crm", "chat-1"))]
    one, other = await asyncio.gather(*(messages.accept(event) for event in events))
    assert (one.repeated, other.repeated) == (False, False)
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
        waiting = [stored.event for stored in (await messages.work(lane)).waiting]
        expected = [
            event
            for event, one in zip(events, accepted, strict=True)
            if one.conversation_id == lane.conversation_id
        ]
        assert waiting == expected


async def test_events_that_wait_together_share_statements(
    messages: MessageStore, clock: Clock
) -> None:
    chats = [ConversationId("shop", f"chat-{number}") for number in range(10)]

    async def accept(numbers: range) -> list[str]:
        events = [message(clock, number, chats[number % 10]) for number in numbers]
        with statements() as executed:
            await asyncio.gather(*(messages.accept(event) for event in events))
        return executed

    await accept(range(10))
    few, many = await accept(range(10, 12)), await accept(range(20, 60))
    assert len(many) == len(few) <= 9


async def test_one_event_of_many_that_cannot_be_stored_leaves_the_others_alone(
    messages: MessageStore, database: Database, clock: Clock
) -> None:
    events = [message(clock, number) for number in range(5)]
    # No database can write half a character.
    events[2] = message(clock, 2, ConversationId("shop", "half \ud83d"))
    outcomes = await asyncio.gather(
        *(messages.accept(event) for event in events), return_exceptions=True
    )
    assert [isinstance(one, Accepted) for one in outcomes] == [True, True, False, True, True]
    assert await count(database, tables.inbox) == 4
    [lane] = await claimed(messages)
    waiting = [stored.event for stored in (await messages.work(lane)).waiting]
    assert waiting == [events[0], events[1], events[3], events[4]]


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
    [stored] = (await messages.work(lane)).waiting
    assert isinstance(stored.event, MessageReceived)
    assert (stored.event.text, stored.event.sender.display_name) == (kept, "Ann")
    assert await said(database, accepted.conversation_id) == [kept]


async def test_an_edit_and_a_deletion_change_the_transcript(
    messages: MessageStore, database: Database, clock: Clock
) -> None:
    accepted = await messages.accept(message(clock, 1))
    await messages.accept(edit(clock, 1, "new\0 text"))
    assert await said(database, accepted.conversation_id) == ["new text"]
    gone = MessageDeleted(event_id="d", conversation=CHAT, message_id="message-1", sent_at=clock())
    await messages.accept(gone)
    assert await said(database, accepted.conversation_id) == [""]


async def test_an_edit_that_comes_with_its_message_changes_it_alone(
    messages: MessageStore, database: Database, clock: Clock
) -> None:
    events = [message(clock, 1), message(clock, 2), edit(clock, 1, "new"), message(clock, 3)]
    accepted = await asyncio.gather(*(messages.accept(event) for event in events))
    assert await said(database, accepted[0].conversation_id) == ["new", "text 2", "text 3"]


async def test_an_agents_claim_takes_effect_as_it_is_stored(
    messages: MessageStore, conversations: ConversationStore, database: Database, clock: Clock
) -> None:
    ann = Sender("7", "agent", "ann")
    taking = OwnershipChanged(
        event_id="claim", conversation=CHAT, agent=ann, change="claimed", sent_at=clock()
    )
    events = [message(clock, 1), taking, message(clock, 2)]
    accepted = await asyncio.gather(*(messages.accept(event) for event in events))
    taken = await conversations.get(accepted[0].conversation_id)
    assert (taken.state, taken.agent, taken.ownership_epoch) == (State.AGENT, "ann", 1)
    assert await states(database, tables.inbox) == ["new", "done", "new"]


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
