"""A way to a platform that breaks now and then: what passes it arrives whole, or not at all."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Self

import aiohttp
from aiohttp import web

#: What a request meets; "slow" arrives, the others do not.
TROUBLES = ("500", "429", "reset", "slow")
SLOW_SECONDS = 2.0
#: Headers of one connection, not of what is passed on.
_OF_A_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


class Flaky:
    """Passes requests on to a server on loopback; `share` of them meet trouble.

    Trouble comes before a request is passed on: a bot that sends again is right to do so, and
    nobody gets anything twice for it. Where the bot gave up waiting for an answer, or was killed,
    somebody may.
    """

    def __init__(self, target: str, *, seed: int = 0) -> None:
        """`target`: the server's root, as http://127.0.0.1:PORT."""
        self.share = 0.0
        self.met: Counter[str] = Counter()
        #: Requests that arrived whose answers nobody waited for any more.
        self.unheard = 0
        self._target = target
        self._random = random.Random(seed)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=32 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*self._runner.addresses[0][:2])
        self._http = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=0)
        )
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._http.close()
        await self._runner.cleanup()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        trouble = self._random.choice(TROUBLES) if self._random.random() < self.share else ""
        self.met[trouble or "none"] += 1
        body = await request.read()
        if trouble == "reset":
            assert request.transport is not None
            request.transport.abort()
        if trouble in ("500", "429"):
            return web.Response(status=int(trouble), headers={"Retry-After": "1"})
        if trouble == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        if trouble == "reset":
            return web.Response()
        headers = {
            name: one for name, one in request.headers.items() if name.lower() not in _OF_A_HOP
        }
        url = self._target + request.path_qs
        try:
            async with self._http.request(
                request.method, url, data=body, headers=headers
            ) as answer:
                said = await answer.read()
                if request.transport is None or request.transport.is_closing():
                    self.unheard += 1
                return web.Response(
                    status=answer.status, body=said, content_type=answer.content_type
                )
        except aiohttp.ClientError:
            return web.Response(status=502)
