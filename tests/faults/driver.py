"""Customers who keep the bot busy, through a sender that repeats until it is acknowledged."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import aiohttp
from standardwebhooks import Webhook

from tests.faults.checker import Question
from tests.faults.faq import ENTRIES, QUESTIONS
from tests.faults.stand_in import Platform
from tests.faults.waiting import until

#: Between two tries of the sender.
_RETRY_SECONDS = 0.05
#: Questions that a customer asks before the reply to the first of them.
_AHEAD = 2


@dataclass(frozen=True)
class Habits:
    """How the customers and their platform behave."""

    #: Between two questions of a customer, on average.
    pause_seconds: float = 0.05
    #: The sender gives a request up after so long and tries the next server.
    timeout_seconds: float = 5.0
    #: A customer gives up after so long without a reply, a sender without an acknowledgement.
    patience_seconds: float = 60.0
    #: Of all events, so many are sent again although they were acknowledged …
    again: float = 0.1
    #: … and so many twice at the same time.
    at_once: float = 0.05


class Customers:
    """Ask known questions in known order, each event under one webhook-id until it is taken.

    Every request goes to the next of the servers in turn, as behind a load balancer.
    """

    def __init__(
        self,
        platform: Platform,
        urls: Sequence[str],
        secret: str,
        *,
        habits: Habits | None = None,
        seed: int = 0,
    ) -> None:
        self.questions: list[Question] = []
        #: What the sender met instead of an acknowledgement.
        self.failures: Counter[str] = Counter()
        #: Events that were posted again, or twice at once, on purpose.
        self.redeliveries = 0
        self._platform = platform
        self._urls = itertools.cycle(urls)
        self._library = Webhook(secret)
        self._habits = habits or Habits()
        self._random = random.Random(seed)
        self._numbers = itertools.count(1)
        self._closing = False
        self._busy: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=self._habits.timeout_seconds)
        self._http = aiohttp.ClientSession(timeout=timeout)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._busy:
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)
        await self._http.close()

    def come(self, count: int) -> None:
        """Keep so many conversations busy; one that is over is followed by another."""
        self._busy += [asyncio.create_task(self._keep_busy()) for _ in range(count)]

    async def leave(self) -> None:
        """Ask nothing more, and wait for the replies to what was asked."""
        self._closing = True
        await asyncio.gather(*self._busy)
        self._busy.clear()

    async def converse(self, chat: str, questions: Sequence[str]) -> None:
        """Hold one conversation; returns with the last reply, or once patience is at its end."""
        asked = 0
        for text in questions:
            if self._closing:
                break
            if not await self._replied(chat, asked - _AHEAD + 1):
                return
            await self._ask(chat, text)
            asked += 1
            await asyncio.sleep(self._random.uniform(0, 2 * self._habits.pause_seconds))
        await self._replied(chat, asked)

    def pour_out(self, chat: str, questions: Sequence[str]) -> asyncio.Task[None]:
        """Ask everything at once; done with the last reply, or once patience is at its end."""
        pouring = asyncio.create_task(self._pour_out(chat, questions))
        self._busy.append(pouring)
        return pouring

    async def _pour_out(self, chat: str, questions: Sequence[str]) -> None:
        for text in questions:
            await self._ask(chat, text)
        await self._replied(chat, len(questions))

    async def _keep_busy(self) -> None:
        while not self._closing:
            first = self._random.randrange(len(QUESTIONS))
            chat = f"busy-{next(self._numbers)}"
            await self.converse(chat, QUESTIONS[first:] + QUESTIONS[:first])

    async def _replied(self, chat: str, count: int) -> bool:
        messages = self._platform.messages[chat]
        return await until(lambda: len(messages) >= count, self._habits.patience_seconds)

    async def _ask(self, chat: str, text: str) -> None:
        question = Question(chat, text, ENTRIES[text], asked_at=time.monotonic())
        self.questions.append(question)
        webhook_id = f"event-{next(self._numbers)}"
        deadline = question.asked_at + self._habits.patience_seconds
        twice = self._random.random() < self._habits.at_once
        again = self._random.random() < self._habits.again
        self.redeliveries += twice + again
        while not await self._post(question, webhook_id, times=2 if twice else 1):
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(_RETRY_SECONDS)
        question.accepted_at = time.monotonic()
        if again:
            await self._post(question, webhook_id)

    async def _post(self, question: Question, webhook_id: str, *, times: int = 1) -> bool:
        """Send an event; True once a server has acknowledged it."""
        tries = (self._try(next(self._urls), question, webhook_id) for _ in range(times))
        return any(await asyncio.gather(*tries))

    async def _try(self, url: str, question: Question, webhook_id: str) -> bool:
        body = json.dumps(
            {
                "conversation": question.chat,
                "message_id": webhook_id,
                "text": question.text,
                "sender": {"id": f"customer of {question.chat}", "role": "customer"},
            },
            ensure_ascii=False,
        )
        now = datetime.now(UTC)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._library.sign(webhook_id, now, body),
        }
        try:
            async with self._http.post(url, data=body.encode(), headers=headers) as response:
                if response.status == 202:
                    return True
                self.failures[f"status {response.status}"] += 1
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.failures[type(error).__name__] += 1
        return False
