"""A OneBot v11 implementation, as NapCat or go-cqhttp are: it calls the bot and does its calls."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

ME, CUSTOMER, GROUP = 10001, 20002, 30003


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "data": {"text": said}}


def at(number: int | str) -> dict[str, Any]:
    return {"type": "at", "data": {"qq": str(number)}}


def reply(message: int | str) -> dict[str, Any]:
    return {"type": "reply", "data": {"id": str(message)}}


def private(*said: dict[str, Any] | str, message_id: int = 1, user: int = CUSTOMER) -> Any:
    """A private message; a single text may be given as its older form, a string."""
    return {
        "post_type": "message", "message_type": "private", "sub_type": "friend",
        "self_id": ME, "user_id": user, "message_id": message_id, "time": 1_795_334_400,
        "sender": {"user_id": user, "nickname": "Ann"},
        "message": said[0] if isinstance(said[0], str) else list(said),
        "raw_message": "", "font": 0,
    }  # fmt: skip


def grouped(*said: dict[str, Any] | str, message_id: int = 1, user: int = CUSTOMER) -> Any:
    """A message in a group."""
    told = private(*said, message_id=message_id, user=user)
    sender = {"user_id": user, "nickname": "Ann", "card": "Ann-QA", "role": "member"}
    return told | {
        "message_type": "group", "sub_type": "normal", "group_id": GROUP, "anonymous": None,
        "sender": sender,
    }  # fmt: skip


def heartbeat() -> Any:
    return {
        "post_type": "meta_event", "meta_event_type": "heartbeat", "self_id": ME, "time": 1,
        "status": {"online": True, "good": True}, "interval": 5000,
    }  # fmt: skip


def signed(body: bytes, secret: str) -> dict[str, str]:
    """The headers with which a body is posted."""
    digest = hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()
    return {
        "Content-Type": "application/json", "X-Self-ID": str(ME), "X-Signature": f"sha1={digest}",
    }  # fmt: skip


@dataclass
class OneBotStandIn:
    """Opens a WebSocket to `url`, or posts there and has an HTTP API; keeps what it is to send."""

    url: str = ""
    token: str = ""
    secret: str = ""
    role: str = "Universal"
    #: Answers to calls, in order; then all goes well.
    answers: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    #: Headers of the HTTP calls.
    shown: list[str] = field(default_factory=list)
    is_mute: bool = False
    numbers: Any = field(default_factory=lambda: count(500))
    api_base: str = ""

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession()
        self._called = asyncio.Event()
        self._working: asyncio.Task[None] | None = None
        app = web.Application()
        app.router.add_post("/{action}", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.api_base = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.disconnect()
        await self._http.close()
        await self._runner.cleanup()

    async def connect(self) -> None:
        """Open the WebSocket, and do what is called through it."""
        headers = {"X-Self-ID": str(ME), "X-Client-Role": self.role}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        self._socket = await self._http.ws_connect(self.url, headers=headers)
        self._working = asyncio.create_task(self._work())

    async def disconnect(self) -> None:
        """Hang up."""
        if self._working is not None:
            await self._socket.close()
            await self._working
            self._working = None

    async def tell(self, event: dict[str, Any]) -> None:
        """Send an event through the WebSocket."""
        await self._socket.send_str(json.dumps(event, ensure_ascii=False))

    async def post(self, event: dict[str, Any], *, secret: str | None = None) -> int:
        """Post an event, signed; returns the status."""
        body = json.dumps(event, ensure_ascii=False).encode()
        headers = signed(body, self.secret if secret is None else secret)
        async with self._http.post(self.url, data=body, headers=headers) as response:
            return response.status

    async def called(self, times: int = 1) -> list[tuple[str, dict[str, Any]]]:
        """The calls, once there are so many."""
        async with asyncio.timeout(60):
            while len(self.calls) < times:
                self._called.clear()
                await self._called.wait()
        return self.calls

    async def _work(self) -> None:
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            call = json.loads(message.data)
            answer = self._done(call["action"], call["params"])
            if not self.is_mute:
                await self._socket.send_str(json.dumps(answer | {"echo": call["echo"]}))

    async def _take(self, request: web.Request) -> web.Response:
        self.shown.append(request.headers.get("Authorization", ""))
        return web.json_response(self._done(request.match_info["action"], await request.json()))

    def _done(self, action: str, params: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((action, params))
        self._called.set()
        if self.answers:
            return self.answers.pop(0)
        if action == "get_login_info":
            data: dict[str, Any] = {"user_id": ME, "nickname": "Shop"}
        elif action in ("send_private_msg", "send_group_msg", "send_msg"):
            data = {"message_id": next(self.numbers)}
        else:
            return {"status": "failed", "retcode": 1404, "data": None, "message": "no such action"}
        return {"status": "ok", "retcode": 0, "data": data}
