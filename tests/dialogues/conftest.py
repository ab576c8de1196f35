"""A running bot over a fake channel and a fake knowledge base, on a real database."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from kfbot.application import Application
from kfbot.bootstrap import wire
from kfbot.conversation import Conversation
from kfbot.grounding.writing import Writer
from kfbot.messages import (
    ButtonPressed,
    ConversationId,
    InboundEvent,
    MessageReceived,
    OutboundMessage,
    Sender,
)
from kfbot.settings import Settings
from kfbot.store.acceptance import Accepted
from kfbot.store.engine import Database
from kfbot.testing import FakeAdapter, FakeDesk, FakeKnowledgeBase

ENTRIES = {
    "How long do I have to return an item?": "You have 15 days.",
    "How do I return an item?": "Open the order and press Return.",
    "When will my refund arrive?": "Within 2 business days.",
    "运费是多少": "满 99 元包邮，否则 8 元。",
    "怎么开发票": "在订单页申请电子发票。",
}
CHAT = ConversationId("shop", "chat-1")


@dataclass
class Stage:
    """What a test does and sees."""

    application: Application
    channel: FakeAdapter
    knowledge: FakeKnowledgeBase
    desk: FakeDesk
    clock: Any
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def customer_says(
        self, text: str, *, chat: ConversationId = CHAT, **fields: Any
    ) -> list[OutboundMessage]:
        """Let a customer write; returns what was sent because of it."""
        before = len(self.channel.sent)
        await self.settle(await self.accept(self.message(text, chat=chat, **fields)))
        return self.channel.sent[before:]

    async def customer_presses(self, label: str, **fields: Any) -> list[OutboundMessage]:
        """Let the customer press a button of the last message that has one of this label."""
        buttons = [button for message in self.channel.sent for button in message.buttons]
        token = next(button.token for button in reversed(buttons) if button.label == label)
        before = len(self.channel.sent)
        event = ButtonPressed(
            event_id=f"press-{next(self.numbers)}",
            conversation=CHAT,
            token=token,
            sender=Sender("customer-1"),
            sent_at=self.clock(),
            **fields,
        )
        await self.settle(await self.accept(event))
        return self.channel.sent[before:]

    def message(self, text: str, *, chat: ConversationId = CHAT, **fields: Any) -> MessageReceived:
        number = next(self.numbers)
        values: dict[str, Any] = {
            "event_id": f"event-{number}",
            "conversation": chat,
            "message_id": f"message-{number}",
            "sender": Sender("customer-1"),
            "sent_at": self.clock(),
            "text": text,
        }
        return MessageReceived(**values | fields)

    async def accept(self, event: InboundEvent) -> Accepted:
        return await self.application.inbox.accept(event)

    async def settle(self, accepted: Accepted) -> None:
        """Until the event was worked on and what came of it was sent."""
        # What is read before the clock moves must not be judged after it.
        await self.sent_out()
        self.clock.advance(seconds=3)
        self.application.inbox.wake()
        assert await self.application.inbox.settled(accepted, timeout_seconds=60)
        await self.sent_out()

    async def sent_out(self) -> None:
        """Until all that is due was worked on and sent."""
        async with asyncio.timeout(60):
            while not await self.application.inbox.idle():  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0)

    async def conversation(self, chat: ConversationId = CHAT) -> Conversation:
        found = await self.application.conversations.find(chat)
        assert found is not None
        return found


@asynccontextmanager
async def staged(
    database: Database,
    clock: Any,
    channel: FakeAdapter,
    settings: Settings | None = None,
    *,
    writer: Writer | None = None,
    knowledge: FakeKnowledgeBase | None = None,
) -> AsyncIterator[Stage]:
    knowledge, desk = knowledge or FakeKnowledgeBase(ENTRIES), FakeDesk()
    application = wire(
        settings or Settings(),
        database,
        knowledge,
        writer=writer,
        channels={"shop": channel},
        desks=[desk],
        clock=clock,
    )
    running = asyncio.create_task(application.run())
    try:
        yield Stage(application, channel, knowledge, desk, clock)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def database_url(url: str) -> str:
    """Every dialogue runs on both databases."""
    return url


@pytest.fixture
def channel() -> FakeAdapter:
    from kfbot.adapter import Capabilities

    return FakeAdapter(capabilities=Capabilities(buttons=True))


@pytest_asyncio.fixture
async def stage(database: Database, clock: Any, channel: FakeAdapter) -> AsyncIterator[Stage]:
    async with staged(database, clock, channel) as opened:
        yield opened
