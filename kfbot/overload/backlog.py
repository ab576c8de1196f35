"""How much waits to be answered, and who is asked to come again later for it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from kfbot.errors import Overloaded, StoreUnavailable
from kfbot.messages import InboundEvent, MessageReceived
from kfbot.overload.settings import OverloadSettings
from kfbot.store.backlog import BacklogStore

logger = logging.getLogger(__name__)

#: The store is asked at most so often, and only while something comes in.
LOOK_SECONDS = 1.0
#: Who waits at the phone, so to speak, is told at once to come again where the line is so long.
ASK_WAIT = timedelta(seconds=15)
#: Questions without a conversation that are answered at the same time.
MOST_ASKING = 200
#: Whoever is sent away is asked to come again after so long, at least and at most.
SOONEST_SECONDS, LATEST_SECONDS = 5, 60
#: Of those who are sent away one is told of in the log, for so long.
SILENT_SECONDS = 60.0


class Backlog:
    """Lets in what can be answered in time; what was let in is never dropped."""

    def __init__(self, store: BacklogStore, settings: OverloadSettings) -> None:
        self._store = store
        self._most_waiting = settings.most_waiting
        self._events, self._wait = 0, timedelta()
        self._looked_at = -math.inf
        self._told_at = -math.inf
        self._asking = 0

    async def admit(self, events: Sequence[InboundEvent]) -> None:
        """Let events in that are not stored yet, unless too much waits already.

        What agents do, and what is no message of a customer's, is always let in: it makes the
        backlog shorter, or decides who works on it.

        Raises:
            Overloaded: Nothing of them is to be stored; the platform sends them again.
        """
        if not any(_is_customers(event) for event in events):
            return
        await self._look()
        if self._events >= self._most_waiting:
            raise self._overloaded(f"{self._events} messages wait to be answered")

    async def admit_question(self) -> None:
        """Let in a question whose asker waits for the answer.

        Raises:
            Overloaded: The answer would come too late.
        """
        await self._look()
        if self._wait >= ASK_WAIT or self._events >= self._most_waiting:
            raise self._overloaded(f"who is next has waited {self._wait.total_seconds():.0f} s")

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around a question that is answered at once, and stored nowhere.

        Raises:
            Overloaded: Too many are being answered.
        """
        if self._asking >= MOST_ASKING:
            raise self._overloaded(f"{self._asking} questions are being answered")
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1

    async def _look(self) -> None:
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        # Before the query: whoever comes meanwhile is let in by what was seen last.
        self._looked_at = time.monotonic()
        try:
            self._events, self._wait = await self._store.look()
        except StoreUnavailable:
            # Whoever stores next is told so.
            self._events, self._wait = 0, timedelta()

    def _overloaded(self, reason: str) -> Overloaded:
        if (now := time.monotonic()) - self._told_at >= SILENT_SECONDS:
            self._told_at = now
            logger.warning("sent away: %s", reason, extra={"event": "overloaded"})
        seconds = round(self._wait.total_seconds() / 2)
        again = min(max(seconds, SOONEST_SECONDS), LATEST_SECONDS)
        return Overloaded("many people are asking at the moment", retry_after_seconds=again)


def _is_customers(event: InboundEvent) -> bool:
    return isinstance(event, MessageReceived) and event.sender.role == "customer"
