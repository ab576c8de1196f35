"""Calls of adapters from which nothing comes but what they promise, in time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import TypeVar

from kfbot.adapter import ChannelAdapter
from kfbot.errors import ChannelError, ChannelUnavailable

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


async def answered(adapter: ChannelAdapter, call: Awaitable[Result], *, seconds: float) -> Result:
    """What a call of an adapter returns; it may take so long.

    Raises:
        ChannelError: As the adapter says; ChannelUnavailable for no answer in time, and for a
            fault of the adapter's own.
    """
    try:
        async with asyncio.timeout(seconds):
            return await call
    except TimeoutError:
        raise ChannelUnavailable(adapter.channel, "no answer in time") from None
    except ChannelError:
        raise
    except Exception as error:
        # Counted like any other, or it would be met forever.
        logger.exception("adapter failed", extra={"event": "adapter_failed"})
        raise ChannelUnavailable(adapter.channel, type(error).__name__) from None
