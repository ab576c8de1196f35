"""Looks after those who wait for a person: tells them, keeps the limits, gives cases to agents."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from kfbot.adapter import Capabilities, ChannelAdapter
from kfbot.changes import Changes
from kfbot.conversation import Language
from kfbot.desk import AgentDesk
from kfbot.errors import ConversationChanged, KfbotError, StoreUnavailable
from kfbot.handoff.closing_times import closed_text
from kfbot.handoff.limits import Step, last_notice, next_step
from kfbot.handoff.settings import HandoffSettings
from kfbot.inbox import DESK_TIMEOUT_SECONDS
from kfbot.language import last_spoken
from kfbot.store.notices import AGENTS, CASES
from kfbot.store.waiting import Announcement, Found, WaitingStore
from kfbot.texts import texts, waiting_texts

logger = logging.getLogger(__name__)

#: The store is asked this often what is due; a case that is opened or claimed wakes us at once.
LOOK_SECONDS = 2.0
#: A case for which nothing could be done is looked at again after so long.
AGAIN = timedelta(minutes=1)
#: Who waits there, and where in the queue, is not for us to know.
_HELP_DESK = HandoffSettings(assign="queue", notice_after_minutes=(), give_up_after_minutes=0)


def rules_of(
    common: HandoffSettings, channels: Mapping[str, ChannelAdapter]
) -> dict[str, HandoffSettings]:
    """What holds in each channel; at a help desk its own queue, unless the section says so."""
    theirs = common.with_channel(_HELP_DESK)
    return {
        name: (theirs if one.capabilities.help_desk else common).with_channel(one.settings.handoff)
        for name, one in channels.items()
    }


class Waiting:
    """Does what is due; every replica may, and each thing is done once."""

    def __init__(
        self,
        store: WaitingStore,
        *,
        common: HandoffSettings,
        rules: Mapping[str, HandoffSettings],
        channels: Mapping[str, ChannelAdapter],
        desks: Sequence[AgentDesk],
        changes: Changes,
        clock: Callable[[], datetime],
    ) -> None:
        """Prepare.

        Args:
            common: `[handoff]`; `rules` says what each channel makes of it.
        """
        self._store = store
        self._common = common
        self._rules = rules
        self._channels = channels
        self._desks = desks
        self._changes = changes
        self._clock = clock

    async def run(self) -> None:
        """Go on until cancelled, which leaves nothing half done."""
        with self._changes.watching(CASES, AGENTS) as changed:
            while True:
                changed.clear()
                try:
                    await self.look()
                except StoreUnavailable as error:
                    logger.error("looked at later: %s", error, extra={"event": "store_unavailable"})
                except Exception:
                    # A fault in here must not stop the answers to customers.
                    logger.exception("waiting not looked at", extra={"event": "waiting_failed"})
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await changed.wait()

    async def look(self) -> None:
        """Do everything that is due now.

        Raises:
            StoreUnavailable: Some of it is still to be done.
        """
        for found in await self._store.due():
            try:
                await self._look_at(found)
            except StoreUnavailable:
                raise
            except Exception as error:
                # Others must not wait for it, nor it be the first one every time.
                if not isinstance(error, ConversationChanged):
                    logger.exception(
                        "case not looked at",
                        extra={
                            "event": "case_failed",
                            "conversation": found.standing.conversation.id,
                        },
                    )
                await self._store.postpone(found.standing, self._clock() + AGAIN)
        now = self._clock()
        channels = [
            name
            for name, rules in self._rules.items()
            if rules.assign == "automatic" and rules.business_hours.is_open(now)
        ]
        if channels:
            for number, agent in (await self._store.give_out(channels)).items():
                logger.info(
                    "case given to %s", agent,
                    extra={"event": "case_assigned", "conversation": number},
                )  # fmt: skip

    async def _look_at(self, found: Found) -> None:
        standing = found.standing
        rules = self._rules.get(standing.conversation.address.channel, self._common)
        step = next_step(standing, rules, self._clock())
        if step.action is None:
            await self._store.postpone(standing, step.due_at)
            return
        if step.action == "missed":
            await self._store.pass_on(standing, automatic=rules.assign == "automatic")
        elif not await self._store.act(standing, step, await self._announcement(found, step)):
            return
        logger.info(
            "case: %s", step.action,
            extra={"event": f"case_{step.action}", "conversation": standing.conversation.id},
        )  # fmt: skip
        if step.action == "hand_back":
            await self._close_at_desks(found)

    async def _announcement(self, found: Found, step: Step) -> Announcement | None:
        """What the customer is told; None: nothing, for example that an agent is slow."""
        conversation = found.standing.conversation
        language = last_spoken(found.spoken) or "en"
        text = await self._text(found, step, language)
        if text is None:
            return None
        adapter = self._channels.get(conversation.address.channel)
        can = adapter.capabilities if adapter is not None else Capabilities()
        return Announcement(text=text, pushed=not can.reads_transcript, text_length=can.text_length)

    async def _text(self, found: Found, step: Step, language: Language) -> str | None:
        says = waiting_texts(language)
        channel = found.standing.conversation.address.channel
        rules = self._rules.get(channel, self._common)
        if step.action == "notice":
            before = await self._store.before(found.standing, last_notice(rules))
            place = says.place.format(before=before) if before else says.is_next
            return f"{says.notice}\n{place}"
        if step.action == "closed":
            return closed_text(rules.business_hours, self._clock(), language)
        told = {"gave_up": says.gave_up, "hand_back": texts(language).handback}
        return told.get(step.action or "")

    async def _close_at_desks(self, found: Found) -> None:
        for desk in self._desks:
            try:
                async with asyncio.timeout(DESK_TIMEOUT_SECONDS):
                    await desk.close(found.standing.case)
            except (KfbotError, TimeoutError) as error:
                logger.warning("desk not told: %s", error, extra={"event": "desk_not_told"})
