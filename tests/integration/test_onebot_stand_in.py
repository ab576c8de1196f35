"""Our OneBot implementation is one that aiocqhttp, a bot library of others, takes for real."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.platforms.onebot import ME, OneBotStandIn, at, grouped, private, text

aiocqhttp = pytest.importorskip("aiocqhttp")
pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@asynccontextmanager
async def bot(**given: Any) -> AsyncIterator[tuple[Any, str, list[Any]]]:
    """A bot of theirs, its address, and what it has heard."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cqhttp, heard, stop = aiocqhttp.CQHttp(__name__, **given), [], asyncio.Event()

    @cqhttp.on_message
    async def hear(event: Any) -> dict[str, Any] | None:
        heard.append(event)
        await cqhttp.send(event, "hello 你好")

    running = asyncio.create_task(
        cqhttp.run_task(host="127.0.0.1", port=port, shutdown_trigger=stop.wait)
    )
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                except OSError:
                    await asyncio.sleep(0.05)
        yield cqhttp, f"127.0.0.1:{port}", heard
    finally:
        stop.set()
        await running


async def test_it_is_heard_and_called_through_its_websocket() -> None:
    async with (
        bot(access_token="token") as (_, address, heard),
        OneBotStandIn(url=f"ws://{address}/ws", token="token") as platform,
    ):
        await platform.connect()
        await platform.tell(grouped(at(ME), text("hi")))
        [call] = await platform.called()
        assert heard[0].detail_type == "group"
        assert call[0] in ("send_msg", "send_group_msg")
        await platform.disconnect()


async def test_its_signed_posts_are_taken() -> None:
    async with OneBotStandIn(secret="secret", token="token") as platform:
        given = {"secret": "secret", "access_token": "token", "api_root": platform.api_base}
        async with bot(**given) as (_, address, heard):
            platform.url = f"http://{address}/"
            assert await platform.post(private(text("hi"))) in (200, 204)
            await platform.called()
            assert heard[0].message[0]["data"]["text"] == "hi"
            assert platform.shown == ["Bearer token"]
            assert await platform.post(private(text("hi")), secret="another") == 403
