"""Follow-ups that a chat model makes standalone: rewritten well, badly, and not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from kfbot.answer import Answering, answer_question
from kfbot.conversation import HistoryMessage
from kfbot.grounding.writing import Writer
from kfbot.messages import OutboundMessage
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.testing import FakeAdapter, FakeChatModel, FakeKnowledgeBase
from tests.dialogues.conftest import Stage, staged

pytestmark = pytest.mark.asyncio

ENTRIES = {
    "How much does it cost to ship a lamp abroad?": "20 EUR.",
    "Do you sell lamps?": "We sell lamps, and ship them abroad.",
    "台灯寄到国外的运费是多少": "80 元。",
    "你们卖台灯吗": "卖台灯，也可以寄到国外。",
}
#: The question, what leans on it, that made standalone, and the answer.
TALKS = [
    (
        "Do you sell lamps?",
        "how much does it cost?",
        "How much does it cost to ship a lamp abroad?",
        "20 EUR.",
    ),
    ("你们卖台灯吗", "那运费是多少呢", "台灯寄到国外的运费是多少", "80 元。"),
]

Talking = Callable[..., AbstractAsyncContextManager[tuple[Stage, FakeChatModel]]]


@pytest.fixture
def talking(database: Database, clock: Any, channel: FakeAdapter) -> Talking:
    @asynccontextmanager
    async def open_stage(*completions: str) -> AsyncIterator[tuple[Stage, FakeChatModel]]:
        model = FakeChatModel(list(completions))
        knowledge = FakeKnowledgeBase(ENTRIES)
        writer = Writer(model)
        async with staged(database, clock, channel, writer=writer, knowledge=knowledge) as stage:
            yield stage, model

    return open_stage


async def last_turn(stage: Stage, database: Database) -> Any:
    query = tables.turn.select().order_by(tables.turn.c.id.desc()).limit(1)
    return await database.read(lambda c: c.execute(query).one())


def texts(sent: list[OutboundMessage]) -> list[str]:
    return [one.text for one in sent]


@pytest.mark.parametrize(("opening", "follow_up", "written", "answer"), TALKS)
async def test_a_follow_up_is_answered_as_the_question_that_it_is(
    talking: Talking, database: Database, opening: str, follow_up: str, written: str, answer: str
) -> None:
    async with talking(written) as (stage, model):
        await stage.customer_says(opening)
        assert model.prompts == []
        assert texts(await stage.customer_says(follow_up)) == [answer]
        turn = await last_turn(stage, database)
        # What was searched for, above the customer's own words.
        assert turn.question.splitlines() == [written, follow_up]
        assert turn.usage["requests"] == 1
        assert written in stage.knowledge.searched


@pytest.mark.parametrize(
    ("opening", "follow_up", "completions"),
    [
        ("Do you sell lamps?", "how much does it cost?", ["How much does a Tesla cost?"]),
        ("Do you sell lamps?", "how much does it cost?", []),
        ("你们卖台灯吗", "那运费是多少呢", ["特斯拉的运费是多少"]),
        ("你们卖台灯吗", "那运费是多少呢", []),
    ],
)
async def test_a_bad_rewriting_and_a_dead_model_change_nothing(
    talking: Talking, database: Database, opening: str, follow_up: str, completions: list[str]
) -> None:
    history = [HistoryMessage("customer", opening), HistoryMessage("bot", ENTRIES[opening])]
    plain = await answer_question(follow_up, Answering(FakeKnowledgeBase(ENTRIES)), history=history)
    async with talking(*completions) as (stage, model):
        await stage.customer_says(opening)
        await stage.customer_says(follow_up)
        assert len(model.prompts) == 1
        assert not {*completions} & {*stage.knowledge.searched}
        turn = await last_turn(stage, database)
        assert (turn.decision, turn.question) == (plain.decision, plain.question)
        assert turn.usage["requests"] == 1


@pytest.mark.parametrize("said", ["thanks!", "谢谢", "a person please", "转人工", "👍", "hello"])
async def test_small_talk_and_the_wish_for_a_person_are_never_rewritten(
    talking: Talking, said: str
) -> None:
    async with talking("Do you sell lamps abroad?") as (stage, model):
        await stage.customer_says("Do you sell lamps?")
        await stage.customer_says(said)
        assert model.prompts == []


async def test_the_first_question_of_a_conversation_is_never_rewritten(talking: Talking) -> None:
    async with talking("How much does it cost to ship a lamp abroad?") as (stage, model):
        await stage.customer_says("how much does it cost?")
        assert model.prompts == []


async def test_of_several_questions_at_once_one_is_rewritten_at_most(talking: Talking) -> None:
    async with talking("", "", "") as (stage, model):
        await stage.customer_says("Do you sell lamps?")
        await stage.customer_says("How much does it cost? And how long does that take?")
        assert len(model.prompts) == 1


async def test_an_edit_that_changes_nothing_is_not_a_new_question(talking: Talking) -> None:
    opening, follow_up, written, answer = TALKS[0]
    async with talking(written, written) as (stage, model):
        await stage.customer_says(opening)
        assert texts(await stage.customer_says(follow_up, message_id="m-2")) == [answer]
        again = await stage.customer_says(follow_up.upper(), message_id="m-2", is_edited=True)
        assert (again, len(model.prompts)) == ([], 1)
