"""A process that is killed between fetching an update from Telegram and storing it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.faq import ENTRIES, QUESTIONS
from tests.faults.servers import HoldingServer
from tests.platforms.telegram import CUSTOMER, TOKEN, BotApi

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]

KILLS = 5


def write_settings(file: Path, port: int, platform: BotApi) -> None:
    lines = [
        'data_dir = "var"',
        "[web]",
        f"port = {port}",
        "[channels.shop]",
        'platform = "telegram"',
        f"token = {json.dumps(TOKEN)}",
        f"api_base = {json.dumps(platform.url)}",
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


async def test_an_update_that_was_fetched_but_not_stored_is_answered_once_after_a_kill(
    tmp_path: Path,
) -> None:
    (tmp_path / "var").mkdir()
    asked: list[str] = []
    async with BotApi() as platform:
        server = HoldingServer("telegram", tmp_path, {"standstills": tmp_path / "standstill"})
        write_settings(tmp_path / "kfbot.toml", server.port, platform)
        try:
            await server.start()
            for number in range(KILLS):
                await platform.until_confirmed()
                with closing(sqlite3.connect(tmp_path / "var" / "kfbot.sqlite3")) as lock:
                    while lock.execute("SELECT 1 FROM outbox WHERE state = 'new'").fetchone():  # noqa: ASYNC110
                        # What was sent but not yet recorded would be sent again.
                        await asyncio.sleep(0.01)
                    # Nothing can be stored from here on.
                    lock.execute("BEGIN IMMEDIATE")
                    handed_out = platform.handed_out
                    for _ in range(2):
                        asked.append(QUESTIONS[len(asked) % len(QUESTIONS)])
                        customer = CUSTOMER | {"id": 100 + len(asked)}
                        chat = {"id": customer["id"], "type": "private", "first_name": "A"}
                        await platform.says(asked[-1], chat=chat, sender=customer)
                    await platform.until(lambda: platform.handed_out > handed_out)  # noqa: B023
                    await server.kill()
                    lock.rollback()
                assert len(platform.updates) == 2, f"kill {number}: nothing was confirmed"
                await server.start()
                await platform.until_sent(len(asked))
            await platform.until_confirmed()
        finally:
            await server.close()
    answers = Counter(sent.source.partition("\n\n[1]")[0] for sent in platform.sent)
    assert answers == Counter(ENTRIES[question] for question in asked)
    assert {sent.chat for sent in platform.sent} == {101 + number for number in range(2 * KILLS)}
