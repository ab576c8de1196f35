"""A message that is edited after its answer: a new question only if its meaning changed."""

from __future__ import annotations

from typing import Any

import pytest

from kfbot.conversation import State
from kfbot.messages import MessageEdited, Sender
from tests.dialogues.conftest import CHAT, Stage

pytestmark = pytest.mark.asyncio
CUSTOMER = Sender("customer-1")
REFUND = "When will my refund arrive?"
RETURN = "How do I return an item?"


async def edited(stage: Stage, message_id: str, text: str, sender: Sender) -> list[str]:
    before = len(stage.channel.sent)
    edit = MessageEdited(
        event_id=f"edit-{next(stage.numbers)}", conversation=CHAT, message_id=message_id,
        sender=sender, sent_at=stage.clock(), text=text,
    )  # fmt: skip
    await stage.settle(await stage.accept(edit))
    return [message.text for message in stage.channel.sent[before:]]


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("when will my refund arrive", []),
        ("  When will my REFUND arrive?! ", []),
        (RETURN, ["Open the order and press Return."]),
        ("", []),
    ],
)
async def test_an_edit_after_the_answer_is_a_question_if_its_meaning_changed(
    stage: Stage, text: str, answers: list[str]
) -> None:
    asked = stage.message(REFUND)
    await stage.settle(await stage.accept(asked))
    assert await edited(stage, asked.message_id, text, CUSTOMER) == answers
    assert await edited(stage, asked.message_id, text, CUSTOMER) == []


async def test_mending_an_earlier_question_does_not_ask_it_again(stage: Stage) -> None:
    asked = stage.message(REFUND)
    await stage.settle(await stage.accept(asked))
    await stage.customer_says(RETURN)
    assert await edited(stage, asked.message_id, REFUND.upper(), CUSTOMER) == []


async def test_an_edit_of_one_message_of_a_burst_asks_the_whole_again(stage: Stage) -> None:
    first = stage.message("my refund")
    await stage.accept(first)
    await stage.customer_says("when will it arrive?")
    await edited(stage, first.message_id, "my parcel", CUSTOMER)
    assert "my parcel when will it arrive?" in stage.knowledge.searched


async def test_talk_that_was_not_meant_for_the_bot_is_not_answered_for_being_edited(
    stage: Stage,
) -> None:
    await stage.customer_says(RETURN)
    overheard = stage.message("see you", addressed_to_bot=False)
    await stage.settle(await stage.accept(overheard))
    assert await edited(stage, overheard.message_id, REFUND, CUSTOMER) == []


@pytest.mark.parametrize("role", ["agent", "bot"])
async def test_only_a_customers_edit_is_answered(stage: Stage, role: Any) -> None:
    await stage.customer_says(RETURN)
    said = stage.message("Let me look.", sender=Sender("7", role, "Ann"))
    await stage.settle(await stage.accept(said))
    conversation = await stage.conversation()
    if conversation.state is State.AGENT:
        await stage.application.handoff.hand_back(conversation.id, "Ann")
        await stage.sent_out()
    assert await edited(stage, said.message_id, REFUND, said.sender) == []


async def test_what_was_said_to_an_agent_is_not_answered_for_being_edited(stage: Stage) -> None:
    await stage.customer_says("转人工")
    conversation = await stage.conversation()
    await stage.application.handoff.claim(conversation.id, "ann")
    said = stage.message("thank you anna")
    await stage.settle(await stage.accept(said))
    await stage.application.handoff.hand_back(conversation.id, "ann")
    await stage.sent_out()
    assert await edited(stage, said.message_id, REFUND, CUSTOMER) == []
