"""A stage with agents beside it, who see cases in a chat of theirs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from kfbot.adapter import AgentsChatSettings, Capabilities
from kfbot.bootstrap import wire
from kfbot.messages import ButtonPressed, ConversationId, Sender
from kfbot.settings import Settings
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.testing import FakeAdapter, FakeDesk, FakeKnowledgeBase
from tests.dialogues.conftest import ENTRIES, Stage

THREAD = ConversationId("team", "agents", "thread-1")
ANNA, BEN = Sender("U1", "agent", "Anna"), Sender("U2", "agent", "Ben")
UNKNOWN = "Do you sell coffee machines?"


def team(**settings: Any) -> FakeAdapter:
    """The channel of the agents."""
    return FakeAdapter(
        "team",
        AgentsChatSettings(platform="fake", agents_chat="agents", **settings),
        capabilities=Capabilities(buttons=True, threads=True),
    )


@dataclass
class Office(Stage):
    """A stage with agents beside it."""

    agents: FakeAdapter = None  # type: ignore[assignment]

    async def sent_out(self) -> None:
        async with asyncio.timeout(60):
            while not await self._is_quiet():  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0)

    async def _is_quiet(self) -> bool:
        return await self.application.inbox.idle() and self.application.case_threads.idle

    async def agent_says(
        self, text: str, *, agent: Sender = ANNA, thread: ConversationId = THREAD, **fields: Any
    ) -> list[str]:
        """Let an agent write in a thread; returns what the bot says to agents because of it."""
        before = len(self.agents.sent)
        message = self.message(text, chat=thread, sender=agent, **fields)
        await self.settle(await self.accept(message))
        return [one.text for one in self.agents.sent[before:]]

    async def agent_presses(self, label: str, *, agent: Sender = ANNA) -> list[str]:
        """Let an agent press the newest button of this label."""
        buttons = [button for message in self.agents.sent for button in message.buttons]
        token = next(button.token for button in reversed(buttons) if button.label == label)
        before = len(self.agents.sent)
        event = ButtonPressed(
            event_id=f"press-{next(self.numbers)}", conversation=THREAD,
            token=token, sender=agent, sent_at=self.clock(),
        )  # fmt: skip
        await self.settle(await self.accept(event))
        return [one.text for one in self.agents.sent[before:]]

    def told(self) -> list[str]:
        """All that the customer got."""
        return [message.text for message in self.channel.sent]

    def shown(self) -> list[str]:
        """All that the agents got."""
        return [message.text for message in self.agents.sent]

    async def minute(self) -> None:
        """Let a minute pass, and all that it makes due."""
        for _ in range(21):
            self.clock.advance(seconds=3)
            self.application.inbox.wake()
            await self.sent_out()


@asynccontextmanager
async def opened(
    database: Database, clock: Any, channel: FakeAdapter, agents: FakeAdapter
) -> AsyncIterator[Office]:
    knowledge, desk = FakeKnowledgeBase(ENTRIES), FakeDesk()
    application = wire(
        Settings(), database, knowledge, channels={"shop": channel, "team": agents},
        desks=[desk], clock=clock,
    )  # fmt: skip
    running = asyncio.create_task(application.run())
    try:
        yield Office(application, channel, knowledge, desk, clock, agents=agents)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def unsent(database: Database) -> int:
    """Messages that wait to be sent, anywhere."""
    query = sa.select(sa.func.count()).select_from(tables.outbox).where(tables.is_unsent)
    return int(await database.read(lambda connection: connection.execute(query).scalar_one()))


async def everything_said(database: Database) -> list[str]:
    """All transcripts."""
    query = sa.select(tables.message.c.text)
    return list(await database.read(lambda connection: connection.execute(query).scalars()))
