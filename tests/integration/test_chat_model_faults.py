"""Every fault of an endpoint, through a whole conversation: what customer and operator see.

The table in docs/chat-model.md is this one; `test_the_table_of_faults_is_what_happens` says so.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kfbot.bootstrap import wire
from kfbot.grounding.writing import Writer
from kfbot.messages import ConversationId, MessageReceived, Sender
from kfbot.model import breaker, failover
from kfbot.model.opening import open_chat_model
from kfbot.model_settings import ChatModelSettings
from kfbot.settings import Settings
from kfbot.store.engine import Database
from kfbot.store.token_use import TokenUse
from kfbot.testing import FakeAdapter, FakeKnowledgeBase
from tests.conftest import Clock
from tests.platforms.openai_stand_in import (
    GARBAGE,
    HTML,
    NO_CHOICES,
    TOO_LONG,
    OpenAiStandIn,
    Reply,
    quoting,
)

pytestmark = pytest.mark.asyncio

QUESTION = "How long do I have to return an item?"
#: The first sentence is what the stand-in writes; all of it is what kfbot quotes.
DOCUMENT = "You have 15 days to return an item. The item must be unused."
WRITTEN, QUOTED = "You have 15 days to return an item.", DOCUMENT
TABLE = Path(__file__).parents[2] / "docs/chat-model.md"


@dataclass
class Run:
    """A bot that is asked one question."""

    stand_in: OpenAiStandIn
    channel: FakeAdapter
    ask: Callable[[], Any]


@asynccontextmanager
async def running(
    database: Database, clock: Clock, replies: Sequence[Reply], **fields: Any
) -> AsyncIterator[Run]:
    async with OpenAiStandIn(list(replies)) as stand_in:
        stand_in.answer = quoting
        settings = ChatModelSettings(
            base_url=stand_in.url,
            **{"first_token_seconds": 0.3, "timeout_seconds": 1.0, **fields},
        )
        use = TokenUse(database)
        await use.add(clock().date(), "shop", 100)
        model = open_chat_model(settings, use=use)
        assert model is not None
        # What is counted today is what the budget sees.
        model._clock = clock  # type: ignore[attr-defined]
        channel = FakeAdapter("shop")
        application = wire(
            Settings(),
            database,
            FakeKnowledgeBase({QUESTION: DOCUMENT}, kind="document"),
            writer=Writer(model, settings),
            channels={"shop": channel},
            clock=clock,
        )
        task = asyncio.create_task(application.run())
        numbers = iter(range(100))

        async def ask() -> str:
            number = next(numbers)
            event = MessageReceived(
                event_id=f"event-{number}",
                conversation=ConversationId("shop", f"chat-{number}"),
                message_id=f"message-{number}",
                sender=Sender(f"customer-{number}"),
                sent_at=clock(),
                text=QUESTION,
            )
            accepted = await application.inbox.accept(event)
            clock.advance(seconds=3)
            application.inbox.wake()
            assert await application.inbox.settled(accepted, timeout_seconds=60)
            async with asyncio.timeout(60):
                while not await application.inbox.idle():  # noqa: ASYNC110  # nothing tells
                    await asyncio.sleep(0)
            return channel.sent[-1].text

        try:
            yield Run(stand_in, channel, ask)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await model.aclose()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover, "_PAUSE_SECONDS", 0.01)
    # Nothing comes back while a row of the table is looked at.
    monkeypatch.setattr(breaker, "_FIRST_PAUSE_SECONDS", 100.0)


#: Name in the table → what the endpoint does, settings, and the event that the log must hold.
FAULTS: dict[str, tuple[list[Reply], dict[str, Any], str]] = {
    "slow first token": ([Reply(text="a", first_token_seconds=9)], {}, "chat_model_endpoint_down"),
    "hangs": ([Reply(hangs=True)], {}, "chat_model_endpoint_down"),
    "slow tokens": ([Reply(text="a " * 200, token_seconds=0.05)], {}, "chat_model_failed"),
    "stream cut in the middle": ([Reply(text=WRITTEN, cut_after=2)], {}, "chat_model_failed"),
    "stream ends too early": ([Reply(text=WRITTEN, ends_after=2)], {}, "chat_model_failed"),
    "garbage JSON": ([GARBAGE] * 3, {}, "chat_model_endpoint_down"),
    "an HTML page": ([HTML] * 3, {}, "chat_model_endpoint_down"),
    "empty choices": ([NO_CHOICES] * 3, {}, "chat_model_endpoint_down"),
    "plain JSON, not streamed": ([Reply(text=f"{WRITTEN}[1]", plain=True)], {}, "chat_model_asked"),
    "429 with a short Retry-After": (
        [Reply(status=429, headers={"Retry-After": "0.1"})], {}, "chat_model_asked",
    ),
    "429 with a long Retry-After": (
        [Reply(status=429, headers={"Retry-After": "60"})], {}, "chat_model_endpoint_down",
    ),
    "429 again and again": ([Reply(status=429)] * 3, {}, "chat_model_endpoint_down"),
    "500 once": ([Reply(status=500)], {}, "chat_model_asked"),
    "500 again and again": ([Reply(status=500)] * 3, {}, "chat_model_endpoint_down"),
    "401, a wrong key": ([Reply(status=401)], {}, "chat_model_endpoint_down"),
    "400, the prompt is too long": ([TOO_LONG], {}, "chat_model_failed"),
    "connection refused": ([], {"refused": True}, "chat_model_endpoint_down"),
    "the budget is spent": ([], {"tokens_per_day": 50}, "budget_spent"),
}  # fmt: skip


async def seen(
    fault: str, database: Database, clock: Clock, caplog: pytest.LogCaptureFixture
) -> tuple[str, str]:
    """What the customer got, and the line of the log that tells the operator why."""
    replies, fields, event = FAULTS[fault]
    fields = dict(fields)
    refused = fields.pop("refused", False)
    async with running(database, clock, replies, model="stand-in-1", **fields) as run:
        if refused:
            await run.stand_in.stop()
        with caplog.at_level(logging.INFO, "kfbot"):
            text = await run.ask()
    lines = [one.getMessage() for one in caplog.records if getattr(one, "event", "") == event]
    assert lines, f"{event} was not logged"
    customer = {True: "quoted answer", False: "written answer"}[QUOTED in text]
    assert WRITTEN in text
    assert QUESTION not in caplog.text
    assert "榆" not in caplog.text
    said = re.sub(r"in [\d.]+ s, request \w+", "in … s, request …", lines[0])
    return customer, said


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_table_of_faults_is_what_happens(
    fault: str, database: Database, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    customer, line = await seen(fault, database, clock, caplog)
    assert f"| {fault} | {customer} | `{line}` |" in TABLE.read_text("utf-8")


async def test_after_a_dead_endpoint_customers_are_answered_without_it(
    database: Database, clock: Clock
) -> None:
    async with running(database, clock, [Reply(hangs=True)], model="stand-in-1") as run:
        assert [QUOTED in await run.ask() for _ in range(3)] == [True, True, True]
        assert len(run.stand_in.requests) == 1


async def test_a_budget_of_a_channel_that_is_not_spent_lets_answers_be_written(
    database: Database, clock: Clock
) -> None:
    async with running(database, clock, [], tokens_per_day=100_000) as run:
        assert QUOTED not in (text := await run.ask())
        assert WRITTEN in text
