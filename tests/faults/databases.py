"""The database of a run, as other programs see it: they look into it, and are in its way."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from tests.faults.sampling import megabytes

#: All that is said needs this table.
_LANES = "lane"


class Neighboured(Protocol):
    """A database that is not the bot's alone."""

    async def lock(self, seconds: float) -> None:
        """Keep what the bot needs for another program, for so long."""

    async def megabytes(self) -> float:
        """How large it is."""

    async def rows(self) -> dict[str, int]:
        """How many rows each of its tables has."""


class SqliteFile:
    """SQLite: whoever writes keeps all others from writing."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def lock(self, seconds: float) -> None:
        """See `Neighboured`."""

        def hold() -> None:
            with closing(sqlite3.connect(self._file, timeout=30)) as other:
                other.isolation_level = None
                other.execute("BEGIN IMMEDIATE")
                time.sleep(seconds)
                other.execute("ROLLBACK")

        await asyncio.to_thread(hold)

    async def megabytes(self) -> float:
        """See `Neighboured`."""
        return megabytes(self._file)

    async def rows(self) -> dict[str, int]:
        """See `Neighboured`."""
        with closing(sqlite3.connect(self._file)) as connection:
            query = "SELECT name FROM sqlite_master WHERE type = 'table'"
            names = [name for (name,) in connection.execute(query)]
            return {
                name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
                for name in names
            }


class Postgres:
    """PostgreSQL: whoever alters a table keeps all others from reading it, too."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def lock(self, seconds: float) -> None:
        """See `Neighboured`."""
        async with self._session() as session:
            await session.exec_driver_sql(f"LOCK TABLE {_LANES} IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(seconds)

    async def megabytes(self) -> float:
        """See `Neighboured`."""
        async with self._session() as session:
            query = "SELECT pg_database_size(current_database())"
            size: int = (await session.exec_driver_sql(query)).scalar_one()
        return size / 2**20

    async def rows(self) -> dict[str, int]:
        """See `Neighboured`."""
        query = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        async with self._session() as session:
            names = (await session.exec_driver_sql(query)).scalars().all()
            return {
                name: (await session.exec_driver_sql(f'SELECT count(*) FROM "{name}"')).scalar_one()
                for name in names
            }

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[AsyncConnection]:
        """A transaction of its own."""
        engine = create_async_engine(self._url, connect_args={"timeout": 30, "command_timeout": 60})
        try:
            async with engine.begin() as session:
                yield session
        finally:
            await engine.dispose()
