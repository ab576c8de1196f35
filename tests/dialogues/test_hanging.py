"""Which of the customer's messages an answer is shown under."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from kfbot.adapter import Capabilities
from kfbot.messages import ButtonPressed, ConversationId, MessageEdited, Sender
from kfbot.testing import FakeAdapter
from tests.dialogues.conftest import CHAT, Stage

pytestmark = pytest.mark.asyncio

REFUND, RETURN = "When will my refund arrive?", "How do I return an item?"
DOUBTFUL = "How long do I have to keep a broken item?"
KEEP = "How long do I have to return an item?"
GROUP = ConversationId("shop", "group-1", member="customer-1")
ASKED: dict[str, Any] = {"chat": GROUP, "in_group": True}


@pytest.fixture
def channel() -> FakeAdapter:
    return FakeAdapter(capabilities=Capabilities(buttons=True, replies=True, text_length=40))


async def test_between_two_people_an_answer_right_below_its_question_hangs_under_nothing(
    stage: Stage,
) -> None:
    for question in (REFUND, RETURN, "hi"):
        [answer] = await stage.customer_says(question)
        assert answer.in_reply_to is None


async def test_of_several_questions_each_answer_hangs_under_its_own(stage: Stage) -> None:
    first, second = stage.message(REFUND), stage.message(RETURN)
    for event in (first, second):
        accepted = await stage.accept(event)
    await stage.settle(accepted)
    assert [(one.text, one.in_reply_to) for one in stage.channel.sent] == [
        ("Within 2 business days.", first.message_id),
        ("Open the order and press Return.", second.message_id),
    ]


async def test_in_a_group_an_answer_hangs_under_its_question(stage: Stage) -> None:
    asked = stage.message(REFUND, **ASKED)
    await stage.settle(await stage.accept(asked))
    assert [one.in_reply_to for one in stage.channel.sent] == [asked.message_id]


async def test_the_answer_to_an_edit_hangs_under_what_was_edited(stage: Stage) -> None:
    asked = stage.message(REFUND)
    await stage.settle(await stage.accept(asked))
    edit = MessageEdited(
        event_id="edit", conversation=CHAT, message_id=asked.message_id, sender=asked.sender,
        sent_at=stage.clock(), text=RETURN, in_group=False,
    )  # fmt: skip
    await stage.settle(await stage.accept(edit))
    assert stage.channel.sent[-1].in_reply_to == asked.message_id


async def test_of_an_answer_in_parts_the_first_and_the_one_with_buttons_hang(stage: Stage) -> None:
    long = "First open the order. Then press the button. Then wait for the mail. Then pack it up."
    stage.knowledge.entries = {**stage.knowledge.entries, RETURN: long}
    asked = stage.message(RETURN, **ASKED)
    await stage.settle(await stage.accept(asked))
    sent = stage.channel.sent
    assert len(sent) > 2
    assert [one.in_reply_to for one in sent] == [
        asked.message_id, *[None] * (len(sent) - 2), asked.message_id
    ]  # fmt: skip


async def test_in_a_group_the_answer_to_a_press_hangs_under_what_was_asked(stage: Stage) -> None:
    asked = stage.message(DOUBTFUL, **ASKED)
    await stage.settle(await stage.accept(asked))
    [token] = [one.token for one in stage.channel.sent[-1].buttons if one.label == KEEP]
    press = ButtonPressed(
        event_id="press", conversation=GROUP, token=token, sender=Sender("customer-1"),
        sent_at=stage.clock(), in_group=True,
    )  # fmt: skip
    await stage.settle(await stage.accept(press))
    answer = stage.channel.sent[-1]
    assert (answer.text, answer.in_reply_to) == ("You have 15 days.", asked.message_id)


@pytest_asyncio.fixture
async def flat(database: Any, clock: Any) -> Any:
    """A platform that cannot show a message under another."""
    from tests.dialogues.conftest import staged

    async with staged(database, clock, FakeAdapter()) as opened:
        yield opened


async def test_where_nothing_can_hang_nothing_does(flat: Stage) -> None:
    [answer] = await flat.customer_says(REFUND, **ASKED)
    assert answer.in_reply_to is None
