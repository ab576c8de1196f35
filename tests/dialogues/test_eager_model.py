"""A chat model that proposes an action whatever is said: nothing comes of it without a yes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kfbot.adapter import Capabilities
from kfbot.grounding.writing import Writer
from kfbot.messages import ConversationId
from kfbot.settings import Settings
from kfbot.store.engine import Database
from kfbot.testing import FakeAdapter, FakeChatModel
from tests.dialogues.conftest import Stage, staged
from tests.dialogues.shop import SECRET, SLOTS, actions, proposing, say
from tests.platforms.order_system import OrderSystem

pytestmark = pytest.mark.asyncio

DATA = Path(__file__).parents[3] / "shared" / "data"
SAMPLES = Path(__file__).parents[1] / "evaluation" / "sample_questions.jsonl"


@pytest_asyncio.fixture
async def system() -> AsyncIterator[OrderSystem]:
    async with OrderSystem(SECRET) as opened:
        yield opened


class Eager(FakeChatModel):
    """Says of everything that the order shall be cancelled, and which number was said."""

    async def complete(self, prompt: Any, **given: Any) -> AsyncIterator[str]:
        self.completions = [proposing("cancel_order", order_number="AB123456", refund_to="card")]
        async for piece in super().complete(prompt, **given):
            yield piece


def questions(files: Iterable[Path]) -> list[str]:
    rows = (json.loads(line) for file in files for line in file.read_text("utf-8").splitlines())
    return [f"{row.get('text') or row.get('question')} AB123456" for row in rows]


@pytest_asyncio.fixture
async def eager(database: Database, clock: Any, system: OrderSystem) -> AsyncIterator[Stage]:
    """A shop whose actions ask for no confirmation of their own."""
    given = Settings(slots=SLOTS, actions=actions(system.url, confirm=False, confirm_en=""))
    channel = FakeAdapter(capabilities=Capabilities(buttons=True))
    async with staged(database, clock, channel, given, writer=Writer(Eager([]))) as shop:
        yield shop


async def test_of_a_model_that_always_proposes_nothing_is_carried_out(
    eager: Stage, system: OrderSystem
) -> None:
    asked = questions([SAMPLES])[::32]
    for number, text in enumerate(asked):
        await say(eager, text, chat=ConversationId("shop", f"chat-{number % 4}"))
    pressable = [button.label for one in eager.channel.sent for button in one.buttons]
    assert pressable.count("cancel my order") + pressable.count("取消订单") > 3
    assert system.requests == []


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
async def test_of_public_questions_and_a_model_that_always_proposes_nothing_is_carried_out(
    eager: Stage, system: OrderSystem
) -> None:
    files = sorted([*DATA.glob("*/queries.jsonl"), *DATA.glob("*/questions*.jsonl")])
    asked = questions(files)[::10]
    turns = [await eager.application.ask(text) for text in asked]
    assert len([turn for turn in turns if "offered" in turn.usage]) > 1000
    assert system.requests == []
