"""Long work that was started over HTTP, and how far it is."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Literal

from kfbot.errors import KfbotError
from kfbot.knowledge_base import KnowledgeBase, LoadReport

logger = logging.getLogger(__name__)

#: So many finished jobs are remembered.
REMEMBERED = 50


@dataclass(slots=True)
class Job:
    """One load of knowledge bases."""

    id: str
    state: Literal["running", "done", "failed"] = "running"
    stage: str = ""
    done: int = 0
    total: int = 0
    error: str = ""
    reports: tuple[LoadReport, ...] = ()


class Jobs:
    """Runs loads beside the server's other work."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, knowledge: KnowledgeBase, names: Collection[str] | None) -> Job:
        """Start loading; returns at once."""
        job = Job(secrets.token_hex(8))
        self._jobs[job.id] = job
        for old in list(self._jobs)[:-REMEMBERED]:
            del self._jobs[old]
        task = asyncio.create_task(_load(job, knowledge, names), name=f"job-{job.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    def find(self, job_id: str) -> Job | None:
        """A job by its id; None if it is unknown or long over."""
        return self._jobs.get(job_id)

    async def close(self) -> None:
        """Break off what is running; a load that is broken off changes nothing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _load(job: Job, knowledge: KnowledgeBase, names: Collection[str] | None) -> None:
    def progress(stage: str, done: int, total: int) -> None:
        job.stage, job.done, job.total = stage, done, total

    try:
        job.reports = await knowledge.load(names, progress=progress)
        job.state = "done"
    except KfbotError as error:
        job.error, job.state = str(error), "failed"
    except Exception:
        logger.exception("load failed", extra={"event": "load_failed"})
        job.error, job.state = "the load failed; the log says why", "failed"


def report_data(report: LoadReport) -> dict[str, Any]:
    """A report as JSON."""
    return {**asdict(report), "unreadable": list(report.unreadable)}
