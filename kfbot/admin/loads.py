"""Loads that admins ask for in a chat: run in the background, their result told there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress

from kfbot.adapter import Capabilities, ChannelAdapter
from kfbot.admin.texts import loaded
from kfbot.errors import ConversationChanged, StoreUnavailable
from kfbot.jobs import Jobs
from kfbot.language import last_spoken
from kfbot.store.conversations import ConversationStore
from kfbot.store.jobs import ORPHANED, Job, JobStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.transcripts import TranscriptStore
from kfbot.texts import CommandTexts, command_texts
from kfbot.turn import Load

logger = logging.getLogger(__name__)

#: Loads of processes that are gone are looked for so often.
LOOK_SECONDS = 5.0


class ChatLoads:
    """Every asker is told once how the load ended, by whichever process sees it first."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        store: JobStore,
        conversations: ConversationStore,
        transcripts: TranscriptStore,
        outcomes: OutcomeStore,
        channels: Mapping[str, ChannelAdapter],
    ) -> None:
        self._jobs = jobs
        self._store = store
        self._conversations = conversations
        self._transcripts = transcripts
        self._outcomes = outcomes
        self._channels = channels
        self._ended = asyncio.Event()

    def start(self, load: Load) -> None:
        """Begin a load that is stored with its asker; returns at once."""
        self._jobs.run(load.job_id, load.names, on_end=self._ended.set)

    async def run(self) -> None:
        """Tell results until cancelled; then break off what is loading, which changes nothing."""
        try:
            while True:
                self._ended.clear()
                try:
                    await self.tell()
                except StoreUnavailable as error:
                    logger.error("not told: %s", error, extra={"event": "store_unavailable"})
                except Exception:
                    # Nor may it stop if it cannot even be read who asked.
                    logger.exception("loads not told", extra={"event": "load_not_told"})
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._ended.wait()
        finally:
            await self._jobs.close()

    async def tell(self) -> None:
        """Tell all askers whose load has ended.

        Raises:
            StoreUnavailable: Some are still to be told.
        """
        for job_id, conversation_id in await self._store.asked():
            try:
                job = await self._store.find(job_id)
                if job is None or job.state != "running":
                    with suppress(ConversationChanged):
                        await self._tell(job_id, conversation_id, job)
            except StoreUnavailable:
                raise
            except Exception:
                # A fault in here must not stop the answers to customers, nor the other askers'.
                logger.exception("load not told: %s", job_id, extra={"event": "load_not_told"})

    async def _tell(self, job_id: str, conversation_id: int, job: Job | None) -> None:
        conversation = await self._conversations.get(conversation_id)
        adapter = self._channels.get(conversation.address.channel)
        can = adapter.capabilities if adapter is not None else Capabilities()
        context = await self._transcripts.context(conversation_id)
        spoken = (one.text for one in reversed(context.history) if one.role == "customer")
        await self._outcomes.tell_asker(
            job_id,
            _result(job, command_texts(last_spoken(spoken) or "en")),
            pushed=not can.reads_transcript,
            text_length=can.text_length,
        )


def _result(job: Job | None, says: CommandTexts) -> str:
    if job is None or job.error == ORPHANED:
        return says.reload_broken_off
    return says.reload_failed.format(error=job.error) if job.error else loaded(job.reports, says)
