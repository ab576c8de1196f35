"""One database, SQLite or PostgreSQL: readers apart, one writer that commits in groups.

SQLite: WAL, BEGIN IMMEDIATE for everything that writes. Operations that wait at the same
time share one transaction, each behind a savepoint of its own, so that a bad one does not
fail its neighbours.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from kfbot.errors import SettingsError, StoreUnavailable

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
Operation = Callable[[AsyncConnection], Awaitable[Result]]

#: Operations that share one transaction, at most.
GROUP_SIZE = 64
#: How long SQLite waits for another process's lock.
BUSY_TIMEOUT_SECONDS = 5.0
MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


@dataclass(slots=True)
class _Waiting:
    operation: Operation[Any]
    done: asyncio.Future[Any]


class Database:
    """Connections to one database. Open with `async with`; `write` needs it open."""

    def __init__(self, url: str) -> None:
        """Prepare, without connecting.

        Raises:
            SettingsError: The URL is no database URL, its driver is not installed, or it keeps
                nothing (SQLite without a file).
        """
        try:
            self._url = make_url(url)
            if self.is_sqlite and self._url.database in (None, "", ":memory:"):
                # Readers and writer would each have a database of their own.
                raise SettingsError("[database] url: SQLite needs a file, memory keeps nothing")
            self._reader = self._engine(writes=False)
            self._writer = self._engine(writes=True)
        except (SQLAlchemyError, ImportError, ValueError) as error:
            raise SettingsError(f"[database] url: {error}") from None
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._committing: asyncio.Task[None] | None = None

    @property
    def is_sqlite(self) -> bool:
        """True for SQLite: one process only."""
        return self._url.get_backend_name() == "sqlite"

    async def __aenter__(self) -> Self:
        self._committing = asyncio.create_task(self._commit_groups(), name="store-writer")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._committing is not None:
            if not self._committing.done():
                await self._queue.join()
            self._committing.cancel()
            await asyncio.gather(self._committing, return_exceptions=True)
            self._committing = None
        await self._reader.dispose()
        await self._writer.dispose()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection with a snapshot to read from.

        Raises:
            StoreUnavailable: The database is gone, locked or full.
        """
        with _mapped():
            async with self._reader.connect() as connection:
                yield connection

    async def write(self, operation: Operation[Result]) -> Result:
        """Run `operation` in a transaction and return its result once it is committed.

        The operation shares its transaction with others that wait at the same time; what it
        raises undoes its own changes alone and is raised here.

        Raises:
            StoreUnavailable: Nothing was stored.
        """
        if self._committing is None or self._committing.done():
            raise StoreUnavailable("the database is closed")
        waiting = _Waiting(operation, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(waiting)
        # Whoever gives up waiting must not undo what is being committed for others.
        result: Result = await asyncio.shield(waiting.done)
        return result

    async def upgrade(self) -> None:
        """Bring the schema up to date, creating it in an empty database.

        Raises:
            StoreUnavailable: The database cannot be opened or is of a newer kfbot.
        """
        with _mapped():
            async with self._writer.connect() as connection:
                await connection.run_sync(_upgrade)
                await connection.commit()

    async def _commit_groups(self) -> None:
        while True:
            group = [await self._queue.get()]
            while len(group) < GROUP_SIZE and not self._queue.empty():
                group.append(self._queue.get_nowait())
            try:
                await self._commit(group)
            finally:
                for waiting in group:
                    if not waiting.done.done():
                        waiting.done.set_exception(StoreUnavailable("the write was broken off"))
                    self._queue.task_done()

    async def _commit(self, group: list[_Waiting]) -> None:
        results: list[tuple[_Waiting, Any, BaseException | None]] = []
        try:
            with _mapped():
                async with self._writer.begin() as connection:
                    for waiting in group:
                        results.append((waiting, *await _run(connection, waiting.operation)))
        except Exception as error:
            logger.error("nothing stored: %s", error, extra={"event": "store_unavailable"})
            # The writer outlives whatever an operation did to its connection.
            failure = error if isinstance(error, StoreUnavailable) else _broken(error)
            results = [(waiting, None, failure) for waiting in group]
        for waiting, result, raised in results:
            if waiting.done.done():
                continue
            if raised is None:
                waiting.done.set_result(result)
            else:
                waiting.done.set_exception(raised)
                # Nobody may be waiting any more; the failure is then not worth a warning.
                waiting.done.exception()

    def _engine(self, *, writes: bool) -> AsyncEngine:
        # Errors that quote a statement's parameters would carry customers' words into the log.
        pool: dict[str, Any] = {"pool_size": 1 if writes else 8, "hide_parameters": True}
        if not self.is_sqlite:
            return create_async_engine(self._url, **pool)
        engine = create_async_engine(
            self._url,
            # A connection more is a thread more, opened and closed for one query.
            max_overflow=0,
            connect_args={"timeout": BUSY_TIMEOUT_SECONDS},
            **pool,
        )
        _prepare_sqlite(engine, "BEGIN IMMEDIATE" if writes else "BEGIN")
        return engine


async def _run(
    connection: AsyncConnection, operation: Operation[Result]
) -> tuple[Result | None, Exception | None]:
    savepoint = await connection.begin_nested()
    try:
        result = await operation(connection)
        await savepoint.commit()
    except Exception as error:
        if isinstance(error, DBAPIError) and _is_unavailable(error):
            # SQLite may have undone everything already: the savepoint is gone.
            raise
        await savepoint.rollback()
        return None, error
    return result, None


def _prepare_sqlite(engine: AsyncEngine, begin: str) -> None:
    @sa.event.listens_for(engine.sync_engine, "do_connect")
    def connecting(dialect: Any, record: Any, arguments: Any, options: Any) -> None:
        # Where a file cannot be opened aiosqlite leaves a thread behind, which prints a traceback
        # if the event loop ends before it does. Tried here first, it is a plain exception.
        sqlite3.connect(*arguments, **options).close()

    @sa.event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        # Otherwise sqlite3 opens its own deferred transactions, whose upgrade to a writer
        # fails at once when another connection has written in between.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "begin")
    def begun(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)


def _upgrade(connection: sa.Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


class _mapped:
    """Turns the database's own errors into ours at the edge of the room."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(exc, DBAPIError):
            raise StoreUnavailable(f"database: {exc.orig}") from exc
        if isinstance(exc, CommandError):
            raise StoreUnavailable(f"database schema: {exc}; is it of a newer kfbot?") from exc
        if isinstance(exc, (sqlite3.Error, OSError, sa.exc.TimeoutError)):
            raise StoreUnavailable(f"database: {exc}") from exc


def _broken(error: Exception) -> StoreUnavailable:
    return StoreUnavailable(f"database: {error}")


def _is_unavailable(error: DBAPIError) -> bool:
    """True where the database failed, not the operation: its neighbours failed with it.

    PostgreSQL's deadlocks and shutdowns, and SQLite's damaged files, have no class of their own.
    """
    nameless = type(error) in (DBAPIError, sa.exc.DatabaseError)
    return nameless or isinstance(error, sa.exc.OperationalError) or error.connection_invalidated
