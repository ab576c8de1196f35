"""So many completions at the same time; who waits is let in in the order of coming."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kfbot.errors import ChatModelUnavailable


class Slots:
    """Places for completions."""

    def __init__(self, number: int, queue_seconds: float) -> None:
        """Make them.

        Args:
            queue_seconds: So long one waits for a place.
        """
        self._places = asyncio.Semaphore(number)
        self._queue_seconds = queue_seconds

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """One of the places, given back however this is left.

        Raises:
            ChatModelUnavailable: None became free in time.
        """
        try:
            async with asyncio.timeout(self._queue_seconds):
                await self._places.acquire()
        except TimeoutError as error:
            raise ChatModelUnavailable(
                "too many wait for the chat model: raise [chat_model] parallel, if it can take more"
            ) from error
        try:
            yield
        finally:
            self._places.release()
