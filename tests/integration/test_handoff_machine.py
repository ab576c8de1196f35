"""Customers, agents and limits in any order, with crashes: the promises of handoff hold.

A real application works on a real database; the schedule is chance's. What is checked after every
step is what the customer and the agents see, not how it comes about.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sqlalchemy as sa

from kfbot.adapter import AdapterSettings, Capabilities
from kfbot.conversation import Conversation, State
from kfbot.errors import ConversationChanged
from kfbot.handoff.settings import HandoffSettings
from kfbot.messages import (
    ButtonPressed,
    ConversationId,
    DeliveryReceipt,
    InboundEvent,
    MessageEdited,
    OutboundMessage,
    Sender,
)
from kfbot.store import tables
from kfbot.store.agents import AgentStore, NewAgent
from kfbot.store.conversations import find_conversation_id
from kfbot.store.engine import Database
from kfbot.store.lanes import Lane
from kfbot.store.messages import MessageStore
from kfbot.store.work import Work
from kfbot.testing import FakeAdapter
from tests.conftest import Clock
from tests.dialogues.conftest import Stage, staged

CHATS = [ConversationId("shop", f"chat-{number}") for number in range(3)]
AGENTS = ("ann", "bob", "cem")
SAID = (
    "When will my refund arrive?", "运费是多少", "Do you sell elephants?", "转人工", "thank you",
    "That did not help", "How long do I have to keep a broken item?", "你们这群骗子",
)  # fmt: skip
RULES = HandoffSettings(
    assign="automatic",
    hours={"mon-fri": ("09:00-12:00", "13:00-18:00")},
    notice_after_minutes=(2, 5),
    give_up_after_minutes=10,
    agent_silent_minutes=10,
    hand_back_after_minutes=30,
)


@dataclass
class Watch:
    """When agents had a conversation, and when the bot last looked whether it has it."""

    count: Iterator[int] = field(default_factory=itertools.count)
    #: By conversation and epoch: the claim was over.
    claimed: dict[tuple[int, int], int] = field(default_factory=dict)
    #: By conversation: the read that a message is sent after began.
    looked: dict[int, int] = field(default_factory=dict)

    def knew(self, conversation_id: int, epoch: int) -> bool:
        """True where the bot looked after the claim."""
        claimed = self.claimed.get((conversation_id, epoch))
        return claimed is not None and claimed < self.looked.get(conversation_id, -1)


class Witness(FakeAdapter):
    """Notes what the bot says though it could know that an agent has the conversation.

    A claim that comes between its last look and the send cannot be seen by anybody.
    """

    def __init__(self, database: Database, watch: Watch) -> None:
        super().__init__(
            settings=AdapterSettings(platform="fake", handoff=RULES),
            capabilities=Capabilities(buttons=True),
        )
        self._database, self._watch = database, watch
        self.interrupted: list[str] = []

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        if message.sender.role == "bot":
            found = await self._database.read(
                lambda connection: _owner(connection, message.conversation)
            )
            is_agents = found.state == State.AGENT.value
            if is_agents and self._watch.knew(found.id, found.ownership_epoch):
                self.interrupted.append(message.text)
        return await super().send(message)


def _owner(connection: sa.Connection, address: ConversationId) -> Any:
    number = find_conversation_id(connection, address)
    conversation = tables.conversation
    return connection.execute(conversation.select().where(conversation.c.id == number)).one()


class World:
    """One database, and the application that works on it just now."""

    def __init__(self, database: Database, clock: Clock, watch: Watch) -> None:
        self.database, self.clock, self.watch = database, clock, watch
        self.channel = Witness(database, watch)
        self.agents = AgentStore(database, clock)
        self._running = AsyncExitStack()
        self.stage: Stage
        self._numbers = 0

    async def starts(self) -> None:
        self.stage = await self._running.enter_async_context(
            staged(self.database, self.clock, self.channel)
        )

    async def crashes(self) -> None:
        """Whatever was under way is broken off; another process goes on."""
        await self._running.aclose()
        self._running = AsyncExitStack()
        await self.starts()

    async def ends(self) -> None:
        await self._running.aclose()

    def event_id(self) -> str:
        self._numbers += 1
        return f"step-{self._numbers}"

    async def accept(self, event: InboundEvent) -> None:
        await self.stage.application.inbox.accept(event)

    # What may happen

    async def customer_writes(self, dice: Random) -> None:
        chat, text = dice.choice(CHATS), dice.choice(SAID)
        number = self.event_id()
        await self.accept(
            self.stage.message(text, chat=chat, event_id=number, message_id=f"message-{number}")
        )

    async def customer_edits(self, dice: Random) -> None:
        chat = dice.choice(CHATS)
        message = tables.message.c
        conversation = await self.stage.application.conversations.find(chat)
        if conversation is None:
            return
        query = sa.select(message.platform_id).where(
            message.conversation_id == conversation.id,
            message.role == "customer",
            message.platform_id.is_not(None),
        )
        ids = await self.database.read(lambda c: list(c.execute(query).scalars()))
        if ids:
            await self.accept(
                MessageEdited(
                    event_id=self.event_id(), conversation=chat, message_id=dice.choice(ids),
                    sender=Sender("customer-1"), sent_at=self.clock(), text=dice.choice(SAID),
                )
            )  # fmt: skip

    async def customer_presses(self, dice: Random) -> None:
        shown = [(one.conversation, button) for one in self.channel.sent for button in one.buttons]
        if shown:
            chat, button = dice.choice(shown)
            await self.accept(
                ButtonPressed(
                    event_id=self.event_id(), conversation=chat, token=button.token,
                    sender=Sender("customer-1"), sent_at=self.clock(),
                )
            )  # fmt: skip

    async def agent_acts(self, dice: Random) -> None:
        agent = dice.choice(AGENTS)
        conversation = await self.stage.application.conversations.find(dice.choice(CHATS))
        if conversation is None:
            return
        handoff, number = self.stage.application.handoff, conversation.id
        step = dice.choice(("claim", "claim", "reply", "note", "hand_back", "resolve", "assign"))
        with suppress(ConversationChanged):
            if step == "claim":
                claimed = await handoff.claim(number, agent)
                assert claimed.agent == agent
                self.note(claimed)
            elif step in ("reply", "note"):
                await handoff.reply(number, agent, f"{agent} here", internal=step == "note")
                self.note(await self.stage.application.conversations.get(number))
            elif step == "assign":
                actions = self.stage.application.desk.actions
                await actions.assign(number, dice.choice((*AGENTS, None)), by=agent)
            else:
                await getattr(handoff, step)(number, agent)

    def note(self, conversation: Conversation) -> None:
        """An agent has the conversation from here on, at the latest."""
        if conversation.state is State.AGENT:
            key = conversation.id, conversation.ownership_epoch
            self.watch.claimed.setdefault(key, next(self.watch.count))

    async def all_agents_claim(self, dice: Random) -> None:
        conversation = await self.stage.application.conversations.find(dice.choice(CHATS))
        if conversation is None:
            return
        claims = (
            self.stage.application.handoff.claim(conversation.id, agent)
            for agent in dice.sample(AGENTS, len(AGENTS))
        )
        results = await asyncio.gather(*claims, return_exceptions=True)
        won = [one for one in results if not isinstance(one, BaseException)]
        for one in won:
            self.note(one)
        winners = {one.agent for one in won}
        # A background limit may take it from the winner, but there is never a second one.
        assert len(winners) == 1
        assert all(
            isinstance(one, ConversationChanged)
            for one in results
            if isinstance(one, BaseException)
        )

    async def time_passes(self, dice: Random) -> None:
        self.clock.advance(seconds=dice.choice((1, 5, 40, 130, 700, 4000, 50_000)))
        self.stage.application.inbox.wake()

    async def agents_come_and_go(self, dice: Random) -> None:
        await self.agents.seen(dice.sample(AGENTS, dice.randrange(len(AGENTS) + 1)))

    async def limits_are_looked_at(self, dice: Random) -> None:
        await asyncio.gather(
            *(self.stage.application.waiting.look() for _ in range(dice.randrange(1, 3)))
        )

    async def something_goes_on(self, dice: Random) -> None:
        for _ in range(dice.randrange(30)):
            await asyncio.sleep(0)

    async def everything_settles(self, _: Random) -> None:
        await self.stage.sent_out()

    async def everything_crashes(self, _: Random) -> None:
        await self.crashes()

    # What must hold

    async def check(self) -> None:
        assert self.channel.interrupted == []
        for row in await self.database.read(_conversations):
            assert (row.agent is not None) is (row.state == State.AGENT.value)
            is_open = row.state in (State.WAITING.value, State.AGENT.value)
            assert row.cases == is_open, f"{row.state} with {row.cases} open cases"
            if row.state == State.AGENT.value:
                assert row.claimed_by == row.agent
            if row.state == State.WAITING.value:
                assert row.claimed_by is None

    async def finish(self) -> None:
        """Let all be worked on; then every customer was answered, or waits in an open case."""
        async with asyncio.timeout(60):
            # What a process held when it crashed is free only when another looks for it.
            while await self.database.read(_at_work):
                self.clock.advance(seconds=60)
                self.stage.application.inbox.wake()
                await asyncio.sleep(0.01)
        await self.stage.sent_out()
        await self.check()
        assert await self.database.read(_unanswered) == []


def _conversations(connection: sa.Connection) -> list[Any]:
    conversation, case = tables.conversation.c, tables.case.c
    is_open = sa.and_(case.conversation_id == conversation.id, case.closed_at.is_(None))
    return list(
        connection.execute(
            sa.select(
                conversation.state,
                conversation.agent,
                sa.select(sa.func.count()).where(is_open).scalar_subquery().label("cases"),
                sa.select(case.claimed_by).where(is_open).scalar_subquery().label("claimed_by"),
            )
        )
    )


def _at_work(connection: sa.Connection) -> bool:
    waiting = sa.select(tables.inbox.c.id).where(tables.inbox.c.state == "new").limit(1)
    return connection.execute(waiting).first() is not None


def _unanswered(connection: sa.Connection) -> list[str]:
    """Questions to which nothing was said, while no case was open for an agent to see them."""
    message, case = tables.message.c, tables.case.c
    asked = connection.execute(
        sa.select(message.id, message.conversation_id, message.text, message.created_at).where(
            message.role == "customer", message.text != ""
        )
    ).all()
    lost = []
    for one in asked:
        here = message.conversation_id == one.conversation_id
        answered = sa.select(message.id).where(
            here, message.role != "customer", message.id > one.id
        )
        seen = sa.select(case.id).where(
            case.conversation_id == one.conversation_id,
            sa.or_(case.closed_at.is_(None), case.closed_at >= one.created_at),
        )
        if not connection.execute(answered).first() and not connection.execute(seen).first():
            lost.append(one.text)
    return lost


STEPS = {
    World.customer_writes: 6,
    World.customer_edits: 1,
    World.customer_presses: 2,
    World.agent_acts: 5,
    World.all_agents_claim: 1,
    World.time_passes: 4,
    World.agents_come_and_go: 2,
    World.limits_are_looked_at: 4,
    World.something_goes_on: 4,
    World.everything_settles: 2,
    World.everything_crashes: 1,
}
NAMES = [step.__name__ for step, times in STEPS.items() for _ in range(times)]


@contextmanager
def watched() -> Iterator[Watch]:
    """The bot's looks are noted; nothing else tells when they are."""
    watch, work = Watch(), MessageStore.work

    async def looks(messages: MessageStore, lane: Lane, *, whole: bool = True) -> Work:
        watch.looked[lane.conversation_id] = next(watch.count)
        return await work(messages, lane, whole=whole)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MessageStore, "work", looks)
        yield watch


async def game(database: Database, script: Sequence[tuple[str, int]]) -> None:
    def empty(connection: sa.Connection) -> None:
        for table in reversed(tables.metadata.sorted_tables):
            # The audit log cannot be emptied, and nothing here reads it.
            if table is not tables.audit:
                connection.execute(table.delete())

    await database.write(empty)
    with watched() as watch:
        world = World(database, Clock(), watch)
        for name in AGENTS:
            new = NewAgent(name=name, display_name=name, role="agent", password_hash="")
            await world.agents.add(new, by="test")
        await world.starts()
        try:
            for name, number in script:
                await getattr(world, name)(Random(number))
                await world.check()
            await world.finish()
        finally:
            await world.ends()


def play(url: str, games: int) -> None:
    runner, database = asyncio.Runner(), Database(url)
    runner.run(database.__aenter__())

    try:
        for seed in range(games):
            dice = Random(seed)
            script = [(dice.choice(NAMES), dice.randrange(2**32)) for _ in range(40)]
            try:
                runner.run(game(database, script))
            except BaseException as error:
                error.add_note(f"seed {seed}: {script}")
                raise
    finally:
        runner.run(database.__aexit__(None, None, None))
        runner.close()


@pytest.mark.slow
def test_on_sqlite_the_bot_never_speaks_in_an_agents_conversation(template_database: Path) -> None:
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        file = Path(folder, "kfbot.sqlite3")
        shutil.copy(template_database, file)
        play(f"sqlite:///{file}", 60)


@pytest.mark.slow
def test_on_postgresql_the_bot_never_speaks_in_an_agents_conversation(postgres_url: str) -> None:
    play(postgres_url, 15)
