"""In which threads of channels does the bot take part: remembered, or asked of Slack once."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from adapters.slack.faults import mapped
from kfbot.errors import ChannelError, ChannelUnavailable

logger = logging.getLogger(__name__)

#: Threads that are remembered; of others Slack is asked again.
REMEMBERED = 10_000
#: Slack waits three seconds for us, so we do not wait long for it.
TIMEOUT_SECONDS = 1.5

#: Whether the bot is in a thread, by channel and thread, as Slack has it.
Ask = Callable[[str, str], Awaitable[bool]]


class Threads:
    """Threads in which the bot was mentioned or has written.

    After a restart, or when another replica wrote, Slack is asked. Where it will not tell, such
    a thread counts as one of others: the bot has to be mentioned in it once more.
    """

    def __init__(self, channel: str, ask: Ask) -> None:
        self._channel = channel
        self._ask: Ask | None = ask
        self._known: OrderedDict[tuple[str, str], bool] = OrderedDict()

    def join(self, chat: str, thread: str) -> None:
        """The bot was mentioned there, or wrote there."""
        self._remember((chat, thread), True)

    async def takes_part(self, chat: str, thread: str) -> bool:
        """Whether what is said there is said to the bot."""
        key = (chat, thread)
        if (known := self._known.get(key)) is not None:
            self._known.move_to_end(key)
            return known
        if self._ask is None:
            return False
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                with mapped(self._channel):
                    answer = await self._ask(chat, thread)
        except (TimeoutError, ChannelUnavailable) as error:
            logger.warning("thread not looked up: %s", error, extra={"event": "thread_unknown"})
            return False
        except ChannelError as error:
            # It will say so every time.
            self._ask = None
            logger.warning(
                "threads are not looked up: %s; in a thread begun before this start the bot"
                " has to be mentioned again",
                error,
                extra={"event": "threads_unknown"},
            )
            return False
        # It may have been mentioned while we asked.
        return self._remember(key, answer or self._known.get(key, False))

    def _remember(self, key: tuple[str, str], takes_part: bool) -> bool:
        self._known[key] = takes_part
        self._known.move_to_end(key)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return takes_part
