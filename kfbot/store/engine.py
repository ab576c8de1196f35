"""One database, SQLite or PostgreSQL: readers apart, one writer that commits in groups.

What waits to be written at the same time shares one transaction, and things of one kind share
its statements. Where one of them fails all are undone and done again one by one, each behind a
savepoint, so that a bad one does not fail its neighbours. Reads may share statements likewise.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from kfbot.errors import SettingsError, StoreUnavailable
from kfbot.store import tables
from kfbot.store.connections import Connections, PostgresConnections, SqliteConnections
from kfbot.store.faults import is_unavailable, is_undone, mapped
from kfbot.store.groups import (
    GROUP_SIZE,
    Batch,
    Item,
    SharedReads,
    Waiting,
    run_group,
    settle,
)
from kfbot.store.notices import CHANNEL, take_notices

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
#: Works on a connection inside a transaction; it may be run again from the start.
Operation = Callable[[sa.Connection], Result]

#: PostgreSQL undoes a transaction that would wait in a circle; so often it is run again.
RETRIES = 5
MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
#: Advisory lock: one process at a time changes the schema.
_SCHEMA_LOCK = 0x6B66626F74
# Made once: to put a statement together costs more than to run it.
_LOCK = (
    sa.select(tables.lane.c.conversation_id)
    .where(tables.lane.c.conversation_id.in_(sa.bindparam("lanes", expanding=True)))
    .order_by(tables.lane.c.conversation_id)
    .with_for_update()
)
_TELL = sa.text("SELECT pg_notify(:channel, told) FROM unnest(CAST(:told AS text[])) AS told")


class Database:
    """Connections to one database. Open with `async with`; `write` needs it open."""

    def __init__(self, url: str, *, group_size: int = GROUP_SIZE) -> None:
        """Prepare, without connecting.

        Raises:
            SettingsError: The URL is no database URL, its driver is not installed, or it keeps
                nothing (SQLite without a file).
        """
        try:
            self.url = make_url(url)
            self.connections: Connections = _connections(self.url)
        except (SQLAlchemyError, ImportError, ValueError) as error:
            # SQLAlchemy goes on with examples.
            reason = str(error).partition("\n")[0]
            raise SettingsError(f"[database] url: {reason}") from None
        #: Tells this process's notices from those of others.
        self.origin = secrets.token_hex(8)
        self._group_size = group_size
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue()
        self._committing: asyncio.Task[None] | None = None
        self._shared_reads = SharedReads(self.read)
        self._listeners: list[Callable[[str], None]] = []

    @property
    def is_sqlite(self) -> bool:
        """True for SQLite: one process only."""
        return isinstance(self.connections, SqliteConnections)

    async def __aenter__(self) -> Self:
        self._committing = asyncio.create_task(self._commit_groups(), name="store-writer")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if (committing := self._committing) is not None:
            if not committing.done():
                await self._queue.join()
            # From here on nothing is taken: nobody would commit it.
            self._committing = None
            committing.cancel()
            await asyncio.gather(committing, return_exceptions=True)
        await self.connections.close()

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Have every notice told: of this process after its commit, of others as they come."""
        self._listeners.append(listener)

    def tell(self, notices: Collection[str]) -> None:
        """Pass notices on to whoever listens in this process."""
        for notice in notices:
            for listener in self._listeners:
                listener(notice)

    async def read(self, query: Operation[Result]) -> Result:
        """Run a query that writes nothing and return its result.

        Raises:
            StoreUnavailable: The database is gone, locked or full.
        """
        with mapped():
            return await self.connections.read(query)

    async def read_together(self, batch: Batch[Item, Result], item: Item) -> Result:
        """Like `read`, for an item that shares its statements with others of its kind.

        Raises:
            StoreUnavailable: The database is gone, locked or full.
        """
        return await self._shared_reads.ask(batch, item)

    async def stream(
        self, query: sa.Select[Any], size: int
    ) -> AsyncIterator[Sequence[sa.Row[Any]]]:
        """The rows of one snapshot, `size` at a time.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        with mapped():
            async for rows in self.connections.stream(query, size):
                yield rows

    async def write(self, operation: Operation[Result], *, lanes: Collection[int] = ()) -> Result:
        """Run `operation` in a transaction and return its result once it is committed.

        What the operation raises undoes its own changes alone and is raised here. It must not
        keep anything but its result: it is run again where a transaction was undone.

        Args:
            lanes: Conversations whose rows it changes: they are locked in a fixed order.

        Raises:
            StoreUnavailable: Nothing was stored.
        """
        return await self.write_together(_one_by_one, operation, lanes=lanes)

    async def write_together(
        self, batch: Batch[Item, Result], item: Item, *, lanes: Collection[int] = ()
    ) -> Result:
        """Like `write`, for an item that shares its statements with others of its kind.

        Raises:
            StoreUnavailable: Nothing was stored.
        """
        if self._committing is None or self._committing.done():
            raise StoreUnavailable("the database is closed")
        waiting = Waiting(batch, item, lanes, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(waiting)
        # Whoever gives up waiting must not undo what is being committed for others.
        result: Result = await asyncio.shield(waiting.done)
        return result

    async def upgrade(self) -> None:
        """Bring the schema up to date, creating it in an empty database.

        Raises:
            StoreUnavailable: The database cannot be opened or is of a newer kfbot.
        """
        await self.migrate(_upgrade)

    async def migrate(self, change: Operation[None]) -> None:
        """Run a change of the schema, one process at a time and however long it takes.

        Raises:
            StoreUnavailable: The database cannot be opened or is of a newer kfbot.
        """

        def alone(connection: sa.Connection) -> None:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
            change(connection)

        patient = _connections(self.url, patient=True)
        try:
            with mapped():
                await patient.write(alone)
        finally:
            await patient.close()

    async def compact(self, *, whole: bool) -> None:
        """Have the files of the database forget what was deleted.

        On SQLite what is to be written waits for it; on PostgreSQL only what this role owns, or
        may maintain, is looked after.

        Args:
            whole: All that ever was; else the newest, which is quick.

        Raises:
            StoreUnavailable: It could not be done, as for lack of room; nothing was changed.
        """
        with mapped():
            await self.connections.compact(whole=whole)

    async def _commit_groups(self) -> None:
        while True:
            group = [await self._queue.get()]
            while len(group) < self._group_size and not self._queue.empty():
                group.append(self._queue.get_nowait())
            try:
                await self._commit(group)
            finally:
                for waiting in group:
                    if not waiting.done.done():
                        waiting.done.set_exception(StoreUnavailable("the write was broken off"))
                        waiting.done.exception()
                    self._queue.task_done()

    async def _commit(self, group: Sequence[Waiting]) -> None:
        try:
            with mapped():
                results, notices = await self._written(group)
        except Exception as error:
            logger.error("nothing stored: %s", error, extra={"event": "store_unavailable"})
            # The writer outlives whatever an operation did to its connection.
            unavailable = isinstance(error, StoreUnavailable)
            failure = error if unavailable else StoreUnavailable(f"database: {error}")
            results, notices = [failure] * len(group), ()
        # Heard before whoever waits goes on: what they wait for next must find it told.
        self.tell(notices)
        settle(group, results)

    async def _written(self, group: Sequence[Waiting]) -> tuple[Sequence[Any], Collection[str]]:
        """Commit a group: all together, else one by one."""
        run = partial(_together, group=group, origin=self.origin)
        for attempt in range(RETRIES):
            try:
                return await self.connections.write(run)
            except _Apart:
                run = partial(_apart, group=group, origin=self.origin)
            except DBAPIError as error:
                if not is_undone(error):
                    raise
                logger.info("transaction undone, again", extra={"event": "transaction_undone"})
                # Jitter spreads those who met; nothing here is secret.
                await asyncio.sleep(random.uniform(0.005, 0.02) * 2**attempt)  # noqa: S311
        return await self.connections.write(partial(_apart, group=group, origin=self.origin))


class _Apart(Exception):
    """One of a group failed: undo it and run them one by one."""


def _together(
    connection: sa.Connection, *, group: Sequence[Waiting], origin: str
) -> tuple[Sequence[Any], Collection[str]]:
    """Run a group, each kind at once."""
    take_notices(connection)
    _lock_lanes(connection, group)
    try:
        results = run_group(connection, group)
    except Exception as error:
        if isinstance(error, DBAPIError) and is_unavailable(error):
            raise
        raise _Apart from error
    notices = take_notices(connection)
    return results, _told(connection, origin, notices)


def _apart(
    connection: sa.Connection, *, group: Sequence[Waiting], origin: str
) -> tuple[Sequence[Any], Collection[str]]:
    """Run a group one by one, each behind a savepoint of its own."""
    take_notices(connection)
    _lock_lanes(connection, group)
    results: list[Any] = []
    notices: list[str] = []
    for waiting in group:
        savepoint = connection.begin_nested()
        try:
            [result] = waiting.batch(connection, [waiting.item])
            savepoint.commit()
            notices += take_notices(connection)
        except Exception as error:
            if isinstance(error, DBAPIError) and is_unavailable(error):
                # SQLite may have undone everything already: the savepoint is gone.
                raise
            savepoint.rollback()
            # What did not happen is not told.
            take_notices(connection)
            result = error
        results.append(result)
    return results, _told(connection, origin, notices)


def _one_by_one(connection: sa.Connection, operations: Sequence[Operation[Any]]) -> Sequence[Any]:
    return [operation(connection) for operation in operations]


def _lock_lanes(connection: sa.Connection, group: Sequence[Waiting]) -> None:
    """Lock what the group changes in one fixed order, so that two groups never wait in a circle."""
    lanes = {lane for waiting in group for lane in waiting.lanes}
    if lanes and connection.dialect.name == "postgresql":
        connection.execute(_LOCK, {"lanes": list(lanes)})


def _told(connection: sa.Connection, origin: str, notices: Iterable[str]) -> Collection[str]:
    """The notices of this transaction, each once, told to other replicas with its commit."""
    notices = tuple(dict.fromkeys(notices))
    if notices and connection.dialect.name == "postgresql":
        told = [f"{origin}|{notice}" for notice in notices]
        connection.execute(_TELL, {"channel": CHANNEL, "told": told})
    return notices


def _connections(url: URL, *, patient: bool = False) -> Connections:
    if url.drivername in ("sqlite", "sqlite+aiosqlite"):
        if url.database in (None, "", ":memory:"):
            # Readers and writer would each have a database of their own.
            raise SettingsError("[database] url: SQLite needs a file, memory keeps nothing")
        return SqliteConnections(url)
    if url.drivername not in ("postgresql", "postgresql+asyncpg"):
        raise ValueError(f"{url.drivername} is neither sqlite nor postgresql")
    return PostgresConnections(url.set(drivername="postgresql+asyncpg"), patient=patient)


def _upgrade(connection: sa.Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
