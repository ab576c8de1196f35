"""Customers who come at a fixed rate, whatever the bot does: an open loop.

Every time is counted from when a customer was due, not from when the driver got round to it: a
bot that stands still for a second shows it in all who would have come meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count, cycle
from typing import Self

from kfbot.cli.load_measuring import Result, Tally

#: What is not taken is sent again after so long where the bot does not say when.
AGAIN_SECONDS = 1.0


class NotTaken(Exception):
    """A request was refused, or nobody answered it; sent again it may be taken."""

    def __init__(self, kind: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class Reply:
    """What a customer got."""

    text: str
    #: Where the platform drops repeats: the name by which it knows them.
    key: str = ""
    #: A person has the conversation now.
    ended: bool = False


class Line(ABC):
    """A way by which customers reach the bot. Open with `async with`."""

    #: False: replies go where the driver does not see them; only acknowledgements are measured.
    hears: bool = True
    #: False: nothing is said before the answer.
    acknowledges: bool = True

    def __init__(self, name: str) -> None:
        self.name = name
        #: Numbers of messages, over all runs: the same one is the same message.
        self.events = count(1)
        #: How often each conversation has asked, over all runs.
        self.asked: Counter[int] = Counter()
        #: Told of each reply, with the number of the conversation.
        self.on_reply: Callable[[int, Reply], None] = lambda chat, reply: None

    async def open(self) -> None:  # noqa: B027
        """Get ready; by default there is nothing to do."""

    async def close(self) -> None:  # noqa: B027
        """Let go of what `open` took."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.close()

    @abstractmethod
    async def say(self, chat: int, text: str, event: int) -> None:
        """Post a customer's message, once; returns when it is acknowledged.

        Args:
            event: The same number is the same message, sent again.

        Raises:
            NotTaken: It was refused, or nobody answered.
        """


@dataclass(frozen=True, slots=True)
class Plan:
    """How many customers come, and how they behave."""

    #: New questions a second, over all lines.
    rate: float
    seconds: float
    #: A question without a reply is given up after so long.
    patience_seconds: float = 60.0
    #: Conversations of each line that take turns; more are begun while all of them wait.
    conversations: int = 50
    seed: int = 0


@dataclass
class _Customers:
    """The conversations of one line."""

    line: Line
    questions: Sequence[str]
    tally: Tally = field(default_factory=Tally)
    idle: deque[int] = field(default_factory=deque)
    begun: int = 0
    waiting: dict[int, asyncio.Future[bool]] = field(default_factory=dict)

    def next_chat(self) -> int:
        """One in which nothing is waited for."""
        if self.idle:
            return self.idle.popleft()
        self.begun += 1
        return self.begun

    def next_question(self, chat: int) -> str:
        """Not what the conversation asked last: the bot would take that for a complaint."""
        self.line.asked[chat] += 1
        return self.questions[(chat + self.line.asked[chat]) % len(self.questions)]

    def reply(self, chat: int, reply: Reply) -> None:
        waiting = self.waiting.get(chat)
        if waiting is None or waiting.done():
            self.tally.further += 1
        else:
            waiting.set_result(reply.ended)


async def drive(
    lines: Sequence[Line],
    questions: Sequence[str],
    plan: Plan,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Result:
    """Let customers come by these lines in turn, and wait for what they were promised.

    Args:
        on_progress: Told how many questions are over (answered or given up), of how many so far.
    """
    async with AsyncExitStack() as stack:
        groups = []
        for line in lines:
            group = _Customers(await stack.enter_async_context(line), questions)
            line.on_reply = group.reply
            group.idle.extend(range(1, plan.conversations + 1))
            group.begun = plan.conversations
            groups.append(group)
        return await _Run(groups, plan, on_progress).run()


class _Run:
    def __init__(
        self,
        groups: Sequence[_Customers],
        plan: Plan,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._groups = groups
        self._plan = plan
        self._on_progress = on_progress
        self._over = 0
        self._lag = 0.0

    async def run(self) -> Result:
        began, asking, groups = time.monotonic(), set[asyncio.Task[None]](), cycle(self._groups)
        offered = 0
        for due in self._arrivals(began):
            await asyncio.sleep(max(due - time.monotonic(), 0.0))
            self._lag = max(self._lag, time.monotonic() - due)
            offered += 1
            task = asyncio.create_task(self._ask(next(groups), due))
            asking.add(task)
            task.add_done_callback(asking.discard)
            self._on_progress(self._over, offered)
        ended = time.monotonic()
        while asking:
            await asyncio.wait(asking, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
            self._on_progress(self._over, offered)
        tallies = {group.line.name: group.tally for group in self._groups}
        return Result(tallies, ended - began, time.monotonic() - ended, self._lag)

    def _arrivals(self, began: float) -> Iterator[float]:
        """When customers come: independent of each other, so now and then several at once."""
        chance, at = random.Random(self._plan.seed), began  # noqa: S311
        while (at := at + chance.expovariate(self._plan.rate)) < began + self._plan.seconds:
            yield at

    async def _ask(self, group: _Customers, due: float) -> None:
        tally, chat = group.tally, group.next_chat()
        tally.offered += 1
        answered = group.waiting[chat] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._plan.patience_seconds):
                await self._until_taken(group, chat, due)
                tally.taken += 1
                if not group.line.hears:
                    group.idle.append(chat)
                    return
                ended = await answered
            tally.answers.append(time.monotonic() - due)
            if not ended:
                group.idle.append(chat)
        except TimeoutError:
            # Its late reply would be taken for the next question's: nobody asks there again.
            tally.unanswered += 1
        finally:
            del group.waiting[chat]
            self._over += 1

    async def _until_taken(self, group: _Customers, chat: int, due: float) -> None:
        """Send a question, again where it is not taken, as platforms do."""
        text, event, sent_at = group.next_question(chat), next(group.line.events), due
        while True:
            try:
                await group.line.say(chat, text, event)
                if group.line.acknowledges:
                    group.tally.acks.append(time.monotonic() - sent_at)
                return
            except NotTaken as error:
                group.tally.refusals[error.kind] += 1
                pause = error.retry_after_seconds
            await asyncio.sleep(AGAIN_SECONDS if pause is None else pause)
            sent_at = time.monotonic()
