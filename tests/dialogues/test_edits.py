"""A message that is edited after its answer: a new question only if its meaning changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kfbot.adapter import AdapterSettings
from kfbot.conversation import State
from kfbot.messages import Attachment, MessageEdited, Sender
from kfbot.store.engine import Database
from kfbot.testing import FakeAdapter
from kfbot.texts import command_texts, texts
from tests.dialogues.conftest import CHAT, Stage, staged

pytestmark = pytest.mark.asyncio
CUSTOMER = Sender("customer-1")
REFUND = "When will my refund arrive?"
RETURN = "How do I return an item?"
ADMIN = Sender("7", display_name="Ada")


@pytest_asyncio.fixture
async def admins(database: Database, clock: Any) -> AsyncIterator[Stage]:
    channel = FakeAdapter(settings=AdapterSettings(platform="fake", admins=("7",)))
    async with staged(database, clock, channel) as opened:
        yield opened


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


@pytest.mark.parametrize("first", [REFUND, "/kb stauts"])
async def test_an_edit_after_the_answer_that_makes_a_command_is_carried_out(
    admins: Stage, first: str
) -> None:
    asked = admins.message(first, sender=ADMIN)
    await admins.settle(await admins.accept(asked))
    [reply] = await edited(admins, asked.message_id, "/kb status", ADMIN)
    assert reply.startswith("- **fake**: 5 documents")
    assert "/kb status" not in admins.knowledge.searched


async def test_a_customers_edit_that_makes_a_command_is_turned_away(stage: Stage) -> None:
    asked = stage.message(REFUND)
    await stage.settle(await stage.accept(asked))
    assert await edited(stage, asked.message_id, "/kb status", CUSTOMER) == [
        command_texts("en").refused
    ]


async def test_an_edit_that_leaves_a_command_as_it_was_is_nothing(admins: Stage) -> None:
    asked = admins.message("/kb  status", sender=ADMIN)
    await admins.settle(await admins.accept(asked))
    assert await edited(admins, asked.message_id, "/kb status ", ADMIN) == []


async def test_overheard_talk_does_not_become_a_command_by_an_edit(admins: Stage) -> None:
    overheard = admins.message("see you", sender=ADMIN, addressed_to_bot=False)
    await admins.settle(await admins.accept(overheard))
    assert await edited(admins, overheard.message_id, "/bot pause", ADMIN) == []


async def test_a_picture_that_gets_its_words_later_is_answered(stage: Stage) -> None:
    picture = stage.message("", attachments=(Attachment("photo"),))
    await stage.settle(await stage.accept(picture))
    assert await edited(stage, picture.message_id, RETURN, CUSTOMER) == [
        "Open the order and press Return."
    ]


async def test_edits_count_for_what_is_too_much(database: Database, clock: Any) -> None:
    settings = AdapterSettings(platform="fake", messages_per_minute=1)
    async with staged(database, clock, FakeAdapter(settings=settings)) as stage:
        asked = stage.message(REFUND)
        await stage.settle(await stage.accept(asked))
        told = [
            await edited(stage, asked.message_id, text, CUSTOMER)
            for text in (
                RETURN,
                "运费是多少",
                "怎么开发票",
                "How long do I have to return an item?",
            )
        ]
        assert told == [
            ["Open the order and press Return."], ["满 99 元包邮，否则 8 元。"],
            [texts("zh").too_many], [],
        ]  # fmt: skip


async def test_an_edit_before_the_answer_counts_with_its_message(
    database: Database, clock: Any
) -> None:
    settings = AdapterSettings(platform="fake", messages_per_minute=1)
    async with staged(database, clock, FakeAdapter(settings=settings)) as stage:
        asked = stage.message("my refund")
        await stage.accept(asked)
        assert await edited(stage, asked.message_id, REFUND, CUSTOMER) == [
            "Within 2 business days."
        ]
