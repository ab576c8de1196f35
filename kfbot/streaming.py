"""Shows an answer while it grows: on platforms that edit by edits, on our own page by the store.

Only what was checked gets here. What is shown is written down first, so that whatever happens the
outcome of the turn takes its place.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from kfbot.adapter import ChannelAdapter
from kfbot.conversation import Conversation
from kfbot.errors import ChannelError, ChannelUnavailable, StoreUnavailable
from kfbot.grounding.writing import OnText
from kfbot.messages import DeliveryReceipt, OutboundMessage
from kfbot.model_settings import ChatModelSettings
from kfbot.outbox import SEND_TIMEOUT_SECONDS
from kfbot.platform_calls import answered
from kfbot.shaping import split
from kfbot.store.growing import DraftStore, Grown, Growth
from kfbot.store.lanes import Lane
from kfbot.store.pacing import Pace
from kfbot.store.work import StoredEvent

logger = logging.getLogger(__name__)

#: A channel whose platform would not edit a message is sent whole answers for so long.
UNEDITED_FOR = timedelta(minutes=10)
Pause = Callable[[float], Awaitable[None]]


class Streaming:
    """Opens a stream for each turn on a channel that can show one."""

    def __init__(
        self,
        drafts: DraftStore,
        channels: Mapping[str, ChannelAdapter],
        clock: Callable[[], datetime],
        settings: ChatModelSettings,
        pause: Pause = asyncio.sleep,
    ) -> None:
        """Prepare.

        Args:
            pause: Waits so many seconds between two edits.
        """
        self._drafts = drafts
        self._channels = channels
        self._clock = clock
        self._is_on = settings.stream
        self._pause = pause
        self._unedited_until: dict[str, datetime] = {}

    @asynccontextmanager
    async def showing(
        self, lane: Lane, conversation: Conversation, events: Sequence[StoredEvent]
    ) -> AsyncIterator[OnText | None]:
        """What a turn may tell of its answer; None: its channel cannot show it.

        Once the context is left nothing more is shown, and what was is known to the store.
        """
        adapter = self._channels.get(conversation.address.channel)
        if adapter is None or not self._can_show(adapter):
            yield None
            return
        growth = _growth(adapter, lane, conversation, events)
        stream = _Stream(adapter, growth, self._drafts, self._pause)
        try:
            yield stream.grow
        except asyncio.CancelledError:
            # The process stops: whoever goes on replaces what was shown.
            stream.cancel()
            raise
        finally:
            await stream.close()
            if stream.edit_failed:
                self._unedited_until[adapter.channel] = self._clock() + UNEDITED_FOR

    def _can_show(self, adapter: ChannelAdapter) -> bool:
        can = adapter.capabilities
        if not self._is_on:
            return False
        if can.reads_drafts or not can.edit or can.pulls_replies:
            return can.reads_drafts
        until = self._unedited_until.get(adapter.channel)
        return until is None or until <= self._clock()


class _Stream:
    """One answer that grows; a task of its own shows it, so that the writer never waits."""

    def __init__(
        self, adapter: ChannelAdapter, growth: Growth, drafts: DraftStore, pause: Pause
    ) -> None:
        self._adapter = adapter
        self._growth = growth
        self._drafts = drafts
        self._pause = pause
        self._interval = _interval(adapter, growth)
        self._message_id = f"msg_{secrets.token_hex(12)}"
        self._text = ""
        self._shown = ""
        self._grown = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_showing = False
        self._is_over = False
        #: The platform would not edit the message that it had taken.
        self.edit_failed = False

    async def grow(self, text: str) -> None:
        """The answer so far; returns at once."""
        self._text = text
        self._grown.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="stream")

    def cancel(self) -> None:
        """Break off what is on its way to the platform, too."""
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        """Show nothing more; what is on its way arrives first: it would come after the end."""
        self._is_over = True
        if self._task is None:
            return
        if not self._is_showing:
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            # An answer that is all there by then is one message.
            await self._rest(self._interval)
            while await self._step():
                await self._rest(self._interval)
        except StoreUnavailable as error:
            logger.error("stream ended: %s", error, extra={"event": "store_unavailable"})
        except Exception:
            # Never in the way of the answer itself.
            logger.exception("stream ended", extra={"event": "stream_failed"})

    async def _rest(self, seconds: float) -> None:
        if seconds > 0:
            await self._pause(seconds)

    async def _step(self) -> bool:
        """Show what there is, once there is more; False: nothing more is to be shown."""
        await self._grown.wait()
        self._grown.clear()
        self._is_showing = True
        try:
            return await self._show() and not self._is_over
        finally:
            self._is_showing = False

    async def _show(self) -> bool:
        # Further parts are messages of their own, and come with the end.
        text = split(self._text, self._adapter.capabilities.text_length)[0]
        if text == self._shown:
            return True
        grown = await self._drafts.grow(replace(self._growth, text=text))
        if grown.may_show == "later" and self._interval > 0:
            self._grown.set()
        if grown.may_show != "now":
            return grown.may_show == "later"
        self._shown = text
        if self._growth.pace is None:
            return True
        # From here to the platform's door there is nothing to wait for.
        if self._is_over or not self._growth.lane.is_fresh():
            return False
        return await self._deliver(text, grown)

    async def _deliver(self, text: str, grown: Grown) -> bool:
        message = OutboundMessage(
            conversation=self._growth.conversation.address,
            id=self._message_id,
            text=text,
            in_reply_to=grown.in_reply_to,
        )
        try:
            if grown.platform_ids:
                receipt = DeliveryReceipt(grown.platform_ids)
                edited = self._adapter.edit(receipt, message)
                await answered(self._adapter, edited, seconds=SEND_TIMEOUT_SECONDS)
                return True
            sent = self._adapter.send(message)
            receipt = await answered(self._adapter, sent, seconds=SEND_TIMEOUT_SECONDS)
        except ChannelError as error:
            logger.warning("stream ended: %s", error, extra={"event": "stream_refused"})
            self.edit_failed = bool(grown.platform_ids) and not _is_busy(error)
            return False
        await self._drafts.shown(self._growth.lane, receipt.platform_ids)
        # What has no id cannot be edited.
        return bool(receipt.platform_ids)


def _growth(
    adapter: ChannelAdapter,
    lane: Lane,
    conversation: Conversation,
    events: Sequence[StoredEvent],
) -> Growth:
    can = adapter.capabilities
    pace = Pace(
        rate_per_second=adapter.settings.rate_per_second or can.rate_per_second,
        burst=can.burst,
        seconds_per_chat=adapter.seconds_between(conversation.address),
        edits_per_minute=can.edits_per_minute,
    )
    return Growth(
        lane=lane,
        conversation=conversation,
        events=tuple(events),
        text="",
        pace=None if can.reads_drafts else pace,
        hangs=can.replies,
    )


def _interval(adapter: ChannelAdapter, growth: Growth) -> float:
    """Seconds between two edits of one message; 0 where the other side reads by itself."""
    if growth.pace is None:
        return 0.0
    return max(adapter.capabilities.edit_interval_seconds, growth.pace.seconds_per_chat)


def _is_busy(error: ChannelError) -> bool:
    return isinstance(error, ChannelUnavailable) and error.retry_after_seconds is not None
