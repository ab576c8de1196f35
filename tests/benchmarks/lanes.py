"""A wired application with a trivial answerer, and what is measured of it."""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import sqlalchemy as sa
from pydantic import SecretStr

from kfbot.adapter import AdapterSettings, Capabilities, ChannelAdapter
from kfbot.application import Application
from kfbot.bootstrap import wire
from kfbot.knowledge_base import Passage, Retrieval
from kfbot.messages import (
    ConversationId,
    DeliveryReceipt,
    MessageReceived,
    OutboundMessage,
    Sender,
)
from kfbot.settings import DatabaseSettings, Settings
from kfbot.store import tables
from kfbot.store.clock import DatabaseClock
from kfbot.store.engine import GROUP_SIZE, Database
from kfbot.store.presence import Presence, new_owner
from kfbot.testing import FakeKnowledgeBase, evidence_for
from tests.benchmarks.stored import ANSWER, chat_of

CHANNEL = "shop"
#: Events of two runs on one database must not meet.
_RUN = secrets.token_hex(4)
_NUMBERS = itertools.count(1)
_EVIDENCE = {"faq": evidence_for("answer")}
_PASSAGE = Passage(
    knowledge_base="fake", document_id="returns-01", chunk_id="chunk-1", kind="faq",
    title="Sending items back", text=ANSWER, score=1.0,
)  # fmt: skip


class OneAnswer(FakeKnowledgeBase):
    """Has one exact answer to everything, at once; it begins with the question."""

    def __init__(self) -> None:
        super().__init__({})

    async def search(
        self,
        query: str,
        *,
        names: Collection[str] | None = None,
        where: Mapping[str, str] | None = None,
        limit: int = 10,
        earlier: Sequence[str] = (),
    ) -> Retrieval:
        passage = replace(_PASSAGE, question=query, text=f"{query} {ANSWER}")
        return Retrieval(query=query, passages=(passage,), evidence=_EVIDENCE)


class Outlet(ChannelAdapter):
    """Takes every message at once and notes when."""

    def __init__(self, *, pulls_replies: bool = False) -> None:
        super().__init__(CHANNEL, AdapterSettings(platform="fake", messages_per_minute=0))
        self.capabilities = Capabilities(buttons=True, pulls_replies=pulls_replies)
        #: Of each message: its chat, the question that it answers, when it came.
        self.sent: list[tuple[str, str, float]] = []
        self._awaited: dict[str, asyncio.Event] = {}

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        asked = message.text.partition("?")[0]
        self.sent.append((message.conversation.chat, asked, time.perf_counter()))
        if asked in self._awaited:
            self._awaited[asked].set()
        return DeliveryReceipt((f"fake-{len(self.sent)}",))

    def answered(self, event: MessageReceived) -> asyncio.Event:
        """Set once the answer to an event is sent."""
        return self._awaited.setdefault(_asked(event), asyncio.Event())


@dataclass(frozen=True, slots=True)
class Bot:
    """A wired application and its two ends."""

    application: Application
    database: Database
    outlet: Outlet
    #: Questions in the order in which they came, by chat.
    asked: dict[str, list[str]] = field(default_factory=dict)

    async def accept(self, event: MessageReceived) -> None:
        """Store a question."""
        self.asked.setdefault(event.conversation.chat, []).append(_asked(event))
        await self.application.inbox.accept(event)

    async def drained(self) -> None:
        """Until everything is worked on and sent, by whomever."""
        todo = sa.select(
            sa.or_(
                sa.exists().where(tables.is_waiting),
                sa.exists().where(tables.is_unsent),
                sa.exists().where(tables.lane.c.owner.is_not(None)),
            )
        )
        while await self.database.read(lambda c: c.execute(todo).scalar_one()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    def check_answers(self, sent: Sequence[tuple[str, str, float]] | None = None) -> None:
        """Every question was answered once, and those of one conversation in their order."""
        answered: dict[str, list[str]] = {}
        for chat, asked, _ in self.outlet.sent if sent is None else sent:
            answered.setdefault(chat, []).append(asked)
        assert answered == self.asked


@asynccontextmanager
async def running(
    url: str,
    *,
    works: bool = True,
    group_size: int = GROUP_SIZE,
    pulls_replies: bool = False,
) -> AsyncIterator[Bot]:
    """An application on a database that has its tables.

    Args:
        works: False: it only accepts.
    """
    outlet, owner = Outlet(pulls_replies=pulls_replies), new_owner()
    async with Database(url, group_size=group_size) as database, Presence(database, owner):
        clock = DatabaseClock(database)
        await clock.synchronise()
        application = wire(
            Settings(database=DatabaseSettings(url=SecretStr(url))),
            database,
            OneAnswer(),
            channels={CHANNEL: outlet},
            clock=clock,
            owner=owner,
        )
        working = asyncio.create_task(application.run()) if works else None
        try:
            yield Bot(application, database, outlet)
        finally:
            if working is not None:
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)


def question_in(chat: str) -> MessageReceived:
    """A question that nobody has asked before."""
    number = next(_NUMBERS)
    return MessageReceived(
        event_id=f"event-{_RUN}-{number}",
        conversation=ConversationId(CHANNEL, chat),
        message_id=f"message-{_RUN}-{number}",
        sender=Sender(chat),
        sent_at=datetime.now(UTC),
        text=f"Order {number}: until when may I send the shoes back that came last week?",
    )


def _asked(event: MessageReceived) -> str:
    return event.text.partition("?")[0]


def chats(count: int) -> list[str]:
    """Addresses; where the database was filled these conversations have a long history."""
    return [chat_of(number) for number in range(1, count + 1)]


async def feed(bot: Bot, conversations: Sequence[str], messages: int) -> None:
    """Accept so many messages of each conversation, one after the other, all side by side."""

    async def talk(chat: str) -> None:
        for _ in range(messages):
            await bot.accept(question_in(chat))

    await asyncio.gather(*(talk(chat) for chat in conversations))


async def accept_rate(bot: Bot, conversations: Sequence[str], messages: int) -> float:
    """Events that are accepted a second while nobody works on them."""
    began = time.perf_counter()
    await feed(bot, conversations, messages)
    return len(conversations) * messages / (time.perf_counter() - began)


async def throughput(bot: Bot, conversations: Sequence[str], messages: int) -> float:
    """Messages a second, from the first that is accepted until nothing is left to do."""
    began = time.perf_counter()
    await feed(bot, conversations, messages)
    await bot.drained()
    return len(conversations) * messages / (time.perf_counter() - began)


async def latencies_alone(bot: Bot, conversations: Sequence[str], count: int) -> list[float]:
    """Milliseconds from accepting to sending, while nothing else is done."""
    spent = []
    for chat in itertools.islice(itertools.cycle(conversations), count):
        event = question_in(chat)
        answered = bot.outlet.answered(event)
        began = time.perf_counter()
        await bot.accept(event)
        await answered.wait()
        spent.append((bot.outlet.sent[-1][2] - began) * 1000)
        await bot.drained()
    return spent


async def latencies_under(
    bot: Bot, conversations: Sequence[str], count: int, *, per_second: float
) -> list[float]:
    """The same for messages that come at random times, however long the earlier ones take."""
    chance = random.Random(1)
    due: dict[str, float] = {}
    async with asyncio.TaskGroup() as tasks:
        at = time.perf_counter()
        for _ in range(count):
            at += chance.expovariate(per_second)
            event = question_in(chance.choice(conversations))
            await asyncio.sleep(max(at - time.perf_counter(), 0))
            due[_asked(event)] = at
            tasks.create_task(bot.accept(event))
            tasks.create_task(bot.outlet.answered(event).wait())
    await bot.drained()
    return [(at - due[asked]) * 1000 for _, asked, at in bot.outlet.sent if asked in due]
