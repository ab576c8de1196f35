"""How soon an open desk has a customer's message, and the customer an agent's reply."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kfbot.web.access import VISITOR_COOKIE
from tests.integration.conftest import ServedBot, serving_bot
from tests.integration.desk_client import CONVERSATIONS, DeskClient, colleague, first_admin

pytestmark = [pytest.mark.asyncio, pytest.mark.benchmark]

P95_SECONDS = 0.3
DESKS, AGENTS, CONVERSATION_COUNT, ROUNDS = 50, 10, 500, 100
#: Messages a second, from customers and agents in turn.
RATE = 10.0
#: The page asks for its list again at most this often.
LIST_SECONDS = 1.0


class Seen:
    """When each text was there."""

    def __init__(self) -> None:
        self._texts: defaultdict[str, asyncio.Future[float]] = defaultdict(
            asyncio.get_running_loop().create_future
        )

    def add(self, text: str) -> None:
        if not self._texts[text].done():
            self._texts[text].set_result(time.monotonic())

    async def when(self, text: str) -> float:
        async with asyncio.timeout(60):
            return await self._texts[text]


class Page:
    """An open desk, which does what the page does at every event."""

    def __init__(self, desk: DeskClient, opened: int) -> None:
        self._desk = desk
        self._path = f"{CONVERSATIONS}/{opened}"
        self._after = 0
        self._listed_at = 0.0
        self.seen = Seen()

    async def run(self, ready: asyncio.Event) -> None:
        async with self._desk.events(patience_seconds=600) as events, asyncio.TaskGroup() as tasks:
            while True:
                name, data = await events.next()
                if name == "ready":
                    await self._look()
                    ready.set()
                elif name == "queue" and time.monotonic() - self._listed_at > LIST_SECONDS:
                    self._listed_at = time.monotonic()
                    tasks.create_task(self._desk.get(CONVERSATIONS, params={"view": "all"}))
                elif name == "conversation" and self._path.endswith(f"/{data['id']}"):
                    await self._look()

    async def _look(self) -> None:
        found = await self._desk.get(self._path, params={"after": self._after})
        for message in found["transcript"]:
            self._after = message["id"]
            self.seen.add(message["text"])


@contextmanager
def cpu() -> Iterator[list[float]]:
    """Seconds of this process's cores, over seconds that passed."""
    used, started, share = time.process_time(), time.monotonic(), [0.0]
    yield share
    share[0] = (time.process_time() - used) / (time.monotonic() - started)


class Customer:
    """A visitor of the chat page who waits for an agent."""

    def __init__(self, bot: ServedBot, cookie: str) -> None:
        self._bot = bot
        self.visitor = cookie.partition(".")[0]
        self._cookie = {"Cookie": f"{VISITOR_COOKIE}={cookie}"}
        self.seen = Seen()

    async def write(self, number: int, text: str) -> None:
        body = {"message_id": f"m-{number}", "text": text}
        status, _ = await self._bot.post("/chat/messages", body, headers=self._cookie)
        assert status == 202

    async def follow(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        url = f"{self._bot.url}/chat/events"
        async with self._bot.http.get(url, headers=self._cookie, timeout=timeout) as response:
            async for line in response.content:
                if line.startswith(b"data: ") and b'"role": "agent"' in line:
                    text = line.decode().partition('"text": "')[2].partition('"')[0]
                    self.seen.add(text)


async def customer_of(bot: ServedBot) -> Customer:
    async with bot.http.get(f"{bot.url}/chat") as response:
        cookie = response.headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    customer = Customer(bot, cookie)
    await customer.write(0, "转人工")
    return customer


@asynccontextmanager
async def running(work: list[Any]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def prepared(bot: ServedBot) -> tuple[list[DeskClient], list[Customer]]:
    """Agents who are signed in, the first of whom answers; and customers who wait."""
    anna = await first_admin(bot)
    agents = [anna, *[await colleague(anna, f"agent{number}") for number in range(AGENTS - 1)]]
    customers: list[Customer] = []
    while len(customers) < CONVERSATION_COUNT:
        customers += await asyncio.gather(*(customer_of(bot) for _ in range(25)))
    await bot.quiet()
    return agents, customers


async def talk(
    anna: DeskClient, customers: list[Customer], pages: list[Page], ids: list[int]
) -> tuple[list[float], list[float]]:
    """Customers and agents write in turn; how long each message took to the other side."""
    to_desk: list[float] = []
    to_customer: list[float] = []
    waits: list[asyncio.Task[None]] = []

    async def timed(seen: Seen, text: str, started: float, into: list[float]) -> None:
        into.append(await seen.when(text) - started)

    for number in range(ROUNDS):
        place = number % len(pages)
        started, text = time.monotonic(), f"question {number}"
        await customers[place].write(number + 1, text)
        waits.append(asyncio.create_task(timed(pages[place].seen, text, started, to_desk)))
        await asyncio.sleep(1 / RATE)
        started, text = time.monotonic(), f"reply {number}"
        await anna.reply(ids[place], text, f"r-{number}")
        waits.append(asyncio.create_task(timed(customers[place].seen, text, started, to_customer)))
        await asyncio.sleep(1 / RATE)
    await asyncio.gather(*waits)
    return to_desk, to_customer


async def test_messages_are_quick_between_many_desks_and_customers(
    tmp_path: Path, template_database: Path, measured: list[str]
) -> None:
    load = os.getloadavg()[0]
    everybody = aiohttp.TCPConnector(limit=0)
    async with (
        serving_bot(tmp_path, template_database) as bot,
        aiohttp.ClientSession(connector=everybody, cookie_jar=aiohttp.DummyCookieJar()) as http,
        AsyncExitStack() as stack,
    ):
        bot.http = http
        agents, customers = await prepared(bot)
        talking = customers[:DESKS]
        ids = [await bot.id_of(customer.visitor, "web") for customer in talking]
        pages = [Page(agents[place % AGENTS], number) for place, number in enumerate(ids)]
        opened = [asyncio.Event() for _ in pages]
        work = [page.run(ready) for page, ready in zip(pages, opened, strict=True)]
        followers = [customer.follow() for customer in talking]
        await stack.enter_async_context(running([*followers, *work]))
        await asyncio.gather(*(ready.wait() for ready in opened))
        with cpu() as share:
            to_desk, to_customer = await talk(agents[0], talking, pages, ids)
    slowest = []
    for what, seconds in (("customer to desk", to_desk), ("agent to customer", to_customer)):
        centiles = statistics.quantiles(seconds, n=100)
        measured.append(
            f"desk: {what}: p50 {centiles[49] * 1000:.0f} ms, p95 {centiles[94] * 1000:.0f} ms,"
            f" worst {max(seconds) * 1000:.0f} ms; {DESKS} desks,"
            f" {CONVERSATION_COUNT} conversations, {share[0]:.2f} cores, clients"
            f" included (load {load:.1f} at the start)"
        )
        slowest.append(centiles[94])
    assert max(slowest) < P95_SECONDS
