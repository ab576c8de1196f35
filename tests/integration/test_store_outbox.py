"""Delivery: in time, at the channel's rate, never stale, and again after a kill; on both."""

from __future__ import annotations

import asyncio

import pytest

from kfbot.adapter import AdapterSettings
from kfbot.conversation import Conversation
from kfbot.errors import (
    ChannelUnavailable,
    ConversationChanged,
    MessageRejected,
)
from kfbot.outbox import Delivered, Outbox
from kfbot.store import tables
from kfbot.store.conversations import ConversationStore
from kfbot.store.engine import Database
from kfbot.store.lanes import Lane
from kfbot.store.messages import MessageStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.testing import FakeAdapter
from tests.conftest import Clock
from tests.integration.stores import claimed, message, replied, states, unsent

pytestmark = pytest.mark.asyncio


@pytest.fixture
def database_url(url: str) -> str:
    """On both databases."""
    return url


@pytest.fixture
def channel() -> FakeAdapter:
    return FakeAdapter()


@pytest.fixture
def outbox(messages: MessageStore, channel: FakeAdapter, clock: Clock) -> Outbox:
    return Outbox(messages, {"shop": channel}, clock)


async def test_a_message_on_its_way_at_a_kill_is_sent_again_as_the_same(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    outbox: Outbox,
    channel: FakeAdapter,
    url: str,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lane, work = await replied(messages, outcomes, conversations, clock, "one")

    async def killed(*_: object) -> bool:
        raise RuntimeError("killed between the platform and the store")

    monkeypatch.setattr(messages, "sent", killed)
    with pytest.raises(RuntimeError, match="killed"):
        await outbox.deliver(lane, work.conversation, work.unsent[0])
    async with Database(url) as reopened:
        again = MessageStore(reopened, clock)
        await again.free_all()
        [lane] = await claimed(again, "two")
        work = await again.work(lane)
        delivered = await Outbox(again, {"shop": channel}, clock).deliver(
            lane, work.conversation, work.unsent[0]
        )
    assert delivered == Delivered(released=True)
    assert len(channel.sent) == 2
    assert channel.sent[0] == channel.sent[1]


async def test_a_message_waits_for_its_time_and_is_sent_then(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    outbox: Outbox,
    channel: FakeAdapter,
    clock: Clock,
) -> None:
    lane, work = await replied(messages, outcomes, conversations, clock, "one")
    channel.failures = [ChannelUnavailable("shop", "busy", retry_after_seconds=60)]
    later = await outbox.deliver(lane, work.conversation, work.unsent[0])
    [stored] = await unsent(messages, lane)
    assert later == Delivered(wait_until=stored.retry_at)
    assert await outbox.deliver(lane, work.conversation, stored) == later
    assert channel.sent == []
    clock.advance(seconds=60)
    sent = await outbox.deliver(lane, work.conversation, stored)
    assert sent == Delivered(released=True)
    assert [one.text for one in channel.sent] == ["one"]


async def test_a_message_that_is_refused_is_dead_and_the_next_one_goes(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    outbox: Outbox,
    channel: FakeAdapter,
    database: Database,
    clock: Clock,
) -> None:
    lane, work = await replied(messages, outcomes, conversations, clock, "one", "two")
    channel.failures = [MessageRejected("shop", "never")]
    assert await outbox.deliver(lane, work.conversation, work.unsent[0]) == Delivered()
    delivered = await outbox.deliver(lane, work.conversation, work.unsent[1])
    assert delivered == Delivered(released=True)
    assert await states(database, tables.outbox) == ["dead", "sent"]


async def test_a_stale_message_of_the_bots_is_cancelled_before_it_is_sent(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    outbox: Outbox,
    channel: FakeAdapter,
    database: Database,
    clock: Clock,
) -> None:
    lane, _ = await replied(messages, outcomes, conversations, clock, "from the bot")
    await outcomes.agent_says(lane.conversation_id, "ann", "from ann", pushed=True)
    work = await messages.work(lane)
    for stored in work.unsent:
        await outbox.deliver(lane, work.conversation, stored)
    assert [one.text for one in channel.sent] == ["from ann"]
    assert await states(database, tables.outbox) == ["cancelled", "sent"]


async def test_a_message_newer_than_the_conversation_that_was_read_is_left_for_the_next_look(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    outbox: Outbox,
    channel: FakeAdapter,
    clock: Clock,
) -> None:
    before, lane = await taken_and_given_back(messages, outcomes, conversations, clock)
    [notice] = await unsent(messages, lane)
    assert await outbox.deliver(lane, before, notice) == Delivered()
    assert channel.sent == []
    work = await messages.work(lane)
    assert work.unsent == (notice,)
    assert await outbox.deliver(lane, work.conversation, notice) == Delivered(released=False)
    assert [one.text for one in channel.sent] == ["I am back."]


async def taken_and_given_back(
    messages: MessageStore, outcomes: OutcomeStore, conversations: ConversationStore, clock: Clock
) -> tuple[Conversation, Lane]:
    """The conversation before an agent had it, and its lane with the notice of the handback."""
    accepted = await messages.accept(message(clock, 1))
    before = await conversations.get(accepted.conversation_id)
    for change, notice in (("claim", ""), ("hand_back", "I am back.")):
        await outcomes.change_owner(before.id, change, agent="ann", notice=notice, pushed=True)
    [lane] = await claimed(messages)
    return before, lane


async def test_nothing_is_sent_on_a_lease_that_is_nearly_over(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    outbox: Outbox,
    channel: FakeAdapter,
    clock: Clock,
) -> None:
    lane, work = await replied(messages, outcomes, conversations, clock, "one")
    lane.renewed_at -= 0.9 * lane.lease_seconds
    with pytest.raises(ConversationChanged, match="too old"):
        await outbox.deliver(lane, work.conversation, work.unsent[0])
    assert channel.sent == []
    await messages.renew("one", [lane], lease_seconds=lane.lease_seconds)
    await outbox.deliver(lane, work.conversation, work.unsent[0])
    assert len(channel.sent) == 1


async def test_a_channel_gets_no_more_than_its_rate_whoever_sends(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    url: str,
    clock: Clock,
) -> None:
    _, work = await replied(messages, outcomes, conversations, clock, *"abcdefghij")
    began = clock.now
    async with Database(url) as elsewhere:
        stores = (messages, MessageStore(elsewhere, clock))
        # The first one makes the channel's row.
        slots = [await messages.reserve(work.unsent[0], rate_per_second=2)]
        slots += await asyncio.gather(
            *(
                stores[number % 2].reserve(stored, rate_per_second=2)
                for number, stored in enumerate(work.unsent[1:])
            )
        )
    seconds = sorted(round((slot - began).total_seconds(), 1) for slot in slots)
    assert seconds == [0.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]


async def test_a_message_waits_for_the_time_that_its_channels_rate_keeps_free(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    clock: Clock,
) -> None:
    slow = FakeAdapter(settings=AdapterSettings(platform="fake", rate_per_second=1))
    outbox = Outbox(messages, {"shop": slow}, clock)
    lane, work = await replied(messages, outcomes, conversations, clock, "one", "two")
    await messages.reserve(work.unsent[0], rate_per_second=1)
    first, second = await unsent(messages, lane)
    assert await outbox.deliver(lane, work.conversation, first) == Delivered()
    later = await outbox.deliver(lane, work.conversation, second)
    [stored] = await unsent(messages, lane)
    assert later == Delivered(wait_until=stored.slot_at)
    clock.advance(seconds=1)
    assert await outbox.deliver(lane, work.conversation, stored) == Delivered(released=True)
    assert [one.text for one in slow.sent] == ["one", "two"]
