"""Takes each inbound event once; one conversation, one turn at a time, many side by side."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from kfbot.adapter import Capabilities, ChannelAdapter
from kfbot.changes import Changes
from kfbot.conversation import Case, bot_may_speak
from kfbot.desk import AgentDesk
from kfbot.dialogue import Batch, Dialogue, next_batch
from kfbot.errors import ConversationChanged, KfbotError, StoreUnavailable
from kfbot.etiquette import answerable
from kfbot.logs import logging_context
from kfbot.messages import InboundEvent, MessageReceived
from kfbot.outbox import Outbox, backoff
from kfbot.store.acceptance import Accepted
from kfbot.store.conversations import ConversationStore
from kfbot.store.lanes import Lane
from kfbot.store.messages import MessageStore, StoredEvent
from kfbot.store.outcomes import OutcomeStore
from kfbot.turn import Outcome, failed_turn

logger = logging.getLogger(__name__)

#: Conversations that are worked on at the same time.
WORKERS = 32
LEASE_SECONDS = 30.0
#: A turn that went wrong so often becomes a handoff.
MAX_ATTEMPTS = 3
#: The store is asked for work at least this often, in case a wake-up was missed.
POLL_SECONDS = 1.0
#: A desk may take so long to show a case; it reads the rest from the store.
DESK_TIMEOUT_SECONDS = 5.0


class Inbox:
    """Accepts events and works on them, lane by lane."""

    def __init__(
        self,
        *,
        messages: MessageStore,
        conversations: ConversationStore,
        outcomes: OutcomeStore,
        dialogue: Dialogue,
        outbox: Outbox,
        channels: Mapping[str, ChannelAdapter],
        desks: Sequence[AgentDesk],
        changes: Changes,
        clock: Callable[[], datetime],
    ) -> None:
        self._messages = messages
        self._conversations = conversations
        self._outcomes = outcomes
        self._dialogue = dialogue
        self._outbox = outbox
        self._channels = channels
        self._desks = desks
        self._changes = changes
        self._clock = clock
        self._owner = f"process-{secrets.token_hex(6)}"
        self._wake = asyncio.Event()
        self._running: dict[Lane, asyncio.Task[None]] = {}
        self._claiming = False
        self._settled: dict[int, list[asyncio.Future[None]]] = {}

    async def accept(self, event: InboundEvent) -> Accepted:
        """Store an event; once this returns, the platform may be told so.

        Raises:
            StoreUnavailable: Nothing was stored.
        """
        accepted = await self._messages.accept(event)
        if not accepted.repeated:
            self.wake()
            self._changes.announce(accepted.conversation_id)
        return accepted

    async def idle(self) -> bool:
        """True where no lane is worked on and none is ready to be."""
        ready_at = await self._messages.next_ready_at()
        working = self._claiming or self._running
        return not working and (ready_at is None or ready_at > self._clock())

    def wake(self) -> None:
        """There may be work."""
        self._wake.set()

    async def settled(self, accepted: Accepted, *, timeout_seconds: float) -> bool:
        """Wait until an event was worked on; False if that takes longer than the timeout."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._settled.setdefault(accepted.inbox_id, [])
        waiting.append(future)
        try:
            if await self._messages.is_done(accepted.inbox_id):
                return True
            async with asyncio.timeout(timeout_seconds):
                await future
            return True
        except TimeoutError:
            return False
        finally:
            waiting.remove(future)
            if not waiting:
                self._settled.pop(accepted.inbox_id, None)

    async def run(self) -> None:
        """Work until cancelled; then finish what is running, for a while."""
        renewing = asyncio.create_task(self._renew(), name="lease-renewal")
        try:
            while True:
                self._wake.clear()
                if not await self._start_ready():
                    with suppress(TimeoutError):
                        async with asyncio.timeout(await self._idle_seconds()):
                            await self._wake.wait()
        finally:
            renewing.cancel()
            await self._drain()

    async def _start_ready(self) -> bool:
        """Start on lanes that are ready; False if there was none, or no room for one."""
        if (room := WORKERS - len(self._running)) <= 0:
            return False
        self._claiming = True
        try:
            lanes = await self._messages.claim(
                self._owner,
                limit=room,
                lease_seconds=LEASE_SECONDS,
                running=[lane.conversation_id for lane in self._running],
            )
            for lane in lanes:
                task = asyncio.create_task(self._work(lane), name=f"lane-{lane.conversation_id}")
                self._running[lane] = task
                task.add_done_callback(lambda _, lane=lane: self._done(lane))  # type: ignore[misc]
        except StoreUnavailable as error:
            logger.error("no work: %s", error, extra={"event": "store_unavailable"})
            # Reading may still work, and find the same lanes ready again at once.
            await asyncio.sleep(POLL_SECONDS)
            return False
        finally:
            self._claiming = False
        return bool(lanes)

    def _done(self, lane: Lane) -> None:
        self._running.pop(lane, None)
        self.wake()

    async def _idle_seconds(self) -> float:
        try:
            ready_at = await self._messages.next_ready_at()
        except StoreUnavailable:
            return POLL_SECONDS
        if ready_at is None or len(self._running) >= WORKERS:
            return POLL_SECONDS
        return min(max((ready_at - self._clock()).total_seconds(), 0.001), POLL_SECONDS)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                await self._messages.renew(tuple(self._running), lease_seconds=LEASE_SECONDS)
            except StoreUnavailable as error:
                logger.error("lease not renewed: %s", error, extra={"event": "store_unavailable"})

    async def _drain(self) -> None:
        tasks = tuple(self._running.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=10)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _work(self, lane: Lane) -> None:
        with logging_context(conversation=lane.conversation_id):
            try:
                await self._work_off(lane)
            except ConversationChanged as error:
                logger.info("lane lost: %s", error, extra={"event": "lane_lost"})
            except Exception:
                logger.exception("lane postponed", extra={"event": "lane_postponed"})
                with suppress(KfbotError):
                    await self._messages.release(lane, ready_at=self._clock() + backoff(1))

    async def _work_off(self, lane: Lane) -> None:
        """Send what is due and work on what waits until there is nothing left, or a pause."""
        released = False
        later = await self._outbox.deliver(lane)
        while not released:
            waiting = await self._messages.waiting(lane)
            if not waiting:
                released = await self._messages.release(lane, ready_at=later)
                if not released:
                    later = await self._outbox.deliver(lane)
                continue
            released = await self._take(lane, next_batch(waiting, self._clock()))
            # What is due later holds up what is to be sent after it, but no turn.
            if not released and later is None:
                later = await self._outbox.deliver(lane)

    async def _take(self, lane: Lane, batch: Batch) -> bool:
        """Work on a batch; True once the lane was given back instead."""
        if batch.pause > timedelta() and await self._bot_answers(lane):
            return await self._messages.release(lane, ready_at=self._clock() + batch.pause)
        return await self._finish(lane, batch)

    async def _bot_answers(self, lane: Lane) -> bool:
        # What is said to an agent is not waited over: the bot must not answer it later on.
        return bot_may_speak(await self._conversations.get(lane.conversation_id))

    async def _finish(self, lane: Lane, batch: Batch) -> bool:
        try:
            outcome = await self._dialogue.respond(lane.conversation_id, batch)
        except StoreUnavailable:
            raise
        except Exception as error:
            return await self._failed(lane, batch, error)
        try:
            await self._commit(lane, batch, outcome)
        except (StoreUnavailable, ConversationChanged):
            raise
        except Exception as error:
            return await self._failed(lane, batch, error)
        return False

    async def _failed(self, lane: Lane, batch: Batch, error: Exception) -> bool:
        """Try again later, at last with a polite handoff; what not even that helps is given up."""
        logger.error("turn failed", exc_info=error, extra={"event": "turn_failed"})
        attempts = await self._messages.failed(batch.events[0], repr(error)[:500])
        if attempts < MAX_ATTEMPTS:
            return await self._messages.release(lane, ready_at=self._clock() + backoff(attempts))
        try:
            await self._commit(lane, batch, await self._apology(lane, batch))
        except (StoreUnavailable, ConversationChanged):
            raise
        except Exception:
            # The conversation must go on without it.
            logger.exception("event given up", extra={"event": "event_dead"})
            await self._outcomes.give_up(batch.events)
            self._settle(batch.events)
        return False

    async def _commit(self, lane: Lane, batch: Batch, outcome: Outcome) -> None:
        capabilities = self._capabilities(outcome)
        case = await self._outcomes.commit(lane, batch.events, outcome, capabilities)
        _log_turn(outcome)
        self._settle(batch.events)
        self._changes.announce(lane.conversation_id)
        if case is not None:
            await self._show(case)

    async def _apology(self, lane: Lane, batch: Batch) -> Outcome:
        conversation = await self._conversations.get(lane.conversation_id)
        if not isinstance(batch.event, MessageReceived) or not answerable(batch.event):
            return Outcome(before=conversation, after=conversation)
        return failed_turn(conversation, batch.event.text)

    def _capabilities(self, outcome: Outcome) -> Capabilities:
        adapter = self._channels.get(outcome.before.address.channel)
        return adapter.capabilities if adapter is not None else Capabilities()

    def _settle(self, events: Sequence[StoredEvent]) -> None:
        for event in events:
            for future in self._settled.get(event.inbox_id, ()):
                if not future.done():
                    future.set_result(None)

    async def _show(self, case: Case) -> None:
        for desk in self._desks:
            try:
                async with asyncio.timeout(DESK_TIMEOUT_SECONDS):
                    await desk.open(case)
            except (KfbotError, TimeoutError) as error:
                logger.warning("desk not told: %s", error, extra={"event": "desk_not_told"})


def _log_turn(outcome: Outcome) -> None:
    if (turn := outcome.turn) is not None:
        logger.info(
            "turn: %s, confidence %.2f, %.0f ms",
            turn.decision,
            turn.confidence,
            turn.timings_ms.get("total", 0.0),
            extra={"event": "turn_finished", "decision": turn.decision},
        )
