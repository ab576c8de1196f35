"""Whole conversations: what a customer does, and what the bot does then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kfbot.adapter import AdapterSettings
from kfbot.conversation import State
from kfbot.errors import ChannelUnavailable, MessageRejected
from kfbot.messages import (
    ButtonPressed,
    ConversationId,
    MessageDeleted,
    MessageEdited,
    Sender,
)
from kfbot.store.acceptance import Accepted
from kfbot.store.engine import Database
from kfbot.store.messages import MessageStore
from kfbot.testing import FakeAdapter
from tests.conftest import Clock
from tests.dialogues.conftest import CHAT, Stage, staged

pytestmark = pytest.mark.asyncio


async def test_a_known_question_is_answered_with_its_source(stage: Stage) -> None:
    [reply] = await stage.customer_says("How long do I have to return an item?")
    assert reply.text == "You have 15 days."
    assert [citation.id for citation in reply.citations] == ["entry-0"]
    assert reply.kind == "message"
    assert [button.action for button in reply.buttons] == ["helpful", "not_helpful", "person"]


async def test_an_unknown_question_is_handed_to_a_person(stage: Stage) -> None:
    [reply] = await stage.customer_says("Do you sell elephants?")
    assert reply.kind == "handoff"
    assert "person" in reply.text
    assert (await stage.conversation()).state is State.WAITING
    [case] = stage.desk.opened
    assert (case.reason, case.question) == ("unsure", "Do you sell elephants?")


async def test_a_chinese_question_is_handed_off_in_chinese(stage: Stage) -> None:
    [reply] = await stage.customer_says("你们卖大象吗？")
    assert "人工客服" in reply.text


@pytest.mark.parametrize("wish", ["转人工", "I want to talk to a human, please", "人工客服！"])
async def test_a_wish_for_a_person_always_works(stage: Stage, wish: str) -> None:
    [reply] = await stage.customer_says(wish)
    assert reply.kind == "handoff"
    assert stage.desk.opened[0].reason == "asked_for_person"


async def test_a_person_can_be_had_while_the_knowledge_base_is_down(stage: Stage) -> None:
    stage.knowledge.broken = True
    [reply] = await stage.customer_says("转人工")
    assert reply.kind == "handoff"
    assert stage.desk.opened[0].reason == "asked_for_person"


async def test_a_broken_knowledge_base_means_a_polite_handoff(stage: Stage) -> None:
    stage.knowledge.broken = True
    [reply] = await stage.customer_says("When will my refund arrive?")
    assert reply.kind == "handoff"
    assert "went wrong" in reply.text
    assert "fake" not in reply.text


async def test_the_bot_is_silent_while_the_customer_waits_for_a_person(stage: Stage) -> None:
    await stage.customer_says("转人工")
    assert await stage.customer_says("When will my refund arrive?") == []


async def test_small_talk_is_answered_without_a_person(stage: Stage) -> None:
    [reply] = await stage.customer_says("你好！")
    assert reply.text.startswith("您好")
    [reply] = await stage.customer_says("thank you")
    assert "welcome" in reply.text
    assert (await stage.conversation()).state is State.BOT


async def test_a_doubtful_question_is_clarified_and_the_choice_answered(stage: Stage) -> None:
    [reply] = await stage.customer_says("How long do I have to keep a broken item?")
    assert [button.action for button in reply.buttons][-1] == "person"
    label = next(b.label for b in reply.buttons if b.action == "choice")
    [answer] = await stage.customer_presses(label)
    assert answer.text == "You have 15 days."


async def test_a_choice_may_be_given_by_its_number(stage: Stage) -> None:
    [reply] = await stage.customer_says("How long do I have to keep a broken item?")
    assert any(button.action == "choice" for button in reply.buttons)
    [answer] = await stage.customer_says("1")
    assert answer.text == "You have 15 days."


async def test_the_person_button_hands_off(stage: Stage) -> None:
    await stage.customer_says("When will my refund arrive?")
    [reply] = await stage.customer_presses("A person please")
    assert reply.kind == "handoff"
    assert stage.desk.opened[0].question == "When will my refund arrive?"


async def test_not_helpful_offers_a_person(stage: Stage) -> None:
    await stage.customer_says("When will my refund arrive?")
    [reply] = await stage.customer_presses("Not helpful")
    assert [button.action for button in reply.buttons] == ["person"]


async def test_a_button_that_is_pressed_again_says_nothing_more(stage: Stage) -> None:
    await stage.customer_says("When will my refund arrive?")
    assert len(await stage.customer_presses("Helpful")) == 1
    assert await stage.customer_presses("Helpful") == []
    [reply] = await stage.customer_says("How long do I have to keep a broken item?")
    label = next(b.label for b in reply.buttons if b.action == "choice")
    assert len(await stage.customer_presses(label)) == 1
    assert await stage.customer_presses(label) == []


async def test_a_person_may_be_pressed_for_again_once_the_bot_is_back(stage: Stage) -> None:
    await stage.customer_says("When will my refund arrive?")
    assert len(await stage.customer_presses("A person please")) == 1
    assert await stage.customer_presses("A person please") == []
    await stage.application.handoff.hand_back((await stage.conversation()).id, "Ana")
    [_, reply] = await stage.customer_presses("A person please")
    assert reply.kind == "handoff"


async def test_an_expired_button_is_explained(stage: Stage) -> None:
    await stage.customer_says("When will my refund arrive?")
    stage.clock.advance(days=31)
    [reply] = await stage.customer_presses("Helpful")
    assert "expired" in reply.text


async def said_too_late(
    stage: Stage, database: Database, waiting: Accepted, *, replies: bool = True
) -> list[str]:
    """What the bot says when an agent has the conversation, and hands it back, before it looks."""
    number = (await stage.conversation()).id
    await stage.sent_out()
    stage.clock.advance(seconds=3)
    # Another process has the lane, and does not come to it.
    slow = MessageStore(database, stage.clock)
    [lane] = await slow.claim("slow", limit=1, lease_seconds=30)
    handoff = stage.application.handoff
    await handoff.claim(number, "ann")
    if replies:
        await handoff.reply(number, "ann", "Tomorrow, I have looked it up.")
    await handoff.hand_back(number, "ann")
    before = len(stage.channel.sent)
    assert await slow.release(lane, ready_at=stage.clock())
    await stage.settle(waiting)
    return [one.kind for one in stage.channel.sent[before:] if one.sender.role == "bot"]


@pytest.mark.parametrize(
    ("replies", "said"), [(True, ["handback"]), (False, ["handback", "handoff"])]
)
async def test_what_waited_in_line_while_an_agent_wrote_is_not_answered_after_the_handback(
    stage: Stage, database: Database, replies: bool, said: list[str]
) -> None:
    await stage.customer_says("How long do I have to keep a broken item?")
    waiting = await stage.accept(stage.message("My red kettle"))
    assert await said_too_late(stage, database, waiting, replies=replies) == said


async def test_a_choice_that_waited_while_an_agent_wrote_is_not_answered_after_the_handback(
    stage: Stage, database: Database
) -> None:
    [reply] = await stage.customer_says("How long do I have to keep a broken item?")
    choice = next(button for button in reply.buttons if button.action == "choice")
    await stage.accept(stage.message("My red kettle"))
    pressed = ButtonPressed(
        event_id="press",
        conversation=CHAT,
        token=choice.token,
        sender=Sender("customer-1"),
        sent_at=stage.clock(),
    )
    waiting = await stage.accept(pressed)
    assert await said_too_late(stage, database, waiting) == ["handback"]
    # It may be pressed again.
    [answer] = await stage.customer_presses(choice.label)
    assert answer.text == "You have 15 days."


async def test_talk_that_waited_while_an_agent_wrote_is_not_answered_after_the_handback(
    database: Database, clock: Clock
) -> None:
    nosy = FakeAdapter(settings=AdapterSettings(platform="fake", overhear=True))
    async with staged(database, clock, nosy) as stage:
        await stage.customer_says("When will my refund arrive?", in_group=True)
        await stage.accept(stage.message("My red kettle", in_group=True))
        talk = stage.message("How do I return an item?", in_group=True, addressed_to_bot=False)
        waiting = await stage.accept(talk)
        assert await said_too_late(stage, database, waiting) == ["handback"]


async def test_an_agent_takes_over_and_gives_back(stage: Stage) -> None:
    await stage.customer_says("转人工")
    conversation = await stage.conversation()
    await stage.application.handoff.claim(conversation.id, "ann")
    await stage.application.handoff.reply(conversation.id, "ann", "Ann here, how can I help?")
    await stage.application.handoff.hand_back(conversation.id, "ann")
    await stage.sent_out()
    [answer] = await stage.customer_says("When will my refund arrive?")
    said = [(message.kind, message.sender.role) for message in stage.channel.sent]
    assert said == [
        ("handoff", "bot"),
        ("message", "agent"),
        ("handback", "bot"),
        ("message", "bot"),
    ]
    assert answer.text == "Within 2 business days."
    assert [case.reason for case in stage.desk.closed] == ["asked_for_person"]


async def test_a_note_to_colleagues_never_reaches_the_customer(stage: Stage) -> None:
    await stage.customer_says("转人工")
    conversation = await stage.conversation()
    before = len(stage.channel.sent)
    await stage.application.handoff.reply(conversation.id, "ann", "difficult one", internal=True)
    await stage.customer_says("hello?")
    assert stage.channel.sent[before:] == []


async def test_after_resolution_the_bot_answers_again(stage: Stage) -> None:
    await stage.customer_says("转人工")
    conversation = await stage.conversation()
    await stage.application.handoff.claim(conversation.id, "ann")
    await stage.application.handoff.resolve(conversation.id, "ann")
    await stage.sent_out()
    [answer] = await stage.customer_says("When will my refund arrive?")
    assert answer.text == "Within 2 business days."
    assert (await stage.conversation()).state is State.BOT


async def test_an_agent_who_writes_in_the_channel_owns_the_conversation(stage: Stage) -> None:
    await stage.customer_says("When will my refund arrive?")
    ann = Sender("7", "agent", "Ann")
    assert await stage.customer_says("I take this one", sender=ann) == []
    assert await stage.customer_says("How do I return an item?") == []
    conversation = await stage.conversation()
    assert (conversation.state, conversation.agent) == (State.AGENT, "Ann")


async def test_a_repeated_event_is_answered_once(stage: Stage) -> None:
    event = stage.message("When will my refund arrive?")
    first = await stage.accept(event)
    again = await stage.accept(event)
    await stage.settle(first)
    assert (first.repeated, again.repeated) == (False, True)
    assert len(stage.channel.sent) == 1


async def test_fragments_of_one_thought_get_one_reply(stage: Stage) -> None:
    for fragment in ("hi", "my refund"):
        await stage.accept(stage.message(fragment))
    [reply] = await stage.customer_says("when will it arrive?")
    assert stage.knowledge.searched[0] == "hi my refund when will it arrive?"
    assert reply.text


async def test_two_whole_questions_get_two_replies_in_order(stage: Stage) -> None:
    await stage.accept(stage.message("When will my refund arrive?"))
    await stage.customer_says("How do I return an item?")
    assert [message.text for message in stage.channel.sent] == [
        "Within 2 business days.",
        "Open the order and press Return.",
    ]


async def test_an_edit_before_the_answer_replaces_the_text(stage: Stage) -> None:
    first = stage.message("About my order,")
    await stage.accept(first)
    edit = MessageEdited(
        event_id="edit-1",
        conversation=CHAT,
        message_id=first.message_id,
        sender=first.sender,
        sent_at=stage.clock(),
        text="When will my refund arrive?",
    )
    await stage.settle(await stage.accept(edit))
    assert [message.text for message in stage.channel.sent] == ["Within 2 business days."]


async def test_a_message_taken_back_before_the_answer_gets_none(stage: Stage) -> None:
    first = stage.message("my refund")
    await stage.accept(first)
    gone = MessageDeleted(
        event_id="gone-1",
        conversation=CHAT,
        message_id=first.message_id,
        sent_at=stage.clock(),
    )
    await stage.settle(await stage.accept(gone))
    assert stage.channel.sent == []


async def test_group_talk_that_is_not_meant_for_the_bot_is_left_alone(stage: Stage) -> None:
    text = "When will my refund arrive?"
    assert await stage.customer_says(text, addressed_to_bot=False) == []


async def test_the_bot_never_answers_a_bot(stage: Stage) -> None:
    robot = Sender("other-bot", "bot")
    assert await stage.customer_says("When will my refund arrive?", sender=robot) == []


async def test_a_follow_up_is_understood_from_what_was_asked(stage: Stage) -> None:
    await stage.customer_says("How long do I have to return?")
    [reply] = await stage.customer_says("an item?")
    assert reply.text == "You have 15 days."


async def test_a_new_question_is_not_mixed_with_what_was_asked_before(stage: Stage) -> None:
    await stage.customer_says("When will my refund arrive?")
    [reply] = await stage.customer_says("Do you rent out elephants by the month?")
    assert reply.kind == "handoff"
    assert stage.knowledge.searched[-1] == "Do you rent out elephants by the month?"


async def test_conversations_do_not_mix(stage: Stage) -> None:
    other = ConversationId("shop", "chat-2")
    await stage.customer_says("转人工")
    [reply] = await stage.customer_says("When will my refund arrive?", chat=other)
    assert reply.conversation == other
    assert reply.text == "Within 2 business days."


async def test_a_failed_send_is_tried_again_in_order(stage: Stage) -> None:
    stage.channel.failures = [ChannelUnavailable("shop", "busy", retry_after_seconds=5)]
    await stage.customer_says("When will my refund arrive?")
    stage.clock.advance(seconds=10)
    await stage.customer_says("How do I return an item?")
    assert [message.text for message in stage.channel.sent] == [
        "Within 2 business days.",
        "Open the order and press Return.",
    ]


async def test_a_message_that_the_platform_refuses_does_not_block_the_next(stage: Stage) -> None:
    stage.channel.failures = [MessageRejected("shop", "never")]
    await stage.customer_says("When will my refund arrive?")
    await stage.customer_says("How do I return an item?")
    assert [message.text for message in stage.channel.sent] == ["Open the order and press Return."]


ODD = ["", "   ", "😀😀", "\u202eمرحبا", "\x00\x07", "<script>alert(1)</script>"]
#: Read in one go, however long: a pattern that tries every place anew takes minutes for these.
LONG = [(piece * 100_000)[:100_000] for piece in ["x", "x1-", "1", " \n", "-", "a@", "a.", "“我"]]


@pytest.mark.parametrize("text", [*ODD, *LONG], ids=lambda text: repr(text[:9]))
async def test_odd_messages_are_normal_turns(stage: Stage, text: str) -> None:
    [reply] = await stage.customer_says(text)
    assert reply.text


async def test_words_meant_for_an_agent_are_never_answered_by_the_bot(stage: Stage) -> None:
    await stage.customer_says("转人工")
    conversation = await stage.conversation()
    await stage.application.handoff.claim(conversation.id, "ann")
    said = await stage.accept(stage.message("thank you anna"))
    assert await stage.application.inbox.settled(said, timeout_seconds=60)
    await stage.application.handoff.resolve(conversation.id, "ann")
    await stage.sent_out()
    assert [message.kind for message in stage.channel.sent] == ["handoff", "resolved"]


async def test_lanes_are_kept_after_a_fault_in_keeping_them(
    database: Database, clock: Any, channel: FakeAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfbot.inbox.POLL_SECONDS", 0.0)
    kept, calls = asyncio.Event(), 0

    async def stumble(store: MessageStore, owner: str) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("no such column")
        kept.set()
        return 0

    monkeypatch.setattr(MessageStore, "free_lost", stumble)
    async with staged(database, clock, channel):
        async with asyncio.timeout(60):
            await kept.wait()
