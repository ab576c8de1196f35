"""Tokens a UTC day, of all channels together and of each: who has spent them gets no completion."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import date, datetime

from kfbot.chat_model import ChatMessage, ChatModel, Usage
from kfbot.errors import ChatModelUnavailable, StoreUnavailable
from kfbot.store.token_use import TokenUse

logger = logging.getLogger(__name__)

#: What other replicas spend is seen after so long at the latest.
REFRESH_SECONDS = 2.0


class Budgeted:
    """A `ChatModel` that counts what each channel takes of another, and stops at a limit.

    A completion that has begun is finished: a limit is passed by what is under way at that moment,
    and by what other replicas begin within `REFRESH_SECONDS`.
    """

    def __init__(
        self,
        model: ChatModel,
        use: TokenUse,
        clock: Callable[[], datetime],
        *,
        tokens_per_day: int = 0,
        by_channel: Mapping[str, int] | None = None,
    ) -> None:
        """Count for a model.

        Args:
            clock: Aware UTC.
            tokens_per_day: Of all channels together; 0: no limit.
            by_channel: Limits of channels; 0 or absent: none.
        """
        self._model = model
        self._use = use
        self._clock = clock
        self._total = tokens_per_day
        self._by_channel = {name: limit for name, limit in (by_channel or {}).items() if limit}
        self._day: date | None = None
        #: Of that day: in SQL when it was last looked at, and what this process took since.
        self._spent: Counter[str] = Counter()
        self._read_at = float("-inf")
        #: Between SQL and what is pending: or a reader would count twice what is just written.
        self._counting = asyncio.Lock()
        #: Not in SQL yet.
        self._pending: Counter[tuple[date, str]] = Counter()
        self._writing: asyncio.Task[None] | None = None
        #: Budgets that were reported as spent on that day; "": the common one.
        self._told: set[str] = set()

    @property
    def context_tokens(self) -> int:
        return self._model.context_tokens

    @property
    def fault(self) -> str:
        return self._model.fault

    async def complete(
        self,
        prompt: Sequence[ChatMessage],
        *,
        max_tokens: int,
        usage: Usage,
        channel: str = "",
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[str, None]:
        """See `ChatModel`.

        Raises:
            ChatModelUnavailable: A budget is spent; or see `ChatModel`.
            CompletionInvalid: See `ChatModel`.
        """
        await self._check(channel)
        own = Usage()
        try:
            async with aclosing(
                self._model.complete(  # type: ignore[type-var]
                    prompt,
                    max_tokens=max_tokens,
                    usage=own,
                    channel=channel,
                    timeout_seconds=timeout_seconds,
                )
            ) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            usage.add(own)
            self._spend(channel, own.prompt_tokens + own.completion_tokens)

    async def aclose(self) -> None:
        """Write down what was taken, and let go of the model."""
        if self._writing is not None:
            await self._writing
        await self._model.aclose()

    async def _check(self, channel: str) -> None:
        if not self._total and channel not in self._by_channel:
            return
        await self._refresh()
        if self._total and sum(self._spent.values()) >= self._total:
            self._refuse("", self._total)
        limit = self._by_channel.get(channel)
        if limit is not None and self._spent[channel] >= limit:
            self._refuse(channel, limit)

    def _refuse(self, channel: str, limit: int) -> None:
        whose = f"channel {channel}" if channel else "all channels"
        text = f"the budget of {whose} is spent: {limit} tokens a UTC day"
        if channel not in self._told:
            self._told.add(channel)
            logger.warning(
                "%s; answers are quoted until tomorrow", text, extra={"event": "budget_spent"}
            )
        raise ChatModelUnavailable(text)

    async def _refresh(self) -> None:
        """Look at what was spent today, unless that was done just now."""
        async with self._counting:
            day = self._clock().date()
            if day == self._day and time.monotonic() - self._read_at < REFRESH_SECONDS:
                return
            try:
                stored = await self._use.spent(day)
            except StoreUnavailable as error:
                logger.warning("budget: %s", error, extra={"event": "budget_unknown"})
                stored = dict(self._spent) if day == self._day else {}
            else:
                for (when, name), tokens in self._pending.items():
                    if when == day:
                        stored[name] = stored.get(name, 0) + tokens
            if day != self._day:
                self._told.clear()
            self._day, self._spent, self._read_at = day, Counter(stored), time.monotonic()

    def _spend(self, channel: str, tokens: int) -> None:
        """Count, now for this process, soon for all."""
        if not tokens:
            return
        day = self._clock().date()
        if day == self._day:
            self._spent[channel] += tokens
        self._pending[day, channel] += tokens
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="token-use")

    async def _write(self) -> None:
        """Store what is pending; what the database does not take waits for the next spending."""
        while self._pending:
            async with self._counting:
                (day, channel), tokens = next(iter(self._pending.items()))
                try:
                    await self._use.add(day, channel, tokens)
                except StoreUnavailable as error:
                    logger.warning(
                        "tokens not counted yet: %s", error, extra={"event": "tokens_kept"}
                    )
                    return
                self._pending[day, channel] -= tokens
                if not self._pending[day, channel]:
                    del self._pending[day, channel]
