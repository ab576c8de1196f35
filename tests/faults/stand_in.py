"""A platform that takes the bot's messages, remembers all, and makes trouble when told to."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from aiohttp import web

from tests.faults.checker import Got
from tests.faults.faq import MARKER
from tests.platforms.webhook_receiver import Answer, WebhookReceiver

#: "Not now" in three ways.
BUSY = Answer(429, {"Retry-After": "1"})
BROKEN = Answer(500)
SILENT = Answer(hangs=True)


class Platform(WebhookReceiver):
    """Records every request; whether a customer sees repeats is for the checker to say.

    Args:
        troubles: What some requests are answered with instead of 200 …
        share: … and how many, between 0 and 1.
    """

    def __init__(
        self, secret: str, *, troubles: Sequence[Answer] = (), share: float = 0.0, seed: int = 0
    ) -> None:
        super().__init__(secret)
        self.got: list[Got] = []
        #: How many different messages each conversation has got.
        self.messages: defaultdict[str, set[str]] = defaultdict(set)
        self._troubles = troubles
        self._share = share
        self._random = random.Random(seed)
        self._armed = False
        self._holder = ""
        self._go = asyncio.Event()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.let_go()
        await super().__aexit__(exc_type, exc, traceback)

    def callback_url(self, server: str) -> str:
        """Where a server sends its messages: the platform knows it by its name."""
        return f"{self.url}?via={server}"

    def arm(self) -> None:
        """Hold the next marked message: take it, and do not answer."""
        self._go.clear()
        self._armed, self._holder = True, ""

    def holder(self) -> str:
        """The server whose request is held; empty until there is one."""
        return self._holder

    def let_go(self) -> None:
        """Answer what is held."""
        self._go.set()

    async def answer_to(self, request: web.Request, message: Mapping[str, Any]) -> Answer:
        """Record a request and say what the sender is told."""
        via, held = request.query.get("via", ""), self._armed and MARKER in message["text"]
        answer = SILENT if held else self._trouble()
        self._record(request.headers["webhook-id"], message, answer, via)
        if held:
            self._armed, self._holder = False, via
            await self._go.wait()
            return Answer()
        if answer.hangs:
            await self._closing.wait()
        return answer

    def _trouble(self) -> Answer:
        if self._troubles and self._random.random() < self._share:
            return self._random.choice(self._troubles)
        return Answer()

    def _record(
        self, webhook_id: str, message: Mapping[str, Any], answer: Answer, via: str
    ) -> None:
        wait = answer.headers.get("Retry-After")
        refused = answer.status >= 300
        got = Got(
            chat=message["conversation"],
            message_id=webhook_id,
            text=message["text"],
            at=time.monotonic(),
            end="silent" if answer.hangs else "refused" if refused else "taken",
            via=via,
            retry_after_seconds=float(wait) if wait is not None else None,
        )
        self.got.append(got)
        if not refused:
            self.messages[got.chat].add(got.message_id)
