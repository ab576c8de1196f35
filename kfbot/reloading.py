"""Has knowledge bases loaded by themselves: at set times, and soon after a file has changed."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kfbot.errors import KfbotError
from kfbot.knowledge_base import KnowledgeBase
from kfbot.knowledge_settings import KnowledgeSettings

logger = logging.getLogger(__name__)

#: Files are looked at so often. Two looks that agree: nobody is in the middle of copying.
LOOK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ReloadPlan:
    """When a knowledge base is loaded without being asked to."""

    every: timedelta | None = None
    on_change: bool = False


def plans_of(sections: Mapping[str, KnowledgeSettings]) -> dict[str, ReloadPlan]:
    """The plan of each knowledge base."""
    return {
        name: ReloadPlan(
            every=timedelta(minutes=section.reload_every_minutes) or None,
            on_change=section.reload_on_change,
        )
        for name, section in sections.items()
    }


class Reloading:
    """Follows the plans; a knowledge base that was taken back is left as it is."""

    def __init__(self, knowledge: KnowledgeBase, plans: Mapping[str, ReloadPlan]) -> None:
        self._knowledge = knowledge
        self._plans = plans

    async def run(self) -> None:
        """Go on until cancelled; a load that is broken off changes nothing."""
        async with asyncio.TaskGroup() as tasks:
            for name, plan in self._plans.items():
                if plan.every is not None:
                    tasks.create_task(self._repeat(name, plan.every))
                if plan.on_change:
                    tasks.create_task(self._follow(name))

    async def _repeat(self, name: str, every: timedelta) -> None:
        pause = every
        while True:
            # Jitter spreads the replicas: whoever comes first does it for all.
            await asyncio.sleep(pause.total_seconds() * random.uniform(1, 1.1))  # noqa: S311
            pause = every
            try:
                age = await self._age(name)
                if age is not None and age < every:
                    pause = every - age
                else:
                    await self._load(name)
            except Exception:
                # A fault in here must not stop the answers to customers.
                logger.exception("reload failed", extra={"event": "reload_failed"})

    async def _follow(self, name: str) -> None:
        loaded, before = "", ""
        while True:
            try:
                now = await self._knowledge.fingerprint(name)
                if now == before and now != loaded:
                    loaded = now
                    await self._load(name)
                before = now
            except Exception:
                logger.exception("reload failed", extra={"event": "reload_failed"})
            await asyncio.sleep(LOOK_SECONDS)

    async def _age(self, name: str) -> timedelta | None:
        """How long ago it was loaded; None: never."""
        for one in await self._knowledge.status():
            if one.name == name and one.loaded_at is not None:
                return datetime.now(UTC) - one.loaded_at
        return None

    async def _load(self, name: str) -> None:
        if any(one.rolled_back for one in await self._knowledge.status() if one.name == name):
            return
        try:
            await self._knowledge.load([name])
        except KfbotError as error:
            logger.error("not reloaded: %s", error, extra={"event": "reload_failed"})
