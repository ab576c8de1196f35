"""What people are called in the workspace: asked of Slack, remembered for a while."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from kfbot.errors import ChannelUnauthorized, ChannelUnavailable, MessageRejected

logger = logging.getLogger(__name__)

#: People who are remembered, and for how long their name is taken to be the same.
REMEMBERED = 10_000
FRESH_SECONDS = 3600.0
#: Slack waits three seconds for us, so we do not wait long for it.
TIMEOUT_SECONDS = 1.5


class People:
    """Names by user id. A name that Slack does not tell is the one it told before, if any."""

    def __init__(self, channel: str, ask: Callable[[str], Awaitable[str]]) -> None:
        """`ask`: users.info; raises ChannelError."""
        self._channel = channel
        self._ask: Callable[[str], Awaitable[str]] | None = ask
        #: With the time at which it was asked for.
        self._known: OrderedDict[str, tuple[str, float]] = OrderedDict()

    async def name_of(self, user: str) -> str:
        """What a user is called; "" where Slack has never told."""
        name, asked_at = self._known.get(user, ("", 0.0))
        if self._ask is None or (name and time.monotonic() - asked_at < FRESH_SECONDS):
            return name
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                name = await self._ask(user) or name
        except (TimeoutError, ChannelUnavailable, MessageRejected) as error:
            logger.warning("name not known: %s", error, extra={"event": "name_unknown"})
            return name
        except ChannelUnauthorized as error:
            # It will say so every time.
            self._ask = None
            logger.warning(
                "agents are called by their ids: %s", error, extra={"event": "names_unknown"}
            )
            return name
        self._known[user] = (name, time.monotonic())
        self._known.move_to_end(user)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return name


def name_in(user: Any) -> str:
    """The name in what users.info tells: the one that colleagues see."""
    if not isinstance(user, dict):
        return ""
    profile = user.get("profile")
    told = profile if isinstance(profile, dict) else {}
    names = (told.get("display_name"), told.get("real_name"), user.get("real_name"))
    usable = (one.strip() for one in (*names, user.get("name")) if isinstance(one, str))
    return next((one for one in usable if one and one.isprintable()), "")
