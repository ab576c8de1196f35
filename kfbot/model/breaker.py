"""Whether an endpoint is asked at all: one that failed is left alone until it answers again."""

from __future__ import annotations

import asyncio
import logging
import random
import time

from kfbot.errors import ChatModelError
from kfbot.model.endpoint import Endpoint
from kfbot.model.faults import EndpointUnavailable, NoCompletion

logger = logging.getLogger(__name__)

#: Faults that may pass are forgiven as long as there are not so many in a row.
_FORGIVEN = 2
#: Between two looks at an endpoint that is left alone; each pause is twice as long as the last.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0


class Breaker:
    """One endpoint, and whether it may be asked."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        #: When something came of it last, on the monotonic clock.
        self.answered_at = float("-inf")
        #: Why it is left alone, or was the last time.
        self.reason = ""
        self._failures = 0
        self._recovering: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """True: it is left alone."""
        return self._recovering is not None

    def answered(self) -> None:
        """A piece has come."""
        self.answered_at = time.monotonic()

    def completed(self) -> None:
        """A completion is whole: what failed before is forgiven."""
        self._failures = 0

    def failed(self, error: ChatModelError, asked_at: float) -> None:
        """Note a fault; too many, or a bad one, and it is left alone from now on.

        Args:
            asked_at: When it was asked what it failed at, on the monotonic clock.
        """
        if not isinstance(error, EndpointUnavailable | NoCompletion) or self.is_open:
            return
        self._failures += 1
        kind = error.kind if isinstance(error, EndpointUnavailable) else "passing"
        # What answers others meanwhile is slow, not dead.
        is_slow = kind == "dead" and self.answered_at > (asked_at + time.monotonic()) / 2
        if (kind == "passing" or is_slow) and self._failures <= _FORGIVEN:
            return
        self.reason = str(error)
        level = logging.ERROR if kind == "settings" else logging.WARNING
        logger.log(level, "left alone: %s", error, extra={"event": "chat_model_endpoint_down"})
        given = error.retry_after_seconds if isinstance(error, EndpointUnavailable) else None
        pause = given or _FIRST_PAUSE_SECONDS
        self._recovering = asyncio.create_task(self._recover(pause), name="chat-model-probe")

    async def aclose(self) -> None:
        """Look at it no more, and close its connections."""
        if self._recovering is not None:
            self._recovering.cancel()
            await asyncio.gather(self._recovering, return_exceptions=True)
        await self.endpoint.aclose()

    async def _recover(self, pause_seconds: float) -> None:
        """Ask for a token from time to time until it comes."""
        while True:
            # Spread: replicas must not come back all at once.
            await asyncio.sleep(pause_seconds * random.uniform(1.0, 1.3))  # noqa: S311
            self.endpoint.forget_model()
            try:
                name = await self.endpoint.check()
            except ChatModelError as error:
                pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
                logger.debug("still: %s", error, extra={"event": "chat_model_endpoint_probed"})
            else:
                break
        self._recovering = None
        self.answered()
        self.completed()
        logger.warning("%s answers again", name, extra={"event": "chat_model_endpoint_up"})
