"""How the bot behaves where others read along: who is answered, when, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from kfbot import confidence
from kfbot.adapter import AdapterSettings, Capabilities
from kfbot.conversation import State
from kfbot.errors import ChannelUnavailable
from kfbot.knowledge_base import Retrieval
from kfbot.messages import ConversationId, MessageEdited, Sender
from kfbot.store.engine import Database
from kfbot.testing import FakeAdapter
from kfbot.texts import texts
from tests.dialogues.conftest import CHAT, Stage, staged

pytestmark = pytest.mark.asyncio

GROUP = ConversationId("shop", "group-1")
SURE = "How do I return an item?"
TALK: dict[str, Any] = {"chat": GROUP, "in_group": True, "addressed_to_bot": False}
ASKED: dict[str, Any] = {"chat": GROUP, "in_group": True}


class TypingAdapter(FakeAdapter):
    """Remembers where it was typing; fails if it is told to, or never ends."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            settings=AdapterSettings(platform="fake", **settings),
            capabilities=Capabilities(buttons=True, typing=True),
        )
        self.typed: list[ConversationId] = []
        self.broken: Exception | None = None
        self.stuck: asyncio.Event | None = None

    async def show_typing(self, conversation: ConversationId) -> None:
        self.typed.append(conversation)
        if self.stuck is not None:
            await self.stuck.wait()
        if self.broken is not None:
            raise self.broken


@pytest.fixture
def channel() -> TypingAdapter:
    return TypingAdapter()


@pytest_asyncio.fixture
async def nosy(database: Database, clock: Any) -> AsyncIterator[Stage]:
    """A channel on which the bot may overhear."""
    async with staged(database, clock, TypingAdapter(overhear=True)) as opened:
        yield opened


async def flood(stage: Stage, count: int, **fields: Any) -> list[str]:
    """Let messages arrive at the same moment; returns what was sent because of them."""
    before = len(stage.channel.sent)
    for _ in range(count):
        accepted = await stage.accept(stage.message(SURE, **fields))
    await stage.settle(accepted)
    return [message.text for message in stage.channel.sent[before:]]


async def said(stage: Stage, chat: ConversationId = GROUP) -> list[str]:
    conversation = await stage.conversation(chat)
    found = await stage.application.transcripts.transcript(conversation.id)
    return [message.text for message in found]


# Who is answered


async def test_talk_in_a_group_is_not_answered_but_remembered(stage: Stage) -> None:
    assert await stage.customer_says(SURE, **TALK) == []
    assert await said(stage) == [SURE]
    assert stage.knowledge.searched == []


async def test_who_names_the_bot_in_a_group_is_answered(stage: Stage) -> None:
    [reply] = await stage.customer_says(SURE, **ASKED)
    assert reply.text == "Open the order and press Return."


async def test_the_bot_answers_what_it_overhears_where_it_may_and_is_very_sure(nosy: Stage) -> None:
    [reply] = await nosy.customer_says(SURE, **TALK)
    assert reply.text == "Open the order and press Return."
    assert reply.citations
    assert reply.buttons == ()


def evidence_between(lower: float, upper: float) -> dict[str, float]:
    """Evidence that suffices where `upper` of 100 answers may be wrong, but not `lower`."""
    model = confidence.model("faq", "first")
    parts = [part for part in (model.match, model.gate) if part is not None]
    signals = {name: signal for part in parts for name, signal in part.signals.items()}
    low, high = confidence.threshold("faq", upper), confidence.threshold("faq", lower)
    for step in range(-3000, 3000):
        evidence = {
            name: signal.mean + step / 1000 * signal.scale * (1 if signal.weight > 0 else -1)
            for name, signal in signals.items()
        } | {"foreign": 0.0}
        if low <= model.probability(evidence) < high:
            return evidence
    raise AssertionError("no evidence lies between")


async def test_what_is_sure_enough_for_who_asks_is_not_for_who_is_overheard(
    nosy: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = nosy.knowledge.search

    async def less_sure(query: str, **wanted: Any) -> Retrieval:
        return replace(await found(query, **wanted), evidence={"faq": evidence_between(1, 5)})

    monkeypatch.setattr(nosy.knowledge, "search", less_sure)
    assert await nosy.customer_says(SURE, **TALK) == []
    assert len(await nosy.customer_says(SURE, **ASKED)) == 1


@pytest.mark.parametrize(
    "text",
    ["How do I get an item to Mars?", "Do you sell coffee machines?", "Hello!", "A person please"],
)
async def test_overheard_doubt_small_talk_and_wishes_lead_to_nothing(
    nosy: Stage, text: str
) -> None:
    assert await nosy.customer_says(text, **TALK) == []
    assert (await nosy.conversation(GROUP)).state is State.BOT
    assert nosy.desk.opened == []


async def test_people_who_answer_each_other_are_left_alone(nosy: Stage) -> None:
    assert await nosy.customer_says(SURE, **TALK, in_reply_to="message-of-another") == []
    assert await nosy.customer_says(f"@bob {SURE}", **TALK) == []
    assert await nosy.customer_says(f"<@U7> {SURE}", **TALK) == []


async def test_nothing_is_overheard_while_an_agent_has_the_conversation(nosy: Stage) -> None:
    await nosy.customer_says("A person please", **ASKED)
    assert await nosy.customer_says(SURE, **TALK) == []


@pytest.mark.parametrize("addressed", [True, False])
async def test_a_bot_is_never_answered(nosy: Stage, addressed: bool) -> None:
    fields = {**TALK, "addressed_to_bot": addressed, "sender": Sender("robot", "bot")}
    assert await nosy.customer_says(SURE, **fields) == []
    assert await nosy.customer_says("/help", **fields) == []


@pytest.mark.parametrize(("text", "answers"), [("Lovely weather today.", 0), (SURE, 1)])
async def test_overheard_talk_is_not_answered_for_being_edited(
    nosy: Stage, text: str, answers: int
) -> None:
    talk = nosy.message(text, **TALK)
    await nosy.settle(await nosy.accept(talk))
    edit = MessageEdited(
        event_id="edit", conversation=GROUP, message_id=talk.message_id,
        sender=talk.sender, sent_at=nosy.clock(), text="When will my refund arrive?",
    )  # fmt: skip
    await nosy.settle(await nosy.accept(edit))
    assert len(nosy.channel.sent) == answers


async def test_a_group_is_told_once_that_a_person_comes(stage: Stage) -> None:
    [handoff] = await stage.customer_says("Do you sell coffee machines?", **ASKED)
    assert handoff.kind == "handoff"
    for sender in ("customer-1", "customer-2"):
        fields = {**ASKED, "sender": Sender(sender)}
        assert await stage.customer_says("And to Venus, how?", **fields) == []
    assert len(stage.desk.opened) == 1


# How often


async def test_who_asks_too_much_in_a_group_is_told_once_and_then_left_alone(
    stage: Stage,
) -> None:
    sent = await flood(stage, 30, **ASKED)
    answer, notice = "Open the order and press Return.", texts("en").too_many
    assert sent == [answer] * 20 + [notice]
    assert len(stage.knowledge.searched) == 20
    assert len(await said(stage)) == 30 + 21


async def test_others_in_the_group_are_answered_all_the_same(stage: Stage) -> None:
    await flood(stage, 30, **ASKED)
    [reply] = await stage.customer_says(SURE, **ASKED, sender=Sender("customer-2"))
    assert reply.text == "Open the order and press Return."


async def test_after_a_minute_without_too_much_all_is_well_again(stage: Stage) -> None:
    await flood(stage, 25, **ASKED)
    stage.clock.advance(seconds=61)
    # Another question: what is asked again is answered a little otherwise.
    [reply] = await stage.customer_says("When will my refund arrive?", **ASKED)
    assert reply.text == "Within 2 business days."
    answer = "Open the order and press Return."
    assert await flood(stage, 21, **ASKED) == [answer] * 19 + [texts("en").too_many]


async def test_a_group_as_a_whole_gets_three_times_as_much(stage: Stage) -> None:
    events = [
        stage.message(SURE, **ASKED | {"chat": ConversationId("shop", "group-1", member=name)},
                      sender=Sender(name))
        for name in map(str, range(7)) for _ in range(10)
    ]  # fmt: skip
    for event in events:
        accepted = await stage.accept(event)
    await stage.settle(accepted)
    sent = [message.text for message in stage.channel.sent]
    assert sent.count("Open the order and press Return.") == 60
    assert sent.count(texts("en").too_many) == 1
    assert len(sent) == 61


async def test_three_who_flood_a_group_use_up_nothing_once_they_had_their_share(
    stage: Stage,
) -> None:
    # Within the last minute they write three times what is looked at where less is written.
    for _ in range(65):
        for name in ("loud-1", "loud-2", "loud-3"):
            place = ConversationId("shop", "group-1", member=name)
            for _ in range(2):
                fields: dict[str, Any] = {**ASKED, "chat": place, "sender": Sender(name)}
                await stage.accept(stage.message(SURE, **fields))
        stage.clock.advance(seconds=1)
    mine = ConversationId("shop", "group-1", member="customer-1")
    replies = await stage.customer_says(SURE, **{**ASKED, "chat": mine})
    assert [one.text for one in replies if one.conversation == mine] == [
        "Open the order and press Return."
    ]


async def test_a_private_chat_has_the_share_of_a_group(stage: Stage) -> None:
    sent = await flood(stage, 70)
    assert sent == ["Open the order and press Return."] * 60 + [texts("en").too_many]


async def test_the_notice_is_in_the_customers_language(stage: Stage) -> None:
    for _ in range(21):
        accepted = await stage.accept(stage.message("运费是多少", **ASKED))
    await stage.settle(accepted)
    assert stage.channel.sent[-1].text == texts("zh").too_many


async def test_the_notice_is_no_context_for_what_is_asked_later(stage: Stage) -> None:
    await flood(stage, 21, **ASKED)
    conversation = await stage.conversation(GROUP)
    context = await stage.application.transcripts.context(conversation.id)
    assert texts("en").too_many not in [one.text for one in context.history]


async def test_what_an_agent_says_is_never_limited(stage: Stage) -> None:
    agent = Sender("agent-1", "agent", "Ana")
    for _ in range(70):
        await stage.settle(await stage.accept(stage.message("I look into it.", sender=agent)))
    assert (await stage.conversation()).agent == "Ana"
    assert texts("en").too_many not in [message.text for message in stage.channel.sent]


async def test_a_backlog_is_answered_as_it_was_written(stage: Stage) -> None:
    events = []
    for _ in range(40):
        stage.clock.advance(seconds=10)
        events.append(stage.message(SURE, **ASKED))
    for event in events:
        accepted = await stage.accept(event)
    await stage.settle(accepted)
    assert len(stage.channel.sent) == 40
    assert len(stage.knowledge.searched) == 40


async def test_a_limit_of_none_is_none(database: Database, clock: Any) -> None:
    async with staged(database, clock, TypingAdapter(messages_per_minute=0)) as stage:
        assert len(await flood(stage, 80, **ASKED)) == 80


async def test_much_talk_silences_what_is_overheard_but_not_who_asks(nosy: Stage) -> None:
    assert len(await flood(nosy, 70, **TALK)) == 60
    [reply] = await nosy.customer_says(SURE, **ASKED)
    assert reply.text == "Open the order and press Return."


# Typing


async def test_the_channel_shows_typing_while_an_answer_is_looked_for(stage: Stage) -> None:
    await stage.customer_says(SURE)
    assert isinstance(stage.channel, TypingAdapter)
    assert stage.channel.typed == [CHAT]


async def test_no_typing_is_shown_where_nothing_will_be_said(nosy: Stage) -> None:
    assert isinstance(nosy.channel, TypingAdapter)
    await nosy.customer_says("Nice weather, is it?", **TALK)
    await nosy.customer_says("A person please", **ASKED)
    nosy.channel.typed.clear()
    await nosy.customer_says(SURE, **ASKED)
    assert nosy.channel.typed == []


async def test_a_platform_that_cannot_show_typing_is_answered_on(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(stage.channel, TypingAdapter)
    stage.channel.broken = ChannelUnavailable("shop", "method unknown")
    caplog.set_level("INFO", "kfbot")
    assert len(await stage.customer_says(SURE)) == 1
    assert len(await stage.customer_says("When will my refund arrive?")) == 1
    failed = [one for one in caplog.records if getattr(one, "event", "") == "typing_not_shown"]
    assert len(failed) == 1


async def test_a_platform_that_never_ends_to_show_typing_holds_up_nothing(stage: Stage) -> None:
    assert isinstance(stage.channel, TypingAdapter)
    stage.channel.stuck = asyncio.Event()
    assert len(await stage.customer_says(SURE)) == 1
    assert len(await stage.customer_says("When will my refund arrive?")) == 1
    assert stage.channel.typed == [CHAT]
