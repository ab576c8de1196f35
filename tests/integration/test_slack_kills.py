"""A process that is killed while it passes on what agents write in Slack."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.servers import HoldingServer
from tests.platforms.slack import APP_TOKEN, BOT_TOKEN, DIRECT, Slack

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]

TEAM, ZOE = "C0TEAM", "U0ZOE"
KILLS, LINES = 4, 3


def write_settings(file: Path, port: int, slack: Slack) -> None:
    lines = [
        'data_dir = "var"',
        "[web]",
        f"port = {port}",
        "[channels.shop]",
        'platform = "slack"',
        f"bot_token = {json.dumps(BOT_TOKEN)}",
        f"app_token = {json.dumps(APP_TOKEN)}",
        f"api_base = {json.dumps(slack.api_base)}",
        f"agents_chat = {json.dumps(TEAM)}",
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not done():  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)


async def test_what_agents_write_is_passed_on_once_and_in_order_whenever_the_process_is_killed(
    tmp_path: Path,
) -> None:
    (tmp_path / "var").mkdir()
    database = tmp_path / "var" / "kfbot.sqlite3"
    written: list[str] = []

    def passed_on() -> list[str]:
        texts = [message["text"] for message in slack.said(DIRECT)]
        return [text.partition("\n\n")[2] for text in texts if text.startswith("*Zoe*")]

    async with Slack() as slack:
        slack.tries, slack.ack_seconds = 60, 1.0
        server = HoldingServer("slack", tmp_path, {"standstills": tmp_path / "standstill"})
        write_settings(tmp_path / "kfbot.toml", server.port, slack)
        try:
            await server.start()
            await slack.tell(slack.says("A person please"))
            await until(lambda: len(slack.said(TEAM)) == 2)
            thread = slack.said(TEAM)[0]["ts"]
            for kill in range(KILLS):
                lines = [f"Line {len(written) + number}" for number in range(LINES)]
                posted, told = len(slack.calls), []
                for line in lines:
                    event = slack.says(line, TEAM, user=ZOE, thread_ts=thread)
                    # One by one: over several tries Slack keeps no order.
                    telling = asyncio.create_task(slack.tell(event))
                    if line == lines[kill % LINES]:
                        # Before it is acknowledged, or while it is passed on.
                        await until(lambda: telling.done() or kill % 2 == 0)  # noqa: B023
                        await until(lambda: len(slack.calls) > posted or kill % 2 == 0)  # noqa: B023
                        await server.kill()
                        await server.start()
                    told.append(await telling)
                assert all(told)
                written += lines
                await until(lambda: set(written) <= set(passed_on()))  # noqa: B023
        finally:
            await server.close()
    # Slack has no key by which it drops what is sent twice.
    assert list(dict.fromkeys(passed_on())) == written
    with closing(sqlite3.connect(database)) as stored:
        rows = stored.execute("SELECT text FROM message WHERE role = 'agent'").fetchall()
    assert Counter(text for (text,) in rows) == Counter(written)
