"""Shows customers that an answer is on its way; never in the way of the answer itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from kfbot.adapter import ChannelAdapter
from kfbot.messages import ConversationId

logger = logging.getLogger(__name__)

#: A platform may take so long; after that there is an answer to show.
TIMEOUT_SECONDS = 3.0


class TypingSign:
    """Asks channels that can to show that the bot is typing, beside whatever else goes on."""

    def __init__(self, channels: Mapping[str, ChannelAdapter]) -> None:
        self._channels = channels
        self._tasks: dict[ConversationId, asyncio.Task[None]] = {}
        self._failed: set[str] = set()

    def show(self, conversation: ConversationId) -> None:
        """Begin to show it, unless that is going on; returns at once."""
        adapter = self._channels.get(conversation.channel)
        if adapter is None or not adapter.capabilities.typing or conversation in self._tasks:
            return
        task = asyncio.create_task(self._show(adapter, conversation), name="typing")
        self._tasks[conversation] = task
        task.add_done_callback(lambda _: self._tasks.pop(conversation, None))

    async def close(self) -> None:
        """Break off what is going on: the channels are about to be closed."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _show(self, adapter: ChannelAdapter, conversation: ConversationId) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await adapter.show_typing(conversation)
        except Exception as error:
            # Once a channel: what a platform does not know it will not learn from being asked.
            level = logging.DEBUG if adapter.channel in self._failed else logging.INFO
            self._failed.add(adapter.channel)
            reason = str(error) or type(error).__name__
            logger.log(level, "typing not shown: %s", reason, extra={"event": "typing_not_shown"})
        else:
            self._failed.discard(adapter.channel)
