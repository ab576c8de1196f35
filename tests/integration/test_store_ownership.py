"""The bot never speaks while an agent owns the conversation, and no turn delays an agent."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import pytest_asyncio
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from kfbot.adapter import Capabilities
from kfbot.conversation import Conversation, State
from kfbot.errors import ChannelUnavailable, ConversationChanged
from kfbot.knowledge_base import Retrieval
from kfbot.messages import (
    ButtonPressed,
    ConversationId,
    InboundEvent,
    OwnershipChanged,
    Sender,
)
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.testing import FakeAdapter, FakeKnowledgeBase
from tests.conftest import Clock
from tests.dialogues.conftest import CHAT, ENTRIES, Stage, staged
from tests.postgres import new_database

REFUND = "When will my refund arrive?"
ANN = Sender("7", "agent", "ann")


@dataclass
class SlowKnowledgeBase(FakeKnowledgeBase):
    """Answers only while its gate is open."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    async def search(
        self,
        query: str,
        *,
        names: Collection[str] | None = None,
        where: Mapping[str, str] | None = None,
        limit: int = 10,
        earlier: Sequence[str] = (),
    ) -> Retrieval:
        self.started.set()
        await self.gate.wait()
        return await super().search(query, names=names, where=where, limit=limit, earlier=earlier)


def slow_down(stage: Stage) -> SlowKnowledgeBase:
    """Let every search of the bot wait for a gate."""
    slow = SlowKnowledgeBase(ENTRIES)
    stage.knowledge.search = slow.search  # type: ignore[method-assign]
    return slow


@pytest.fixture
def database_url(url: str) -> str:
    """On both databases."""
    return url


@pytest_asyncio.fixture
async def stage(database: Database, clock: Clock) -> AsyncIterator[Stage]:
    channel = FakeAdapter(capabilities=Capabilities(buttons=True))
    async with staged(database, clock, channel) as opened:
        yield opened


def texts(stage: Stage) -> list[str]:
    return [message.text for message in stage.channel.sent]


async def claim_at_the_desk(stage: Stage, conversation: Conversation) -> None:
    await stage.application.handoff.claim(conversation.id, "ann")


async def reply_at_the_desk(stage: Stage, conversation: Conversation) -> None:
    await stage.application.handoff.reply(conversation.id, "ann", "Ann here.")


async def write_in_the_channel(stage: Stage, conversation: Conversation) -> None:
    await stage.accept(stage.message("Ann here.", sender=ANN))


async def take_in_the_channel(stage: Stage, conversation: Conversation) -> None:
    await stage.accept(ownership("claimed", stage))


def ownership(change: str, stage: Stage, chat: ConversationId = CHAT) -> OwnershipChanged:
    return OwnershipChanged(
        event_id=f"owner-{next(stage.numbers)}", conversation=chat, agent=ANN,
        change=change, sent_at=stage.clock(),  # type: ignore[arg-type]
    )  # fmt: skip


CLAIMS = [claim_at_the_desk, reply_at_the_desk, write_in_the_channel, take_in_the_channel]


@pytest.mark.asyncio
@pytest.mark.parametrize("take", CLAIMS)
async def test_an_agent_takes_over_in_the_middle_of_a_turn_whose_answer_is_never_sent(
    stage: Stage, take: object
) -> None:
    slow = slow_down(stage)
    await stage.accept(stage.message(REFUND))
    await slow.started.wait()
    # The turn is held open: whatever waited for it would wait forever.
    async with asyncio.timeout(60):
        await take(stage, await stage.conversation())  # type: ignore[operator]
    taken = await stage.conversation()
    assert (taken.state, taken.agent) == (State.AGENT, "ann")
    slow.gate.set()
    await stage.sent_out()
    assert [message.text for message in stage.channel.sent if message.sender.role == "bot"] == []
    assert stage.desk.opened == []
    assert await stage.conversation() == taken


@pytest.mark.asyncio
async def test_a_handoff_of_the_bots_is_too_late_after_a_claim(stage: Stage) -> None:
    slow = slow_down(stage)
    await stage.accept(stage.message("Do you sell elephants?"))
    await slow.started.wait()
    conversation = await stage.conversation()
    await stage.application.handoff.claim(conversation.id, "ann")
    slow.gate.set()
    await stage.sent_out()
    assert texts(stage) == []
    case = await stage.application.conversations.open_case(conversation.id)
    assert case is not None
    assert case.reason == "taken_by_agent"


@pytest.mark.asyncio
async def test_an_answer_made_before_a_claim_is_not_sent_after_the_handback(stage: Stage) -> None:
    slow = slow_down(stage)
    await stage.accept(stage.message(REFUND))
    await slow.started.wait()
    conversation = await stage.conversation()
    await stage.application.handoff.claim(conversation.id, "ann")
    await stage.application.handoff.hand_back(conversation.id, "ann")
    slow.gate.set()
    await stage.sent_out()
    assert [message.kind for message in stage.channel.sent] == ["handback"]


@pytest.mark.asyncio
async def test_the_bot_does_not_say_that_it_is_back_once_the_next_agent_has_taken_over(
    stage: Stage,
) -> None:
    await stage.customer_says("转人工")
    conversation = await stage.conversation()
    stage.channel.failures = [ChannelUnavailable("shop", "busy", retry_after_seconds=60)]
    await stage.application.handoff.claim(conversation.id, "ann")
    await stage.application.handoff.hand_back(conversation.id, "ann")
    await stage.sent_out()
    await stage.application.handoff.reply(conversation.id, "bob", "Bob here.")
    stage.clock.advance(minutes=5)
    stage.application.inbox.wake()
    await stage.sent_out()
    assert [message.kind for message in stage.channel.sent] == ["handoff", "message"]
    assert texts(stage)[-1] == "Bob here."


@pytest.mark.asyncio
async def test_a_claim_behind_a_handback_that_still_waits_comes_after_it(stage: Stage) -> None:
    slow = slow_down(stage)
    await stage.accept(stage.message(REFUND))
    await slow.started.wait()
    await stage.accept(ownership("claimed", stage))
    await stage.accept(ownership("handed_back", stage))
    await stage.accept(stage.message("Ann again.", sender=ANN))
    slow.gate.set()
    await stage.sent_out()
    conversation = await stage.conversation()
    assert (conversation.state, conversation.agent) == (State.AGENT, "ann")


@pytest.mark.asyncio
async def test_an_agent_who_comes_second_does_not_get_the_conversation(stage: Stage) -> None:
    await stage.customer_says("转人工")
    conversation = await stage.conversation()
    await stage.application.handoff.claim(conversation.id, "bob")
    await stage.customer_says("Ann here.", sender=ANN)
    assert (await stage.conversation()).agent == "bob"
    with pytest.raises(ConversationChanged, match="bob's"):
        await stage.application.handoff.reply(conversation.id, "ann", "Ann here.")


@pytest.mark.asyncio
async def test_two_agents_at_once_do_not_both_get_it(stage: Stage) -> None:
    await stage.customer_says("转人工")
    conversation = await stage.conversation()
    outcomes = await asyncio.gather(
        *(stage.application.handoff.claim(conversation.id, name) for name in ("ann", "bob", "cat")),
        return_exceptions=True,
    )
    won = [one for one in outcomes if isinstance(one, Conversation)]
    assert len(won) == 1
    assert all(isinstance(one, Conversation | ConversationChanged) for one in outcomes)
    assert (await stage.conversation()).agent == won[0].agent


# Any order of events

CHATS = (CHAT, ConversationId("shop", "chat-2"))
STEPS = st.one_of(
    st.tuples(
        st.just("say"),
        st.sampled_from([REFUND, "转人工", "Do you sell elephants?", "hi", "thanks", "1",
                         "How long do I have to keep a broken item?"]),
    ),
    st.tuples(st.sampled_from(["claim", "reply"]), st.sampled_from(["ann", "bob"])),
    st.tuples(st.sampled_from(["hand_back", "resolve", "channel", "handed_back"]), st.just("ann")),
    st.tuples(st.just("press"), st.integers(0, 3)),
    st.tuples(st.just("gate"), st.booleans()),
    st.tuples(st.just("fail"), st.sampled_from([None, 60.0])),
    st.tuples(st.just("wait"), st.sampled_from([1, 5, 100])),
    st.tuples(st.just("pass"), st.sampled_from([1, 90])),
)  # fmt: skip


@dataclass
class Play:
    """Plays a script and notes what must not be sent any more."""

    stage: Stage
    slow: SlowKnowledgeBase
    database: Database
    #: Ids of messages that were not on their way when the conversation changed hands.
    stale: set[str] = field(default_factory=set)
    #: (conversation, highest outbox id, epoch) at each change of hands.
    changes: list[tuple[int, int, int]] = field(default_factory=list)

    async def run(self, script: list[tuple[int, tuple[str, object]]]) -> None:
        for number, (step, value) in script:
            chat = CHATS[number]
            with suppress(ConversationChanged):
                await getattr(self, step)(chat, value)
            await self._look(chat)
        self.slow.gate.set()
        for _ in range(6):
            self.stage.clock.advance(minutes=11)
            self.stage.application.inbox.wake()
            await self.stage.sent_out()

    async def say(self, chat: ConversationId, text: str) -> None:
        await self._accept(self.stage.message(text, chat=chat))

    async def channel(self, chat: ConversationId, agent: str) -> None:
        await self._accept(self.stage.message("Ann here.", chat=chat, sender=ANN))

    async def handed_back(self, chat: ConversationId, agent: str) -> None:
        await self._accept(ownership("handed_back", self.stage, chat))

    async def claim(self, chat: ConversationId, agent: str) -> None:
        await self.stage.application.handoff.claim(await self._id(chat), agent)

    async def reply(self, chat: ConversationId, agent: str) -> None:
        await self.stage.application.handoff.reply(await self._id(chat), agent, f"{agent} here.")

    async def hand_back(self, chat: ConversationId, agent: str) -> None:
        await self.stage.application.handoff.hand_back(await self._id(chat), agent)

    async def resolve(self, chat: ConversationId, agent: str) -> None:
        await self.stage.application.handoff.resolve(await self._id(chat), agent)

    async def press(self, chat: ConversationId, number: int) -> None:
        shown = [
            button
            for message in self.stage.channel.sent
            if message.conversation == chat
            for button in message.buttons
        ]
        if number < len(shown):
            event = ButtonPressed(
                event_id=f"press-{next(self.stage.numbers)}", conversation=chat,
                token=shown[number].token, sender=Sender("customer-1"),
                sent_at=self.stage.clock(),
            )  # fmt: skip
            await self._accept(event)

    async def gate(self, chat: ConversationId, is_open: bool) -> None:
        (self.slow.gate.set if is_open else self.slow.gate.clear)()

    async def fail(self, chat: ConversationId, retry_after_seconds: float | None) -> None:
        error = ChannelUnavailable("shop", "busy", retry_after_seconds=retry_after_seconds)
        self.stage.channel.failures.append(error)

    async def wait(self, chat: ConversationId, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    async def pass_(self, chat: ConversationId, seconds: int) -> None:
        self.stage.clock.advance(seconds=seconds)
        self.stage.application.inbox.wake()

    async def _accept(self, event: InboundEvent) -> None:
        await self.stage.accept(event)

    async def _id(self, chat: ConversationId) -> int:
        found = await self.stage.application.conversations.find(chat)
        if found is None:
            raise ConversationChanged("nobody wrote here yet")
        return found.id

    async def _look(self, chat: ConversationId) -> None:
        """Note which of the bot's messages are out of date by now."""
        conversation = await self.stage.application.conversations.find(chat)
        if conversation is None:
            return
        outbox, epoch = tables.outbox.c, conversation.ownership_epoch
        here = outbox.conversation_id == conversation.id
        stale = (
            sa.select(outbox.idempotency_key, tables.lane.c.owner)
            .join_from(
                tables.outbox, tables.lane, tables.lane.c.conversation_id == outbox.conversation_id
            )
            .where(here, tables.is_unsent, outbox.ownership_epoch < epoch)
            .order_by(outbox.id)
        )
        rows = await self.database.read(lambda c: c.execute(stale).all())
        # Where somebody is at work, the first may be on its way to the platform.
        self.stale |= {row.idempotency_key for row in rows[bool(rows and rows[0].owner) :]}
        last = await self._number(sa.select(sa.func.max(outbox.id)).where(here))
        self.changes.append((conversation.id, last or 0, epoch))

    async def _number(self, query: sa.Select[tuple[int]]) -> int | None:
        return await self.database.read(lambda c: c.execute(query).scalar_one())

    async def check(self) -> None:
        sent = {message.id for message in self.stage.channel.sent}
        assert not sent & self.stale
        outbox = tables.outbox.c
        for conversation_id, last, epoch in self.changes:
            late = sa.and_(
                outbox.conversation_id == conversation_id,
                outbox.id > last,
                outbox.ownership_epoch < epoch,
            )
            assert await self._number(sa.select(sa.func.count()).where(late)) == 0
        for left in (tables.is_waiting, tables.is_unsent):
            assert await self._number(sa.select(sa.func.count()).where(left)) == 0
        agents = sa.and_(outbox.ownership_epoch.is_(None), outbox.state != "sent")
        assert await self._number(sa.select(sa.func.count()).where(agents)) == 0
        assert len(self.stage.channel.sent) == len(sent)


setattr(Play, "pass", Play.pass_)


SCRIPTS = st.lists(st.tuples(st.integers(0, 1), STEPS), min_size=4, max_size=40)


async def play(script: list[tuple[int, tuple[str, object]]], url: str) -> None:
    channel = FakeAdapter(capabilities=Capabilities(buttons=True))
    async with Database(url) as database, staged(database, Clock(), channel) as stage:
        slow = slow_down(stage)
        slow.gate.set()
        scene = Play(stage, slow, database)
        await scene.run(script)
        await scene.check()


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(SCRIPTS)
def test_whatever_happens_nothing_stale_is_sent_and_nothing_else_is_lost(
    template_database: Path, script: list[tuple[int, tuple[str, object]]]
) -> None:
    with TemporaryDirectory() as folder:
        file = shutil.copy(template_database, folder)
        asyncio.run(play(script, f"sqlite:///{file}"))


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(SCRIPTS)
def test_whatever_happens_on_postgresql_nothing_stale_is_sent_and_nothing_else_is_lost(
    server: str, template: str, script: list[tuple[int, tuple[str, object]]]
) -> None:
    with new_database(server, like=template) as url:
        asyncio.run(play(script, url))
