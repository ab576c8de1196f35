"""Who is alive: every process holds an advisory lock of PostgreSQL, which ends with it."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from kfbot.changes import EVERYTHING
from kfbot.errors import StoreUnavailable
from kfbot.store import tables
from kfbot.store.connections import PostgresConnections
from kfbot.store.notices import CHANNEL

if TYPE_CHECKING:
    from kfbot.store.engine import Database

logger = logging.getLogger(__name__)

_PREFIX = "process-"
#: The session is looked after this often; PostgreSQL itself tells at once when it ends.
PING_SECONDS = 5.0
#: A session that is lost is taken up again after so long.
AGAIN_SECONDS = 0.5


def new_owner() -> str:
    """A name for this process, from which everybody can tell its lock."""
    return f"{_PREFIX}{secrets.randbits(63)}"


def lock_of(owner: str) -> int | None:
    """The number of the advisory lock that this owner holds while it lives; None: it has none."""
    number = owner.removeprefix(_PREFIX)
    return int(number) if owner.startswith(_PREFIX) and number.isdecimal() else None


def gone(connection: sa.Connection) -> list[str]:
    """Owners of lanes that hold no lock any more; empty on SQLite, which has no locks to tell."""
    if connection.dialect.name != "postgresql":
        return []
    owner = tables.lane.c.owner
    owners = connection.execute(sa.select(owner).where(owner.is_not(None)).distinct()).scalars()
    held = _held(connection)
    return [one for one in owners if (lock := lock_of(one)) is not None and lock not in held]


def is_gone(connection: sa.Connection, owner: str) -> bool:
    """True where another process than this one has ended; on SQLite every other one has."""
    return connection.dialect.name != "postgresql" or lock_of(owner) not in _held(connection)


def _held(connection: sa.Connection) -> set[int]:
    """The locks of all processes that live."""
    return set(
        connection.execute(
            sa.text(
                "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks"
                " WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND database ="
                " (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        ).scalars()
    )


class Presence:
    """This process among the replicas: one session that holds its lock and hears notices.

    On SQLite, where there is one process only, it does nothing.
    """

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner
        self._lost = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._session = AsyncExitStack()

    async def __aenter__(self) -> Self:
        if isinstance(self._database.connections, PostgresConnections):
            try:
                await self._join()
            except (SQLAlchemyError, OSError) as error:
                await self._session.aclose()
                raise StoreUnavailable(f"database: {error}") from error
            self._keeping = asyncio.create_task(self._keep(), name="presence")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
            await self._leave()

    async def _join(self) -> None:
        """Open the session: from now on the others know that we live."""
        connections = self._database.connections
        assert isinstance(connections, PostgresConnections)
        self._lost.clear()
        self._connection = await self._session.enter_async_context(connections.engine.connect())
        await self._connection.execution_options(isolation_level="AUTOCOMMIT")
        await self._connection.execute(sa.select(sa.func.pg_advisory_lock(lock_of(self._owner))))
        driver = (await self._connection.get_raw_connection()).driver_connection
        assert driver is not None
        driver.add_termination_listener(lambda _: self._lost.set())
        await driver.add_listener(CHANNEL, self._hear)

    async def _leave(self) -> None:
        """Close the session for good: back in the pool it would keep lock and listener."""
        with suppress(SQLAlchemyError, OSError):
            await self._connection.invalidate()
        with suppress(SQLAlchemyError, OSError):
            await self._session.aclose()

    def _hear(self, connection: Any, pid: int, channel: str, payload: str) -> None:
        origin, _, notice = payload.partition("|")
        if origin != self._database.origin:
            self._database.tell([notice])

    async def _keep(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(PING_SECONDS):
                    await self._lost.wait()
            if self._lost.is_set() or not await _answers(self._connection):
                await self._rejoin()

    async def _rejoin(self) -> None:
        logger.error("session lost: others may take over", extra={"event": "presence_lost"})
        while True:
            await self._leave()
            try:
                await self._join()
                break
            except (SQLAlchemyError, OSError) as error:
                logger.error("no session: %s", error, extra={"event": "store_unavailable"})
                await asyncio.sleep(AGAIN_SECONDS)
        logger.info("session taken up again", extra={"event": "presence_back"})
        # Whatever was told meanwhile was not heard.
        self._database.tell([EVERYTHING])


async def _answers(connection: AsyncConnection) -> bool:
    try:
        async with asyncio.timeout(PING_SECONDS):
            await connection.execute(sa.select(1))
        return True
    except (SQLAlchemyError, OSError):
        return False
