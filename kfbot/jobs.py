"""Long work that was started over HTTP or in a chat, run beside the other work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from kfbot.errors import KfbotError, StoreUnavailable
from kfbot.knowledge_base import KnowledgeBase, LoadReport
from kfbot.store.jobs import Job, JobStore

logger = logging.getLogger(__name__)

#: How far a job is, is stored this often at most; what could not be stored is tried again then.
STEP_SECONDS = 1.0


@dataclass(slots=True)
class _Step:
    """How far a job is; set from any thread."""

    now: tuple[str, int, int] = ("", 0, 0)
    stored: tuple[str, int, int] = ("", 0, 0)

    def set(self, stage: str, done: int, total: int) -> None:
        self.now = (stage, done, total)


class Jobs:
    """Runs loads of knowledge bases; every replica can say how far they are."""

    def __init__(self, store: JobStore, knowledge: KnowledgeBase) -> None:
        self._store = store
        self._knowledge = knowledge
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(
        self, names: Collection[str] | None, *, on_end: Callable[[], None] = lambda: None
    ) -> str:
        """Start loading the named knowledge bases (None: all); returns the job's id at once.

        Args:
            on_end: Called once the end of the job is stored.

        Raises:
            StoreUnavailable: Nothing was started.
        """
        job_id = await self._store.start()
        self.run(job_id, names, on_end=on_end)
        return job_id

    def run(
        self,
        job_id: str,
        names: Collection[str] | None,
        *,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """Run a job that is stored already; `on_end` is called once its end is stored too."""
        task = asyncio.create_task(self._run(job_id, names), name=f"job-{job_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: on_end())

    async def find(self, job_id: str) -> Job | None:
        """A job of any replica by its id; None if it is unknown or long over.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        return await self._store.find(job_id)

    async def close(self) -> None:
        """Break off what is running; a load that is broken off changes nothing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, job_id: str, names: Collection[str] | None) -> None:
        step, failure = _Step(), ""
        reports: Collection[LoadReport] = ()
        telling = asyncio.create_task(self._tell(job_id, step), name=f"progress-{job_id}")
        try:
            reports = await self._knowledge.load(names, progress=step.set)
        except KfbotError as error:
            failure = str(error)
        except Exception:
            logger.exception("load failed", extra={"event": "load_failed"})
            failure = "the load failed; the log says why"
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
        await self._finish(job_id, step, failure, reports)

    async def _tell(self, job_id: str, step: _Step) -> None:
        while True:
            await asyncio.sleep(STEP_SECONDS)
            with suppress(StoreUnavailable):
                await self._store_step(job_id, step)

    async def _store_step(self, job_id: str, step: _Step) -> None:
        if (now := step.now) != step.stored:
            await self._store.progress(job_id, *now)
            step.stored = now

    async def _finish(
        self, job_id: str, step: _Step, failure: str, reports: Collection[LoadReport]
    ) -> None:
        """Note the end, however long the database is gone: nobody must wait for it forever."""
        rows = [_report_data(report) for report in reports]
        while True:
            try:
                await self._store_step(job_id, step)
                await self._store.finish(job_id, error=failure, reports=rows)
                return
            except StoreUnavailable as error:
                logger.error("not noted: %s", error, extra={"event": "store_unavailable"})
                await asyncio.sleep(STEP_SECONDS)


def _report_data(report: LoadReport) -> dict[str, Any]:
    return {**asdict(report), "unreadable": list(report.unreadable)}
