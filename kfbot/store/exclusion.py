"""What one process of all replicas does at a time: a lock of PostgreSQL, which ends with it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from kfbot.errors import StoreUnavailable
from kfbot.store.connections import CONNECT_TIMEOUT_SECONDS, PostgresConnections
from kfbot.store.engine import Database

#: The first of the two numbers of such a lock; processes have one number, so they never meet.
_SPACE = 0x6B66626F
#: Who waits asks again so often.
AGAIN_SECONDS = 0.5
_SESSION = {
    "application_name": "kfbot lock",
    # A machine that is switched off says nothing; without these its lock would stay for hours.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
}
#: The session is idle while its holder works, however long that takes. PostgreSQL 13 knows no
#: such limit.
_UNLIMITED = sa.text(
    "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'"
)
Check = Callable[[], Awaitable[None]]


@asynccontextmanager
async def exclusively(database: Database, what: str) -> AsyncIterator[Check]:
    """Be the only process that does this, waiting for one that does it already.

    Yields a check to be made before anything is stored: it raises StoreUnavailable where the
    lock was lost meanwhile, with the database. On SQLite, where there is one process only,
    nothing is locked.

    Raises:
        StoreUnavailable: The database cannot be reached.
    """
    connections = database.connections
    if not isinstance(connections, PostgresConnections):
        yield _nothing
        return
    async with AsyncExitStack() as stack:
        try:
            connection = await stack.enter_async_context(_session(connections))
            await _lock(connection, what)
        except (SQLAlchemyError, OSError) as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise StoreUnavailable(f"database: {reason}") from error
        yield lambda: _check(connection)


@asynccontextmanager
async def _session(connections: PostgresConnections) -> AsyncIterator[AsyncConnection]:
    """A session beside the pools, which is closed for good at the end: then its lock is free."""
    engine = create_async_engine(
        connections.engine.url,
        poolclass=sa.NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={
            "timeout": CONNECT_TIMEOUT_SECONDS,
            "command_timeout": CONNECT_TIMEOUT_SECONDS,
            "server_settings": _SESSION,
        },
    )
    async with engine.connect() as connection:
        yield connection


async def _lock(connection: AsyncConnection, what: str) -> None:
    digest = hashlib.blake2s(what.encode(), digest_size=4).digest()
    number = int.from_bytes(digest, "big", signed=True)
    await connection.execute(_UNLIMITED)
    attempt = sa.select(sa.func.pg_try_advisory_lock(_SPACE, number))
    # Asked again and again, not waited for: a server that is gone is then noticed.
    while True:
        if (await connection.execute(attempt)).scalar_one():
            return
        await asyncio.sleep(AGAIN_SECONDS)


async def _check(connection: AsyncConnection) -> None:
    try:
        await connection.execute(sa.select(1))
    except (SQLAlchemyError, OSError) as error:
        raise StoreUnavailable("the database was gone meanwhile: nothing was stored") from error


async def _nothing() -> None:
    """Nothing can be lost."""
