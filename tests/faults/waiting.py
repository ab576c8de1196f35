"""Waiting for something to come true, never without an end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_STEP_SECONDS = 0.005


async def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until the condition is true; False if it is not by then."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_STEP_SECONDS)
    return True
