"""Delivers messages in order: retry with backoff, as late as the platform asks, giving up."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from kfbot.adapter import ChannelAdapter
from kfbot.errors import ChannelError, ChannelUnauthorized, ChannelUnavailable, MessageRejected
from kfbot.store.lanes import Lane
from kfbot.store.messages import MessageStore, StoredMessage

logger = logging.getLogger(__name__)

#: One attempt may take so long.
SEND_TIMEOUT_SECONDS = 20.0
#: A message that could not be delivered for so long is given up.
GIVEN_UP_AFTER = timedelta(hours=24)
_LONGEST_WAIT_SECONDS = 600.0


def backoff(attempts: int, *, retry_after_seconds: float | None = None) -> timedelta:
    """How long to wait after so many failed attempts: doubling, with jitter, at most 10 min.

    What the platform asks for is a lower bound.
    """
    doubled = min(2.0 ** min(attempts, 16), _LONGEST_WAIT_SECONDS)
    # Jitter spreads retries; nothing here is secret.
    jittered = doubled * random.uniform(0.5, 1.0)  # noqa: S311
    return timedelta(seconds=max(jittered, retry_after_seconds or 0.0))


class Outbox:
    """Sends what the lanes hold."""

    def __init__(
        self,
        messages: MessageStore,
        channels: Mapping[str, ChannelAdapter],
        clock: Callable[[], datetime],
    ) -> None:
        self._messages = messages
        self._channels = channels
        self._clock = clock
        #: Channels whose credentials were refused, and what the platform said.
        self.stopped: dict[str, str] = {}

    async def deliver(self, lane: Lane) -> datetime | None:
        """Send what the lane holds, in order; returns when to go on if something has to wait.

        Raises:
            ConversationChanged: Another worker has the lane.
            StoreUnavailable: The store is gone; a message may be sent again later.
        """
        for stored in await self._messages.unsent(lane):
            when = await self._messages.begin_send(lane, stored)
            if when == "later":
                return stored.retry_at
            if when == "now" and (retry_at := await self._send(stored)) is not None:
                return retry_at
        return None

    async def _send(self, stored: StoredMessage) -> datetime | None:
        channel = stored.message.conversation.channel
        adapter = self._channels.get(channel)
        try:
            if adapter is None:
                raise ChannelUnavailable(channel, "no such channel is configured")
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                receipt = await adapter.send(stored.message)
        except TimeoutError:
            return await self._failed(stored, ChannelUnavailable(channel, "no answer in time"))
        except ChannelError as error:
            return await self._failed(stored, error)
        except Exception as error:
            # A fault of the adapter's own: counted like any other, or it would be met forever.
            logger.exception("adapter failed", extra={"event": "adapter_failed"})
            return await self._failed(stored, ChannelUnavailable(channel, type(error).__name__))
        self.stopped.pop(channel, None)
        await self._messages.sent(stored, receipt)
        return None

    async def _failed(self, stored: StoredMessage, error: ChannelError) -> datetime | None:
        now = self._clock()
        if isinstance(error, ChannelUnauthorized):
            if error.channel not in self.stopped:
                logger.error("%s", error, extra={"event": "channel_unauthorized"})
            self.stopped[error.channel] = str(error)
        # Refused credentials are for a person to mend: the message waits for that.
        late = isinstance(error, ChannelUnavailable) and now - stored.created_at > GIVEN_UP_AFTER
        if late or isinstance(error, MessageRejected):
            await self._messages.not_sent(stored, str(error), retry_at=None)
            logger.error("given up: %s", error, extra={"event": "message_dead"})
            return None
        pause = backoff(
            stored.attempts + 1,
            retry_after_seconds=getattr(error, "retry_after_seconds", None),
        )
        await self._messages.not_sent(stored, str(error), retry_at=now + pause)
        logger.warning("not sent: %s", error, extra={"event": "message_postponed"})
        return now + pause
