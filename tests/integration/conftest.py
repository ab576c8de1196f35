"""A bot behind a real HTTP server, over a fake knowledge base, on a real SQLite file."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import sqlalchemy as sa
from argon2 import PasswordHasher

from kfbot.adapter import ChannelAdapter
from kfbot.application import Application
from kfbot.bootstrap import wire
from kfbot.channels import open_channels
from kfbot.errors import KfbotError, KnowledgeBaseUnavailable
from kfbot.grounding.writing import Writer
from kfbot.passwords import Passwords
from kfbot.settings import load_settings
from kfbot.store import tables
from kfbot.store.clock import DatabaseClock
from kfbot.store.conversations import ConversationStore
from kfbot.store.engine import Database
from kfbot.store.messages import MessageStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.testing import FakeKnowledgeBase
from kfbot.web.server import serving
from knowledge import index_build, parsing
from knowledge.cleaning import CleaningPolicy
from knowledge.documents import SourceFile
from knowledge.reading import Parsed
from tests.conftest import Clock

ENTRIES = {
    "How long do I have to return an item?": "You have 15 days.",
    "How do I return an item?": "Open the order and press Return.",
    "When will my refund arrive?": "Within **2 business days**.",
    "运费是多少": "满 99 元包邮，否则 8 元。",
    "怎么开发票": "在订单页申请电子发票。",
}
#: Chosen between, not answered.
DOUBTFUL = "How long do I have to keep a broken item?"
ANSWER_FIELDS = {"text", "context", "question", "decision", "confidence", "choices", "citations"}


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of sign-ins need no hash that holds up a thief: the real one has its own test."""
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(Passwords, "_hasher", weak)


@pytest.fixture
def without_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are parsed and indexes made in this process: for tests that load all the time.

    The start of two child processes is nearly all that a small load takes; whether those do what
    they should is for other tests.
    """

    async def parse(self: object, file: SourceFile, policy: CleaningPolicy) -> Parsed:
        return await asyncio.to_thread(parsing._parsed, file, policy)

    async def make(job: Path, order: Mapping[str, Any] | None) -> None:
        try:
            await asyncio.to_thread(index_build.make, job, order)
        except KfbotError as error:
            raise KnowledgeBaseUnavailable(f"the index could not be built: {error}") from error

    monkeypatch.setattr(parsing._Child, "_ask", parse)
    monkeypatch.setattr(index_build, "_run", make)


@dataclass
class ServedBot:
    """What a test does and sees from outside, and the parts behind it."""

    url: str
    #: Sends no cookies of its own: a loopback address gets none from aiohttp.
    http: aiohttp.ClientSession
    application: Application
    knowledge: FakeKnowledgeBase
    database: Database
    data_dir: Path
    clock: Callable[[], datetime]

    async def get(self, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
        """Status and JSON of an answer."""
        return await self._request("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> tuple[int, dict[str, Any]]:
        """Status and JSON of an answer; without `data` the body is sent as JSON."""
        if "data" not in options:
            options["json"] = {} if body is None else body
        return await self._request("POST", path, **options)

    async def _request(self, method: str, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
        async with self.http.request(method, self.url + path, **options) as response:
            return response.status, await response.json()

    async def ask(self, query: str, conversation: str) -> dict[str, Any]:
        """Take a turn in an API conversation."""
        status, body = await self.post(
            "/api/v1/ask", {"query": query, "conversation": conversation}
        )
        assert status == 200, body
        data: dict[str, Any] = body["data"]
        return data

    async def id_of(self, chat: str, channel: str = "api") -> int:
        """The id of the conversation of a chat."""
        _, body = await self.get("/api/v1/conversations", params={"chat": chat, "channel": channel})
        [found] = body["data"]
        return int(found["id"])

    async def count(self, table: sa.Table) -> int:
        """How many rows a table has."""
        query = sa.select(sa.func.count()).select_from(table)
        return int(await self.database.read(lambda c: c.execute(query).scalar_one()))

    async def stored(self) -> dict[str, int]:
        """How many rows there are of everything that a message leaves behind."""
        kinds = (tables.conversation, tables.customer, tables.inbox, tables.message, tables.outbox)
        return {table.name: await self.count(table) for table in kinds}

    async def quiet(self) -> None:
        """Until all that is due was worked on and sent."""
        self.application.inbox.wake()
        async with asyncio.timeout(60):
            while await self._busy():
                pass

    async def _busy(self) -> bool:
        lane = tables.lane.c
        todo = sa.or_(lane.owner.is_not(None), lane.ready_at <= self.clock())
        query = sa.select(sa.exists().where(todo))
        is_busy = bool(await self.database.read(lambda c: c.execute(query).scalar_one()))
        return is_busy or not self.application.case_threads.idle


Served = Callable[..., AbstractAsyncContextManager[ServedBot]]


@asynccontextmanager
async def serving_bot(
    folder: Path,
    template: Path,
    *,
    clock: Callable[[], datetime] | None = None,
    channels: Mapping[str, ChannelAdapter] | None = None,
    sections: Mapping[str, Any] | None = None,
    entries: Mapping[str, str] = ENTRIES,
    base: FakeKnowledgeBase | None = None,
    writer: Writer | None = None,
    port: int = 0,
    **overrides: Any,
) -> AsyncIterator[ServedBot]:
    """A running bot.

    Args:
        channels: Beside those of the settings.
        sections: `[channels.<name>]` of the settings.
        overrides: Other settings.
    """
    if not (folder / "kfbot.sqlite3").exists():
        shutil.copy(template, folder / "kfbot.sqlite3")
    file = folder / "kfbot.toml"
    file.touch()
    fixed = {"data_dir": str(folder), "knowledge": {"fake": {"sources": ["."]}}}
    settings = load_settings(file, overrides=fixed | {"channels": sections or {}} | overrides)
    knowledge = base or FakeKnowledgeBase(entries)
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
        Database(settings.database_url) as database,
    ):
        clock = clock or DatabaseClock(database)
        application = wire(
            settings,
            database,
            knowledge,
            writer=writer,
            channels=open_channels(settings) | dict(channels or {}),
            clock=clock,
        )
        async with _running(application), serving(application, port=port) as url:
            yield ServedBot(url, http, application, knowledge, database, settings.data_dir, clock)


@asynccontextmanager
async def _running(application: Application) -> AsyncIterator[None]:
    running = asyncio.create_task(application.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def served(tmp_path: Path, template_database: Path) -> Served:
    """Starts a bot in this test's own folder; again after a stop: the same bot."""
    return partial(serving_bot, tmp_path, template_database)


@pytest.fixture
def messages(database: Database, clock: Clock) -> MessageStore:
    return MessageStore(database, clock)


@pytest.fixture
def outcomes(database: Database, clock: Clock) -> OutcomeStore:
    return OutcomeStore(database, clock)


@pytest.fixture
def conversations(database: Database) -> ConversationStore:
    return ConversationStore(database)


@pytest_asyncio.fixture
async def bot(served: Served) -> AsyncIterator[ServedBot]:
    async with served() as opened:
        yield opened
