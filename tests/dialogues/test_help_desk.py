"""A channel whose platform is the agents' help desk: told of handoffs, it says who has what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kfbot.adapter import AdapterSettings, Capabilities
from kfbot.conversation import Language, State
from kfbot.errors import ChannelUnavailable
from kfbot.handoff.settings import HandoffSettings
from kfbot.inbox import MAX_ATTEMPTS
from kfbot.messages import BOT, OutboundMessage, Sender
from kfbot.settings import Settings
from kfbot.store.engine import Database
from kfbot.store.summaries import SummaryStore
from kfbot.testing import FakeAdapter
from tests.dialogues.conftest import Stage, staged

pytestmark = pytest.mark.asyncio

REFUND = "When will my refund arrive?"
ANN = Sender("5", "agent", "Ann")
LANGUAGES: tuple[Language, ...] = ("en", "zh")


@pytest.fixture
def channel() -> FakeAdapter:
    return FakeAdapter(capabilities=Capabilities(buttons=True, help_desk=True))


def handoffs(messages: list[OutboundMessage]) -> list[OutboundMessage]:
    return [one for one in messages if one.kind == "handoff" and one.note]


async def asks(stage: Stage) -> None:
    await stage.customer_says(REFUND)
    await stage.customer_says("a person please")


async def does_not_know(stage: Stage) -> None:
    await stage.customer_says("Do you sell violet umbrellas on the moon?")


async def swears(stage: Stage) -> None:
    await stage.customer_says(REFUND)
    await stage.customer_says("this is bullshit, you idiots")


async def presses_for_a_person(stage: Stage) -> None:
    await stage.customer_says(REFUND)
    await stage.customer_presses("A person please")


async def is_not_helped_twice(stage: Stage) -> None:
    for question in (REFUND, "How do I return an item?"):
        await stage.customer_says(question)
        await stage.customer_presses("Not helpful")


async def asks_the_same_again(stage: Stage) -> None:
    for _ in range(3):
        await stage.customer_says(REFUND)
        stage.clock.advance(minutes=1)


async def asks_two_things(stage: Stage) -> None:
    await stage.customer_says(f"{REFUND} And do you sell violet umbrellas?")


async def finds_the_knowledge_broken(stage: Stage) -> None:
    stage.knowledge.broken = True
    await stage.customer_says(REFUND)


async def meets_a_turn_that_fails(stage: Stage) -> None:
    async def fails(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    stage.knowledge.search = fails  # type: ignore[method-assign]
    accepted = await stage.accept(stage.message(REFUND))
    for _ in range(MAX_ATTEMPTS):
        await stage.sent_out()
        stage.clock.advance(seconds=30)
        stage.application.inbox.wake()
    await stage.settle(accepted)


@pytest.mark.parametrize(
    "customer",
    [
        asks,
        does_not_know,
        swears,
        presses_for_a_person,
        is_not_helped_twice,
        asks_the_same_again,
        asks_two_things,
        finds_the_knowledge_broken,
        meets_a_turn_that_fails,
    ],
)
async def test_every_way_to_a_handoff_tells_the_help_desk_once(stage: Stage, customer: Any) -> None:
    await customer(stage)
    assert (await stage.conversation()).state is State.WAITING
    [told] = handoffs(stage.channel.sent)
    assert told is stage.channel.sent[-1]
    assert told.note.startswith("**The bot asks for a person**: ")


async def test_the_note_says_why_what_was_asked_and_what_the_bot_would_have_said(
    stage: Stage,
) -> None:
    await stage.customer_says("When will my refund arrive, you idiots?!")
    [told] = handoffs(stage.channel.sent)
    assert told.note.split("\n\n")[:2] == [
        "**The bot asks for a person**: angry",
        "**The question:**\n> When will my refund arrive, you idiots?!",
    ]
    assert "**The bot would have said:**\n> Within 2 business days." in told.note


async def test_a_long_sentence_has_its_note_at_the_last_part(
    database: Database, clock: Any
) -> None:
    channel = FakeAdapter(capabilities=Capabilities(text_length=40, help_desk=True))
    async with staged(database, clock, channel) as stage:
        await stage.customer_says("a person please")
    assert len(channel.sent) > 1
    assert [bool(one.note) for one in channel.sent] == [False] * (len(channel.sent) - 1) + [True]


async def test_other_platforms_get_no_note(database: Database, clock: Any) -> None:
    channel = FakeAdapter(capabilities=Capabilities(buttons=True))
    async with staged(database, clock, channel) as stage:
        await stage.customer_says("a person please")
    assert [one.note for one in channel.sent] == [""]


async def test_a_help_desk_that_is_down_is_told_once_it_is_back(stage: Stage) -> None:
    stage.channel.failures += [ChannelUnavailable("shop", "down")] * 3
    await stage.customer_says("a person please")
    assert stage.channel.sent == []
    for _ in range(3):
        stage.clock.advance(seconds=10)
        stage.application.inbox.wake()
        await stage.sent_out()
    assert len(handoffs(stage.channel.sent)) == 1


async def test_what_it_says_is_an_agents_is_not_answered_and_what_is_the_bots_is(
    stage: Stage,
) -> None:
    assert await stage.customer_says(REFUND, owner=ANN) == []
    assert (await stage.conversation()).agent == "Ann"
    [answer] = await stage.customer_says(REFUND, owner=BOT)
    assert answer.text == "Within 2 business days."


async def test_a_handoff_that_is_still_untold_is_not_undone(stage: Stage) -> None:
    stage.channel.failures.append(ChannelUnavailable("shop", "down"))
    await stage.customer_says("a person please")
    await stage.customer_says("are you there?", owner=BOT)
    assert (await stage.conversation()).state is State.WAITING
    assert len(handoffs(stage.channel.sent)) == 1


@pytest.mark.parametrize("end", ["hand_back", "resolve"])
async def test_an_end_of_a_handoff_that_is_still_untold_is_not_undone(
    stage: Stage, end: str
) -> None:
    await stage.customer_says(REFUND, owner=ANN)
    stage.channel.failures.append(ChannelUnavailable("shop", "down"))
    change = getattr(stage.application.handoff, end)
    await change((await stage.conversation()).id, "Ann")
    await stage.sent_out()
    await stage.accept(stage.message(REFUND, owner=ANN))
    assert (await stage.conversation()).agent is None
    await stage.customer_says(REFUND, owner=BOT)
    assert stage.channel.sent[-1].text == "Within 2 business days."


async def test_a_burst_of_the_bots_is_one_turn(stage: Stage) -> None:
    await stage.accept(stage.message("my refund", owner=BOT))
    [answer] = await stage.customer_says(REFUND, owner=BOT)
    assert "Within 2 business days." in answer.text


async def test_an_agent_who_writes_where_the_bot_should_is_made_the_owner_there(
    stage: Stage,
) -> None:
    await stage.customer_says(REFUND, owner=BOT)
    for _ in range(2):
        await stage.accept(stage.message("I take this.", sender=ANN, owner=BOT))
    await stage.sent_out()
    [told] = handoffs(stage.channel.sent)
    assert (told.text, told.note) == ("", "**Ann** has it.")
    accepted = stage.message("thanks", sender=ANN, owner=ANN)
    await stage.settle(await stage.accept(accepted))
    assert len(handoffs(stage.channel.sent)) == 1


async def test_a_summary_reaches_the_help_desk_once_whoever_has_the_conversation_by_then(
    stage: Stage, database: Database
) -> None:
    await stage.customer_says("a person please")
    [case] = stage.desk.opened
    stage.channel.failures.append(ChannelUnavailable("shop", "down"))
    summaries = SummaryStore(database, stage.clock)
    for language in LANGUAGES:
        await summaries.save(case, language, "About a refund.", read={}, note="**Summary**")
    await stage.sent_out()
    await stage.customer_says("are you there?", owner=ANN)
    stage.clock.advance(seconds=10)
    stage.application.inbox.wake()
    await stage.sent_out()
    assert [(one.text, one.note) for one in stage.channel.sent[1:]] == [("", "**Summary**")]


@pytest_asyncio.fixture
async def patient(database: Database, clock: Any) -> AsyncIterator[Stage]:
    """`[handoff]` has notices, and the channel's section has nothing."""
    channel = FakeAdapter(capabilities=Capabilities(help_desk=True))
    settings = Settings(handoff=HandoffSettings(notice_after_minutes=(1,)))
    async with staged(database, clock, channel, settings) as stage:
        yield stage


async def test_the_queue_of_the_help_desk_is_its_own(patient: Stage) -> None:
    await patient.customer_says("a person please")
    patient.clock.advance(minutes=30)
    await patient.application.waiting.look()
    await patient.sent_out()
    assert len(patient.channel.sent) == 1


async def test_an_operator_may_have_notices_there_all_the_same(
    database: Database, clock: Any
) -> None:
    rules = HandoffSettings(notice_after_minutes=(1,))
    channel = FakeAdapter(
        settings=AdapterSettings(platform="fake", handoff=rules),
        capabilities=Capabilities(help_desk=True),
    )
    async with staged(database, clock, channel) as stage:
        await stage.customer_says("a person please")
        clock.advance(minutes=2)
        # The server's own look may have been first; then it is still at work.
        async with asyncio.timeout(60):
            while len(channel.sent) < 2:
                await stage.application.waiting.look()
                await stage.sent_out()
