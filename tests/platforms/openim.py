"""An OpenIM server: its REST API as far as a bot needs it, and its callbacks.

Written from github.com/openimsdk/open-im-server (internal/api, pkg/apistruct, pkg/callbackstruct,
pkg/common/webhook, pkg/common/servererrs). No independent client vouches for it.
"""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
from aiohttp import web

SECRET = "openIM123"
ADMIN = "imAdmin"
BOT = "bot1"
WEBHOOK_SECRET = "callback-secret-0123456789"

#: pkg/common/servererrs/code.go
ARGS, NO_PERMISSION, NO_USER, NOT_IN_GROUP = 1001, 1002, 1101, 1203
EXPIRED, NOT_EXIST = 1501, 1507
#: What a callback is answered with; the server reads nothing else.
ALLOWED = {"actionCode": 0, "errCode": 0, "errMsg": "", "errDlt": "", "nextCode": 0}


@dataclass
class Sent:
    """A message that the server took."""

    body: dict[str, Any]
    operation_id: str
    server_id: str

    @property
    def text(self) -> str:
        return str(self.body["content"]["content"])


@dataclass
class OpenImServer:
    """One server; `generation` "old" knows /auth/user_token alone and calls back by ?command=."""

    generation: Literal["new", "old"] = "new"
    users: dict[str, str] = field(default_factory=lambda: {BOT: "Shop", "u1": "Ann", "u2": "Bo"})
    groups: dict[str, set[str]] = field(default_factory=lambda: {"g1": {BOT, "u1", "u2"}})
    expire_seconds: int | str = 7_776_000
    sent: list[Sent] = field(default_factory=list)
    #: The token of every call of /msg/send_msg.
    tokens: list[str] = field(default_factory=list)
    lent: list[str] = field(default_factory=list)
    #: Said instead, in order, to calls of /msg/send_msg: an errCode or an HTTP answer.
    instead: list[int | web.Response] = field(default_factory=list)
    #: Where callbacks go, as in config/webhooks.yml.
    callback_url: str = ""
    answers: list[tuple[int, Any]] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        self._valid: set[str] = set()
        self._numbers = itertools.count(1)
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        token = "/auth/get_admin_token" if self.generation == "new" else "/auth/user_token"
        app.router.add_post(token, self._lend)
        app.router.add_post("/user/get_users_info", self._users_info)
        app.router.add_post("/msg/send_msg", self._send_msg)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def expire(self) -> None:
        """Forget every token, as a restart with another secret does."""
        self._valid.clear()

    # --- the API -----------------------------------------------------------------------------

    async def _lend(self, request: web.Request) -> web.Response:
        if "operationID" not in request.headers:
            return _refused(ARGS, "ArgsError")
        body = await request.json()
        wanted = {"secret", "userID"} | ({"platformID"} if self.generation == "old" else set())
        if set(body) != wanted or body["secret"] != SECRET:
            return _refused(NO_PERMISSION, "NoPermissionError")
        if body["userID"] != ADMIN:
            return _refused(NO_USER, "UserIDNotFoundError")
        token = f"token-{next(self._numbers)}"
        self._valid.add(token)
        self.lent.append(token)
        return _took({"token": token, "expireTimeSeconds": self.expire_seconds})

    async def _users_info(self, request: web.Request) -> web.Response:
        if refused := self._token_fault(request):
            return refused
        asked = (await request.json())["userIDs"]
        found = [{"userID": one, "nickname": self.users[one]} for one in asked if one in self.users]
        return _took({"usersInfo": found or None})

    async def _send_msg(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers.get("token", ""))
        if self.instead:
            answer = self.instead.pop(0)
            return answer if isinstance(answer, web.Response) else _refused(answer, "Refused")
        if refused := self._token_fault(request) or self._fault_of(body := await request.json()):
            return refused
        number = next(self._numbers)
        ids = {"serverMsgID": f"server-{number}", "clientMsgID": f"client-{number}"}
        self.sent.append(Sent(body, request.headers["operationID"], ids["serverMsgID"]))
        return _took({**ids, "sendTime": 1717171200000 + number})

    def _token_fault(self, request: web.Request) -> web.Response | None:
        if "operationID" not in request.headers:
            return _refused(ARGS, "ArgsError")
        if not (token := request.headers.get("token")):
            return _refused(NOT_EXIST, "TokenNotExistError")
        return None if token in self._valid else _refused(EXPIRED, "TokenExpiredError")

    def _fault_of(self, body: dict[str, Any]) -> web.Response | None:
        """What gin's `binding:"required"` and the checks before sending say."""
        required = ("sendID", "content", "contentType", "sessionType")
        session, receiver = body.get("sessionType"), body.get("recvID")
        if any(not body.get(name) for name in required) or session not in {1, 2, 3}:
            return _refused(ARGS, "ArgsError")
        if not isinstance(body["content"], dict) or not body["content"].get("content"):
            return _refused(ARGS, "ArgsError")
        if session == 1:
            return None if receiver in self.users else _refused(NO_USER, "UserIDNotFoundError")
        members = self.groups.get(body.get("groupID", ""), set())
        return None if body["sendID"] in members else _refused(NOT_IN_GROUP, "NotInGroupYetError")

    # --- callbacks ---------------------------------------------------------------------------

    def message(self, text: str = "hello", sender: str = "u1", **fields: Any) -> dict[str, Any]:
        """The body of a callback after a single message, or after a group's with groupID."""
        group = fields.get("groupID")
        command = f"callbackAfterSend{'Group' if group else 'Single'}MsgCommand"
        number = next(self._numbers)
        body: dict[str, Any] = {
            "sendID": sender,
            "callbackCommand": command,
            "serverMsgID": f"server-{number}",
            "clientMsgID": f"client-{number}",
            "operationID": f"operation-{number}",
            "senderPlatformID": 5,
            "senderNickname": self.users.get(sender, ""),
            "sessionType": 3 if group else 1,
            "msgFrom": 100,
            "contentType": 101,
            "status": 1,
            "createTime": int(time.time() * 1000),
            "content": json.dumps({"content": text}, ensure_ascii=False),
            "seq": 0,
            "atUserList": [],
            "faceURL": "",
            "ex": "",
        }
        return body | ({} if group else {"recvID": BOT}) | fields

    async def calls(self, body: dict[str, Any], command: str | None = None) -> tuple[int, Any]:
        """Call back as this generation does; status and JSON of the answer."""
        command = body["callbackCommand"] if command is None else command
        between = "/" if self.generation == "new" else "?command="
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.callback_url + between + command, json=body) as response,
        ):
            answer = (response.status, await response.json())
        self.answers.append(answer)
        return answer

    async def says(self, text: str, sender: str = "u1", **fields: Any) -> dict[str, Any]:
        """Let a user write; the callback must be allowed. Returns its body, to be sent again."""
        body = self.message(text, sender, **fields)
        assert await self.calls(body) == (200, ALLOWED)
        return body


def _took(data: Any) -> web.Response:
    return web.json_response({"errCode": 0, "errMsg": "", "errDlt": "", "data": data})


def _refused(code: int, message: str) -> web.Response:
    # The server's answers are 200 whatever they say.
    body = {"errCode": code, "errMsg": message, "errDlt": f"[{code}]{message}"}
    return web.json_response(body)
