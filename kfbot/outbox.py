"""Delivers messages in order: retry with backoff, rate limits of the platform, giving up."""

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
#: After so many failed attempts a message is given up (about an hour).
MAX_ATTEMPTS = 12
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
        """Send what the lane holds, in order; returns when to go on if something failed.

        Raises:
            ConversationChanged: Another worker has the lane.
            StoreUnavailable: The store is gone; a message may be sent again later.
        """
        for stored in await self._messages.unsent(lane):
            if not await self._messages.begin_send(lane, stored):
                continue
            if (later := await self._send(stored)) is not None:
                return self._clock() + later
        return None

    async def _send(self, stored: StoredMessage) -> timedelta | None:
        channel = stored.message.conversation.channel
        adapter = self._channels.get(channel)
        try:
            if adapter is None:
                raise MessageRejected(channel, "no such channel is configured")
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

    async def _failed(self, stored: StoredMessage, error: ChannelError) -> timedelta | None:
        attempts = stored.attempts + 1
        if isinstance(error, ChannelUnauthorized):
            if error.channel not in self.stopped:
                logger.error("%s", error, extra={"event": "channel_unauthorized"})
            self.stopped[error.channel] = str(error)
        # Refused credentials are for a person to mend: the message waits for that.
        rejected = isinstance(error, MessageRejected)
        dead = rejected or (isinstance(error, ChannelUnavailable) and attempts >= MAX_ATTEMPTS)
        await self._messages.not_sent(stored, str(error), dead=dead)
        if dead:
            logger.error("given up: %s", error, extra={"event": "message_dead"})
            return None
        logger.warning("not sent: %s", error, extra={"event": "message_postponed"})
        return backoff(attempts, retry_after_seconds=getattr(error, "retry_after_seconds", None))
