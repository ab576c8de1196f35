"""Connections to SQLite or PostgreSQL: both run a plain function on a connection, off the loop.

SQLite works in threads of its own: one hop for a whole transaction. Through an asynchronous
driver every statement is several hops, which made a statement seven times slower (0.39 ms
against 0.05). PostgreSQL is reached through asyncpg.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from kfbot.store.tables import metadata

Result = TypeVar("Result")
Query = Callable[[sa.Connection], Result]

#: Connections that read, at most.
READERS = 4
#: How long SQLite waits for another process's lock.
BUSY_TIMEOUT_SECONDS = 5.0
#: PostgreSQL gives up a statement after so long, and a transaction that nobody goes on with.
STATEMENT_TIMEOUT_SECONDS = 60
IDLE_SECONDS = 5
#: No transaction that writes takes so long; not even one whose process stands still between
#: preparing a statement and running it, which PostgreSQL does not count as idle. From 17 on.
TRANSACTION_TIMEOUT_SECONDS = 10
#: A server that does not answer for so long is gone.
CONNECT_TIMEOUT_SECONDS = 10.0
#: What is still open after so long is cut.
CLOSE_TIMEOUT_SECONDS = 2.0
# Errors that quote a statement's parameters would carry customers' words into the log.
_POOL: dict[str, Any] = {"hide_parameters": True}
#: The class of PostgreSQL's errors whose text quotes the value that it is about.
_BAD_VALUE = "22"


class Connections(Protocol):
    """Where queries run; whatever goes wrong comes as SQLAlchemy's own errors."""

    async def read(self, query: Query[Result]) -> Result:
        """Run `query`, which writes nothing; each of its statements sees what is committed."""

    async def write(self, operation: Query[Result]) -> Result:
        """Run `operation` in a transaction and commit it; one at a time."""

    def stream(self, query: sa.Select[Any], size: int) -> AsyncIterator[Sequence[sa.Row[Any]]]:
        """The rows of one snapshot, `size` at a time."""

    async def compact(self, *, whole: bool) -> None:
        """Have the files forget what was deleted; what is to be written waits meanwhile.

        Args:
            whole: All that ever was, also before deleting overwrote it; else the newest.
        """

    async def close(self) -> None:
        """Close all connections."""


class SqliteConnections:
    """One writing thread, several reading ones."""

    def __init__(self, url: URL) -> None:
        """Prepare, without opening the file."""
        self._reader = _sqlite_engine(url, "BEGIN", READERS)
        self._writer = _sqlite_engine(url, "BEGIN IMMEDIATE", 1)
        self._reading = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="store-writer")

    async def read(self, query: Query[Result]) -> Result:
        """See `Connections`."""

        def run() -> Result:
            with self._reader.connect() as connection:
                return query(connection)

        return await asyncio.get_running_loop().run_in_executor(self._reading, run)

    async def write(self, operation: Query[Result]) -> Result:
        """See `Connections`."""

        def run() -> Result:
            with self._writer.begin() as connection:
                return operation(connection)

        return await asyncio.get_running_loop().run_in_executor(self._writing, run)

    async def stream(
        self, query: sa.Select[Any], size: int
    ) -> AsyncIterator[Sequence[sa.Row[Any]]]:
        """See `Connections`."""
        connection = await asyncio.to_thread(self._reader.connect)
        try:
            rows = await asyncio.to_thread(
                connection.execute, query.execution_options(yield_per=size)
            )
            while batch := await asyncio.to_thread(rows.fetchmany, size):
                yield batch
        finally:
            await asyncio.to_thread(connection.close)

    async def compact(self, *, whole: bool) -> None:
        """See `Connections`."""

        def run() -> None:
            # Neither may run in a transaction, which SQLAlchemy's own connections begin.
            with closing(self._writer.raw_connection()) as connection:
                if whole:
                    connection.cursor().execute("VACUUM").close()
                log = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
                [is_busy, *_] = log.fetchone()
                if is_busy:
                    raise sqlite3.OperationalError("somebody reads in it all the time")

        await asyncio.get_running_loop().run_in_executor(self._writing, run)

    async def close(self) -> None:
        """See `Connections`."""
        for pool in (self._reading, self._writing):
            await asyncio.to_thread(pool.shutdown)
        for engine in (self._reader, self._writer):
            await asyncio.to_thread(engine.dispose)


class PostgresConnections:
    """asyncpg, with plain functions on top of it."""

    def __init__(self, url: URL, *, patient: bool = False) -> None:
        """Prepare, without connecting.

        Args:
            patient: Wait for a statement as long as it takes.

        Raises:
            ImportError: asyncpg is not installed.
        """
        self.engine = _postgres_engine(url, 2 * READERS, patient=patient)
        self._reader = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._writer = _postgres_engine(url, 1, patient=patient)
        if not patient:
            sa.event.listen(self._writer.sync_engine, "connect", _bound_transactions)

    async def read(self, query: Query[Result]) -> Result:
        """See `Connections`."""
        # No transaction around it: two journeys to the server less.
        async with self._reader.connect() as connection:
            return await connection.run_sync(query)

    async def write(self, operation: Query[Result]) -> Result:
        """See `Connections`."""
        async with self._writer.begin() as connection:
            return await connection.run_sync(operation)

    async def stream(
        self, query: sa.Select[Any], size: int
    ) -> AsyncIterator[Sequence[sa.Row[Any]]]:
        """See `Connections`."""
        async with self.engine.connect() as connection:
            rows = await connection.stream(query)
            async for batch in rows.partitions(size):
                yield batch

    async def compact(self, *, whole: bool) -> None:
        """See `Connections`."""
        names = metadata.tables if whole else ("customer", "consent", "event_delivery")
        listed = ", ".join(f'"{name}"' for name in names)
        # As long as it takes.
        engine = _postgres_engine(self.engine.url, 1, patient=True)
        try:
            plain = engine.execution_options(isolation_level="AUTOCOMMIT")
            async with plain.connect() as connection:
                await connection.exec_driver_sql(f"VACUUM {listed}")
        finally:
            await engine.dispose()

    async def close(self) -> None:
        """See `Connections`."""
        # A session that was ended, but not closed, takes no goodbye: its socket is cut.
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await asyncio.gather(self.engine.dispose(), self._writer.dispose())


def _postgres_engine(url: URL, connections: int, *, patient: bool) -> AsyncEngine:
    limits: dict[str, Any] = {"timeout": CONNECT_TIMEOUT_SECONDS}
    server = {"application_name": "kfbot"}
    if not patient:
        server["statement_timeout"] = f"{STATEMENT_TIMEOUT_SECONDS}s"
        # A process that stands still in the middle of a transaction holds the locks of its lanes.
        server["idle_in_transaction_session_timeout"] = f"{IDLE_SECONDS}s"
        # Where the whole machine is gone, nobody sends the server's own timeout.
        limits["command_timeout"] = STATEMENT_TIMEOUT_SECONDS + CONNECT_TIMEOUT_SECONDS
    engine = create_async_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        connect_args=limits | {"server_settings": server},
        **_POOL,
    )
    sa.event.listen(engine.sync_engine, "handle_error", _forget_values)
    sa.event.listen(engine.sync_engine, "checkout", _refuse_ended)
    return engine


def _bound_transactions(connection: Any, record: Any) -> None:
    cursor = connection.cursor()
    # Older servers do not know it, and would refuse to be told.
    cursor.execute(
        "SELECT set_config(name, $1, false) FROM pg_settings WHERE name = 'transaction_timeout'",
        (f"{TRANSACTION_TIMEOUT_SECONDS}s",),
    )
    cursor.close()
    connection.commit()


def _refuse_ended(connection: Any, record: Any, proxy: Any) -> None:
    """Have a session that the server ended while nobody used it replaced by a new one."""
    if connection.driver_connection.is_closed():
        raise sa.exc.DisconnectionError


def _forget_values(context: sa.ExceptionContext) -> None:
    """PostgreSQL and asyncpg quote values too, in the details of an error or in its text."""
    cause = context.original_exception.__cause__
    state = getattr(cause, "sqlstate", None)
    if cause is None or state is None:
        return
    if state.startswith(_BAD_VALUE):
        cause.args = (type(cause).__name__,)
    vars(cause).pop("detail", None)
    for error in (context.original_exception, context.sqlalchemy_exception):
        if error is not None:
            error.args = (str(cause),)


def _sqlite_engine(url: URL, begin: str, connections: int) -> sa.Engine:
    engine = sa.create_engine(
        url.set(drivername="sqlite"),
        poolclass=sa.QueuePool,
        pool_size=connections,
        max_overflow=0,
        # A connection is used by one thread at a time, but not always by the same.
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        **_POOL,
    )

    @sa.event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, record: Any) -> None:
        # Otherwise sqlite3 opens its own deferred transactions, whose upgrade to a writer
        # fails at once when another connection has written in between.
        connection.isolation_level = None
        # What is deleted is overwritten too: erased words must not stay behind in the file.
        for pragma in (
            "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"
        ):  # fmt: skip
            connection.execute(f"PRAGMA {pragma}").close()

    @sa.event.listens_for(engine, "begin")
    def begun(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
