"""A customer system that takes the generic channel's messages: real HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError


@dataclass(frozen=True)
class Answer:
    """What the receiver says to one request."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    #: Never answer; the request is held until the receiver closes.
    hangs: bool = False


class WebhookReceiver:
    """Verifies with the standardwebhooks library; keeps each message once, by its webhook-id."""

    def __init__(self, secret: str) -> None:
        self._library = Webhook(secret)
        self._runner: web.AppRunner | None = None
        self._closing = asyncio.Event()
        self.url = ""
        #: Said first, in order; after that every request gets 200, or 401 if not signed by us.
        self.answers: list[Answer] = []
        #: Every verified request.
        self.requests: list[dict[str, Any]] = []
        self.webhook_ids: list[str] = []
        self.timestamps: list[int] = []
        #: Messages as a system keeps them that drops repeats.
        self.kept: dict[str, dict[str, Any]] = {}
        self.elsewhere = 0

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_post("/hook", self._take)
        app.router.add_route("*", "/elsewhere", self._take_elsewhere)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/hook"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        assert self._runner is not None
        await self._runner.cleanup()

    async def answer_to(self, request: web.Request, message: Mapping[str, Any]) -> Answer:
        """What is said to a verified request; other stand-ins say something else."""
        answer = self.answers.pop(0) if self.answers else Answer()
        if answer.hangs:
            await self._closing.wait()
        return answer

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            self._library.verify(body, dict(request.headers), json_parse=False)
        except WebhookVerificationError:
            return web.Response(status=401)
        webhook_id = request.headers["webhook-id"]
        message = json.loads(body)
        self.requests.append(message)
        self.webhook_ids.append(webhook_id)
        self.timestamps.append(int(request.headers["webhook-timestamp"]))
        answer = await self.answer_to(request, message)
        if 200 <= answer.status < 300:
            self.kept[webhook_id] = message
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    async def _take_elsewhere(self, request: web.Request) -> web.Response:
        self.elsewhere += 1
        return web.Response(status=200)
