"""The time that goes into rows: one clock for all replicas, which no one sets in between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.lanes import elapsed_seconds


async def find_skew(database: Database) -> timedelta:
    """How far this machine's clock is behind: the database's own; of SQLite, what it stored last.

    SQLite tells of no clock that is ahead: 0.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    newest = sa.select(tables.inbox.c.received_at).order_by(tables.inbox.c.id.desc()).limit(1)
    asked = newest if database.is_sqlite else sa.select(sa.func.clock_timestamp())
    theirs: datetime | None = await database.read(lambda c: c.execute(asked).scalar_one_or_none())
    behind = timedelta() if theirs is None else theirs - datetime.now(UTC)
    return max(behind, timedelta()) if database.is_sqlite else behind


class DatabaseClock:
    """Aware UTC: the database server's time on PostgreSQL, this machine's on SQLite.

    Between two looks at that clock it is carried on by one that nobody sets, so that a jump of
    this machine's clock moves nothing.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._base = datetime.now(UTC)
        self._since = elapsed_seconds()

    def __call__(self) -> datetime:
        """The time now."""
        return self._base + timedelta(seconds=elapsed_seconds() - self._since)

    async def synchronise(self) -> timedelta:
        """Look at the database's clock; returns by how much ours had to be moved.

        Raises:
            StoreUnavailable: The database cannot be asked; the time goes on as before.
        """
        before = elapsed_seconds()
        if self._database.is_sqlite:
            now = datetime.now(UTC)
        else:
            now = await self._database.read(
                lambda c: c.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
            )
        after = elapsed_seconds()
        # It was looked at somewhere between the two; half-way is wrong by the least.
        then = (before + after) / 2
        step: timedelta = now - (self._base + timedelta(seconds=then - self._since))
        self._base, self._since = now, then
        return step
