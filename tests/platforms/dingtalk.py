"""DingTalk, as far as a robot sees of it: gateway, stream, tokens, webhooks and the robot's API."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from adapters.dingtalk.stream import MESSAGES

CLIENT_ID, CLIENT_SECRET = "dingclient", "not-a-real-secret"


@dataclass
class DingTalkStandIn:
    """Serves on loopback; a message that is not acknowledged is sent again on the next stream."""

    #: Answers of webhooks, in order; then all goes well.
    webhook_answers: list[dict[str, Any]] = field(default_factory=list)
    #: Statuses and answers of the robot's API, in order; then all goes well.
    robot_answers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    #: Statuses and codes of the gateway and of the lender of tokens, in order; then all goes well.
    refusals: list[tuple[int, str]] = field(default_factory=list)
    #: A token is good for so long.
    token_seconds: int = 7200
    webhook_seconds: float = 5400
    #: What was sent: how ("webhook", "user", "group") and its body.
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    streams: int = 0
    url: str = ""

    async def __aenter__(self) -> Self:
        self._numbers = count(1)
        self._changed = asyncio.Event()
        self._unacknowledged: dict[str, dict[str, Any]] = {}
        self._sockets: list[web.WebSocketResponse] = []
        app = web.Application()
        app.router.add_post("/v1.0/gateway/connections/open", self._open)
        app.router.add_post("/v1.0/oauth2/accessToken", self._lend)
        app.router.add_post("/v1.0/robot/{kind}/{do}", self._robot)
        app.router.add_post("/robot/sendBySession", self._webhook)
        app.router.add_get("/connect", self._stream)
        app.router.add_get("/file", self._file)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.hang_up()
        await self._runner.cleanup()

    def message(self, said: str, *, group: bool = False, **given: Any) -> dict[str, Any]:
        """What a robot is told of a text."""
        chat = {"conversationType": "2", "conversationId": "cidGROUP=="}
        if not group:
            chat = {"conversationType": "1", "conversationId": "cidANN=="}
        return {
            "msgId": f"msg{next(self._numbers)}==", "msgtype": "text", "text": {"content": said},
            "senderId": "$:LWCP_v1:$ann", "senderStaffId": "ann", "senderNick": "Ann",
            "chatbotUserId": "$:LWCP_v1:$bot", "robotCode": CLIENT_ID, "isAdmin": False,
            "createAt": int(time.time() * 1000), "isInAtList": group, **chat,
            "sessionWebhook": f"{self.url}/robot/sendBySession?session=s",
            "sessionWebhookExpiredTime": int((time.time() + self.webhook_seconds) * 1000),
        } | given  # fmt: skip

    async def tell(self, message: dict[str, Any]) -> None:
        """Tell the robot, now or once it is connected."""
        self._unacknowledged[message["msgId"]] = message
        await self._push(message)

    async def ping(self) -> None:
        """Ask whether the connection is there."""
        data = json.dumps({"opaque": "op"})
        await self._send(
            {"type": "SYSTEM", "headers": {"topic": "ping", "messageId": "ping"}, "data": data}
        )

    async def end_stream(self) -> None:
        """Have the robot connect anew."""
        await self._send(
            {"type": "SYSTEM", "headers": {"topic": "disconnect", "messageId": "end"}, "data": "{}"}
        )

    async def hang_up(self) -> None:
        """Break the connection."""
        for socket in self._sockets:
            await socket.close()
        self._sockets.clear()

    async def until(self, what: list[Any], number: int) -> list[Any]:
        """A list of ours, once it is so long."""
        async with asyncio.timeout(60):
            while len(what) < number:
                self._changed.clear()
                await self._changed.wait()
        return what

    async def _tell_system(self, topic: str, data: str) -> None:
        headers = {"topic": topic, "messageId": topic}
        await self._send({"type": "SYSTEM", "headers": headers, "data": data})

    async def _send(self, frame: dict[str, Any]) -> None:
        for socket in self._sockets[-1:]:
            await socket.send_json({"specVersion": "1.0", **frame})

    async def _push(self, message: dict[str, Any]) -> None:
        headers = {
            "topic": MESSAGES, "messageId": message["msgId"], "appId": "app", "time": "1",
            "contentType": "application/json", "connectionId": "c",
        }  # fmt: skip
        await self._send({"type": "CALLBACK", "headers": headers, "data": json.dumps(message)})

    def _note(self, what: list[Any], value: Any) -> None:
        what.append(value)
        self._changed.set()

    async def _open(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if (asked["clientId"], asked["clientSecret"]) != (CLIENT_ID, CLIENT_SECRET):
            return web.json_response({"code": "authFailed", "message": "auth failed"}, status=401)
        assert {"type": "CALLBACK", "topic": MESSAGES} in asked["subscriptions"]
        if (refusal := self._refusal()) is not None:
            return refusal
        endpoint = f"{self.url.replace('http', 'ws')}/connect"
        return web.json_response({"endpoint": endpoint, "ticket": "tick et/+"})

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        if request.query.get("ticket") != "tick et/+":
            raise web.HTTPUnauthorized
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.append(socket)
        self.streams += 1
        self._changed.set()
        for message in list(self._unacknowledged.values()):
            await self._push(message)
        async for answer in socket:
            told = json.loads(answer.data)
            assert told["code"] == 200
            self._unacknowledged.pop(told["headers"]["messageId"], None)
            self._note(self.acknowledged, told["headers"]["messageId"])
        return socket

    async def _lend(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if (asked["appKey"], asked["appSecret"]) != (CLIENT_ID, CLIENT_SECRET):
            answer = {"code": "invalidClientIdOrSecret", "message": "wrong appKey or appSecret"}
            return web.json_response(answer, status=400)
        if (refusal := self._refusal()) is not None:
            return refusal
        self.tokens.append(f"token-{len(self.tokens)}")
        return web.json_response({"accessToken": self.tokens[-1], "expireIn": self.token_seconds})

    def _refusal(self) -> web.Response | None:
        if not self.refusals:
            return None
        status, code = self.refusals.pop(0)
        return web.json_response({"code": code, "message": "says DingTalk"}, status=status)

    async def _robot(self, request: web.Request) -> web.Response:
        shown = request.headers.get("x-acs-dingtalk-access-token")
        if shown not in self.tokens[-1:]:
            answer = {"code": "InvalidAuthentication", "message": "the token is not good"}
            return web.json_response(answer, status=401)
        asked = await request.json()
        assert asked["robotCode"] == CLIENT_ID
        if self.robot_answers:
            status, answer = self.robot_answers.pop(0)
            return web.json_response(answer, status=status)
        match request.match_info["kind"]:
            case "messageFiles":
                return web.json_response({"downloadUrl": f"{self.url}/file"})
            case "groupMessages":
                self._note(self.sent, ("group", asked))
            case "oToMessages":
                self._note(self.sent, ("user", asked))
        return web.json_response({"processQueryKey": f"key{len(self.sent)}"})

    async def _webhook(self, request: web.Request) -> web.Response:
        asked = await request.json()
        answer: dict[str, Any] = {"errcode": 0, "errmsg": "ok"}
        if self.webhook_answers:
            answer = self.webhook_answers.pop(0)
        if answer["errcode"] == 0:
            self._note(self.sent, ("webhook", asked))
        return web.json_response(answer, status=answer.get("status", 200))

    async def _file(self, request: web.Request) -> web.Response:
        return web.Response(body=b"picture")
