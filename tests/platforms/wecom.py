"""WeCom on loopback: a self-built app, service accounts with their sessions, and a group robot.

The rules are those of developer.work.weixin.qq.com/document/path/90236 (messages of an app), 94670
and 94677 (messages of a service account), 94669 (sessions) and 91770 (group robots).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from tests.platforms.wecom_envelopes import CORP, seal, xml

SECRET, AGENT, ROBOT_KEY = "app-secret-0123456789", 1000002, "robot-key-0123456789"
ACCOUNT, ANN, STAFF = "wkShop", "wmAnn", "zhangsan"
#: What a bot does not do in this time it does never.
PATIENCE_SECONDS = 60.0
Answer = dict[str, Any]

#: What becomes of a session on request: from → to.
_MOVES = {0: {1, 2, 3}, 1: {2, 3}, 2: {3}, 3: {3, 4}, 4: set[int]()}


class Refused(Exception):
    """An errcode, and what is said with it."""

    def __init__(self, code: int, said: str = "") -> None:
        super().__init__(said)
        self.code = code
        self.said = said or "refused, hint: [1645025097593810238423219], from ip: 203.0.113.9"


@dataclass
class Fault:
    """What one call is answered instead."""

    code: int = 0
    status: int = 200
    #: It is done all the same; only the answer is lost.
    lost: bool = False


@dataclass
class Sent:
    """A message that somebody sees."""

    to: str
    text: str
    #: Label → id.
    menu: dict[str, str] = field(default_factory=dict)
    #: Sent with the code of an event.
    code: str = ""


class WeCom:
    """One corporation. Set `callback_url`; `says`, `writes` and the rest are what people do."""

    def __init__(self) -> None:
        self.url = self.callback_url = ""
        self.tokens = 0
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.calls: list[tuple[str, Any]] = []
        self.sent: list[Sent] = []
        self.notes: list[str] = []
        self.files: dict[str, bytes] = {}
        #: Entries of a page of `kf/sync_msg`.
        self.page = 100
        self.servicers = {STAFF}
        self.names: dict[str, str] = defaultdict(str, {ANN: "小安"})
        self.log: dict[str, list[Answer]] = {ACCOUNT: []}
        self.states: dict[tuple[str, str], int] = defaultdict(lambda: 4)
        #: Statuses that callbacks were answered with.
        self.answered: list[int] = []
        self._allowed: dict[tuple[str, str], int] = defaultdict(int)
        self._seen_ids: set[str] = set()
        self._codes: dict[str, tuple[str, int | None]] = {}
        self._told: dict[str, float] = {}
        self._callback_tokens: set[str] = set()
        self._numbers = itertools.count(1)
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/cgi-bin/{path:.+}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*self._runner.addresses[0][:2])
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.close()
        await self._runner.cleanup()

    # What people do

    async def says(self, content: str, *, user: str = STAFF, **fields: object) -> str:
        """Somebody writes to the app; returns the id of the message."""
        number = str(7_000_000_000 + next(self._numbers))
        said = {"MsgType": "text", "Content": content, "MsgId": number, "AgentID": AGENT} | fields
        await self.post(
            xml(ToUserName=CORP, FromUserName=user, CreateTime=int(time.time()), **said)
        )
        return number

    async def writes(
        self,
        content: str,
        *,
        menu_id: str = "",
        customer: str = ANN,
        ring: bool = True,
        **item: Any,
    ) -> str:
        """A customer writes to the account."""
        where = ACCOUNT, customer
        self._allowed[where] = 5
        if self.states[where] == 4:
            self.states[where] = 0
        text = {"content": content} | ({"menu_id": menu_id} if menu_id else {})
        said = {"origin": 3, "msgtype": "text", "text": text} | item
        return await self._happens({"external_userid": customer} | said, ring=ring)

    async def clicks(self, sent: Sent, label: str) -> str:
        """A customer clicks on an entry of a menu."""
        return await self.writes(label, menu_id=sent.menu[label])

    async def answers(self, content: str, *, servicer: str = STAFF) -> str:
        """A person of the account writes to the customer."""
        said = {"msgtype": "text", "text": {"content": content}, "servicer_userid": servicer}
        return await self._happens({"external_userid": ANN, "origin": 5} | said)

    async def takes(self, *, servicer: str = STAFF, change: int = 1, ring: bool = True) -> None:
        """A person takes the session out of the queue, or over (2), or up again (4)."""
        self.states[ACCOUNT, ANN] = 3
        what = {"change_type": change, "new_servicer_userid": servicer}
        await self.event("session_status_change", ring=ring, **what)

    async def ends(self, *, ring: bool = True) -> None:
        """A person ends the session."""
        self.states[ACCOUNT, ANN] = 4
        what = {"change_type": 3, "old_servicer_userid": STAFF}
        await self.event("session_status_change", ring=ring, **what)

    async def enters(self) -> None:
        """Somebody opens the account for the first time, and has written nothing."""
        code = f"welcome-{next(self._numbers)}"
        self._codes[code] = ANN, None
        await self.event("enter_session", welcome_code=code)

    async def event(self, kind: str, *, ring: bool = True, at: float = 0, **fields: Any) -> None:
        """Something happens at the account that is no message."""
        named = {"event_type": kind, "open_kfid": ACCOUNT, "external_userid": ANN} | fields
        item = {"origin": 4, "msgtype": "event", "event": named}
        await self._happens(item | ({"send_time": int(at)} if at else {}), ring=ring)

    async def _happens(self, item: Answer, *, ring: bool = True) -> str:
        number = f"from_msgid_{next(self._numbers)}"
        base: Answer = {"msgid": number, "send_time": int(time.time())}
        if item["msgtype"] != "event":
            base["open_kfid"] = ACCOUNT
        self.log[ACCOUNT].append(base | item)
        if ring:
            await self.ring()
        return number

    async def ring(self) -> None:
        """Tell the bot that there is news at the account."""
        token = f"ENC{next(self._numbers)}"
        self._callback_tokens.add(token)
        told: dict[str, object] = {"Event": "kf_msg_or_event", "Token": token, "OpenKfId": ACCOUNT}
        await self.post(xml(ToUserName=CORP, CreateTime=int(time.time()), MsgType="event", **told))

    async def post(self, message: str) -> None:
        """Post a callback, up to three times more if it is not taken."""
        sealed = seal(message)
        for _ in range(4):
            if await self.push(sealed.query, sealed.body) == 200:
                return

    async def push(self, query: Mapping[str, str], body: bytes) -> int:
        """Post once, whatever it is."""
        async with self._http.post(self.callback_url, params=query, data=body) as response:
            self.answered.append(response.status)
            return response.status

    # What a test waits for

    async def until_sent(self, number: int) -> list[Sent]:
        """Everything that was sent, once it is so much."""
        await self._until(lambda: len(self.sent) >= number)
        return self.sent

    async def until_called(self, path: str, times: int = 1) -> None:
        """Until a path was called so often."""
        await self._until(lambda: sum(one == path for one, _ in self.calls) >= times)

    async def _until(self, holds: Any) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(holds)

    # The API

    async def _serve(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        raw = await request.read()
        given = json.loads(raw) if raw else dict(request.query)
        fault = self.faults[path].pop(0) if self.faults[path] else None
        answer: Answer = {"errcode": 0, "errmsg": "ok"}
        try:
            if fault is not None and not fault.lost:
                raise Refused(fault.code)
            if path == "media/get" and (file := self.files.get(request.query["media_id"])):
                self._check_token(path, request.query)
                return web.Response(body=file)
            self._check_token(path, request.query)
            handler = getattr(self, "_api_" + path.replace("/", "_"), None)
            if handler is None:
                raise Refused(40007 if path == "media/get" else -2)
            answer |= handler(given)
        except Refused as refused:
            answer = {"errcode": refused.code, "errmsg": refused.said}
        async with self._changed:
            self.calls.append((path, given))
            self._changed.notify_all()
        if fault is not None and (fault.lost or fault.status != 200):
            return web.Response(status=503 if fault.lost else fault.status, text="busy")
        return web.json_response(answer)

    def _check_token(self, path: str, query: Mapping[str, str]) -> None:
        if path in ("gettoken", "webhook/send"):
            if query.get("key", ROBOT_KEY) != ROBOT_KEY:
                raise Refused(93000)
            return
        if query.get("access_token") != f"lent-{self.tokens}":
            raise Refused(40014)

    def _api_gettoken(self, given: Answer) -> Answer:
        if given["corpid"] != CORP or given["corpsecret"] != SECRET:
            raise Refused(40013 if given["corpid"] != CORP else 40001)
        self.tokens += 1
        return {"access_token": f"lent-{self.tokens}", "expires_in": 7200}

    def _api_agent_get(self, given: Answer) -> Answer:
        if given.get("agentid") != str(AGENT):
            raise Refused(40056)
        return {"agentid": AGENT, "name": "Helper"}

    def _api_message_send(self, given: Answer) -> Answer:
        text = given["text"]["content"]
        if given["agentid"] != AGENT:
            raise Refused(40056)
        _check_bytes(text, 2048)
        said, now = json.dumps(given, sort_keys=True), time.monotonic()
        known = now - self._told.get(said, -1e9) < given.get("duplicate_check_interval", 1800)
        if not (given.get("enable_duplicate_check") and known):
            self._told[said] = now
            self.sent.append(Sent(given["touser"], text))
        return {"msgid": f"app-{next(self._numbers)}"}

    def _api_kf_account_list(self, given: Answer) -> Answer:
        return {"account_list": [{"open_kfid": ACCOUNT, "name": "Shop"}]}

    def _api_kf_customer_batchget(self, given: Answer) -> Answer:
        [customer] = given["external_userid_list"]
        return {"customer_list": [{"external_userid": customer, "nickname": self.names[customer]}]}

    def _api_kf_sync_msg(self, given: Answer) -> Answer:
        if given["open_kfid"] not in self.log:
            raise Refused(95000)
        if given.get("token") and given["token"] not in self._callback_tokens:
            raise Refused(95007)
        start = int(given.get("cursor") or 0)
        log = self.log[given["open_kfid"]]
        end = min(start + self.page, len(log))
        return {
            "next_cursor": str(end),
            "has_more": int(end < len(log)),
            "msg_list": log[start:end],
        }

    def _api_kf_service_state_get(self, given: Answer) -> Answer:
        state = self.states[given["open_kfid"], given["external_userid"]]
        return {"service_state": state, "servicer_userid": STAFF if state == 3 else ""}

    def _api_kf_service_state_trans(self, given: Answer) -> Answer:
        where, wanted = (given["open_kfid"], given["external_userid"]), given["service_state"]
        if wanted not in _MOVES[self.states[where]]:
            raise Refused(95016)
        if wanted == 3 and given.get("servicer_userid") not in self.servicers:
            raise Refused(95014)
        self.states[where] = wanted
        code = f"code-{next(self._numbers)}"
        self._codes[code] = where[1], wanted
        return {"msg_code": code}

    def _api_kf_send_msg(self, given: Answer) -> Answer:
        where = given["open_kfid"], given["touser"]
        if given["msgid"] in self._seen_ids:
            raise Refused(40058, "invalid msgid, it is used already, hint: [1]")
        if self.states[where] not in (0, 1):
            raise Refused(95018)
        if not self._allowed[where]:
            raise Refused(95001)
        self._show(given, "")
        self._allowed[where] -= 1
        return {"msgid": given["msgid"]}

    def _api_kf_send_msg_on_event(self, given: Answer) -> Answer:
        to, state = self._codes.pop(given["code"], ("", None))
        if not to or (state is not None and self.states[ACCOUNT, to] != state):
            raise Refused(40029)
        self._show(given | {"touser": to}, given["code"])
        return {"msgid": given["msgid"]}

    def _show(self, given: Answer, code: str) -> None:
        shown = given["msgid"]
        if len(shown) > 32 or not shown.replace("-", "").replace("_", "").isalnum():
            raise Refused(40058, "invalid parameter")
        if given["msgtype"] == "text":
            text, menu = given["text"]["content"], {}
            _check_bytes(text, 2048)
        else:
            text, entries = given["msgmenu"]["head_content"], given["msgmenu"]["list"]
            _check_bytes(text, 1024)
            menu = {one["click"]["content"]: one["click"]["id"] for one in entries}
            for label, number in menu.items():
                _check_bytes(label, 128)
                _check_bytes(number, 128)
            if len(entries) > 10:
                raise Refused(95008)
        self._seen_ids.add(shown)
        self.sent.append(Sent(given["touser"], text, menu, code))

    def _api_webhook_send(self, given: Answer) -> Answer:
        _check_bytes(given["text"]["content"], 2048)
        self.notes.append(given["text"]["content"])
        return {}


def _check_bytes(text: str, most: int) -> None:
    if not 0 < len(text.encode()) <= most:
        raise Refused(45002 if text else 44004)
