"""Several processes on one PostgreSQL: what one knows or does, the others know too."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa

from kfbot.adapter import ChannelAdapter
from kfbot.application import Application
from kfbot.bootstrap import wire
from kfbot.changes import EVERYTHING
from kfbot.channels import open_channels
from kfbot.cli.local import ParkedChannel
from kfbot.errors import StoreUnavailable
from kfbot.jobs import Jobs
from kfbot.knowledge_base import KnowledgeBase, LoadReport, Progress
from kfbot.messages import ConversationId, MessageReceived, Sender
from kfbot.settings import load_settings
from kfbot.store import tables
from kfbot.store.clock import DatabaseClock
from kfbot.store.engine import Database
from kfbot.store.jobs import ORPHANED, REMEMBERED, JobStore
from kfbot.store.keys import KeyStore
from kfbot.store.notices import knowledge_notice, notify
from kfbot.store.presence import Presence, new_owner
from kfbot.testing import FakeAdapter, FakeKnowledgeBase
from kfbot.web.access import load_key
from kfbot.web.server import serving

pytestmark = pytest.mark.asyncio
ENTRIES = {"How do I return a parcel?": "Use the form in it."}
TIMEOUT_SECONDS = 30


@dataclass
class Replica:
    """One bot among others."""

    url: str
    http: aiohttp.ClientSession
    application: Application
    database: Database

    async def request(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        async with self.http.request(method, self.url + path, **options) as response:
            return response.status, await response.json()

    async def job(self, job_id: str) -> Any:
        _, body = await self.request("GET", f"/api/v1/jobs/{job_id}")
        return body["data"]


def settings_file(folder: Path) -> Path:
    folder.mkdir()
    file = folder / "kfbot.toml"
    file.touch()
    return file


@asynccontextmanager
async def replica(
    url: str,
    folder: Path,
    knowledge: KnowledgeBase,
    *,
    channels: Mapping[str, ChannelAdapter] | None = None,
) -> AsyncIterator[Replica]:
    """A bot that works on a database beside others.

    Args:
        channels: Beside (or instead of) those that every server has.
    """
    file = settings_file(folder)
    sections = {
        "data_dir": ".",
        "database": {"url": url},
        "knowledge": {"fake": {"sources": ["."]}},
    }
    settings = load_settings(file, overrides=sections)
    owner = new_owner()
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
        Database(url) as database,
        Presence(database, owner),
    ):
        application = wire(
            settings,
            database,
            knowledge,
            channels=open_channels(settings) | dict(channels or {}),
            owner=owner,
        )
        running = asyncio.create_task(application.run())
        try:
            async with serving(application, port=0) as address:
                yield Replica(address, http, application, database)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.02)


# --- visitors ------------------------------------------------------------------------------------


async def test_a_visitor_of_one_replica_is_the_same_visitor_at_another(
    postgres_url: str, tmp_path: Path
) -> None:
    async with (
        replica(postgres_url, tmp_path / "a", FakeKnowledgeBase(ENTRIES)) as one,
        replica(postgres_url, tmp_path / "b", FakeKnowledgeBase(ENTRIES)) as other,
    ):
        async with one.http.get(f"{one.url}/chat") as page:
            cookie = page.headers["Set-Cookie"].partition(";")[0]
        said = {"message_id": "m-1", "text": "How do I return a parcel?"}
        for at in (other, one):
            status, _ = await at.request(
                "POST", "/chat/messages", json=said, headers={"Cookie": cookie}
            )
            assert status == 202
        async with other.http.get(f"{other.url}/chat", headers={"Cookie": cookie}) as page:
            assert "Set-Cookie" not in page.headers
        query = sa.select(tables.customer.c.platform_user)
        [visitor] = await one.database.read(lambda c: c.execute(query).scalars().all())
        assert visitor == cookie.partition("=")[2].partition(".")[0]


async def test_replicas_that_start_at_once_agree_on_one_key(url: str, tmp_path: Path) -> None:
    async with Database(url) as one, Database(url) as other:
        keys = await asyncio.gather(
            *(load_key(KeyStore(database), tmp_path) for database in (one, other) * 3)
        )
    assert len(set(keys)) == 1
    assert len(keys[0]) == 64


async def test_the_key_of_an_earlier_version_is_taken_over(url: str, tmp_path: Path) -> None:
    (tmp_path / "visitor.key").write_text("f" * 64)
    async with Database(url) as database:
        assert await load_key(KeyStore(database), tmp_path) == b"f" * 64
        assert await load_key(KeyStore(database), tmp_path / "another") == b"f" * 64
    assert os.listdir(tmp_path) == ["kfbot.sqlite3"] * url.startswith("sqlite")


# --- jobs ----------------------------------------------------------------------------------------


class SlowKnowledge(FakeKnowledgeBase):
    """Loads when it is told to."""

    def __init__(self) -> None:
        super().__init__(ENTRIES)
        self.go_on = asyncio.Event()
        self.failure: Exception | None = None

    async def load(
        self, names: Collection[str] | None = None, *, progress: Progress | None = None
    ) -> tuple[LoadReport, ...]:
        assert progress is not None
        for done in range(1000):
            progress("embedding", done + 1, 1000)
        await self.go_on.wait()
        if self.failure is not None:
            raise self.failure
        return (LoadReport(knowledge_base="fake", added=1, unreadable=("a.pdf: is empty",)),)


async def test_a_job_of_one_replica_is_seen_at_another(postgres_url: str, tmp_path: Path) -> None:
    knowledge = SlowKnowledge()
    async with (
        replica(postgres_url, tmp_path / "a", knowledge) as one,
        replica(postgres_url, tmp_path / "b", FakeKnowledgeBase(ENTRIES)) as other,
    ):
        status, body = await one.request("POST", "/api/v1/knowledge/fake/reload", json={})
        assert status == 202
        job_id = body["data"]["job"]
        assert (await other.job(job_id))["state"] == "running"
        knowledge.go_on.set()

        async def is_done() -> bool:
            return bool((await other.job(job_id))["state"] == "done")

        await until(is_done)
        done = await other.job(job_id)
        assert done == await one.job(job_id)
        assert (done["stage"], done["done"], done["total"]) == ("embedding", 1000, 1000)
        [report] = done["reports"]
        assert (report["added"], report["unreadable"]) == (1, ["a.pdf: is empty"])


async def test_a_job_whose_process_is_gone_is_shown_as_failed(url: str) -> None:
    async with Database(url) as one, Database(url) as other:
        clock, owner = DatabaseClock(one), new_owner()
        running = JobStore(one, clock, owner)
        elsewhere = JobStore(other, clock, new_owner())
        async with Presence(one, owner):
            finished, broken_off = await running.start(), await running.start()
            await running.finish(finished)
            assert (await running.find(broken_off)).state == "running"
            if not other.is_sqlite:
                assert (await elsewhere.find(broken_off)).state == "running"
        # On SQLite there is one process only: another's job is a former one's.
        found = await elsewhere.find(broken_off)
        assert (found.state, found.error) == ("failed", ORPHANED)
        assert (await elsewhere.find(finished)).state == "done"


async def test_old_jobs_are_forgotten(url: str) -> None:
    async with Database(url) as database:
        jobs = JobStore(database, DatabaseClock(database), new_owner())
        ids = [await jobs.start() for _ in range(REMEMBERED + 2)]
        known = [await jobs.find(job_id) is not None for job_id in ids]
    assert known == [False] * 2 + [True] * REMEMBERED


class FailingJobs(JobStore):
    """Counts what is stored; the first attempts fail."""

    def __init__(self, database: Database, failures: int) -> None:
        super().__init__(database, DatabaseClock(database), new_owner())
        self.failures = failures
        self.steps = 0

    async def progress(self, job_id: str, stage: str, done: int, total: int) -> None:
        self.steps += 1
        await super().progress(job_id, stage, done, total)

    async def finish(self, job_id: str, **outcome: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("the database is gone")
        await super().finish(job_id, **outcome)


async def test_a_job_ends_however_long_the_database_is_gone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfbot.jobs.STEP_SECONDS", 0)
    store, knowledge = FailingJobs(database, failures=3), SlowKnowledge()
    knowledge.failure = RuntimeError("a bug")
    knowledge.go_on.set()
    jobs = Jobs(store, knowledge)
    job_id = await jobs.start(None)

    async def is_over() -> bool:
        found = await jobs.find(job_id)
        return found is not None and found.state != "running"

    await until(is_over)
    found = await jobs.find(job_id)
    await jobs.close()
    assert found is not None
    assert (found.state, found.error) == ("failed", "the load failed; the log says why")
    assert store.failures == 0


async def test_a_thousand_steps_at_once_are_stored_as_one(database: Database) -> None:
    store, knowledge = FailingJobs(database, failures=0), SlowKnowledge()
    knowledge.go_on.set()
    jobs = Jobs(store, knowledge)
    job_id = await jobs.start(None)

    async def is_done() -> bool:
        found = await jobs.find(job_id)
        return found is not None and found.state == "done"

    await until(is_done)
    await jobs.close()
    assert store.steps == 1


# --- what others load ----------------------------------------------------------------------------


async def test_a_replica_looks_for_new_knowledge_when_another_has_loaded_it(
    postgres_url: str, tmp_path: Path
) -> None:
    knowledge = FakeKnowledgeBase(ENTRIES)
    async with replica(postgres_url, tmp_path / "a", knowledge), Database(postgres_url) as other:

        async def is_refreshed(before: int) -> bool:
            return knowledge.refreshed > before

        await until(lambda: is_refreshed(0))
        for notice in (knowledge_notice("fake"), EVERYTHING):
            before = knowledge.refreshed
            await other.write(lambda c, notice=notice: notify(c, notice))
            await until(lambda before=before: is_refreshed(before))


# --- commands ------------------------------------------------------------------------------------


def question(channel: str, text: str) -> MessageReceived:
    return MessageReceived(
        event_id="event-1",
        conversation=ConversationId(channel, "chat-1"),
        message_id="message-1",
        sender=Sender("customer-1"),
        sent_at=datetime.now(UTC),
        text=text,
    )


async def test_a_command_leaves_the_customers_of_other_channels_to_the_servers(
    postgres_url: str, tmp_path: Path
) -> None:
    shop = FakeAdapter("shop")
    parked = ParkedChannel(shop)
    async with replica(
        postgres_url, tmp_path / "a", FakeKnowledgeBase(ENTRIES), channels={"shop": parked}
    ) as command:
        await command.application.inbox.accept(question("shop", "How do I return a parcel?"))
        answer = await command.application.ask_in("terminal-1", "How do I return a parcel?")
        assert answer is not None
        assert answer["text"] == ENTRIES["How do I return a parcel?"]
        await until(command.application.inbox.idle)
        lane = tables.lane.c
        query = sa.select(lane.owner, lane.epoch).where(lane.ready_at.is_not(None))
        assert await command.database.read(lambda c: c.execute(query).all()) == [(None, 0)]
        async with replica(
            postgres_url, tmp_path / "b", FakeKnowledgeBase(ENTRIES), channels={"shop": shop}
        ):

            async def is_answered() -> bool:
                return bool(shop.sent)

            await until(is_answered)
            # What an agent says through the command goes out by the server, at once.
            chat = ConversationId("shop", "chat-1")
            conversation = await command.application.conversations.find(chat)
            assert conversation is not None
            await command.application.handoff.reply(conversation.id, "Anna", "Here I am.")

            async def is_sent() -> bool:
                return len(shop.sent) == 2

            await until(is_sent)
            assert shop.sent[1].text == "Here I am."
