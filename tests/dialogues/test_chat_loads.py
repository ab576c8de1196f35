"""Loads that were asked for in a chat and whose process is gone, or that cannot be told of."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kfbot.adapter import AdapterSettings, Capabilities
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.jobs import new_job_id
from kfbot.testing import FakeAdapter
from kfbot.texts import command_texts
from tests.dialogues.conftest import Stage, staged
from tests.dialogues.test_admin import admin_says, told

pytestmark = pytest.mark.asyncio

SAYS = command_texts("en")


@pytest.fixture
def channel() -> FakeAdapter:
    return FakeAdapter(
        settings=AdapterSettings(platform="fake", admins=("7",)),
        capabilities=Capabilities(buttons=True),
    )


async def test_a_reload_whose_process_died_is_told_of_after_the_restart(
    database: Database, clock: Any, channel: FakeAdapter
) -> None:
    async with staged(database, clock, channel) as before:
        never = asyncio.Event()

        async def stuck(names: object = None, *, progress: object = None) -> Any:
            await never.wait()

        before.knowledge.load = stuck  # type: ignore[method-assign]
        await admin_says(before, "/kb reload")
    async with staged(database, clock, channel) as after:
        assert (await told(after, 2))[1] == SAYS.reload_broken_off
        await after.application.loads.tell()
        await after.sent_out()
    assert len(channel.sent) == 2


async def test_two_processes_tell_a_result_once(stage: Stage, database: Database) -> None:
    await admin_says(stage, "/kb status")
    conversation = await stage.conversation()
    job_id = new_job_id()
    asker = tables.job_asker.insert().values(job_id=job_id, conversation_id=conversation.id)
    await database.write(lambda connection: connection.execute(asker).rowcount)
    loads = stage.application.loads
    await asyncio.gather(loads.tell(), loads.tell())
    await stage.sent_out()
    texts_sent = [message.text for message in stage.channel.sent]
    assert texts_sent.count(SAYS.reload_broken_off) == 1


async def test_a_result_that_cannot_be_told_stops_neither_the_others_nor_the_server(
    stage: Stage, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await admin_says(stage, "/kb status")
    conversation = await stage.conversation()
    loads, ids = stage.application.loads, [new_job_id() for _ in range(2)]
    asked, find = loads._store.asked, loads._store.find

    async def broken(job_id: str) -> Any:
        if job_id == min(ids):
            raise RuntimeError("no such state")
        return await find(job_id)

    monkeypatch.setattr(loads._store, "find", broken)
    values = [{"job_id": one, "conversation_id": conversation.id} for one in ids]
    asker = tables.job_asker.insert().values(values)
    await database.write(lambda connection: connection.execute(asker).rowcount)
    await loads.tell()
    assert [job_id for job_id, _ in await asked()] == [min(ids)]
    assert (await told(stage, 2))[1] == SAYS.reload_broken_off


async def test_who_asked_cannot_be_read_and_the_server_goes_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await admin_says(stage, "/kb status")
    loads, failed = stage.application.loads, asyncio.Event()
    asked = loads._store.asked

    async def broken() -> Any:
        failed.set()
        raise RuntimeError("no such column")

    monkeypatch.setattr(loads._store, "asked", broken)
    loads._ended.set()
    async with asyncio.timeout(60):
        await failed.wait()
    monkeypatch.setattr(loads._store, "asked", asked)
    assert len(await admin_says(stage, "/kb status")) == 1
    assert "load_not_told" in [getattr(one, "event", "") for one in caplog.records]
