"""Long work that was started over HTTP: who runs it and how far it is, for all replicas."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.events import storable
from kfbot.store.presence import is_gone

#: So many jobs are remembered.
REMEMBERED = 50
#: Shown of a job whose process died.
ORPHANED = "the process that ran it is gone: start it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job, as every replica sees it."""

    owner: str
    state: Literal["running", "done", "failed"]
    stage: str
    done: int
    total: int
    #: One line; empty unless it failed.
    error: str
    reports: tuple[Mapping[str, Any], ...]


class JobStore:
    """Keeps jobs, the newest 50."""

    def __init__(self, database: Database, clock: Callable[[], datetime], owner: str) -> None:
        """`owner`: the name of this process among the replicas."""
        self._database = database
        self._clock = clock
        self._owner = owner

    async def start(self) -> str:
        """Note that this process begins a job; returns its id.

        Raises:
            StoreUnavailable: Nothing was stored.
        """

        job_id = new_job_id()
        await self._database.write(
            lambda connection: _add_job(connection, job_id, self._owner, self._clock())
        )
        return job_id

    async def progress(self, job_id: str, stage: str, done: int, total: int) -> None:
        """Note how far a job of this process is.

        Raises:
            StoreUnavailable: Nothing was stored.
        """
        await self._update(job_id, stage=stage, done=done, total=total)

    async def finish(
        self, job_id: str, *, error: str = "", reports: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Note the end of a job of this process; with an `error` it failed.

        Raises:
            StoreUnavailable: Nothing was stored.
        """
        state = "failed" if error else "done"
        await self._update(job_id, state=state, error=storable(error), reports=list(reports))

    async def find(self, job_id: str) -> Job | None:
        """A job by its id; None if it is unknown or long over.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        return await self._database.read(lambda connection: self._find(connection, job_id))

    def _find(self, connection: sa.Connection, job_id: str) -> Job | None:
        job = _job(connection, job_id)
        if job is None or job.state != "running" or job.owner == self._owner:
            return job
        if not is_gone(connection, job.owner):
            return job
        # Since it was read, its process may have finished it and then gone.
        last = _job(connection, job_id) or job
        return last if last.state != "running" else replace(last, state="failed", error=ORPHANED)

    async def asked(self) -> tuple[tuple[str, int], ...]:
        """Jobs with the conversations that are still to be told how they ended.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        asker = tables.job_asker.c
        query = sa.select(asker.job_id, asker.conversation_id).limit(REMEMBERED)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return tuple((row.job_id, row.conversation_id) for row in rows)

    async def _update(self, job_id: str, **values: object) -> None:
        change = tables.job.update().where(tables.job.c.id == job_id).values(**values)
        await self._database.write(lambda connection: connection.execute(change).rowcount)


def new_job_id() -> str:
    """A name for a job that is still to be stored."""
    return secrets.token_hex(8)


def add_asked_job(
    connection: sa.Connection, job_id: str, owner: str, conversation_id: int, now: datetime
) -> None:
    """Note that a process begins a job, and the conversation that is to be told how it ended."""
    _add_job(connection, job_id, owner, now)
    asker = {"job_id": job_id, "conversation_id": conversation_id}
    connection.execute(tables.job_asker.insert().values(**asker))


def _add_job(connection: sa.Connection, job_id: str, owner: str, now: datetime) -> None:
    table = tables.job
    connection.execute(
        table.insert().values(id=job_id, owner=owner, state="running", created_at=now)
    )
    old = sa.select(table.c.id).order_by(table.c.created_at.desc()).offset(REMEMBERED)
    connection.execute(table.delete().where(table.c.id.in_(old)))


def _job(connection: sa.Connection, job_id: str) -> Job | None:
    job = tables.job
    row = connection.execute(job.select().where(job.c.id == job_id)).one_or_none()
    if row is None:
        return None
    return Job(
        owner=row.owner,
        state=row.state,
        stage=row.stage,
        done=row.done,
        total=row.total,
        error=row.error,
        reports=tuple(row.reports),
    )
