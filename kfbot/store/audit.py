"""The record of who did what: rows are only ever added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.events import storable


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that somebody did."""

    id: int
    at: datetime
    actor: str
    action: str
    target: str
    details: Mapping[str, Any]


def record(
    connection: sa.Connection,
    now: datetime,
    actor: str,
    action: str,
    target: str = "",
    **details: Any,
) -> None:
    """Write down a deed with the transaction that does it.

    Args:
        action: A stable name: "agent_added".
        details: Never customers' words, never secrets.
    """
    deed = {"actor": storable(actor), "action": action, "target": storable(target)}
    connection.execute(tables.audit.insert().values(at=now, details=details, **deed))


class AuditStore:
    """Adds to the record and reads it."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def add(self, actor: str, action: str, target: str = "", **details: Any) -> None:
        """Write down what is done already; see `record`.

        Raises:
            StoreUnavailable: It was not written down.
        """
        await self._database.write(
            lambda c: record(c, self._clock(), actor, action, target, **details)
        )

    async def list(self, *, before: int | None = None, limit: int = 100) -> tuple[Deed, ...]:
        """The newest deeds first, of those with an id below `before`."""
        audit = tables.audit
        query = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(audit.c.id < before)
        rows = await self._database.read(lambda c: c.execute(query).all())
        return tuple(Deed(*row) for row in rows)
