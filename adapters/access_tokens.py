"""Access tokens that a platform lends for some hours: one for all calls, renewed in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

#: A token is renewed when so much of its time is left, or a tenth of it, if that is less.
_LEFT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class LentToken:
    """What the platform lends."""

    value: str
    #: From now.
    seconds: float

    def __repr__(self) -> str:
        return f"LentToken(seconds={self.seconds})"


class AccessToken:
    """Asks for a token when there is none that will do; calls at the same time share one asking."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[LentToken]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`fetch` asks the platform; `monotonic` tells seconds."""
        self._fetch = fetch
        self._monotonic = monotonic
        self._lent: LentToken | None = None
        self._until = 0.0
        self._asking = asyncio.Lock()

    async def get(self) -> str:
        """A token that is good for a while.

        Raises:
            ChannelError: What `fetch` raises.
        """
        async with self._asking:
            if self._lent is None or self._monotonic() >= self._until:
                lent = await self._fetch()
                self._until = (
                    self._monotonic() + lent.seconds - min(_LEFT_SECONDS, lent.seconds / 10)
                )
                self._lent = lent
            return self._lent.value

    def refused(self, value: str) -> bool:
        """The platform did not take a token; True: another will be asked for at the next `get`.

        False where somebody has renewed it already, so that the next `get` brings another one too.
        """
        if self._lent is None or self._lent.value != value:
            return False
        self._lent = None
        return True
