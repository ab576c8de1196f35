"""The running bot: starts and stops channels and workers, and answers questions."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from kfbot.actions.conduct import Actions
from kfbot.adapter import ChannelAdapter
from kfbot.admin.loads import ChatLoads
from kfbot.answer import Answering, answer_question
from kfbot.cases.summarising import Summarising
from kfbot.cases.threads import CaseThreads
from kfbot.changes import Changes
from kfbot.conversation import HistoryMessage, Turn
from kfbot.errors import ChannelError, ChannelUnauthorized, StoreUnavailable
from kfbot.event_webhooks import EventWebhooks
from kfbot.handoff.handoff import Handoff
from kfbot.handoff.waiting import Waiting
from kfbot.inbox import Inbox
from kfbot.knowledge_base import NOTHING, KnowledgeBase, Scope
from kfbot.learning.teaching import Teaching
from kfbot.messages import ConversationId, InboundEvent, MessageReceived, Sender
from kfbot.observability import metrics
from kfbot.outbox import Outbox, backoff
from kfbot.overload.backlog import Backlog
from kfbot.places import is_shared
from kfbot.privacy import Privacy
from kfbot.reloading import Reloading
from kfbot.settings import Settings
from kfbot.store.conversation_events import ConversationEventStore
from kfbot.store.conversations import ConversationStore
from kfbot.store.dead_letters import DeadLetterStore
from kfbot.store.desk import DeskStores
from kfbot.store.gauges import GaugeStore
from kfbot.store.jobs import JobStore
from kfbot.store.keys import KeyStore
from kfbot.store.notices import knowledge_notice
from kfbot.store.reports import ReportStore
from kfbot.store.transcripts import TranscriptStore
from kfbot.store.uploads import UploadStore
from kfbot.typing_sign import TypingSign
from kfbot.upkeep import Upkeep

logger = logging.getLogger(__name__)

#: The channel of `POST /api/v1/ask` with a conversation, and of `kfbot chat` over HTTP.
API_CHANNEL = "api"
#: A full turn may take so long before the asker is told to come back.
TURN_TIMEOUT_SECONDS = 25.0
#: What other processes loaded is looked for this often, in case a notice was missed.
REFRESH_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """All parts, wired. `run` works; the rest is for the HTTP API and the commands."""

    settings: Settings
    #: Where this process keeps what is its own.
    place: Path
    answering: Answering
    actions: Actions
    channels: Mapping[str, ChannelAdapter]
    #: What each channel's customers may be answered from.
    scopes: Mapping[str, Scope]
    conversations: ConversationStore
    transcripts: TranscriptStore
    inbox: Inbox
    backlog: Backlog
    outbox: Outbox
    handoff: Handoff
    dead_letters: DeadLetterStore
    gauges: GaugeStore
    privacy: Privacy
    jobs: JobStore
    loads: ChatLoads
    case_threads: CaseThreads
    summarising: Summarising
    typing: TypingSign
    keys: KeyStore
    changes: Changes
    upkeep: Upkeep
    event_webhooks: EventWebhooks
    conversation_events: ConversationEventStore
    reloading: Reloading
    uploads: UploadStore
    waiting: Waiting
    teaching: Teaching
    reports: ReportStore
    desk: DeskStores
    clock: Callable[[], datetime]

    @property
    def knowledge(self) -> KnowledgeBase:
        """What answers are found in."""
        return self.answering.knowledge

    async def run(self) -> None:
        """Serve all channels until cancelled; finishes what it holds, for a while."""
        async with asyncio.TaskGroup() as tasks:
            for channel, adapter in self.channels.items():
                tasks.create_task(self._serve_channel(channel, adapter), name=channel)
            if is_shared(self.settings):
                tasks.create_task(self._follow_knowledge(), name="knowledge")
            tasks.create_task(self.upkeep.run(), name="upkeep")
            tasks.create_task(self.event_webhooks.run(), name="event-webhooks")
            tasks.create_task(self.reloading.run(), name="reloading")
            tasks.create_task(self.loads.run(), name="loads")
            tasks.create_task(self.waiting.run(), name="waiting")
            tasks.create_task(self.case_threads.run(), name="case-threads")
            tasks.create_task(self.summarising.run(), name="summaries")
            tasks.create_task(metrics.watch_loop(), name="loop-lag")
            try:
                # Not a task beside the channels: they stay open until it has finished what it
                # holds.
                await self.inbox.run()
            finally:
                await self.typing.close()

    async def ask(self, query: str, *, history: Sequence[HistoryMessage] = ()) -> Turn:
        """Answer a question that belongs to no conversation; nothing is stored.

        Raises:
            Overloaded: Too many are being answered.
        """
        with self.backlog.asking():
            return await self._ask(query, history)

    async def _ask(self, query: str, history: Sequence[HistoryMessage]) -> Turn:
        turn = await self.actions.alone(query, history) or await answer_question(
            query,
            self.answering,
            history=history,
            # Nobody is known by name there: no role, and no channel but its own.
            scope=self.scopes.get(API_CHANNEL, NOTHING),
            channel=API_CHANNEL,
        )
        turn = await self.actions.offered_alone(turn, query, history, API_CHANNEL)
        metrics.turn_taken(API_CHANNEL, turn)
        return turn

    async def ask_in(self, conversation: str, query: str) -> dict[str, Any] | None:
        """Take a full turn in an API conversation; returns the answer's data.

        None: the turn takes longer than 25 s; it goes on, and the transcript will have it.

        Raises:
            StoreUnavailable: The question was not stored.
            Overloaded: Nor was it, since the answer would come too late.
        """
        await self.backlog.admit_question()
        event = MessageReceived(
            event_id=f"{conversation}:{secrets.token_hex(12)}",
            conversation=ConversationId(API_CHANNEL, conversation),
            message_id=secrets.token_hex(12),
            sender=Sender(conversation),
            sent_at=datetime.now(UTC),
            text=query,
        )
        accepted = await self.inbox.accept(event)
        if not await self.inbox.settled(accepted, timeout_seconds=TURN_TIMEOUT_SECONDS):
            return None
        data = await self.transcripts.turn_data(accepted.conversation_id, event.event_id)
        # An agent took the conversation in the middle of the turn.
        silent = Turn(question=query, decision="silent", confidence=0.0, text="")
        return silent.as_data() if data is None else data

    async def _follow_knowledge(self) -> None:
        """Take up what other processes load."""
        notices = [knowledge_notice(name) for name in self.settings.knowledge]
        with self.changes.watching(*notices) as loaded:
            while True:
                loaded.clear()
                try:
                    await self.knowledge.refresh()
                except StoreUnavailable as error:
                    logger.error("not refreshed: %s", error, extra={"event": "store_unavailable"})
                except Exception:
                    logger.exception("not refreshed", extra={"event": "refresh_failed"})
                with suppress(TimeoutError):
                    async with asyncio.timeout(REFRESH_SECONDS):
                        await loaded.wait()

    async def _serve_channel(self, channel: str, adapter: ChannelAdapter) -> None:
        """Keep a channel open and store what it yields; a fault stays the channel's own.

        A broken connection is taken up again, less and less often; refused credentials are
        for a person to mend.
        """
        attempts, heard = 0, asyncio.Event()
        while True:
            try:
                async with adapter:
                    self.outbox.stopped.pop(channel, None)
                    await self._follow_all(adapter, heard)
                    # A platform that calls us: open until the end.
                    await asyncio.Event().wait()
            except ChannelUnauthorized as error:
                self._report_down(channel, error)
                return
            except ChannelError as error:
                self._report_down(channel, error)
                pause = backoff(
                    0 if heard.is_set() else attempts,
                    retry_after_seconds=getattr(error, "retry_after_seconds", None),
                )
            except Exception as error:
                logger.exception("channel failed", extra={"event": "channel_failed"})
                self.outbox.stopped[channel] = type(error).__name__
                pause = backoff(0 if heard.is_set() else attempts)
            attempts = 1 if heard.is_set() else attempts + 1
            heard.clear()
            await asyncio.sleep(pause.total_seconds())

    async def _follow_all(self, adapter: ChannelAdapter, heard: asyncio.Event) -> None:
        """Store what the streams of an adapter yield, until all end or the first fails."""
        told = [adapter.listen() for _ in range(adapter.streams)]
        missed = adapter.catch_up(partial(self._conversations_of, adapter.channel))
        streams = [
            asyncio.create_task(self._follow(events, heard), name=adapter.channel)
            for events in (*told, missed)
        ]
        try:
            await asyncio.gather(*streams)
        finally:
            for stream in streams:
                stream.cancel()
            await asyncio.gather(*streams, return_exceptions=True)

    async def _follow(self, events: AsyncIterator[InboundEvent], heard: asyncio.Event) -> None:
        async for event in events:
            heard.set()
            await self.store(event)

    async def _conversations_of(self, channel: str) -> Sequence[ConversationId]:
        """The channel's conversations, the latest first, however long the store takes."""
        attempts = 0
        while True:
            try:
                return await self.conversations.latest(channel)
            except StoreUnavailable as error:
                attempts += 1
                logger.error("not read yet: %s", error, extra={"event": "store_unavailable"})
                await asyncio.sleep(min(backoff(attempts).total_seconds(), 30))

    def _report_down(self, channel: str, error: ChannelError) -> None:
        logger.error("channel down: %s", error, extra={"event": "channel_down"})
        self.outbox.stopped[channel] = str(error)

    async def store(self, event: InboundEvent) -> None:
        """Store an event that nobody would send again, however long it takes."""
        attempts = 0
        while True:
            try:
                await self.inbox.accept(event)
                return
            except StoreUnavailable as error:
                attempts += 1
                logger.error("not stored yet: %s", error, extra={"event": "store_unavailable"})
                await asyncio.sleep(min(backoff(attempts).total_seconds(), 30))
