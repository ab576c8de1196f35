"""The whole bot on either database in trouble: failing turns, failing platforms, a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from kfbot.adapter import Capabilities
from kfbot.errors import (
    ChannelUnauthorized,
    ChannelUnavailable,
    MessageRejected,
    StoreUnavailable,
)
from kfbot.knowledge_base import Retrieval
from kfbot.messages import (
    ButtonPressed,
    DeliveryReceipt,
    MessageReceived,
    OutboundMessage,
    Sender,
)
from kfbot.outbox import GIVEN_UP_AFTER
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.messages import MessageStore
from kfbot.testing import FakeAdapter
from tests.conftest import Clock
from tests.dialogues.conftest import CHAT, ENTRIES, Stage, staged

pytestmark = pytest.mark.asyncio
CUSTOMER = Sender("customer-1")
REFUND = "When will my refund arrive?"
RETURN = "How do I return an item?"


@pytest.fixture
def database_url(url: str) -> str:
    """On both databases."""
    return url


@pytest.fixture
def channel() -> FakeAdapter:
    return FakeAdapter(capabilities=Capabilities(buttons=True))


@pytest_asyncio.fixture
async def stage(database: Database, clock: Clock, channel: FakeAdapter) -> AsyncIterator[Stage]:
    async with staged(database, clock, channel) as opened:
        yield opened


async def later(stage: Stage, **by: float) -> None:
    """Let time pass, and what is due then be done."""
    stage.clock.advance(**by)
    stage.application.inbox.wake()
    await stage.sent_out()


def texts(stage: Stage) -> list[str]:
    return [message.text for message in stage.channel.sent]


async def outbox_states(database: Database) -> list[str]:
    query = sa.select(tables.outbox.c.state).order_by(tables.outbox.c.id)
    return list(await database.read(lambda c: c.execute(query).scalars()))


# Turns that fail


async def failing(query: str, **_: Any) -> Retrieval:
    raise LookupError("on purpose")


async def test_a_turn_that_keeps_failing_becomes_a_polite_handoff(
    stage: Stage, messages: MessageStore
) -> None:
    stage.knowledge.search = failing  # type: ignore[assignment]
    accepted = await stage.accept(stage.message(REFUND))
    await stage.sent_out()
    for _ in range(2):
        assert texts(stage) == []
        assert not await messages.is_done(accepted.inbox_id)
        await later(stage, seconds=10)
    assert await messages.is_done(accepted.inbox_id)
    [apology] = stage.channel.sent
    assert apology.kind == "handoff"
    assert "went wrong" in apology.text
    [case] = stage.desk.opened
    assert (case.reason, case.question) == ("error", REFUND)


async def test_an_answer_that_cannot_be_stored_becomes_a_polite_handoff_too(
    stage: Stage, database: Database
) -> None:
    stage.knowledge.entries = {**ENTRIES, "What is broken here?": "half \ud800"}
    await stage.accept(stage.message("What is broken here?"))
    await stage.sent_out()
    for _ in range(2):
        await later(stage, seconds=10)
    assert [message.kind for message in stage.channel.sent] == ["handoff"]
    assert stage.desk.opened[0].reason == "error"


async def test_a_failing_turn_does_not_hold_up_other_conversations(stage: Stage) -> None:
    search = stage.knowledge.search

    async def sometimes(query: str, **options: Any) -> Retrieval:
        return await (failing if "elephant" in query else search)(query, **options)

    stage.knowledge.search = sometimes  # type: ignore[method-assign]
    other = type(CHAT)("shop", "chat-2")
    await stage.accept(stage.message("Where is the elephant?"))
    [reply] = await stage.customer_says(REFUND, chat=other)
    assert reply.text == "Within 2 business days."


async def test_an_agents_message_is_never_answered_with_an_apology(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.knowledge.search = failing  # type: ignore[assignment]
    bot = stage.message(REFUND, sender=Sender("9", "bot"))
    await stage.accept(bot)
    for _ in range(3):
        await later(stage, seconds=10)
    assert stage.channel.sent == []


# Platforms that fail


async def test_what_the_platform_asks_to_wait_is_waited_whatever_comes_in(stage: Stage) -> None:
    stage.channel.failures = [ChannelUnavailable("shop", "busy", retry_after_seconds=60)]
    await stage.customer_says(REFUND)
    await stage.customer_says(RETURN)
    await later(stage, seconds=40)
    assert texts(stage) == []
    await later(stage, seconds=20)
    assert texts(stage) == ["Within 2 business days.", "Open the order and press Return."]


async def test_an_agents_words_do_not_wait_for_a_message_of_the_bots(stage: Stage) -> None:
    stage.channel.failures = [ChannelUnavailable("shop", "busy", retry_after_seconds=600)]
    await stage.customer_says(REFUND)
    conversation = await stage.conversation()
    await stage.application.handoff.reply(conversation.id, "ann", "Ann here.")
    await stage.sent_out()
    assert texts(stage) == ["Ann here."]
    await later(stage, hours=1)
    assert texts(stage) == ["Ann here."]


async def test_a_message_is_given_up_at_last_and_the_conversation_goes_on(
    stage: Stage, database: Database
) -> None:
    down = ChannelUnavailable("shop", "down")
    stage.channel.failures = [down] * 1000
    await stage.customer_says(REFUND)
    given_up_at = stage.clock() + GIVEN_UP_AFTER
    while stage.clock() < given_up_at - timedelta(hours=1):
        await later(stage, hours=1)
        assert await outbox_states(database) == ["new"]
    for _ in range(3):
        await later(stage, hours=1)
    assert await outbox_states(database) == ["dead"]
    stage.channel.failures = []
    [reply] = await stage.customer_says(RETURN)
    assert reply.text == "Open the order and press Return."


async def test_refused_credentials_stop_the_channel_and_keep_the_message(
    stage: Stage, database: Database
) -> None:
    stage.channel.failures = [ChannelUnauthorized("shop", "bad token")] * 30
    await stage.customer_says(REFUND)
    assert stage.application.outbox.stopped == {"shop": "channel shop: bad token"}
    for _ in range(40):
        await later(stage, seconds=700)
        if texts(stage):
            break
        assert await outbox_states(database) == ["new"]
    assert texts(stage) == ["Within 2 business days."]
    assert stage.application.outbox.stopped == {}


async def test_an_adapter_with_a_fault_is_tried_again_and_given_up_at_last(
    stage: Stage, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def faulty(message: OutboundMessage) -> None:
        raise KeyError("a fault of the adapter's own")

    with monkeypatch.context() as patch:
        patch.setattr(stage.channel, "send", faulty)
        await stage.customer_says(REFUND)
        assert await outbox_states(database) == ["new"]
        await later(stage, seconds=GIVEN_UP_AFTER.total_seconds() + 1)
        assert await outbox_states(database) == ["dead"]
    [reply] = await stage.customer_says(RETURN)
    assert reply.text == "Open the order and press Return."


async def test_an_agents_long_text_is_split_for_the_platform(
    database: Database, clock: Clock
) -> None:
    channel = FakeAdapter(capabilities=Capabilities(text_length=50))
    async with staged(database, clock, channel) as stage:
        await stage.customer_says("hello")
        conversation = await stage.conversation()
        before = len(channel.sent)
        await stage.application.handoff.reply(conversation.id, "ann", "A long story. " * 20)
        await stage.sent_out()
        parts = [message.text for message in channel.sent[before:]]
    assert len(parts) > 1
    assert all(len(part) <= 50 for part in parts)


# Waiting for a turn


async def test_waiting_for_a_turn_ends_with_it_or_with_the_timeout(stage: Stage) -> None:
    accepted = await stage.accept(stage.message("my refund"))
    await stage.sent_out()
    assert not await stage.application.inbox.settled(accepted, timeout_seconds=0)
    waiting = [
        asyncio.create_task(stage.application.inbox.settled(accepted, timeout_seconds=60))
        for _ in range(5)
    ]
    await asyncio.sleep(0)
    await later(stage, seconds=1)
    assert await asyncio.gather(*waiting) == [True] * 5
    assert await stage.application.inbox.settled(accepted, timeout_seconds=60)


# A restart


async def test_what_was_accepted_before_a_restart_is_answered_after_it(
    database_url: str, clock: Clock
) -> None:
    async with Database(database_url) as database:
        messages = MessageStore(database, clock)
        for number, text in enumerate((REFUND, RETURN)):
            event = MessageReceived(
                event_id=f"event-{number}", conversation=CHAT, message_id=f"message-{number}",
                sender=CUSTOMER, sent_at=clock(), text=text,
            )  # fmt: skip
            await messages.accept(event)
        # A process that takes the lane, and is killed before it did anything.
        assert await messages.claim("killed", limit=9, lease_seconds=3600)
    async with Database(database_url) as database:
        assert await MessageStore(database, clock).free_all() == 1
        async with staged(database, clock, FakeAdapter()) as stage:
            await later(stage, seconds=1)
            assert texts(stage) == ["Within 2 business days.", "Open the order and press Return."]


async def test_a_message_on_its_way_at_a_kill_is_sent_again_under_the_same_id(
    database_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(*_: object) -> bool:
        raise RuntimeError("killed between the platform and the store")

    channel = FakeAdapter()
    with monkeypatch.context() as patch:
        patch.setattr(MessageStore, "sent", killed)
        async with (
            Database(database_url) as database,
            staged(database, clock, channel) as stage,
        ):
            await stage.customer_says(REFUND)
    [sent, *_] = before = list(channel.sent)
    async with Database(database_url) as database:
        await MessageStore(database, clock).free_all()
        async with staged(database, clock, channel) as stage:
            await later(stage, seconds=1)
    assert channel.sent == [*before, sent]


@pytest.mark.parametrize("odd", ["half \ud800", "nul \0"])
async def test_what_the_platform_took_is_not_sent_again_because_of_what_it_calls_it(
    stage: Stage, database: Database, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    async def send(message: OutboundMessage) -> DeliveryReceipt:
        stage.channel.sent.append(message)
        return DeliveryReceipt((odd,))

    monkeypatch.setattr(stage.channel, "send", send)
    await stage.customer_says(REFUND)
    await later(stage, minutes=11)
    assert texts(stage) == ["Within 2 business days."]
    assert await outbox_states(database) == ["sent"]


@pytest.mark.parametrize("odd", ["half \ud800", "nul \0"])
async def test_a_refusal_counts_whatever_the_platform_says(
    stage: Stage, database: Database, odd: str
) -> None:
    stage.channel.failures = [MessageRejected("shop", odd)] * 5
    await stage.customer_says(REFUND)
    await later(stage, minutes=11)
    assert await outbox_states(database) == ["dead"]
    assert len(stage.channel.failures) == 4


async def test_what_the_platform_took_is_not_sent_again_because_the_store_was_away(
    stage: Stage,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    record, failures = MessageStore.sent, [StoreUnavailable("locked")] * 3
    counted: list[int] = []

    async def away(messages: MessageStore, *given: Any) -> bool:
        if failures:
            raise failures.pop()
        return await record(messages, *given)

    monkeypatch.setattr(MessageStore, "sent", away)
    monkeypatch.setattr("kfbot.outbox.RECORD_AGAIN_SECONDS", 0)
    monkeypatch.setattr("kfbot.outbox.metrics.sent", lambda *_: counted.append(len(failures)))
    await stage.customer_says(REFUND)
    await later(stage, minutes=11)
    assert failures == []
    assert texts(stage) == ["Within 2 business days."]
    assert await outbox_states(database) == ["sent"]
    # How long the platform took is known before, and an hour of this does not fill the log.
    assert counted == [3]
    assert [one.getMessage() for one in caplog.records if "not recorded" in one.getMessage()] == [
        "sent, not recorded yet: locked"
    ]


# Privacy


async def test_no_word_of_a_customer_is_logged_above_debug(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    search = stage.knowledge.search
    agent = Sender("77", "agent", "Annabelle")
    await stage.customer_says("When will my refund arrive? Xylophone")
    await stage.customer_presses("Not helpful")
    await stage.customer_says("1 xylophone\nforged line")
    stage.channel.failures = [ChannelUnavailable("shop", "busy"), ChannelUnauthorized("shop", "no")]
    await stage.customer_says("转人工 xylophone")
    for _ in range(4):
        await later(stage, minutes=11)
    await stage.customer_says("I take it, xylophone", sender=agent)
    conversation = await stage.conversation()
    await stage.application.handoff.reply(conversation.id, "Annabelle", "Dear xylophone")
    await stage.application.handoff.resolve(conversation.id, "Annabelle")
    stage.knowledge.broken = True
    await stage.customer_says("Is the xylophone back?", chat=type(CHAT)("shop", "chat-2"))
    stage.knowledge.broken = False
    stage.knowledge.search = failing  # type: ignore[assignment]
    await stage.accept(stage.message("xylophone?", chat=type(CHAT)("shop", "chat-3")))
    for _ in range(3):
        await later(stage, seconds=10)
    stage.knowledge.search = search  # type: ignore[method-assign]
    stage.knowledge.entries = {"Where is the xylophone?": "half xylophone \ud800"}
    await stage.accept(stage.message("Where is the xylophone?", chat=type(CHAT)("shop", "chat-4")))
    for _ in range(3):
        await later(stage, seconds=10)
    press = ButtonPressed(
        event_id="press", conversation=CHAT, token="xylophone", sender=CUSTOMER,
        sent_at=stage.clock(),
    )  # fmt: skip
    await stage.settle(await stage.accept(press))
    told = [f"{record.getMessage()} {record.exc_text or ''}" for record in caplog.records]
    assert {getattr(record, "event", "") for record in caplog.records} >= {
        "turn_finished", "turn_failed", "message_postponed", "channel_unauthorized",
        "knowledge_unavailable", "conversation_resolve",
    }  # fmt: skip
    assert [line for line in told if "ylophone" in line.lower() or "转人工" in line] == []
