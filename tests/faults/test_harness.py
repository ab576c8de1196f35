"""Customers, platform and checker together: a bot that is at fault is found out."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from tests.faults.checker import Verdict, check
from tests.faults.driver import Customers, Habits
from tests.faults.faq import ENTRIES, QUESTIONS
from tests.faults.scene import SECRET
from tests.faults.stand_in import Platform

pytestmark = pytest.mark.asyncio

#: The replies to a question, from those that are due.
Fault = Callable[[int, list[str]], list[str]]


class SmallBot:
    """Stands for a bot: acknowledges each event, and sends what a fault makes of the answer."""

    def __init__(self, platform: Platform, fault: Fault) -> None:
        self._platform = platform
        self._fault = fault
        self._known: set[str] = set()
        self._numbers = itertools.count()
        self._due: dict[str, list[str]] = {}

    async def take(self, request: web.Request) -> web.Response:
        """A webhook."""
        message = await request.json()
        webhook_id = request.headers["webhook-id"]
        if webhook_id not in self._known:
            self._known.add(webhook_id)
            due = self._due.setdefault(message["conversation"], [])
            due.append(ENTRIES[message["text"]])
            said = self._fault(next(self._numbers), due)
            for text in said:
                await self._send(message["conversation"], text)
        return web.Response(status=202)

    async def _send(self, chat: str, text: str) -> None:
        message_id = f"msg-{next(self._numbers)}"
        body = json.dumps({"conversation": chat, "message_id": message_id, "text": text})
        now = datetime.now(UTC)
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(SECRET).sign(message_id, now, body),
        }
        url = self._platform.callback_url("small")
        async with aiohttp.ClientSession() as http, http.post(url, data=body, headers=headers):
            pass


@asynccontextmanager
async def running(bot: SmallBot) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/", bot.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def judged(fault: Fault) -> Verdict:
    """What is found out about a bot with a fault."""
    habits = Habits(pause_seconds=0.001, patience_seconds=0.3, again=0.3, at_once=0.3)
    async with (
        Platform(SECRET) as platform,
        running(SmallBot(platform, fault)) as url,
        Customers(platform, [url], SECRET, habits=habits) as customers,
    ):
        await asyncio.gather(*(customers.converse(f"chat-{n}", QUESTIONS) for n in range(3)))
        assert customers.redeliveries
        assert not customers.failures
        return check(customers.questions, platform.got)


def all_of(due: list[str]) -> list[str]:
    said, due[:] = list(due), []
    return said


async def test_a_bot_without_a_fault_is_found_faultless() -> None:
    verdict = await judged(lambda number, due: all_of(due))
    assert verdict.faultless, str(verdict)
    assert not verdict.repeated
    assert verdict.questions == 3 * len(QUESTIONS)


async def test_a_bot_that_forgets_is_found_out() -> None:
    def forgets(number: int, due: list[str]) -> list[str]:
        return all_of(due)[: 0 if number % 5 == 4 else 1]

    verdict = await judged(forgets)
    assert verdict.lost
    assert not verdict.doubled


async def test_a_bot_that_says_things_twice_is_found_out() -> None:
    verdict = await judged(lambda number, due: all_of(due) * (2 if number % 5 == 4 else 1))
    assert verdict.doubled
    assert not verdict.lost


async def test_a_bot_that_mixes_up_the_order_is_found_out() -> None:
    def mixes_up(number: int, due: list[str]) -> list[str]:
        return all_of(due)[::-1] if len(due) > 1 else []

    verdict = await judged(mixes_up)
    assert verdict.reordered
    assert not verdict.doubled


async def test_a_bot_that_calls_an_agent_is_found_out() -> None:
    verdict = await judged(lambda number, due: all_of(due) and ["Somebody will help you."])
    assert verdict.strange
