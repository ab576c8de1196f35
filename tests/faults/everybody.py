"""Customers on every channel at once, each a few questions ahead of the answers, and one agent."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import aiohttp

from kfbot.cli.load_driving import Line, NotTaken, Reply
from tests.faults.checker import Got, Question
from tests.faults.faq import ENTRIES, QUESTIONS

#: Questions that a customer asks before the reply to the first of them.
_AHEAD = 2
#: Conversations that an agent takes part in begin here.
_AGENTS_FIRST = 500_000
_AGAIN_SECONDS = 0.5
#: An agent, and whoever waits for one.
_PATIENCE = 180.0


class Everybody:
    """Keeps conversations busy on all lines; what was asked and got is for the checker."""

    def __init__(self, lines: Sequence[Line], *, pause_seconds: float, patience: float) -> None:
        self.questions: list[Question] = []
        self.got: list[Got] = []
        self.failures: Counter[str] = Counter()
        #: Since they were last looked at: seconds until acknowledged, until replied to.
        self.acks: list[float] = []
        self.answers: list[float] = []
        self._lines = lines
        self._pause = pause_seconds
        self._patience = patience
        self._texts: defaultdict[str, set[str]] = defaultdict(set)
        self._news: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._asked_at: dict[tuple[str, str], float] = {}
        self._random = random.Random(0)
        self._chats = {line.name: itertools.count(1) for line in lines}
        self._closing = asyncio.Event()
        self._busy: list[asyncio.Task[None]] = []
        for line in lines:
            line.on_reply = partial(self._hear, line.name)

    def come(self, count: int) -> None:
        """Keep so many conversations busy on all lines; one that is over is followed by another."""
        lines = itertools.islice(itertools.cycle(self._lines), count)
        self._busy += [asyncio.create_task(self._keep_busy(line)) for line in lines]

    async def leave(self) -> None:
        """Ask nothing more, and wait for the replies to what was asked."""
        self._closing.set()
        await asyncio.gather(*self._busy)

    async def ask(self, line: Line, chat: int, text: str) -> None:
        """Ask, again and again until it is taken or patience is at its end."""
        name = f"{line.name}-{chat}"
        question = Question(name, text, ENTRIES[text], asked_at=time.monotonic())
        if chat < _AGENTS_FIRST:
            self.questions.append(question)
        self._asked_at[name, question.reply] = question.asked_at
        event = next(line.events)
        while True:
            sent_at = time.monotonic()
            try:
                await line.say(chat, text, event)
                break
            except NotTaken as error:
                self.failures[error.kind] += 1
                pause = error.retry_after_seconds
            if time.monotonic() > question.asked_at + self._patience:
                return
            await asyncio.sleep(_AGAIN_SECONDS if pause is None else pause)
        question.accepted_at = time.monotonic()
        if line.acknowledges:
            self.acks.append(question.accepted_at - sent_at)

    async def replied(self, line: Line, chat: int, count: int) -> bool:
        """Wait for so many different replies; False: not within patience."""
        return await self.until(line, chat, lambda texts: len(texts) >= count, self._patience)

    async def until(
        self, line: Line, chat: int, is_so: Callable[[set[str]], bool], seconds: float
    ) -> bool:
        """Wait until a conversation got what is to come; False: not in that time."""
        name = f"{line.name}-{chat}"
        # Hundreds wait: asking again and again would cost more than the bot does.
        news = self._news[name]
        try:
            async with asyncio.timeout(seconds):
                while not is_so(self._texts[name]):
                    news.clear()
                    await news.wait()
        except TimeoutError:
            return False
        return True

    def heard(self, line: Line, chat: int) -> set[str]:
        """What a conversation got so far."""
        return self._texts[f"{line.name}-{chat}"]

    async def _keep_busy(self, line: Line) -> None:
        # They do not all come in the same moment.
        await self._wait(self._random.uniform(0, 2 * self._pause))
        while not self._closing.is_set():
            chat, asked = next(self._chats[line.name]), 0
            for text in self._random.sample(QUESTIONS, len(QUESTIONS)):
                if self._closing.is_set() or not await self.replied(line, chat, asked - _AHEAD + 1):
                    break
                await self.ask(line, chat, text)
                asked += 1
                await self._wait(self._random.uniform(0, 2 * self._pause))
            await self.replied(line, chat, asked)

    async def _wait(self, seconds: float) -> None:
        """Wait, or until all leave."""
        closing = asyncio.ensure_future(self._closing.wait())
        await asyncio.wait([closing], timeout=seconds)
        closing.cancel()

    def _hear(self, line: str, chat: int, reply: Reply) -> None:
        name, now = f"{line}-{chat}", time.monotonic()
        # A platform shows the answer in its own way, with the source below.
        text = next((one for one in ENTRIES.values() if one in reply.text), reply.text)
        if chat < _AGENTS_FIRST:
            # Without a key it is known again by its words.
            self.got.append(Got(name, reply.key or text, text, now))
        if text not in self._texts[name] and (name, text) in self._asked_at:
            self.answers.append(now - self._asked_at.pop((name, text)))
        self._texts[name].add(text)
        self._news[name].set()


class Agent:
    """Takes over conversations of their own, writes, and gives them back; over the HTTP API."""

    def __init__(self, everybody: Everybody, line: Line, chat_name: str, url: str) -> None:
        """`chat_name`: what the line's conversations are called, with {} for the number."""
        self._everybody, self._line, self._url = everybody, line, url
        self._chat_name = chat_name
        self._numbers = itertools.count(_AGENTS_FIRST)
        self.rounds = 0
        self.faults: list[str] = []

    async def take_part(self) -> None:
        """One conversation from the first question to the answer after the handback."""
        chat = next(self._numbers)
        first, meanwhile, last = QUESTIONS[:3]
        words = f"Agent Li writes number {chat}"
        everybody, line = self._everybody, self._line
        await everybody.ask(line, chat, first)
        if not await everybody.replied(line, chat, 1):
            return self._fault(chat, "no reply before the claim")
        number = await self._find(chat)
        await self._post(f"{number}/claim", {"agent": "Li"})
        await everybody.ask(line, chat, meanwhile)
        await self._post(f"{number}/reply", {"agent": "Li", "text": words})
        if not await everybody.until(line, chat, lambda got: words in got, _PATIENCE):
            return self._fault(chat, "the agent's words did not come")
        await self._post(f"{number}/handback", {"agent": "Li"})
        await everybody.ask(line, chat, last)
        if not await everybody.until(line, chat, lambda got: ENTRIES[last] in got, _PATIENCE):
            return self._fault(chat, "no reply after the handback")
        if ENTRIES[meanwhile] in everybody.heard(line, chat):
            return self._fault(chat, "the bot talked over the agent")
        self.rounds += 1

    def _fault(self, chat: int, what: str) -> None:
        heard = self._everybody.heard(self._line, chat)
        self.faults.append(f"{chat}: {what}; heard {sorted(heard)}")

    async def _find(self, chat: int) -> int:
        query = {"channel": self._line.name, "chat": self._chat_name.format(chat)}
        [found] = await self._call("GET", "", params=query)
        return int(found["id"])

    async def _post(self, path: str, body: dict[str, str]) -> None:
        await self._call("POST", f"/{path}", json=body)

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        """Call until it succeeds: the server may be away at the moment, or have heard already."""
        url = f"{self._url}/api/v1/conversations{path}"
        deadline = time.monotonic() + _PATIENCE
        async with aiohttp.ClientSession() as http:
            while time.monotonic() < deadline:
                try:
                    async with http.request(method, url, **options) as response:
                        if response.status < 300:
                            return (await response.json())["data"]
                        if response.status == 409:
                            return None
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(_AGAIN_SECONDS)
        raise AssertionError(f"{method} {path} does not succeed")
