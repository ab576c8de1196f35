"""A process that is killed while the customer reads an answer that it is still writing."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.faults.faq import DOCUMENTS
from tests.faults.servers import HoldingServer
from tests.integration.test_telegram_kills import write_settings
from tests.platforms.openai_stand_in import MODEL, OpenAiStandIn, Reply, cut
from tests.platforms.telegram import BotApi

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]

[(QUESTION, ANSWER)] = DOCUMENTS.items()
FIRST = ANSWER.partition(". ")[0] + "."
#: As the customer reads them, with the number of their source.
FIRST_SHOWN, SHOWN = f"{FIRST} [1]", ANSWER.replace(".", ". [1]")
#: It stands still in its second sentence, for good.
BEGUN = Reply(text=SHOWN, holds_after=len(cut(f"{FIRST_SHOWN} The parcel")))


class SlowApi(BotApi):
    """Answers what sends a message when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()

    async def _on_sendMessage(self, given: Mapping[str, Any]) -> dict[str, Any]:
        message = await super()._on_sendMessage(given)
        await self.answers.wait()
        return message


def stored(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """What the database of a server says, which may be running."""
    with closing(sqlite3.connect(folder / "var" / "kfbot.sqlite3")) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("id_is_known", [True, False])
async def test_a_stream_whose_process_is_killed_ends_in_one_whole_answer(
    tmp_path: Path, id_is_known: bool
) -> None:
    async with SlowApi() as platform, OpenAiStandIn([BEGUN, SHOWN]) as model:
        server = HoldingServer(
            "writer", tmp_path, {"standstills": tmp_path / "standstill", "writes": 1}
        )
        write_settings(tmp_path / "kfbot.toml", server.port, platform)
        with (tmp_path / "kfbot.toml").open("a", encoding="utf-8") as settings:
            section = {"base_url": model.url, "model": MODEL, "first_token_seconds": 60}
            lines = [f"{name} = {json.dumps(value)}" for name, value in section.items()]
            settings.write("\n".join(["[chat_model]", *lines, ""]))
        try:
            await server.start()
            await platform.says(QUESTION)
            [begun] = await platform.until_sent(1)
            assert begun.text == FIRST_SHOWN
            if id_is_known:
                platform.answers.set()
                while stored(tmp_path, "SELECT platform_ids FROM draft") == [("[]",)]:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await server.kill()
            assert stored(tmp_path, "SELECT text FROM draft") == [(FIRST_SHOWN,)]
            platform.answers.set()
            await server.start()
            async with asyncio.timeout(60):
                while stored(tmp_path, "SELECT state FROM outbox") != [("sent",)]:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        finally:
            await server.close()
    texts = [one.text.partition("\n\n")[0] for one in platform.sent]
    # Without an id nothing can be edited: what was begun stays, and the whole comes behind it.
    assert texts == ([SHOWN] if id_is_known else [FIRST_SHOWN, SHOWN])
    assert platform.sent[-1].buttons
    assert stored(tmp_path, "SELECT * FROM draft") == []
    said = stored(tmp_path, "SELECT role, text, internal, platform_id FROM message ORDER BY id")
    assert [row[:3] for row in said] == [("customer", QUESTION, 0), ("bot", SHOWN, 0)]
    assert said[-1][3] == str(platform.sent[-1].message["message_id"])
