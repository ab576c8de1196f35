"""Delivers messages in order: retry with backoff, as late as the platform asks, giving up."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from kfbot.adapter import ChannelAdapter
from kfbot.cases.posts import is_unopened
from kfbot.cases.threads import CaseThreads
from kfbot.conversation import Conversation, State
from kfbot.errors import (
    ChannelError,
    ChannelUnauthorized,
    ChannelUnavailable,
    ConversationChanged,
    MessageRejected,
    StoreUnavailable,
)
from kfbot.messages import DeliveryReceipt
from kfbot.observability import metrics, tracing
from kfbot.observability.logs import logging_context
from kfbot.platform_calls import answered
from kfbot.store.lanes import Lane
from kfbot.store.messages import MessageStore
from kfbot.store.work import StoredMessage

logger = logging.getLogger(__name__)

#: One attempt may take so long.
SEND_TIMEOUT_SECONDS = 20.0
#: A message that could not be delivered for so long is given up.
GIVEN_UP_AFTER = timedelta(hours=24)
#: A time that the channel's rate kept free is good for so long.
SLOT_LIFE = timedelta(seconds=5)
#: What the store did not take of a message that was sent is given to it again after so long.
RECORD_AGAIN_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Delivered:
    """What came of trying to send a message; by default: look what is next."""

    #: The lane was given back: nothing is left.
    released: bool = False
    #: It has to wait until then, and what follows it too.
    wait_until: datetime | None = None
    #: The platform took it; False: it never gets it; None: nothing is known yet.
    sent: bool | None = field(default=None, compare=False)


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
        threads: CaseThreads | None = None,
    ) -> None:
        """Prepare.

        Args:
            threads: Cases in chats of agents; None: there are none.
        """
        self._messages = messages
        self._threads = threads
        self._channels = channels
        self._clock = clock
        #: Channels whose credentials were refused, and what the platform said.
        self.stopped: dict[str, str] = {}

    async def deliver(
        self, lane: Lane, conversation: Conversation, stored: StoredMessage
    ) -> Delivered:
        """Send a message, the first of its lane, unless it is too early or too late for it.

        Args:
            conversation: As it was read just now.

        Raises:
            ConversationChanged: The lease is so old that another may have the lane.
            StoreUnavailable: The store is gone; the message may be sent again later.
        """
        epoch = conversation.ownership_epoch
        if stored.ownership_epoch is not None and stored.ownership_epoch != epoch:
            # A message of a later epoch is news that came in between the two being read.
            if stored.ownership_epoch < epoch:
                await self._messages.cancel(stored)
                return Delivered(sent=False)
            return Delivered()
        if (wait_until := await self._wait_until(stored)) is not None:
            # What was read before a time was kept free for it may be out of date by now.
            is_due = wait_until <= self._clock()
            return Delivered() if is_due else Delivered(wait_until=wait_until)
        # From here to the platform's door there is nothing to wait for.
        if not lane.is_fresh():
            raise ConversationChanged(f"the lease of lane {lane.conversation_id} is too old")
        channel = stored.message.conversation.channel
        with logging_context(message_id=stored.message.id):
            try:
                if not await self._is_ready(lane, conversation, stored):
                    return Delivered()
                began = time.perf_counter()
                with tracing.span("send", channel=channel, message=stored.message.id):
                    receipt = await self._send(stored)
            except ChannelError as error:
                return await self._failed(conversation, stored, error)
        self.stopped.pop(channel, None)
        metrics.sent(channel, time.perf_counter() - began)
        released = await self._record(lane, stored, receipt)
        if self._threads is not None:
            await self._threads.sent(conversation, stored)
        return Delivered(released=released, sent=True)

    async def _record(self, lane: Lane, stored: StoredMessage, receipt: DeliveryReceipt) -> bool:
        """Record that the platform took a message, however long the store is away.

        Given up, it would be sent a second time. True if the lane was given back.
        """
        try:
            return await self._messages.sent(lane, stored, receipt)
        except StoreUnavailable as error:
            logger.error("sent, not recorded yet: %s", error, extra={"event": "store_unavailable"})
        while True:
            await asyncio.sleep(RECORD_AGAIN_SECONDS)
            with suppress(StoreUnavailable):
                return await self._messages.sent(lane, stored, receipt)

    async def _is_ready(
        self, lane: Lane, conversation: Conversation, stored: StoredMessage
    ) -> bool:
        """False where the message was to be written first, or its thread to be opened."""
        return self._threads is None or await self._threads.ready(lane, conversation, stored)

    async def _wait_until(self, stored: StoredMessage) -> datetime | None:
        """Until when the message has to wait, or it is to be looked at again; None: it may go."""
        now = self._clock()
        if stored.retry_at is not None and stored.retry_at > now:
            return stored.retry_at
        adapter = self._channels.get(stored.message.conversation.channel)
        if adapter is None:
            return None
        rate = adapter.settings.rate_per_second or adapter.capabilities.rate_per_second
        seconds_per_chat = adapter.seconds_between(stored.message.conversation)
        if rate is None and not seconds_per_chat:
            return None
        slot_at = stored.slot_at
        if slot_at is None or slot_at < now - SLOT_LIFE:
            return await self._messages.reserve(
                stored,
                rate_per_second=rate,
                burst=adapter.capabilities.burst,
                seconds_per_chat=seconds_per_chat,
            )
        return slot_at if slot_at > now else None

    async def _send(self, stored: StoredMessage) -> DeliveryReceipt:
        """Hand the message to its channel.

        Raises:
            ChannelError: The channel did not take it.
        """
        channel = stored.message.conversation.channel
        adapter = self._channels.get(channel)
        if adapter is None:
            raise ChannelUnavailable(channel, "no such channel is configured")
        edits = stored.replaces and adapter.capabilities.edit
        if edits and (edited := await self._edit(adapter, stored)) is not None:
            return edited
        sent = adapter.send(stored.message)
        return await answered(adapter, sent, seconds=SEND_TIMEOUT_SECONDS)

    async def _edit(self, adapter: ChannelAdapter, stored: StoredMessage) -> DeliveryReceipt | None:
        """Put the message in the place of what was shown of it; None: it has to be sent.

        Raises:
            ChannelUnavailable: Not now; once. What a platform cannot edit must not be lost.
        """
        receipt = DeliveryReceipt(stored.replaces)
        try:
            edited = adapter.edit(receipt, stored.message)
            await answered(adapter, edited, seconds=SEND_TIMEOUT_SECONDS)
        except ChannelError as error:
            if isinstance(error, ChannelUnavailable) and not stored.attempts:
                raise
            logger.warning("sent anew: %s", error, extra={"event": "edit_refused"})
            return None
        return receipt

    async def _failed(
        self, conversation: Conversation, stored: StoredMessage, error: ChannelError
    ) -> Delivered:
        now = self._clock()
        if isinstance(error, ChannelUnauthorized):
            if error.channel not in self.stopped:
                logger.error("%s", error, extra={"event": "channel_unauthorized"})
            self.stopped[error.channel] = str(error)
        if _is_final(conversation, error, now - stored.created_at):
            await self._messages.not_sent(stored, str(error), retry_at=None)
            metrics.message_dead(error.channel)
            logger.error("given up: %s", error, extra={"event": "message_dead"})
            return Delivered(sent=False)
        pause = backoff(
            stored.attempts + 1,
            retry_after_seconds=getattr(error, "retry_after_seconds", None),
        )
        await self._messages.not_sent(stored, str(error), retry_at=now + pause)
        metrics.postponed(error.channel)
        logger.warning("not sent: %s", error, extra={"event": "message_postponed"})
        return Delivered(wait_until=now + pause)


def _is_final(conversation: Conversation, error: ChannelError, age: timedelta) -> bool:
    """True where a message is given up."""
    # Refused credentials are for a person to mend: the message waits for that.
    if isinstance(error, ChannelUnauthorized):
        return False
    # So is a chat of agents that the bot was taken out of: the case waits for its thread.
    if conversation.state is State.THREAD:
        return age > GIVEN_UP_AFTER and not is_unopened(conversation)
    return isinstance(error, MessageRejected) or age > GIVEN_UP_AFTER
