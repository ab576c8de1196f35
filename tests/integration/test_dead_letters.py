"""Dead letters in the store: listed in parts, given back to their lanes, or put aside."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from kfbot.errors import ConversationChanged
from kfbot.messages import ConversationId, MessageReceived, Sender
from kfbot.store import dead_letters, tables
from kfbot.store.dead_letters import (
    DeadCounts,
    DeadLetterStore,
    LetterId,
    parse_letter_id,
)
from kfbot.store.engine import Database
from kfbot.store.lanes import Lane
from kfbot.store.messages import MessageStore
from kfbot.store.notices import LANE
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.work import Work
from tests.conftest import Clock

pytestmark = pytest.mark.asyncio


@dataclass
class Post:
    """A database with its stores, and letters that died in it."""

    database: Database
    clock: Clock
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.letters = DeadLetterStore(self.database, self.clock)
        self.messages = MessageStore(self.database, self.clock)
        self.outcomes = OutcomeStore(self.database, self.clock)

    async def event(self, chat: str = "chat-1", channel: str = "shop") -> tuple[LetterId, int]:
        """An event that waits, and its conversation."""
        number = next(self.numbers)
        event = MessageReceived(
            event_id=f"event-{number}", conversation=ConversationId(channel, chat),
            message_id=f"message-{number}", sender=Sender("customer-1"), sent_at=self.clock(),
            text=f"text {number}",
        )  # fmt: skip
        accepted = await self.messages.accept(event)
        return LetterId("in", accepted.inbox_id), accepted.conversation_id

    async def dead_event(self, chat: str = "chat-1", channel: str = "shop") -> LetterId:
        """An event that was given up after a failure and a crash."""
        letter, _ = await self.event(chat, channel)
        await self.messages.failed(letter.number, "ValueError('no')")
        await self.change(tables.inbox, letter, crashes=2)
        await self.outcomes.give_up([letter.number])
        return letter

    async def dead_message(
        self, chat: str = "chat-1", channel: str = "shop", *, agent: str | None = None
    ) -> LetterId:
        """A message of the bot's, or of an agent's, that was given up after three attempts."""
        _, conversation_id = await self.event(chat, channel)
        if agent is None:
            notice = {"agent": "ann", "notice": "settled", "pushed": True}
            await self.outcomes.change_owner(conversation_id, "claim", **notice)  # type: ignore[arg-type]
        else:
            await self.outcomes.agent_says(conversation_id, agent, "hello", pushed=True)
        newest = sa.select(sa.func.max(tables.outbox.c.id))
        number = await self.database.read(lambda c: c.execute(newest).scalar_one())
        letter = LetterId("out", number)
        await self.change(
            tables.outbox, letter,
            state="dead", attempts=3, error="refused", retry_at=self.clock(), slot_at=self.clock(),
        )  # fmt: skip
        return letter

    async def change(self, table: sa.Table, letter: LetterId, **values: Any) -> None:
        statement = table.update().where(table.c.id == letter.number).values(**values)
        await self.database.write(lambda c: c.execute(statement).rowcount)

    async def rest(self) -> None:
        """Every lane falls idle, and what waits is done."""

        def operation(connection: sa.Connection) -> None:
            connection.execute(tables.inbox.update().where(tables.is_waiting).values(state="done"))
            connection.execute(
                tables.lane.update().values(ready_at=None, owner=None, lease_until=None)
            )

        await self.database.write(operation)

    async def work(self) -> Work:
        """What the one lane that is ready has to do."""
        [lane] = await self.claim()
        return await self.messages.work(lane)

    async def claim(self) -> tuple[Lane, ...]:
        return await self.messages.claim("one", limit=9, lease_seconds=30)

    async def row(self, letter: LetterId) -> Any:
        table = tables.inbox if letter.kind == "in" else tables.outbox
        query = sa.select(table).where(table.c.id == letter.number)
        return await self.database.read(lambda c: c.execute(query).one())

    async def listed(self, **filters: Any) -> list[str]:
        found = await self.letters.list(**filters)
        return [str(letter.id) for letter in found.letters]


@pytest_asyncio.fixture
async def post(url: str, clock: Clock) -> Any:
    async with Database(url) as database:
        yield Post(database, clock)


# Trying again


async def test_a_replayed_event_is_worked_on_before_what_waits_in_its_conversation(
    post: Post,
) -> None:
    letter = await post.dead_event()
    later, conversation_id = await post.event()
    assert await post.letters.replay(letter) == conversation_id
    first, second = (await post.work()).waiting or ()
    assert [first.inbox_id, second.inbox_id] == [letter.number, later.number]
    assert (first.attempts, first.crashes) == (0, 0)
    assert (await post.row(letter)).error is None


async def test_a_replayed_message_is_sent_under_its_own_id_and_has_all_its_time_again(
    post: Post,
) -> None:
    letter = await post.dead_message()
    await post.rest()
    before = await post.row(letter)
    post.clock.advance(days=3)
    now = post.clock()
    await post.letters.replay(letter)
    [stored] = (await post.work()).unsent
    assert stored.message.id == before.idempotency_key == before.payload["id"]
    assert (stored.attempts, stored.retry_at, stored.slot_at) == (0, None, None)
    assert stored.created_at > now
    after = await post.row(letter)
    assert (after.idempotency_key, after.error) == (before.idempotency_key, None)


@pytest.mark.parametrize("kind", ["event", "message"])
async def test_a_replay_wakes_an_idle_lane_and_tells_who_works(post: Post, kind: str) -> None:
    letter = await (post.dead_event() if kind == "event" else post.dead_message())
    await post.rest()
    assert await post.claim() == ()
    told: list[str] = []
    post.database.subscribe(told.append)
    await post.letters.replay(letter)
    assert LANE in told
    assert len(await post.claim()) == 1


async def test_a_replay_is_found_by_the_worker_that_has_the_lane(post: Post) -> None:
    letter = await post.dead_event()
    await post.rest()
    await post.event()
    [lane] = await post.claim()
    waiting = (await post.messages.work(lane)).waiting or ()
    await post.letters.replay(letter)
    await post.change(tables.inbox, LetterId("in", waiting[0].inbox_id), state="done")
    assert not await post.messages.release(lane)
    [found] = (await post.messages.work(lane)).waiting or ()
    assert found.inbox_id == letter.number


async def test_a_message_of_the_bots_is_refused_once_the_conversation_has_changed_hands(
    post: Post,
) -> None:
    letter = await post.dead_message()
    found = await post.letters.find(letter)
    assert found is not None
    assert not found.changed_hands
    await post.outcomes.change_owner(
        found.conversation_id, "hand_back", agent="ann", notice="", pushed=False
    )
    await post.rest()
    with pytest.raises(ConversationChanged, match="has changed hands since: discard it"):
        await post.letters.replay(letter)
    assert (await post.row(letter)).state == "dead"
    assert await post.claim() == ()
    [listed] = (await post.letters.list()).letters
    assert listed.changed_hands
    assert await post.letters.discard(letter) == found.conversation_id


async def test_an_agents_words_are_replayed_whoever_has_the_conversation(post: Post) -> None:
    letter = await post.dead_message(agent="ann")
    conversation_id = (await post.row(letter)).conversation_id
    await post.outcomes.change_owner(
        conversation_id, "resolve", agent="ann", notice="", pushed=False
    )
    assert await post.letters.replay(letter) == conversation_id
    [stored] = (await post.work()).unsent
    assert (stored.outbox_id, stored.message.text) == (letter.number, "hello")


@pytest.mark.parametrize("kind", ["event", "message"])
async def test_what_is_not_dead_is_neither_replayed_nor_discarded(post: Post, kind: str) -> None:
    letter = await (post.dead_event() if kind == "event" else post.dead_message())
    await post.letters.replay(letter)
    before = await post.row(letter)
    for change in (post.letters.replay, post.letters.discard):
        with pytest.raises(ConversationChanged, match=f"{letter} is not a dead letter"):
            await change(letter)
        assert await change(LetterId(letter.kind, 10**17)) is None
    assert await post.row(letter) == before
    assert await post.letters.find(letter) is None


@pytest.mark.parametrize("kind", ["event", "message"])
async def test_what_was_discarded_is_never_tried_again(post: Post, kind: str) -> None:
    letter = await (post.dead_event() if kind == "event" else post.dead_message())
    await post.rest()
    await post.letters.discard(letter)
    assert (await post.row(letter)).state == "discarded"
    assert await post.claim() == ()
    assert await post.listed() == []
    with pytest.raises(ConversationChanged, match="not a dead letter"):
        await post.letters.replay(letter)


@pytest.mark.parametrize("kind", ["event", "message"])
async def test_of_many_operators_who_decide_at_once_one_succeeds(
    post: Post, url: str, kind: str
) -> None:
    letter = await (post.dead_event() if kind == "event" else post.dead_message())
    async with Database(url) as elsewhere:
        other = DeadLetterStore(elsewhere, post.clock)
        changes: list[Callable[..., Any]] = [
            post.letters.replay, other.replay, post.letters.discard, other.discard,
        ] * 5  # fmt: skip
        results = await asyncio.gather(
            *(change(letter) for change in changes), return_exceptions=True
        )
    assert sum(isinstance(one, int) for one in results) == 1
    assert sum(isinstance(one, ConversationChanged) for one in results) == len(changes) - 1


# Listing


@pytest.mark.parametrize("size", [1, 4])
async def test_the_list_goes_on_in_parts_without_gap_or_repeat(post: Post, size: int) -> None:
    made = []
    for number in range(11):
        post.clock.advance(minutes=1)
        make = post.dead_message if number % 3 else post.dead_event
        made.append(str(await make(f"chat-{number}")))
    assert await post.listed() == made[::-1]
    part = await post.letters.list(limit=size)
    seen = [*part.letters]
    while part.next:
        part = await post.letters.list(before=part.next, limit=size)
        assert 0 < len(part.letters) <= size
        seen += part.letters
        assert len(seen) <= len(made)
    assert [str(letter.id) for letter in seen] == made[::-1]


async def test_a_list_that_ends_with_its_part_has_no_next(post: Post) -> None:
    for number in range(4):
        await post.dead_event(f"chat-{number}")
    assert (await post.letters.list(limit=4)).next == ()
    assert (await post.letters.list(limit=3)).next != ()
    assert await post.listed(kind="out") == []


async def test_letters_are_listed_by_kind_and_channel(post: Post) -> None:
    event, message = await post.dead_event(), await post.dead_message("chat-2")
    other = await post.dead_message("chat-3", "crm")
    assert await post.listed(kind="in") == [str(event)]
    assert await post.listed(kind="out") == [str(other), str(message)]
    assert await post.listed(channel="shop") == [str(message), str(event)]
    assert await post.listed(channel="crm", kind="in") == []
    assert await post.listed(channel="nothing\0") == []


async def test_a_letter_says_why_it_died_and_what_it_says(post: Post) -> None:
    event = await post.letters.find(await post.dead_event())
    message = await post.letters.find(await post.dead_message("chat-2"))
    assert event is not None
    assert (event.type, event.text, event.channel) == ("MessageReceived", "text 1", "shop")
    assert (event.attempts, event.crashes, event.error) == (1, 2, "ValueError('no')")
    assert event.payload["message_id"] == "message-1"
    assert message is not None
    assert (message.type, message.text, message.channel) == ("resolved", "settled", "shop")
    assert (message.attempts, message.error) == (3, "refused")


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (7, ""),
        ([], ""),
        ("words", ""),
        ({"type": ["of", "tomorrow"], "text": {"parts": ["a"]}}, "{'parts': ['a']}"),
        ({"type": "MessageReceived", "text": "half \ud83d", "message_id": "a\0b"}, "half ?"),
    ],
)
async def test_what_no_version_can_read_is_listed_all_the_same(
    post: Post, payload: object, text: str
) -> None:
    letter = await post.dead_event()
    await post.change(tables.inbox, letter, payload=payload)
    [listed] = (await post.letters.list()).letters
    assert (listed.id, listed.text) == (letter, text)
    assert await post.letters.find(letter) == listed


async def test_dead_letters_are_counted_up_to_a_limit(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await post.letters.count() == DeadCounts(0, 0)
    await post.event()
    for number in range(3):
        await post.dead_event(f"chat-{number}")
    await post.dead_message("chat-3")
    assert await post.letters.count() == DeadCounts(3, 1)
    monkeypatch.setattr(dead_letters, "COUNTED", 2)
    assert await post.letters.count() == DeadCounts(2, 1)


# Ids


@pytest.mark.parametrize("letter", [LetterId("in", 12), LetterId("out", 10**17)])
async def test_an_id_is_read_as_it_is_written(letter: LetterId) -> None:
    assert parse_letter_id(str(letter)) == letter


@pytest.mark.parametrize(
    "text", ["", "12", "in", "in-", "in-x", "in--1", "IN-1", " in-1", "in-1\n", "in-٣", "up-1",
             "in-" + "9" * 19, "in-1,out-2", "out_3"],
)  # fmt: skip
async def test_what_is_no_id_is_none(text: str) -> None:
    assert parse_letter_id(text) is None
