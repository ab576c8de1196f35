"""When a person is got, who, and what becomes of those who wait: whole conversations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from kfbot.adapter import AdapterSettings, Capabilities
from kfbot.agents import Team
from kfbot.conversation import Case, State
from kfbot.errors import ConversationChanged
from kfbot.handoff.limits import Standing, Step, next_step
from kfbot.handoff.settings import HandoffSettings
from kfbot.messages import ConversationId
from kfbot.store.agents import AgentStore, NewAgent
from kfbot.store.engine import Database
from kfbot.testing import FakeAdapter
from tests.dialogues.conftest import CHAT, Stage, staged

pytestmark = pytest.mark.asyncio

REFUND, SENDING = "When will my refund arrive?", "运费是多少"
#: The clock of the tests begins on a Monday at 9:00 in London, 17:00 in Shanghai.
OFFICE = {
    "time_zone": "Asia/Shanghai",
    "hours": {"mon-fri": ("09:00-12:00", "13:00-17:30")},
    "holidays": ("2026-01-06",),
}


@dataclass
class Office:
    """A stage with agents, and with the background task under the test's thumb."""

    stage: Stage
    agents: AgentStore

    async def hires(self, name: str, *teams: str, capacity: int = 5, role: Any = "agent") -> None:
        new = NewAgent(
            name=name, display_name=name.title(), role=role, password_hash="", teams=teams,
            capacity=capacity,
        )  # fmt: skip
        await self.agents.add(new, by="test")
        await self.agents.seen([name])

    async def waits(self, *present: str, **by: float) -> list[str]:
        """Let time pass; returns what the customer was told meanwhile."""
        before = len(self.stage.channel.sent)
        await self.stage.sent_out()
        self.stage.clock.advance(**by)
        await self.agents.seen(present)
        await self.looks()
        return [message.text for message in self.stage.channel.sent[before:]]

    async def looks(self) -> None:
        # One thing is done for a case at a look.
        for _ in range(3):
            await self.stage.application.waiting.look()
        await self.stage.sent_out()

    async def case(self, chat: ConversationId = CHAT) -> Case:
        conversation = await self.stage.conversation(chat)
        case = await self.stage.application.conversations.open_case(conversation.id)
        assert case is not None
        return case

    async def state(self) -> State:
        return (await self.stage.conversation()).state


@asynccontextmanager
async def opened(database: Database, clock: Any, **rules: Any) -> AsyncIterator[Office]:
    channel = FakeAdapter(
        settings=AdapterSettings(platform="fake", handoff=HandoffSettings(**rules)),
        capabilities=Capabilities(buttons=True),
    )
    async with staged(database, clock, channel) as stage:
        yield Office(stage, AgentStore(database, clock))


# Reasons


async def test_who_asks_a_third_time_gets_a_person(stage: Stage) -> None:
    [first] = await stage.customer_says(REFUND)
    stage.clock.advance(minutes=1)
    [second] = await stage.customer_says("when will my refund arrive??")
    assert second.text.startswith(first.text)
    assert "a person please" in second.text
    assert (await stage.conversation()).state is State.BOT
    stage.clock.advance(minutes=1)
    [third] = await stage.customer_says("When will my refund arrive")
    assert third.kind == "handoff"
    [case] = stage.desk.opened
    assert (case.reason, case.draft) == ("repeated_question", first.text)


async def test_a_question_sent_twice_at_once_is_answered_twice(stage: Stage) -> None:
    [first] = await stage.customer_says(REFUND)
    assert [one.text for one in await stage.customer_says(REFUND)] == [first.text]
    assert [one.text for one in await stage.customer_says(REFUND)] == [first.text]


async def test_a_question_that_comes_back_the_next_day_is_answered(stage: Stage) -> None:
    [first] = await stage.customer_says(REFUND)
    for _ in range(3):
        stage.clock.advance(hours=24)
        assert [one.text for one in await stage.customer_says(REFUND)] == [first.text]


async def test_another_question_in_between_begins_anew(stage: Stage) -> None:
    for question in (REFUND, "How do I return an item?", REFUND, "How do I return an item?"):
        stage.clock.advance(minutes=1)
        [answer] = await stage.customer_says(question)
        assert "a person please" not in answer.text


async def test_two_answers_that_did_not_help_get_a_person(stage: Stage) -> None:
    await stage.customer_says(REFUND)
    [sorry] = await stage.customer_presses("Not helpful")
    assert sorry.kind == "message"
    await stage.customer_says("How do I return an item?")
    [handoff] = await stage.customer_presses("Not helpful")
    assert handoff.kind == "handoff"
    assert [case.reason for case in stage.desk.opened] == ["not_helpful"]


async def test_after_an_answer_that_helped_one_that_does_not_offers_a_person(
    stage: Stage,
) -> None:
    await stage.customer_says(REFUND)
    await stage.customer_presses("Not helpful")
    await stage.customer_says("How do I return an item?")
    await stage.customer_presses("Helpful")
    await stage.customer_says("How long do I have to return an item?")
    [sorry] = await stage.customer_presses("Not helpful")
    assert [button.action for button in sorry.buttons] == ["person"]


async def test_not_helpful_and_the_same_question_get_a_person(stage: Stage) -> None:
    await stage.customer_says(REFUND)
    await stage.customer_presses("Not helpful")
    stage.clock.advance(minutes=1)
    [handoff] = await stage.customer_says(REFUND)
    assert handoff.kind == "handoff"
    assert [case.reason for case in stage.desk.opened] == ["not_helpful"]


@pytest.mark.parametrize("words", ["That did not help", "还是不行", "it still doesn't work!"])
async def test_who_says_that_an_answer_did_not_help_gets_a_person(stage: Stage, words: str) -> None:
    await stage.customer_says(REFUND)
    [handoff] = await stage.customer_says(words)
    assert handoff.kind == "handoff"
    assert [case.reason for case in stage.desk.opened] == ["not_helpful"]


async def test_the_operators_keywords_get_a_person_with_the_answer_as_a_draft(
    database: Database, clock: Any
) -> None:
    async with opened(database, clock, keywords=("lawyer", "投诉")) as office:
        stage = office.stage
        [answer] = await stage.customer_says("When will my lawyers refund arrive?")
        assert answer.kind == "message"
        [handoff] = await stage.customer_says("Lawyer: when will my refund arrive?")
        assert handoff.kind == "handoff"
        [case] = stage.desk.opened
        assert (case.reason, case.draft) == ("keyword", "Within 2 business days.")


@pytest.mark.parametrize("angry", [True, False])
async def test_an_angry_customer_gets_a_person_unless_the_operator_says_otherwise(
    database: Database, clock: Any, angry: bool
) -> None:
    async with opened(database, clock, angry=angry) as office:
        [reply] = await office.stage.customer_says("When will my fucking refund arrive?")
        assert reply.kind == ("handoff" if angry else "message")
        assert [case.reason for case in office.stage.desk.opened] == ["angry"] * angry


# Business hours


async def test_out_of_hours_the_customer_learns_when_somebody_is_back(
    database: Database, clock: Any
) -> None:
    clock.advance(hours=3)
    async with opened(database, clock, **OFFICE) as office:
        other = ConversationId("shop", "chat-2")
        [handoff] = await office.stage.customer_says("Do you sell elephants?", chat=other)
        assert handoff.kind == "handoff"
        # Tuesday is a holiday.
        assert "back on Wednesday, 7 January at 09:00 (Beijing time)" in handoff.text
        assert "getting a person" not in handoff.text
        third = ConversationId("shop", "chat-3")
        [handoff] = await office.stage.customer_says("转人工", chat=third)
        assert "1 月 7 日（周三）09:00（北京时间）上班" in handoff.text
        assert (await office.case(third)).reason == "asked_for_person"


async def test_out_of_hours_the_bot_answers_while_the_case_waits(
    database: Database, clock: Any
) -> None:
    clock.advance(hours=3)
    async with opened(database, clock, **OFFICE) as office:
        stage = office.stage
        await stage.customer_says("Do you sell elephants?")
        [answer] = await stage.customer_says(REFUND)
        assert (answer.kind, answer.text) == ("message", "Within 2 business days.")
        [noted] = await stage.customer_says("Do you sell giraffes?")
        assert (noted.kind, noted.text) == (
            "message",
            "I have added that to your message. Our team will answer it here.",
        )
        [again] = await stage.customer_says("a person please")
        assert "Our team is back" in again.text
        assert await office.state() is State.WAITING
        assert len(stage.desk.opened) == 1


async def test_out_of_hours_what_is_known_of_several_questions_is_answered(
    database: Database, clock: Any
) -> None:
    clock.advance(hours=3)
    async with opened(database, clock, **OFFICE) as office:
        stage = office.stage
        await stage.customer_says("a person please")
        [reply] = await stage.customer_says("运费是多少？你们招人吗？")
        assert (reply.kind, reply.text[:4]) == ("message", "满 99")
        assert "“你们招人吗？”" in reply.text
        assert len(stage.desk.opened) == 1


async def test_out_of_hours_fragments_of_one_thought_get_one_reply(
    database: Database, clock: Any
) -> None:
    clock.advance(hours=3)
    async with opened(database, clock, **OFFICE) as office:
        stage = office.stage
        await stage.customer_says("a person please")
        asked = len(stage.knowledge.searched)
        await stage.accept(stage.message("hi"))
        await stage.accept(stage.message("my refund"))
        [reply] = await stage.customer_says("when will it arrive?")
        assert stage.knowledge.searched[asked] == "hi my refund when will it arrive?"
        assert reply.text


async def test_out_of_hours_a_fault_of_our_own_promises_nobody_either(
    database: Database, clock: Any
) -> None:
    clock.advance(hours=3)
    async with opened(database, clock, **OFFICE) as office:
        stage = office.stage
        stage.knowledge.search = None  # type: ignore[assignment, method-assign]
        await stage.accept(stage.message(REFUND))
        for _ in range(4):
            await stage.sent_out()
            stage.clock.advance(minutes=1)
            stage.application.inbox.wake()
        await stage.sent_out()
        [apology] = stage.channel.sent
        assert "back on Wednesday" in apology.text
        assert await office.state() is State.WAITING


async def test_who_claims_out_of_hours_silences_the_bot(database: Database, clock: Any) -> None:
    clock.advance(hours=3)
    async with opened(database, clock, **OFFICE) as office:
        stage = office.stage
        await stage.customer_says("Do you sell elephants?")
        await stage.application.handoff.claim((await stage.conversation()).id, "ann")
        assert await stage.customer_says(REFUND) == []


async def test_in_hours_the_bot_is_silent_while_the_customer_waits(
    database: Database, clock: Any
) -> None:
    async with opened(database, clock, **OFFICE) as office:
        await office.stage.customer_says("Do you sell elephants?")
        assert await office.stage.customer_says(REFUND) == []


async def test_who_still_waits_at_closing_time_learns_it_once(
    database: Database, clock: Any
) -> None:
    async with opened(database, clock, **OFFICE, notice_after_minutes=()) as office:
        await office.stage.customer_says("Do you sell elephants?")
        assert await office.waits(minutes=10) == []
        [told] = await office.waits(minutes=30)
        assert "back on Wednesday, 7 January at 09:00" in told
        assert await office.waits(hours=10) == []
        # The next evening it is no news.
        assert await office.waits(days=2) == []


# Notices and limits


async def test_who_waits_is_told_once_each_that_it_takes_longer(
    database: Database, clock: Any
) -> None:
    rules = {"notice_after_minutes": (2, 10), "give_up_after_minutes": 15}
    async with opened(database, clock, **rules) as office:
        await office.stage.customer_says("转人工")
        assert await office.waits(minutes=1) == []
        [told] = await office.waits(minutes=1)
        assert told == "抱歉让您久等了。您还在排队中，人工客服会尽快在这里回复您。\n下一位就是您。"
        assert await office.waits(minutes=7) == []
        assert len(await office.waits(minutes=1)) == 1
        assert await office.waits(minutes=4) == []
        [told] = await office.waits(minutes=1)
        assert "都在忙" in told
        assert await office.waits(hours=1) == []
        assert await office.waits(days=3) == []
        # Nobody is to be expected now: the bot does what it can.
        [answer] = await office.stage.customer_says(SENDING)
        assert answer.text == "满 99 元包邮，否则 8 元。"
        assert await office.state() is State.WAITING


async def test_the_place_in_the_queue_is_told(database: Database, clock: Any) -> None:
    async with opened(database, clock) as office:
        given_up, other = (ConversationId("shop", f"chat-{number}") for number in (3, 2))
        await office.stage.customer_says("a person please", chat=given_up)
        await office.waits(minutes=20)
        await office.stage.customer_says("a person please", chat=other)
        await office.stage.customer_says("a person please")
        told = await office.waits(minutes=3)
        # Who was told that nobody comes does not stand in line any more.
        assert sorted(text.rsplit("\n", 1)[-1] for text in told) == [
            "Customers ahead of you: 1.", "You are next.",
        ]  # fmt: skip


async def test_after_an_outage_only_the_latest_notice_is_given(
    database: Database, clock: Any
) -> None:
    async with opened(database, clock, notice_after_minutes=(1, 2, 3)) as office:
        await office.stage.customer_says("a person please")
        assert len(await office.waits(minutes=10)) == 1


async def test_nobody_is_told_anything_after_a_claim(database: Database, clock: Any) -> None:
    async with opened(database, clock) as office:
        await office.stage.customer_says("a person please")
        number = (await office.stage.conversation()).id
        await office.stage.application.handoff.claim(number, "ann")
        assert await office.waits(days=1) == []


async def test_an_agent_who_does_not_answer_loses_the_case(database: Database, clock: Any) -> None:
    rules = {"agent_silent_minutes": 10, "notice_after_minutes": (5,)}
    async with opened(database, clock, **rules) as office:
        stage = office.stage
        await stage.customer_says("a person please")
        number = (await stage.conversation()).id
        await stage.application.handoff.reply(number, "ann", "Ann here.")
        await stage.sent_out()
        assert await office.waits(minutes=30) == []
        await stage.customer_says("Where is my parcel?")
        assert await office.waits(minutes=9) == []
        assert await office.state() is State.AGENT
        # The customer need not know.
        assert await office.waits(minutes=2) == []
        assert await office.state() is State.WAITING
        assert (await office.case()).claimed_by is None
        assert len(await office.waits(minutes=5)) == 1
        await stage.application.handoff.reply(number, "ann", "Sorry, I am back.")
        assert await office.state() is State.AGENT


async def test_a_case_of_an_agent_who_left_the_company_goes_back_to_the_queue(
    database: Database, clock: Any
) -> None:
    async with opened(database, clock) as office:
        await office.hires("ann")
        await office.stage.customer_says("转人工")
        number = (await office.stage.conversation()).id
        await office.stage.application.handoff.claim(number, "ann")
        await office.looks()
        assert await office.state() is State.AGENT
        await office.hires("boss", role="admin")
        await office.agents.change("ann", {"active": False}, by="boss")
        await office.looks()
        assert await office.state() is State.WAITING


async def test_a_case_that_cannot_be_looked_at_keeps_none_of_the_others(
    database: Database, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database, clock, notice_after_minutes=(2,)) as office:
        first = CHAT
        second = ConversationId(CHAT.channel, "another")
        await office.stage.customer_says("转人工", chat=first)
        await office.stage.customer_says("转人工", chat=second)
        broken = (await office.stage.conversation(first)).id

        def stumble(standing: Standing, rules: HandoffSettings, now: datetime) -> Step:
            if standing.conversation.id == broken:
                raise OverflowError("date value out of range")
            return next_step(standing, rules, now)

        monkeypatch.setattr("kfbot.handoff.waiting.next_step", stumble)
        told = await office.waits(minutes=3)
        assert len(told) == 1
        assert office.stage.channel.sent[-1].conversation == second


async def test_an_agent_may_answer_where_the_channel_is_not_configured_now(
    database: Database, clock: Any
) -> None:
    async with opened(database, clock) as office:
        await office.stage.customer_says("转人工")
        number = (await office.stage.conversation()).id
        handoff = office.stage.application.handoff
        configured = handoff._channels
        handoff._channels = {}
        try:
            await handoff.reply(number, "ann", "One moment.")
        finally:
            handoff._channels = configured
        await office.stage.sent_out()
        assert office.stage.channel.sent[-1].text == "One moment."


async def test_thanks_are_no_question_that_an_agent_leaves_open(
    database: Database, clock: Any
) -> None:
    async with opened(database, clock, agent_silent_minutes=10) as office:
        stage = office.stage
        await stage.customer_says("a person please")
        number = (await stage.conversation()).id
        await stage.application.handoff.reply(number, "ann", "It arrives today.")
        await stage.sent_out()
        await stage.customer_says("thank you!")
        await office.waits(hours=2)
        assert await office.state() is State.AGENT


async def test_a_conversation_in_which_nobody_writes_comes_back_to_the_bot(
    database: Database, clock: Any
) -> None:
    async with opened(database, clock, hand_back_after_minutes=60) as office:
        stage = office.stage
        await stage.customer_says("a person please")
        number = (await stage.conversation()).id
        await stage.application.handoff.reply(number, "ann", "It arrives today.")
        await stage.sent_out()
        assert await office.waits(minutes=59) == []
        [told] = await office.waits(minutes=2)
        assert told.startswith("You are talking to the bot again")
        assert await office.state() is State.BOT
        assert len(stage.desk.closed) == 1
        [answer] = await stage.customer_says(REFUND)
        assert answer.text == "Within 2 business days."


async def test_a_question_that_an_agent_left_open_does_not_come_back_to_the_bot(
    database: Database, clock: Any
) -> None:
    async with opened(database, clock, hand_back_after_minutes=60) as office:
        stage = office.stage
        await stage.customer_says("a person please")
        number = (await stage.conversation()).id
        await stage.application.handoff.reply(number, "ann", "Let me see.")
        await stage.customer_says("Where is my parcel?")
        await office.waits(hours=5)
        assert await office.state() is State.AGENT


# Assignment


async def test_cases_go_to_whoever_was_given_one_the_longest_time_ago(
    database: Database, clock: Any
) -> None:
    async with opened(database, clock, assign="automatic") as office:
        for name in ("ann", "bob"):
            await office.hires(name, capacity=2)
        chats = [ConversationId("shop", f"chat-{number}") for number in range(5)]
        for chat in chats:
            await office.stage.customer_says("转人工", chat=chat)
            await office.agents.seen(["ann", "bob"])
            await office.looks()
        given = [(await office.case(chat)).assigned_to for chat in chats]
        assert given == ["ann", "bob", "ann", "bob", None]


async def test_nobody_who_is_away_or_gone_or_reads_only_gets_a_case(
    database: Database, clock: Any
) -> None:
    async with opened(database, clock, assign="automatic") as office:
        await office.hires("gone")
        clock.advance(minutes=2)
        await office.hires("boss", role="admin")
        await office.agents.change("boss", {"away": True}, by="test")
        await office.hires("away")
        await office.agents.change("away", {"away": True}, by="test")
        await office.hires("reader", role="viewer")
        await office.stage.customer_says("转人工")
        await office.looks()
        assert (await office.case()).assigned_to is None
        await office.agents.seen(["gone"])
        await office.looks()
        assert (await office.case()).assigned_to == "gone"


async def test_whose_team_knows_the_knowledge_base_comes_first(
    database: Database, clock: Any
) -> None:
    async with opened(database, clock, assign="automatic") as office:
        await office.agents.put_team(Team(name="all"), by="test")
        await office.agents.put_team(Team(name="fakes", knowledge_bases=("fake",)), by="test")
        await office.agents.put_team(Team(name="elsewhere", channels=("mail",)), by="test")
        await office.hires("ann", "all")
        await office.hires("bob", "elsewhere")
        await office.hires("cem", "fakes")
        await office.stage.customer_says("Do you sell elephants?")
        await office.agents.seen(["ann", "bob", "cem"])
        await office.looks()
        case = await office.case()
        assert (case.knowledge_base, case.assigned_to) == ("fake", "cem")
        actions = office.stage.application.desk.actions
        await actions.assign(case.conversation_id, "ann", by="cem")
        with pytest.raises(ConversationChanged, match="no team of bob's"):
            await actions.assign(case.conversation_id, "bob", by="cem")
        assert (await office.case()).assigned_to == "ann"


async def test_who_does_not_claim_in_time_loses_the_case_to_the_next(
    database: Database, clock: Any
) -> None:
    async with opened(database, clock, assign="automatic", notice_after_minutes=()) as office:
        await office.hires("ann")
        await office.stage.customer_says("转人工")
        await office.agents.seen(["ann"])
        await office.looks()
        assert (await office.case()).assigned_to == "ann"
        await office.waits("ann", seconds=61)
        # There is nobody else.
        assert (await office.case()).assigned_to == "ann"
        await office.hires("bob")
        await office.waits("ann", "bob", seconds=61)
        assert (await office.case()).assigned_to == "bob"
        await office.waits(seconds=50)
        assert (await office.case()).assigned_to is None


async def test_a_case_given_by_hand_goes_back_to_the_queue(database: Database, clock: Any) -> None:
    async with opened(database, clock) as office:
        await office.hires("ann")
        await office.hires("bob")
        await office.stage.customer_says("转人工")
        handoff, number = office.stage.application.handoff, (await office.case()).conversation_id
        await handoff.claim(number, "ann")
        await office.stage.application.desk.actions.assign(number, "bob", by="ann")
        assert await office.state() is State.WAITING
        assert await office.stage.customer_says(SENDING) == []
        await office.waits("ann", "bob", seconds=70)
        assert (await office.case()).assigned_to is None
        await handoff.claim(number, "bob")
        assert await office.state() is State.AGENT


async def test_of_many_who_claim_at_once_one_has_it(database: Database, clock: Any) -> None:
    async with opened(database, clock, assign="automatic") as office:
        await office.stage.customer_says("转人工")
        number = (await office.stage.conversation()).id
        handoff = office.stage.application.handoff
        names = [f"agent-{place}" for place in range(8)]
        results = await asyncio.gather(
            *(handoff.claim(number, name) for name in names), return_exceptions=True
        )
        winners = [one for one in results if not isinstance(one, BaseException)]
        assert len(winners) == 1
        assert (await office.stage.conversation()).agent == winners[0].agent
        assert (await office.case()).claimed_by == winners[0].agent


# Coming back


async def test_a_resolved_matter_that_is_not_settled_goes_to_the_same_agent(
    database: Database, clock: Any
) -> None:
    async with opened(database, clock) as office:
        await office.hires("ann")
        await office.hires("bob")
        stage = office.stage
        await stage.customer_says("转人工")
        number = (await stage.conversation()).id
        await stage.application.handoff.reply(number, "bob", "请重启一下。")
        await stage.application.handoff.resolve(number, "bob")
        await stage.sent_out()
        clock.advance(hours=20)
        await office.agents.seen(["ann", "bob"])
        [handoff] = await stage.customer_says("试过了，还是不行")
        assert handoff.kind == "handoff"
        case = await office.case()
        assert (case.reason, case.assigned_to) == ("reopened", "bob")


async def test_the_bot_knows_what_the_agent_said(stage: Stage) -> None:
    await stage.customer_says("转人工")
    number = (await stage.conversation()).id
    words = "You asked how to return an item: open the order."
    await stage.application.handoff.reply(number, "ann", words)
    await stage.application.handoff.hand_back(number, "ann")
    context = await stage.application.transcripts.context(number)
    assert [(one.role, one.text) for one in context.history if one.role == "agent"] == [
        ("agent", words)
    ]
    await stage.customer_says("and when?")
    assert any(words in one for one in stage.knowledge.leaned_on)


async def test_a_customer_who_returns_after_days_talks_to_the_bot(stage: Stage) -> None:
    await stage.customer_says("转人工")
    number = (await stage.conversation()).id
    await stage.application.handoff.resolve(number, "ann")
    await stage.sent_out()
    stage.clock.advance(days=9)
    [answer] = await stage.customer_says(REFUND)
    assert answer.text == "Within 2 business days."
    assert (await stage.conversation()).state is State.BOT
