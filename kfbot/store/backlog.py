"""How much is still to be worked on, in two queries over partial indexes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

import sqlalchemy as sa

from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.lanes import on_channels

_lane = tables.lane.c
_EVENTS = sa.select(sa.func.count()).select_from(tables.inbox).where(tables.is_waiting)
#: Lanes that wait for a time of their own are not late, and those that are worked on no longer.
_SINCE = sa.select(sa.type_coerce(sa.func.min(_lane.ready_at), tables.UtcTime)).where(
    _lane.ready_at.is_not(None), _lane.owner.is_(None)
)


class BacklogStore:
    """Counts what waits to be worked on, over all replicas."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        channels: Collection[str] | None = None,
    ) -> None:
        """`channels`: those that this process works on; None: all."""
        self._database = database
        self._clock = clock
        self._events, self._since = _EVENTS, _SINCE
        if channels is not None:
            self._events = _EVENTS.where(tables.inbox.c.channel.in_(channels))
            self._since = _SINCE.where(on_channels(channels))

    async def look(self) -> tuple[int, timedelta]:
        """Events that wait, and how long the conversation has waited that is next.

        Raises:
            StoreUnavailable: The database cannot be read.
        """

        def query(connection: sa.Connection) -> tuple[int, datetime | None]:
            waiting = connection.execute(self._events).scalar_one()
            return waiting, connection.execute(self._since).scalar_one()

        events, since = await self._database.read(query)
        now = self._clock()
        return events, max(now - (since or now), timedelta())
