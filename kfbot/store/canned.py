"""What agents write again and again, in SQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from kfbot.errors import Conflict
from kfbot.store import tables
from kfbot.store.audit import record
from kfbot.store.engine import Database

#: So many there may be: the desk loads them all.
MOST = 1000


@dataclass(frozen=True, slots=True)
class CannedAnswer:
    """A text with a title by which it is found."""

    id: int
    title: str
    text: str
    updated_by: str
    updated_at: datetime


class CannedStore:
    """Reads and changes them; who changed what is recorded with the change."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def list(self) -> tuple[CannedAnswer, ...]:
        """All, by title."""
        canned = tables.canned_answer
        query = sa.select(canned).order_by(canned.c.title).limit(MOST)
        rows = await self._database.read(lambda c: c.execute(query).all())
        return tuple(CannedAnswer(*row) for row in rows)

    async def put(self, number: int | None, title: str, text: str, *, by: str) -> bool:
        """Add one (None), or change one; False if there is none with this id.

        Raises:
            Conflict: The title is taken, or there are too many.
        """

        def operation(connection: sa.Connection) -> bool:
            canned, now = tables.canned_answer, self._clock()
            values = {"title": title, "text": text, "updated_by": by, "updated_at": now}
            taken = sa.select(canned.c.id).where(canned.c.title == title, canned.c.id != number)
            if number is None:
                taken = sa.select(canned.c.id).where(canned.c.title == title)
                _check_room(connection)
            if connection.execute(taken).first() is not None:
                raise Conflict(f"there is a canned answer {title[:40]!r} already")
            if number is None:
                connection.execute(canned.insert().values(values))
            elif not connection.execute(
                canned.update().where(canned.c.id == number).values(values)
            ).rowcount:
                return False
            record(connection, now, by, "canned_saved", f"canned answer {title}")
            return True

        return await self._database.write(operation)

    async def remove(self, number: int, *, by: str) -> bool:
        """Take one away; False if there is none with this id."""

        def operation(connection: sa.Connection) -> bool:
            canned = tables.canned_answer
            gone = canned.delete().where(canned.c.id == number).returning(canned.c.title)
            title = connection.execute(gone).scalar_one_or_none()
            if title is None:
                return False
            record(connection, self._clock(), by, "canned_removed", f"canned answer {title}")
            return True

        return await self._database.write(operation)


def _check_room(connection: sa.Connection) -> None:
    count = sa.select(sa.func.count()).select_from(tables.canned_answer)
    if connection.execute(count).scalar_one() >= MOST:
        raise Conflict(f"there are {MOST} canned answers: remove one first")
