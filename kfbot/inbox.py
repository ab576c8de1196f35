"""Takes each inbound event once; one conversation, one turn at a time, many side by side."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from kfbot.adapter import Capabilities, ChannelAdapter
from kfbot.admin.admin import failed_command
from kfbot.admin.commands import parse
from kfbot.batching import Batch, next_batch
from kfbot.changes import EVERYTHING, Changes
from kfbot.conversation import Case, Conversation, State
from kfbot.desk import AgentDesk
from kfbot.dialogue import Dialogue
from kfbot.errors import ConversationChanged, KfbotError, RowUnreadable, StoreUnavailable
from kfbot.etiquette import answerable
from kfbot.messages import InboundEvent, MessageReceived
from kfbot.observability import metrics, tracing
from kfbot.observability.logs import logging_context
from kfbot.observability.tracing import EventKey
from kfbot.observability.turn_log import TurnLog
from kfbot.outbox import Outbox, backoff
from kfbot.overload.pace import Pace
from kfbot.store.acceptance import Accepted
from kfbot.store.lanes import Lane, elapsed_seconds
from kfbot.store.messages import MessageStore
from kfbot.store.notices import LANE, conversation_notice
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.work import StoredEvent
from kfbot.streaming import Streaming
from kfbot.turn import Load, Outcome, failed_turn

logger = logging.getLogger(__name__)

#: Conversations that are worked on at the same time, at most.
WORKERS = 32
LEASE_SECONDS = 30.0
#: A turn that went wrong so often becomes a handoff.
MAX_ATTEMPTS = 3
#: A turn in which so many processes died becomes one too, untried.
MAX_CRASHES = 5
#: What no version can read is given up after so many attempts, some minutes.
MAX_UNREADABLE = 8
#: So long running work may take when the process stops.
DRAIN_SECONDS = 4.0
#: The store is asked for work at least this often, in case a wake-up was missed.
POLL_SECONDS = 1.0
#: A desk may take so long to show a case; it reads the rest from the store.
DESK_TIMEOUT_SECONDS = 5.0


class Inbox:
    """Accepts events and works on them, lane by lane."""

    def __init__(
        self,
        *,
        owner: str,
        messages: MessageStore,
        outcomes: OutcomeStore,
        dialogue: Dialogue,
        outbox: Outbox,
        streaming: Streaming,
        channels: Mapping[str, ChannelAdapter],
        desks: Sequence[AgentDesk],
        changes: Changes,
        clock: Callable[[], datetime],
        on_load: Callable[[Load], None],
    ) -> None:
        """Prepare.

        Args:
            owner: The name of this process among the replicas.
            on_load: Begins the load that a committed outcome asks for.
        """
        self._owner = owner
        self._messages = messages
        self._outcomes = outcomes
        self._dialogue = dialogue
        self._outbox = outbox
        self._streaming = streaming
        self._channels = channels
        self._desks = desks
        self._changes = changes
        self._clock = clock
        self._on_load = on_load
        self._wake = asyncio.Event()
        self._running: dict[Lane, asyncio.Task[None]] = {}
        self._pace = Pace(WORKERS)
        self._turns = TurnLog(clock)
        self._claiming = False
        self._stopping = False

    async def accept(self, event: InboundEvent) -> Accepted:
        """Store an event; once this returns, the platform may be told so.

        Raises:
            StoreUnavailable: Nothing was stored.
        """
        began = time.perf_counter()
        with tracing.first_span("accept", EventKey.of(event), channel=event.conversation.channel):
            accepted = await self._messages.accept(event)
        metrics.accepted(event, repeated=accepted.repeated, seconds=time.perf_counter() - began)
        return accepted

    async def idle(self) -> bool:
        """True where no lane is worked on and none is ready to be."""
        ready_at = await self._messages.next_ready_at(self._owner)
        working = self._claiming or self._running
        return not working and (ready_at is None or ready_at > self._clock())

    def hear(self, notice: str) -> None:
        """Listen to the store: there may be work."""
        if notice in (LANE, EVERYTHING):
            self.wake()

    def wake(self) -> None:
        """There may be work."""
        self._wake.set()

    async def settled(self, accepted: Accepted, *, timeout_seconds: float) -> bool:
        """Wait until an event was worked on, by whomever; False if that takes too long."""
        notice = conversation_notice(accepted.conversation_id)
        with suppress(TimeoutError), self._changes.watching(notice) as changed:
            async with asyncio.timeout(timeout_seconds):
                while not await self._messages.is_done(accepted.inbox_id):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(POLL_SECONDS):
                            await changed.wait()
                    changed.clear()
                return True
        return False

    async def run(self) -> None:
        """Work until cancelled; then finish for a while what is running, and hand back the rest."""
        pacing = self._pace.keep(lambda: len(self._running), self.wake)
        keeping = [
            asyncio.create_task(self._keep(), name="lane-keeper"),
            asyncio.create_task(pacing, name="lane-pace"),
        ]
        try:
            while True:
                await self._until_due()
                self._wake.clear()
                await self._start_ready()
        finally:
            for task in keeping:
                task.cancel()
            await self._drain()

    def _room(self) -> int:
        """How many more lanes may be worked on."""
        return min(WORKERS, self._pace.limit) - len(self._running)

    async def _until_due(self) -> None:
        """Wait until there may be a lane to work on and a worker for it."""
        while not self._wake.is_set():
            seconds = await self._idle_seconds()
            if seconds <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()

    async def _idle_seconds(self) -> float:
        if self._room() <= 0:
            return POLL_SECONDS
        try:
            ready_at = await self._messages.next_ready_at(
                self._owner, running=self._conversations()
            )
        except StoreUnavailable:
            return POLL_SECONDS
        if ready_at is None:
            return POLL_SECONDS
        return min((ready_at - self._clock()).total_seconds(), POLL_SECONDS)

    def _conversations(self) -> list[int]:
        return [lane.conversation_id for lane in self._running]

    async def _start_ready(self) -> None:
        """Start on lanes that are ready, as many as there are workers for."""
        if (room := self._room()) <= 0:
            return
        self._claiming = True
        try:
            lanes = await self._messages.claim(
                self._owner,
                limit=room,
                lease_seconds=LEASE_SECONDS,
                running=self._conversations(),
            )
            for lane in lanes:
                task = asyncio.create_task(self._work(lane), name=f"lane-{lane.conversation_id}")
                self._running[lane] = task
                task.add_done_callback(lambda _, lane=lane: self._done(lane))  # type: ignore[misc]
        except StoreUnavailable as error:
            logger.error("no work: %s", error, extra={"event": "store_unavailable"})
            # Reading may still work, and find the same lanes ready again at once.
            await asyncio.sleep(POLL_SECONDS)
        finally:
            self._claiming = False

    def _done(self, lane: Lane) -> None:
        self._running.pop(lane, None)
        self.wake()

    async def _keep(self) -> None:
        """Keep our leases, and take over what others left behind."""
        renewed = elapsed_seconds()
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                if elapsed_seconds() - renewed >= LEASE_SECONDS / 3:
                    renewed = elapsed_seconds()
                    lanes = tuple(self._running)
                    await self._messages.renew(self._owner, lanes, lease_seconds=LEASE_SECONDS)
                if freed := await self._messages.free_lost(self._owner):
                    logger.warning("%d lanes taken over", freed, extra={"event": "lanes_freed"})
                    self.wake()
            except StoreUnavailable as error:
                logger.error("lanes not kept: %s", error, extra={"event": "store_unavailable"})
            except Exception:
                # Without this task every lane would be lost a lease from now.
                logger.exception("lanes not kept", extra={"event": "lanes_not_kept"})

    async def _drain(self) -> None:
        """Let every lane finish its step; what takes longer is broken off and handed back."""
        self._stopping = True
        tasks = dict(self._running)
        if not tasks:
            return
        _, late = await asyncio.wait(tasks.values(), timeout=DRAIN_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for lane, task in tasks.items():
            if task in late:
                await self._hand_back(lane)
        if late:
            logger.warning("%d lanes handed back", len(late), extra={"event": "lanes_handed_back"})

    async def _hand_back(self, lane: Lane, pause: timedelta = timedelta()) -> None:
        with suppress(KfbotError):
            await self._messages.release(lane, ready_at=self._clock() + pause)

    async def _work(self, lane: Lane) -> None:
        with logging_context(conversation=lane.conversation_id):
            try:
                while not await self._step(lane):
                    if self._stopping:
                        await self._hand_back(lane)
                        return
            except ConversationChanged as error:
                logger.info("lane lost: %s", error, extra={"event": "lane_lost"})
            except RowUnreadable as error:
                await self._unreadable(lane, error)
            except StoreUnavailable as error:
                logger.error("lane postponed: %s", error, extra={"event": "lane_postponed"})
                await self._hand_back(lane, backoff(1))
            except Exception:
                logger.exception("lane postponed", extra={"event": "lane_postponed"})
                await self._hand_back(lane, backoff(1))

    async def _step(self, lane: Lane) -> bool:
        """Send one message or work on one batch; True once the lane was given back."""
        work = await self._messages.work(lane, whole=False)
        with logging_context(channel=work.conversation.address.channel):
            later = None
            if work.unsent:
                unsent = work.unsent[0]
                delivered = await self._turns.deliver(self._outbox, lane, work.conversation, unsent)
                if delivered.wait_until is None:
                    return delivered.released
                # What is due later holds up what is to be sent after it, but no turn.
                later = delivered.wait_until
                if work.waiting is None:
                    work = await self._messages.work(lane)
            if work.waiting:
                with logging_context(turn=work.waiting[0].inbox_id):
                    return await self._take(lane, work.conversation, work.waiting)
            return await self._messages.release(lane, ready_at=later)

    async def _take(
        self, lane: Lane, conversation: Conversation, waiting: Sequence[StoredEvent]
    ) -> bool:
        """Work on what waits; True once the lane was given back instead."""
        batch = next_batch(waiting, self._clock())
        # What is said to an agent is not waited over: the bot must not answer it later on.
        if batch.pause > timedelta() and await self._dialogue.may_answer(conversation):
            return await self._messages.release(lane, ready_at=self._clock() + batch.pause)
        if batch.events[0].crashes >= MAX_CRASHES:
            logger.error("turn killed its process", extra={"event": "turn_crashed"})
            await self._give_in(lane, conversation, batch)
            return False
        try:
            with tracing.following(EventKey.of(batch.events[0].event)):
                await self._turn(lane, conversation, batch)
        except (StoreUnavailable, ConversationChanged):
            raise
        except Exception as error:
            return await self._failed(lane, conversation, batch, error)
        return False

    async def _turn(self, lane: Lane, conversation: Conversation, batch: Batch) -> None:
        channel = conversation.address.channel
        with tracing.span("turn", channel=channel, conversation=conversation.id) as span:
            async with self._streaming.showing(lane, conversation, batch.events) as on_text:
                outcome = await self._dialogue.respond(conversation, batch, on_text=on_text)
            if (turn := outcome.turn) is not None:
                span.note(
                    decision=turn.decision,
                    reason=turn.reason,
                    confidence=turn.confidence,
                    knowledge_base=turn.knowledge_base or None,
                )
            await self._commit(lane, batch, outcome)

    async def _failed(
        self, lane: Lane, conversation: Conversation, batch: Batch, error: Exception
    ) -> bool:
        """Try again later, at last with a polite handoff."""
        logger.error("turn failed", exc_info=error, extra={"event": "turn_failed"})
        attempts = await self._messages.failed(batch.events[0].inbox_id, repr(error)[:500])
        if attempts < MAX_ATTEMPTS:
            return await self._messages.release(lane, ready_at=self._clock() + backoff(attempts))
        await self._give_in(lane, conversation, batch)
        return False

    async def _give_in(self, lane: Lane, conversation: Conversation, batch: Batch) -> None:
        """Say sorry and get a person; what not even that helps is given up."""
        try:
            apology = self._dialogue.told(_apology(conversation, batch))
            await self._commit(lane, batch, apology)
        except (StoreUnavailable, ConversationChanged):
            raise
        except Exception:
            # The conversation must go on without it.
            logger.exception("event given up", extra={"event": "event_dead"})
            await self._outcomes.give_up([event.inbox_id for event in batch.events])
            metrics.events_dead(len(batch.events))

    async def _unreadable(self, lane: Lane, error: RowUnreadable) -> None:
        """Leave it to a newer version for a while; then it is given up and the lane goes on."""
        logger.error("%s", error, extra={"event": "row_unreadable"})
        try:
            if error.kind == "outbox":
                await self._messages.give_up_message(error.row_id, str(error))
                await self._hand_back(lane)
                return
            attempts = await self._messages.failed(error.row_id, str(error))
            if attempts < MAX_UNREADABLE:
                await self._hand_back(lane, backoff(attempts))
                return
            await self._outcomes.give_up([error.row_id])
            metrics.events_dead(1)
            await self._hand_back(lane)
        except StoreUnavailable as gone:
            logger.error("no work: %s", gone, extra={"event": "store_unavailable"})

    async def _commit(self, lane: Lane, batch: Batch, outcome: Outcome) -> None:
        capabilities = self._capabilities(outcome)
        with tracing.span("commit"), metrics.stage("commit"):
            case = await self._outcomes.commit(lane, batch.events, outcome, capabilities)
        self._turns.committed(lane, batch.events[0], outcome, case, capabilities)
        if outcome.load is not None:
            self._on_load(outcome.load)
        if case is not None:
            await self._show(case)

    def _capabilities(self, outcome: Outcome) -> Capabilities:
        adapter = self._channels.get(outcome.before.address.channel)
        return adapter.capabilities if adapter is not None else Capabilities()

    async def _show(self, case: Case) -> None:
        for desk in self._desks:
            try:
                async with asyncio.timeout(DESK_TIMEOUT_SECONDS):
                    await desk.open(case)
            except (KfbotError, TimeoutError) as error:
                logger.warning("desk not told: %s", error, extra={"event": "desk_not_told"})


def _apology(conversation: Conversation, batch: Batch) -> Outcome:
    if conversation.state is State.THREAD:
        return failed_command(conversation, "")
    if not isinstance(batch.event, MessageReceived) or not answerable(batch.event):
        return Outcome(before=conversation, after=conversation)
    if parse(batch.event.text):
        # No matter for a person of the customers' service: the log says what went wrong.
        return failed_command(conversation, batch.event.text)
    return failed_turn(conversation, batch.event.text)
