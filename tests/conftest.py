"""Fixtures only: a database from a template, no network but loopback, a clock to set."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kfbot.store.engine import Database

# Not conftests of their own: one server of a kind serves all folders of tests.
pytest_plugins = ["tests.platforms.synapse", "tests.postgres"]


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """A test that logs half a character tells of it: between processes only whole ones pass."""
    return _whole((yield))


def _whole(said: Any) -> Any:
    if isinstance(said, str):
        return said.encode("utf-8", "backslashreplace").decode()
    if isinstance(said, dict):
        return {_whole(name): _whole(value) for name, value in said.items()}
    if isinstance(said, list | tuple):
        return type(said)(map(_whole, said))
    return said


class Clock:
    """Time that moves only when it is told to, by a microsecond at every look."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
        # The store looks at it in threads of its own.
        self._moving = threading.Lock()

    def __call__(self) -> datetime:
        with self._moving:
            self.now += timedelta(microseconds=1)
            return self.now

    def advance(self, **by: float) -> None:
        with self._moving:
            self.now += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])
            assert host in ("127.0.0.1", "::1", "localhost"), f"a test called {host}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """A command that runs inside of a test logs to its terminal, which is gone after the test."""
    root = logging.getLogger()
    ours = [root, *(logging.getLogger(name) for name in ("kfbot", "adapters", "knowledge"))]
    handlers, levels = root.handlers[:], [one.level for one in ours]
    yield
    root.handlers[:] = handlers
    for one, level in zip(ours, levels, strict=True):
        one.setLevel(level)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("KFBOT_") and not name.startswith("KFBOT_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def template_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database with the newest schema, to be copied."""
    path = tmp_path_factory.mktemp("template") / "kfbot.sqlite3"

    async def create() -> None:
        async with Database(f"sqlite:///{path}") as database:
            await database.upgrade()

    asyncio.run(create())
    return path


@pytest.fixture
def database_url(template_database: Path, tmp_path: Path) -> str:
    shutil.copy(template_database, tmp_path / "kfbot.sqlite3")
    return f"sqlite:///{tmp_path / 'kfbot.sqlite3'}"


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database(database_url) as opened:
        yield opened


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The public test sets; tests that need them skip where they are absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("../shared/data is absent")
    return folder
