"""More is asked than can be answered: who is sent away comes again, and nothing is lost."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook

from kfbot.cli.client import Address
from kfbot.cli.load_driving import NotTaken
from kfbot.cli.load_lines import WebChatLine, WebhookLine
from kfbot.knowledge_base import Retrieval
from kfbot.store.backlog import BacklogStore
from kfbot.testing import FakeKnowledgeBase
from tests.conftest import Clock
from tests.integration.conftest import ENTRIES, Served, ServedBot
from tests.platforms.webhook_receiver import WebhookReceiver

pytestmark = pytest.mark.asyncio

SECRET = "whsec_" + base64.b64encode(b"a secret of the shop's own system").decode()
QUESTION = "When will my refund arrive?"
MOST_WAITING = 100


class SlowKnowledgeBase(FakeKnowledgeBase):
    """Finds nothing before it is let."""

    def __init__(self) -> None:
        super().__init__(ENTRIES)
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def search(self, query: str, **given: Any) -> Retrieval:
        self.asked.set()
        await self.go.wait()
        return await super().search(query, **given)


@pytest.fixture(autouse=True)
def always_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kfbot.overload.backlog.LOOK_SECONDS", 0.0)


@asynccontextmanager
async def overloaded(
    served: Served, waiting: int, **settings: Any
) -> AsyncIterator[tuple[ServedBot, WebhookReceiver, WebhookLine]]:
    """A bot that finds nothing yet, and customers who wait for it."""
    async with WebhookReceiver(SECRET) as receiver:
        section = {"platform": "webhook", "secret": SECRET, "callback_url": receiver.url}
        options = {"sections": {"shop": section}, "base": SlowKnowledgeBase()} | settings
        async with served(**options) as bot:
            line = WebhookLine("shop", section | {"callback_url": "http://a.test"}, *_at(bot))
            async with line:
                await asyncio.gather(*(line.say(n, QUESTION, n) for n in range(waiting)))
                yield bot, receiver, line


def _at(bot: ServedBot) -> tuple[Address, str]:
    return Address(bot.url, ""), "run"


async def let_go(bot: ServedBot) -> None:
    """Let everything be answered."""
    assert isinstance(bot.knowledge, SlowKnowledgeBase)
    bot.knowledge.go.set()
    await bot.quiet()


async def test_who_is_sent_away_is_taken_later_and_everybody_is_answered_once(
    served: Served,
) -> None:
    overload = {"most_waiting": MOST_WAITING}
    async with overloaded(served, MOST_WAITING, overload=overload) as (bot, receiver, line):
        before = await bot.stored()
        with pytest.raises(NotTaken) as refused:
            await line.say(MOST_WAITING, QUESTION, MOST_WAITING)
        assert refused.value.kind == "status 503"
        assert refused.value.retry_after_seconds == 5
        async with WebChatLine(*_at(bot)) as chat:
            with pytest.raises(NotTaken, match="status 503"):
                await chat.say(1, QUESTION, 1)
        assert await bot.stored() == before
        await let_go(bot)
        await line.say(MOST_WAITING, QUESTION, MOST_WAITING)
        await bot.quiet()
    answered = sorted(message["conversation"] for message in receiver.requests)
    assert answered == sorted(f"run-{number}" for number in range(MOST_WAITING + 1))


async def test_what_agents_write_is_taken_however_much_waits(served: Served) -> None:
    overload = {"most_waiting": MOST_WAITING}
    async with overloaded(served, MOST_WAITING, overload=overload) as (bot, receiver, _):
        sender = {"id": "agent-1", "name": "Li", "role": "agent"}
        message = {"conversation": "run-7", "message_id": "a", "text": "Hello!", "sender": sender}
        body, now = json.dumps(message), datetime.now(UTC)
        headers = {
            "webhook-id": "agents",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(SECRET).sign("agents", now, body),
        }
        status, _ = await bot.post("/webhooks/shop", data=body.encode(), headers=headers)
        assert status == 202
        await let_go(bot)
    # Whom an agent talks to the bot does not answer any more.
    assert "run-7" not in {message["conversation"] for message in receiver.requests}


async def test_who_asks_and_waits_is_told_at_once_that_it_would_take_too_long(
    served: Served, clock: Clock
) -> None:
    async with overloaded(served, 40, clock=clock) as (bot, _, _):
        clock.advance(seconds=20)
        before = await bot.stored()
        body = {"query": QUESTION, "conversation": "one"}
        async with bot.http.post(f"{bot.url}/api/v1/ask", json=body) as response:
            assert response.status == 503
            assert response.headers["Retry-After"] == "10"
            assert (await response.json())["msg"].endswith("try again in 10 s")
        assert await bot.stored() == before
        await let_go(bot)
        assert (await bot.ask(QUESTION, "one"))["decision"] == "answer"


async def test_questions_without_a_conversation_are_not_piled_up(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfbot.overload.backlog.MOST_ASKING", 1)
    async with overloaded(served, 0) as (bot, _, _):
        ask = {"query": QUESTION}
        first = asyncio.create_task(bot.post("/api/v1/ask", ask))
        assert isinstance(bot.knowledge, SlowKnowledgeBase)
        await bot.knowledge.asked.wait()
        status, answer = await bot.post("/api/v1/ask", ask)
        assert (status, answer["code"]) == (503, 503)
        await let_go(bot)
        assert (await first)[0] == 200
        assert (await bot.post("/api/v1/ask", ask))[0] == 200


async def test_the_line_is_as_long_as_its_first_has_waited(served: Served, clock: Clock) -> None:
    async with overloaded(served, 40, clock=clock) as (bot, _, _):
        store = BacklogStore(bot.database, clock)
        clock.advance(seconds=7)
        events, wait = await store.look()
        assert (events, round(wait.total_seconds())) == (40, 7)
        # What waits for another process is no reason to send anybody away from this one.
        elsewhere = BacklogStore(bot.database, clock, ["another"])
        assert await elsewhere.look() == (0, timedelta())
        ours = BacklogStore(bot.database, clock, ["another", "shop"])
        assert (await ours.look())[0] == 40
        await let_go(bot)
        events, wait = await store.look()
        assert (events, wait.total_seconds()) == (0, 0)
