"""What one stranger can cost: slow heads and bodies, bombs, streams that nobody reads."""

from __future__ import annotations

import asyncio
import gzip
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Any, NoReturn

import aiohttp
import pytest

from kfbot.knowledge_base import Retrieval
from kfbot.testing import FakeKnowledgeBase
from kfbot.web import limits
from kfbot.web.access import Refused
from kfbot.web.limits import MOST_OF_VISITOR, Streams
from tests.integration.conftest import ENTRIES, Served, ServedBot

pytestmark = pytest.mark.asyncio

PATIENCE_SECONDS = 20


@asynccontextmanager
async def connected(
    bot: ServedBot,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection."""
    host, port = bot.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


async def test_a_body_that_does_not_come_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, bot: ServedBot
) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.1)
    monkeypatch.setattr(limits, "DOCUMENT_SECONDS", 0.1)
    form = "Content-Type: multipart/form-data; boundary=x\r\n"
    begun = "--x\r\nContent-Disposition: form-data; name=file; filename=a.txt\r\n\r\n"
    for head, body in (
        ("POST /api/v1/ask HTTP/1.1\r\nContent-Type: application/json\r\n", '{"q'),
        (f"POST /api/v1/doc/upload HTTP/1.1\r\n{form}", begun),
        (f"POST /api/v1/doc/upload HTTP/1.1\r\n{form}", "--x"),
        ("POST /desk/api/session HTTP/1.1\r\nContent-Type: application/json\r\n", "{"),
    ):
        async with connected(bot) as (reader, writer), asyncio.timeout(PATIENCE_SECONDS):
            whole = f"{head}Host: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{body}"
            writer.write(whole.encode())
            answer = (await reader.read()).decode()
        assert answer.startswith("HTTP/1.1 408"), (head, answer)
        assert "took more than 0.1 s" in answer
    assert (await bot.get("/api/v1/knowledge"))[0] == 200


class SlowBase(FakeKnowledgeBase):
    """Lets everything else have its turn before it finds anything."""

    async def search(self, *args: Any, **options: Any) -> Retrieval:
        for _ in range(20):
            await asyncio.sleep(0)
        return await super().search(*args, **options)


async def test_the_time_is_for_the_body_not_for_the_work_on_it(
    monkeypatch: pytest.MonkeyPatch, served: Served
) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.0)
    async with served(base=SlowBase(ENTRIES)) as bot, connected(bot) as (reader, writer):
        body = '{"query": "When will my refund arrive?"}'
        writer.write(
            "POST /api/v1/ask HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        assert (await reader.read()).startswith(b"HTTP/1.1 200")


async def test_a_head_that_does_not_end_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, served: Served
) -> None:
    monkeypatch.setattr(limits, "IDLE_SECONDS", 0.3)
    async with served() as bot:
        for begun in (b"", b"GET /chat HTTP/1.1\r\nHost: 127", b"GET / HTTP/1.1\r\n" * 2):
            async with connected(bot) as (reader, writer), asyncio.timeout(PATIENCE_SECONDS):
                writer.write(begun)
                await reader.read()
        # Also after a whole request.
        async with connected(bot) as (reader, writer), asyncio.timeout(PATIENCE_SECONDS):
            writer.write(b"GET /desk/api/session HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /de")
            assert b"first_visit" in await reader.read()


async def test_a_head_without_end_is_refused(bot: ServedBot) -> None:
    for head in (
        b"GET /" + b"x" * 100_000,
        b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000,
        b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 20_000,
    ):
        async with connected(bot) as (reader, writer), asyncio.timeout(PATIENCE_SECONDS):
            writer.write(head + b"\r\n\r\n")
            answer = await reader.read()
            assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), answer[:80]


async def test_a_bomb_is_never_unpacked(monkeypatch: pytest.MonkeyPatch, bot: ServedBot) -> None:
    """1 MB that becomes 1 GB took 2.6 s of the loop where aiohttp unpacked what nobody read."""
    unpacked: list[object] = []

    def unpack(*args: object, **options: object) -> NoReturn:
        unpacked.append(args)
        raise AssertionError("unpacked")

    # Nothing outside shows what was unpacked and thrown away.
    monkeypatch.setattr("aiohttp.http_parser.ZLibDecompressor", unpack)
    bomb = gzip.compress(bytes(1024 * 1024 * 50), 9)
    async with bot.http.get(f"{bot.url}/chat") as page:
        cookie = page.headers["Set-Cookie"].partition(";")[0]
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json", "Cookie": cookie}
    for path in ("/api/v1/ask", "/chat/messages", "/webhooks/web", "/desk/api/session", "/none"):
        async with bot.http.post(bot.url + path, data=bomb, headers=headers) as answer:
            assert answer.status in (404, 415)
    assert unpacked == []


async def test_of_one_visitor_the_newest_streams_stay_open(bot: ServedBot) -> None:
    async with bot.http.get(f"{bot.url}/chat") as page:
        cookie = {"Cookie": page.headers["Set-Cookie"].partition(";")[0]}
    async with AsyncExitStack() as stack, asyncio.timeout(PATIENCE_SECONDS):
        opened: list[aiohttp.ClientResponse] = []
        for _ in range(MOST_OF_VISITOR + 2):
            stream = await stack.enter_async_context(
                bot.http.get(f"{bot.url}/chat/events", headers=cookie)
            )
            assert b"ready" in await stream.content.readany()
            opened.append(stream)
        for ended in opened[:2]:
            await ended.content.read()
        assert [one.content.at_eof() for one in opened] == [True] * 2 + [False] * MOST_OF_VISITOR


async def test_the_streams_of_all_visitors_leave_descriptors_for_the_rest() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(600, before[0]), before[1]))
        streams = Streams()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    with ExitStack() as stack:
        for number in range(300):
            stack.enter_context(streams.opened(f"visitor-{number}", None))
        refused = pytest.raises(Refused, match="try again")
        with refused as caught, streams.opened("one more", "10.0.0.7"):
            pass
        assert caught.value.status == 503
    with streams.opened("one more", None) as end:
        assert not end.is_set()
        streams.close()
        assert end.is_set()
    with streams.opened("late", None) as end:
        assert end.is_set()


@pytest.mark.parametrize(
    "addresses",
    [["10.0.0.7"] * 4, [f"2001:db8::{number}" for number in range(4)]],  # One /64.
)
async def test_one_sender_gets_half_of_the_streams_with_however_many_cookies(
    monkeypatch: pytest.MonkeyPatch, served: Served, addresses: list[str]
) -> None:
    monkeypatch.setattr(limits, "MOST_STREAMS", 6)
    async with served() as bot, AsyncExitStack() as stack:

        async def stream(address: str) -> int:
            """The status of one more visitor's; it stays open."""
            async with bot.http.get(f"{bot.url}/chat") as page:
                cookie = page.headers["Set-Cookie"].partition(";")[0]
            headers = {"Cookie": cookie, "X-Forwarded-For": f"6.6.6.6, {address}"}
            opening = bot.http.get(f"{bot.url}/chat/events", headers=headers)
            return (await stack.enter_async_context(opening)).status

        assert [await stream(one) for one in addresses] == [200] * 3 + [429]
        assert await stream("10.0.0.8") == 200


async def test_a_place_that_is_free_again_is_for_the_same_address_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MOST_STREAMS", 2)
    streams = Streams()
    for _ in range(2):
        with streams.opened("one", "10.0.0.7"):
            with pytest.raises(Refused) as caught, streams.opened("other", "10.0.0.7"):
                pass
            assert caught.value.status == 429


async def test_visitors_whom_a_proxy_does_not_tell_apart_are_no_single_sender(
    monkeypatch: pytest.MonkeyPatch, served: Served
) -> None:
    monkeypatch.setattr(limits, "MOST_STREAMS", 2)
    async with served() as bot, AsyncExitStack() as stack:
        for expected in (200, 200, 503):
            async with bot.http.get(f"{bot.url}/chat") as page:
                cookie = {"Cookie": page.headers["Set-Cookie"].partition(";")[0]}
            opening = bot.http.get(f"{bot.url}/chat/events", headers=cookie)
            assert (await stack.enter_async_context(opening)).status == expected
