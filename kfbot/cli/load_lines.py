"""The ways by which `kfbot load` comes: webhook channels, the ask API, the web chat."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from kfbot.cli.client import Address
from kfbot.cli.load_driving import Line, NotTaken, Reply
from kfbot.errors import SettingsError

#: Nobody waits longer for an acknowledgement, or for an answer that is one.
TIMEOUT_SECONDS = 30.0
#: Hosts at which the driver itself can listen for replies.
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _session(**options: Any) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        # Customers do not share a pool of connections; platforms keep theirs open.
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        **options,
    )


async def posted(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    params: Mapping[str, str] | None = None,
) -> bytes:
    """Post a body; what was answered with a status below 300.

    Raises:
        NotTaken: Any other status, or no answer.
    """
    try:
        async with session.post(url, data=body, headers=headers, params=params) as response:
            answer = await response.read()
            if response.status < 300:
                return answer
            raise NotTaken(f"status {response.status}", _seconds(response.headers))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        # The text of the error may hold the address.
        raise NotTaken(type(error).__name__) from None


def _seconds(headers: Mapping[str, str]) -> float | None:
    after = headers.get("Retry-After", "")
    return float(after) if after.isascii() and after.isdecimal() else None


class AskLine(Line):
    """`POST /api/v1/ask` in conversations: the answer is all that comes back."""

    acknowledges = False

    def __init__(self, server: Address, run: str) -> None:
        super().__init__("api")
        self._server, self._run = server, run

    async def open(self) -> None:
        token = self._server.token
        self._http = _session(headers={"Authorization": f"Bearer {token}"} if token else {})

    async def close(self) -> None:
        await self._http.close()

    async def say(self, chat: int, text: str, event: int) -> None:
        body = {"query": text, "conversation": f"{self._run}-{chat}"}
        headers = {"Content-Type": "application/json"}
        url = f"{self._server.url}/api/v1/ask"
        answer = json.loads(await posted(self._http, url, json.dumps(body).encode(), headers))
        data = answer["data"]
        self.on_reply(chat, Reply(data["text"], ended=data["decision"] == "handoff"))


class WebhookLine(Line):
    """A generic webhook channel, signed both ways, as the operator's own system would."""

    def __init__(self, channel: str, section: Mapping[str, Any], server: Address, run: str) -> None:
        """Prepare.

        Raises:
            SettingsError: The secret is missing or none.
        """
        super().__init__(channel)
        try:
            self._library = Webhook(str(section["secret"]))
        except (KeyError, ValueError):
            raise SettingsError(
                f"[channels.{channel}] secret: needed to sign as the sender"
            ) from None
        self._url = f"{server.url}/webhooks/{channel}"
        self._run = run
        self._responds = section.get("reply") == "response"
        self._callback = urlsplit(str(section.get("callback_url", "")))
        self.hears = self._responds or self._callback.hostname in _LOOPBACK
        self._runner: web.AppRunner | None = None

    async def open(self) -> None:
        """Listen at the callback_url, if that is here.

        Raises:
            SettingsError: Another program listens there.
        """
        self._http = _session()
        if not self.hears or self._responds:
            return
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_post("/{path:.*}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        port = self._callback.port or (443 if self._callback.scheme == "https" else 80)
        try:
            await web.TCPSite(self._runner, self._callback.hostname, port).start()
        except OSError as error:
            await self.close()
            raise SettingsError(
                f"[channels.{self.name}] callback_url: cannot listen at port {port}"
                f" ({error.strerror}); stop what listens there, or leave the channel out"
            ) from None

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        await self._http.close()

    async def say(self, chat: int, text: str, event: int) -> None:
        name = self.chat_name(chat)
        message_id = f"{self._run}-{event}"
        body = json.dumps(
            {
                "conversation": name,
                "message_id": message_id,
                "text": text,
                "sender": {"id": name, "name": name, "role": "customer"},
            }
        )
        answer = await posted(self._http, self._url, body.encode(), self._signed(message_id, body))
        if self._responds:
            for message in json.loads(answer)["messages"]:
                self._hear(message)

    def chat_name(self, chat: object) -> str:
        """What a conversation is called there."""
        return f"{self._run}-{chat}"

    def _signed(self, message_id: str, body: str) -> dict[str, str]:
        now = datetime.now(UTC)
        return {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._library.sign(message_id, now, body),
        }

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            self._library.verify(body, dict(request.headers), json_parse=False)
        except WebhookVerificationError:
            return web.Response(status=401)
        self._hear(json.loads(body))
        return web.Response()

    def _hear(self, message: Mapping[str, Any]) -> None:
        run, _, chat = str(message["conversation"]).rpartition("-")
        if run != self._run or not chat.isdecimal():
            # A real customer's: the load is on the bot of everybody.
            return
        ended = message["type"] == "handoff"
        self.on_reply(int(chat), Reply(message["text"], message["message_id"], ended))


class WebChatLine(Line):
    """The chat page: a visitor and an open push for each conversation."""

    def __init__(self, server: Address, run: str) -> None:
        super().__init__("web")
        self._server, self._run = server, run
        self._cookies: dict[int, str] = {}
        self._pushes: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._http = _session()

    async def close(self) -> None:
        for push in self._pushes:
            push.cancel()
        await asyncio.gather(*self._pushes, return_exceptions=True)
        self._pushes.clear()
        # Whoever comes again is somebody else.
        self._cookies.clear()
        await self._http.close()

    async def say(self, chat: int, text: str, event: int) -> None:
        if chat not in self._cookies:
            self._cookies[chat] = await self._visit()
            push = asyncio.create_task(self._follow(chat))
            self._pushes.add(push)
        body = json.dumps({"message_id": f"{self._run}-{event}", "text": text}).encode()
        headers = {"Content-Type": "application/json", "Cookie": self._cookies[chat]}
        await posted(self._http, f"{self._server.url}/chat/messages", body, headers)

    async def _visit(self) -> str:
        """Open the page; the cookie of the visitor."""
        try:
            async with self._http.get(f"{self._server.url}/chat") as page:
                if page.status == 200:
                    return page.headers["Set-Cookie"].partition(";")[0]
                raise NotTaken(f"status {page.status}", _seconds(page.headers))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NotTaken(type(error).__name__) from None

    async def _follow(self, chat: int) -> None:
        """Read what is pushed; where the push breaks off, go on behind what was seen."""
        seen = ""
        while True:
            headers = {"Cookie": self._cookies[chat]} | ({"Last-Event-ID": seen} if seen else {})
            url = f"{self._server.url}/chat/events"
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                timeout = aiohttp.ClientTimeout(total=None)
                async with self._http.get(url, headers=headers, timeout=timeout) as push:
                    kind = ""
                    async for raw in push.content:
                        name, _, value = raw.decode().rstrip("\n").partition(": ")
                        if name == "id":
                            seen = value
                        elif name == "event":
                            kind = value
                        elif name == "data" and kind == "message":
                            self._hear(chat, json.loads(value))
            await asyncio.sleep(1.0)

    def _hear(self, chat: int, message: Mapping[str, Any]) -> None:
        if message["role"] == "bot":
            ended = message["kind"] == "handoff"
            self.on_reply(chat, Reply(message["text"], str(message["id"]), ended))


def new_run() -> str:
    """A name for the conversations of a run: nothing else begins like it."""
    return f"load-{secrets.token_hex(3)}"
