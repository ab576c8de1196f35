"""A lane has one owner at a time, gets a new one if that is lost, and waits for its time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from kfbot.adapter import Capabilities
from kfbot.errors import ConversationChanged
from kfbot.messages import ConversationId, DeliveryReceipt
from kfbot.store import tables
from kfbot.store.backlog import BacklogStore
from kfbot.store.conversations import ConversationStore
from kfbot.store.engine import Database
from kfbot.store.lanes import Lane
from kfbot.store.messages import MessageStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.presence import Presence, new_owner
from tests.conftest import Clock
from tests.integration.stores import answered, claimed, count, message, outcome_in, states

pytestmark = pytest.mark.asyncio


@pytest.fixture
def database_url(url: str) -> str:
    """On both databases."""
    return url


def chat(number: int) -> ConversationId:
    return ConversationId("shop", f"chat-{number}")


async def crashes(messages: MessageStore, lane: Lane) -> list[int]:
    return [stored.crashes for stored in (await messages.work(lane)).waiting or ()]


# One owner


async def test_a_lane_has_one_owner_until_its_lease_ends(
    messages: MessageStore, clock: Clock
) -> None:
    await messages.accept(message(clock, 1))
    [first] = await claimed(messages, "one")
    assert await claimed(messages, "two") == ()
    clock.advance(seconds=29)
    assert await messages.free_lost("two") == 0
    await messages.renew("one", [first], lease_seconds=30)
    clock.advance(seconds=29)
    assert await messages.free_lost("two") == 0
    assert await claimed(messages, "two") == ()
    clock.advance(seconds=2)
    assert await messages.free_lost("two") == 1
    [second] = await claimed(messages, "two")
    assert (second.conversation_id, second.epoch) == (first.conversation_id, first.epoch + 1)


async def test_two_processes_never_take_the_same_lane(
    messages: MessageStore, url: str, clock: Clock
) -> None:
    await asyncio.gather(*(messages.accept(message(clock, one, chat(one))) for one in range(30)))
    async with Database(url) as other:
        stores = (messages, MessageStore(other, clock))
        taken = await asyncio.gather(
            *(
                store.claim(f"process {number}", limit=2, lease_seconds=30)
                for number, store in enumerate(stores * 10)
            )
        )
    lanes = [lane.conversation_id for some in taken for lane in some]
    assert len(lanes) == len(set(lanes)) == 30
    assert max(len(some) for some in taken) == 2


async def test_a_lane_in_work_is_not_taken_twice_by_its_owner(
    messages: MessageStore, clock: Clock
) -> None:
    await messages.accept(message(clock, 1))
    [lane] = await claimed(messages, "one")
    clock.advance(hours=9)
    running = [lane.conversation_id]
    assert await messages.free_lost("one") == 0
    assert await messages.next_ready_at("one", running=running) is None
    assert await messages.claim("one", limit=9, lease_seconds=30, running=running) == ()
    # What it has beside that, it has forgotten about.
    [again] = await messages.claim("one", limit=9, lease_seconds=30)
    assert again.epoch == lane.epoch + 1
    with pytest.raises(ConversationChanged, match="another worker"):
        await messages.work(lane)


async def test_the_lane_that_waited_longest_is_taken_first(
    messages: MessageStore, clock: Clock
) -> None:
    for number in range(5):
        await messages.accept(message(clock, number, chat(number)))
    lanes = await claimed(messages)
    now = clock()
    for number, lane in enumerate(lanes):
        await messages.release(lane, ready_at=now - timedelta(seconds=number))
    taken: list[int] = []
    for _ in lanes:
        [lane] = await messages.claim("one", limit=1, lease_seconds=30, running=taken)
        taken.append(lane.conversation_id)
    assert taken == [lane.conversation_id for lane in reversed(lanes)]


async def test_who_writes_again_keeps_the_place_in_the_line(
    messages: MessageStore, clock: Clock
) -> None:
    first = await messages.accept(message(clock, 1, chat(1)))
    clock.advance(seconds=1)
    await messages.accept(message(clock, 2, chat(2)))
    clock.advance(seconds=1)
    await messages.accept(message(clock, 3, chat(1)))
    [lane] = await messages.claim("one", limit=1, lease_seconds=30)
    assert lane.conversation_id == first.conversation_id


async def test_the_backlog_counts_what_waits_and_how_long_the_next_has(
    messages: MessageStore, database: Database, clock: Clock
) -> None:
    async def look() -> tuple[int, int]:
        events, wait = await BacklogStore(database, clock).look()
        return events, round(wait.total_seconds())

    assert await look() == (0, 0)
    await messages.accept(message(clock, 1, chat(1)))
    clock.advance(seconds=3)
    await messages.accept(message(clock, 2, chat(2)))
    assert await look() == (2, 3)
    await messages.claim("one", limit=1, lease_seconds=30)
    assert await look() == (2, 0)
    # What is to be tried later does not wait for a worker.
    [lane] = await messages.claim("one", limit=1, lease_seconds=30, running=[1])
    await messages.release(lane, ready_at=clock() + timedelta(minutes=1))
    assert await look() == (2, 0)


async def test_only_lanes_of_the_channels_that_are_served_are_taken(
    database: Database, clock: Clock
) -> None:
    everything = MessageStore(database, clock)
    await everything.accept(message(clock, 1, ConversationId("crm", "chat")))
    ours = await everything.accept(message(clock, 2, ConversationId("shop", "chat")))
    served = MessageStore(database, clock, channels=["shop"])
    [lane] = await served.claim("one", limit=9, lease_seconds=30)
    assert lane.conversation_id == ours.conversation_id
    assert await served.next_ready_at("one", running=[lane.conversation_id]) is None
    assert len(await everything.claim("two", limit=9, lease_seconds=30)) == 1


# Given back


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
    assert await messages.next_ready_at("one") is None
    assert await claimed(messages) == ()
    await messages.accept(message(clock, 2))
    assert len(await claimed(messages)) == 1


async def test_a_lane_falls_idle_with_its_last_message(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    clock: Clock,
) -> None:
    await messages.accept(message(clock, 1))
    [lane] = await claimed(messages)
    work = await answered(messages, outcomes, conversations, lane, "a", "b")
    first, second = work.unsent
    assert not await messages.sent(lane, first, DeliveryReceipt())
    assert await messages.sent(lane, second, DeliveryReceipt())
    assert await messages.next_ready_at("one") is None


async def test_what_comes_while_a_lane_is_given_back_for_later_is_not_left_lying(
    messages: MessageStore, clock: Clock
) -> None:
    await messages.accept(message(clock, 1))
    [lane] = await claimed(messages)
    await messages.accept(message(clock, 2))
    await messages.release(lane, ready_at=clock() + timedelta(hours=1))
    [again] = await claimed(messages, "two")
    assert len((await messages.work(again)).waiting or ()) == 2


async def test_what_comes_as_lanes_are_given_back_is_never_left_lying(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    url: str,
    clock: Clock,
) -> None:
    async with Database(url) as elsewhere:
        other = MessageStore(elsewhere, clock)
        for number in range(0, 40, 2):
            await messages.accept(message(clock, number))
            [lane] = await claimed(messages)
            await answered(messages, outcomes, conversations, lane)
            released, _ = await asyncio.gather(
                messages.release(lane), other.accept(message(clock, number + 1))
            )
            if released:
                [lane] = await claimed(messages)
            await answered(messages, outcomes, conversations, lane)
            assert await messages.release(lane)


# Lost


async def test_who_lost_the_lane_can_change_nothing(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    database: Database,
    clock: Clock,
) -> None:
    await messages.accept(message(clock, 1))
    [stale] = await claimed(messages, "one")
    waiting = (await messages.work(stale)).waiting
    clock.advance(seconds=31)
    await messages.free_lost("two")
    [lane] = await claimed(messages, "two")
    with pytest.raises(ConversationChanged, match="another worker"):
        await messages.work(stale)
    with pytest.raises(ConversationChanged, match="another worker"):
        await outcomes.commit(
            stale, waiting or (), await outcome_in(conversations, stale, "stale"), Capabilities()
        )
    assert await states(database, tables.inbox) == ["new"]
    assert await count(database, tables.outbox) == await count(database, tables.turn) == 0
    before = stale.renewed_at
    await messages.renew("one", [stale], lease_seconds=3000)
    assert stale.renewed_at == before
    assert not await messages.release(stale)
    await messages.release(stale, ready_at=clock())
    assert await claimed(messages, "three") == ()
    work = await answered(messages, outcomes, conversations, lane, "fresh")
    assert [stored.message.text for stored in work.unsent] == ["fresh"]


async def test_of_outcomes_that_are_committed_together_only_the_stale_one_is_refused(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    database: Database,
    clock: Clock,
) -> None:
    for number in range(3):
        await messages.accept(message(clock, number, chat(number)))
    lanes = list(await claimed(messages, "one"))
    lanes[1].epoch -= 1
    events = (await messages.work(lanes[0])).waiting, (), (await messages.work(lanes[2])).waiting
    results = [await outcome_in(conversations, lane, "a reply") for lane in lanes]
    finished = await asyncio.gather(
        *(
            outcomes.commit(lane, finishing or (), result, Capabilities())
            for lane, finishing, result in zip(lanes, events, results, strict=True)
        ),
        return_exceptions=True,
    )
    assert [type(one) for one in finished] == [type(None), ConversationChanged, type(None)]
    assert sorted(await states(database, tables.inbox)) == ["done", "done", "new"]
    assert await count(database, tables.outbox) == 2


async def test_a_killed_process_leaves_lanes_that_the_next_one_frees(
    messages: MessageStore, clock: Clock
) -> None:
    for number in (1, 2):
        await messages.accept(message(clock, number))
    [stale] = await claimed(messages, "one")
    assert await crashes(messages, stale) == [0, 0]
    assert await messages.free_all() == 1
    [lane] = await claimed(messages, "two")
    assert lane.epoch == stale.epoch + 1
    # It died while the first was its next: that may have been why.
    assert await crashes(messages, lane) == [1, 0]
    assert await messages.release(lane, ready_at=clock())
    assert await messages.free_all() == 0
    [lane] = await claimed(messages, "three")
    assert await crashes(messages, lane) == [1, 0]


async def test_a_process_whose_session_ended_loses_its_lanes_at_once_and_no_other_does(
    postgres_url: str, clock: Clock
) -> None:
    living, dead = new_owner(), new_owner()
    async with Database(postgres_url) as database:
        messages = MessageStore(database, clock)
        async with Presence(database, living):
            async with Presence(database, dead):
                for number, owner in enumerate((living, dead)):
                    await messages.accept(message(clock, number, chat(number)))
                    assert len(await claimed(messages, owner)) == 1
                assert await messages.free_lost("third") == 0
            assert await messages.free_lost("third") == 1
            [lane] = await claimed(messages, "third")
            [stored] = (await messages.work(lane)).waiting or ()
            assert stored.event.conversation == chat(1)


# A clock that is set back


async def test_at_a_start_with_a_clock_that_was_set_back_everything_is_tried_now(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    database: Database,
    clock: Clock,
) -> None:
    await messages.accept(message(clock, 1))
    [lane] = await claimed(messages)
    [stored] = (await answered(messages, outcomes, conversations, lane, "a")).unsent
    retry_at = clock() + timedelta(minutes=1)
    await messages.not_sent(stored, "busy", retry_at=retry_at)
    await messages.release(lane, ready_at=retry_at)
    clock.advance(days=-1)
    assert await claimed(messages) == ()
    await messages.free_all()
    [lane] = await claimed(messages)
    [again] = (await messages.work(lane)).unsent
    assert again.retry_at is None


async def test_at_a_start_with_the_right_clock_a_message_that_waits_goes_on_waiting(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    clock: Clock,
) -> None:
    await messages.accept(message(clock, 1))
    [lane] = await claimed(messages)
    [stored] = (await answered(messages, outcomes, conversations, lane, "a")).unsent
    retry_at = clock() + timedelta(minutes=1)
    await messages.not_sent(stored, "busy", retry_at=retry_at)
    await messages.release(lane, ready_at=retry_at)
    await messages.free_all()
    [lane] = await claimed(messages)
    [again] = (await messages.work(lane)).unsent
    assert again.retry_at == retry_at
