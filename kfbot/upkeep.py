"""Looks after the database while the bot runs: finished rows go, and the clock is kept right."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from kfbot.errors import StoreUnavailable
from kfbot.privacy import Privacy
from kfbot.store.clock import DatabaseClock
from kfbot.store.engine import Database
from kfbot.store.messages import MessageStore
from kfbot.store.purge import purge

logger = logging.getLogger(__name__)

#: The database's clock is looked at so often.
CLOCK_SECONDS = 10.0
#: Rows are purged so often, on average; the first time soon after the start, but not in it.
PURGE_SECONDS = 3600.0
FIRST_PURGE_SECONDS = 60.0
#: What failed is tried again after so long.
AGAIN_SECONDS = 60.0
#: A clock that is corrected by less was not set.
_BACK = timedelta(seconds=-1)
_JUMP = timedelta(minutes=1)


class Upkeep:
    """What a server does beside its work; several replicas may do it at the same time."""

    def __init__(
        self,
        database: Database,
        messages: MessageStore,
        clock: Callable[[], datetime],
        *,
        keep: timedelta,
        privacy: Privacy,
    ) -> None:
        """`keep`: rows are kept for so long; `clock` is kept right if it is the database's."""
        self._database = database
        self._messages = messages
        self._clock = clock
        self._keep = keep
        self._privacy = privacy
        self._is_behind = False

    async def run(self) -> None:
        """Go on until cancelled, which ends it at once."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._repeat(self.purge, FIRST_PURGE_SECONDS, PURGE_SECONDS))
            if isinstance(self._clock, DatabaseClock):
                keep_time = self.keep_time
                tasks.create_task(self._repeat(keep_time, CLOCK_SECONDS, CLOCK_SECONDS))

    async def purge(self) -> None:
        """Remove the rows that have been kept long enough.

        Raises:
            StoreUnavailable: Some may be left.
        """
        removed = await purge(self._database, self._clock(), self._keep)
        if any(removed.values()):
            counts = ", ".join(f"{table} {count}" for table, count in removed.items())
            logger.info(
                "rows purged: %s", counts, extra={"event": "rows_purged", "removed": removed}
            )
        await self._privacy.keep_up()

    async def keep_time(self) -> None:
        """Follow the database's clock; if it went back, what waits for a time waits no longer.

        Raises:
            StoreUnavailable: The time goes on as before.
        """
        assert isinstance(self._clock, DatabaseClock)
        step = await self._clock.synchronise()
        moved = f"{step.total_seconds():+.1f} s"
        if step < _BACK:
            logger.warning("clock went back: %s", moved, extra={"event": "clock_went_back"})
            self._is_behind = True
        elif step > _JUMP:
            logger.warning("clock jumped: %s", moved, extra={"event": "clock_jumped"})
        if self._is_behind:
            await self._messages.hasten()
            self._is_behind = False

    async def _repeat(
        self, work: Callable[[], Awaitable[None]], first_seconds: float, seconds: float
    ) -> None:
        pause = first_seconds
        while True:
            # Jitter spreads the replicas; nothing here is secret.
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311
            try:
                await work()
                pause = seconds
            except StoreUnavailable as error:
                logger.error("upkeep later: %s", error, extra={"event": "store_unavailable"})
                pause = min(seconds, AGAIN_SECONDS)
            except Exception:
                # A fault in here must not stop the answers to customers.
                logger.exception("upkeep failed", extra={"event": "upkeep_failed"})
                pause = seconds
