"""Feishu as far as a bot sees it, on loopback: its message API, and events that it sends."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import time
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from tests.platforms.feishu_forms import buttons_of, sealed

APP_ID, APP_SECRET = "cli_a1b2c3d4e5f6", "stand-in-app-secret"
ENCRYPT_KEY, VERIFICATION_TOKEN = "stand-in-encrypt-key", "stand-in-verification-token"
#: The bot, two people, a private chat and a group.
BOT, ANN, BOB, DIRECT, GROUP = "ou_bot", "ou_ann", "ou_bob", "oc_direct", "oc_group"
_CARD_BYTES = 30 * 1024
_MENTION = re.compile(r"<at\b[^>]*>", re.IGNORECASE)
Answer = dict[str, Any]


@dataclass
class Failure:
    """What one call is answered instead."""

    code: int = 0
    msg: str = ""
    status: int = 400
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Not JSON at all.
    body: str | None = None
    #: It is done, and the answer is lost.
    after: bool = False


class Refused(Exception):
    """A code that a call is answered with."""

    def __init__(self, code: int, msg: str) -> None:
        super().__init__(msg)
        self.code, self.msg = code, msg


class Feishu:
    """One organisation with one app. Set `request_url` to be told of events."""

    def __init__(self) -> None:
        self.request_url = ""
        self.encrypt_key = ENCRYPT_KEY
        self.verification_token = VERIFICATION_TOKEN
        self.tries = 4
        self.activate_status = 2
        #: Answered first, in order, by call: "token", "info", "create", "reply", "patch", "put",
        #: "get", "resource".
        self.failures: dict[str, list[Failure]] = defaultdict(list)
        #: Every call: its name, what is in its path, and its body.
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        #: By id, in order.
        self.messages: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        #: Chats that the bot is not in.
        self.left: set[str] = set()
        #: What a card or a text of the bot calls people by.
        self.mentioned: list[str] = []
        self.answers: list[Any] = []
        self.lent = 0
        self._token = ""
        self._by_uuid: dict[str, str] = {}
        self._numbers = itertools.count(1)

    # --- the server ------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=4 * 1024 * 1024)
        messages = "/open-apis/im/v1/messages"
        app.router.add_post("/open-apis/auth/v3/tenant_access_token/internal", self._lend)
        app.router.add_get("/open-apis/bot/v3/info", self._named("info"))
        app.router.add_post(messages, self._named("create"))
        app.router.add_post(messages + "/{id}/reply", self._named("reply"))
        app.router.add_patch(messages + "/{id}", self._named("patch"))
        app.router.add_put(messages + "/{id}", self._named("put"))
        app.router.add_get(messages + "/{id}", self._named("get"))
        app.router.add_get(messages + "/{id}/resources/{key}", self._named("resource"))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.api_base = "http://{}:{}".format(*self._runner.addresses[0][:2])
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

    def section(self, **change: Any) -> dict[str, Any]:
        """The settings of a channel that uses this Feishu."""
        return {
            "platform": "feishu",
            "app_id": APP_ID,
            "app_secret": APP_SECRET,
            "encrypt_key": self.encrypt_key,
            "verification_token": self.verification_token,
            "api_base": self.api_base,
        } | change

    def expire(self) -> None:
        """From now on the token that was lent is refused."""
        self._token = f"t-{next(self._numbers)}"

    async def _lend(self, request: web.Request) -> web.Response:
        given = await request.json()
        if failure := self._failure("token"):
            return _refusal(failure)
        if (given.get("app_id"), given.get("app_secret")) != (APP_ID, APP_SECRET):
            return web.json_response({"code": 10014, "msg": "app secret invalid"})
        self.lent += 1
        self._token = f"t-{next(self._numbers)}"
        lent = {"code": 0, "msg": "ok", "tenant_access_token": self._token, "expire": 7200}
        return web.json_response(lent)

    def _named(self, name: str) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            given = await request.json() if request.can_read_body else {}
            self.calls.append((name, request.match_info.get("id", ""), given))
            failure = self._failure(name)
            if failure is not None and not failure.after:
                return _refusal(failure)
            try:
                self._check_token(request)
                answer = getattr(self, f"_api_{name}")(request, given)
            except Refused as refused:
                failure = Failure(refused.code, refused.msg)
            if failure is not None:
                return _refusal(failure)
            if isinstance(answer, bytes):
                return web.Response(body=answer, content_type="application/octet-stream")
            return web.json_response({"code": 0, "msg": "success"} | answer)

        return handle

    def _failure(self, name: str) -> Failure | None:
        return self.failures[name].pop(0) if self.failures[name] else None

    def _check_token(self, request: web.Request) -> None:
        given = request.headers.get("Authorization", "")
        if not given:
            raise Refused(99991661, "Missing access token for authorization")
        if given != f"Bearer {self._token}":
            raise Refused(99991663, "Invalid access token for authorization")

    # --- the API ---------------------------------------------------------------------------------

    def _api_info(self, request: web.Request, given: Answer) -> Answer:
        status = self.activate_status
        return {"bot": {"activate_status": status, "app_name": "kfbot", "open_id": BOT}}

    def _api_create(self, request: web.Request, given: Answer) -> Answer:
        if request.query.get("receive_id_type") != "chat_id":
            raise Refused(99992402, "field validation failed: receive_id_type")
        return {"data": _as_told(self._write(given, str(given.get("receive_id"))))}

    def _api_reply(self, request: web.Request, given: Answer) -> Answer:
        target = self._existing(request.match_info["id"])
        thread = target.get("thread_id")
        if given.get("reply_in_thread") and thread is None:
            thread = target["thread_id"] = f"omt_{next(self._numbers)}"
        root = target.get("root_id") or target["message_id"]
        place = {"root_id": root, "parent_id": target["message_id"]}
        written = self._write(given, target["chat_id"], thread_id=thread, **place)
        return {"data": _as_told(written)}

    def _api_patch(self, request: web.Request, given: Answer) -> Answer:
        message = self._own(request.match_info["id"])
        if message["msg_type"] != "interactive":
            raise Refused(230001, "This message is NOT a card.")
        self._check_card(str(given.get("content")))
        message["content"] = given["content"]
        return {"data": {}}

    def _api_put(self, request: web.Request, given: Answer) -> Answer:
        message = self._own(request.match_info["id"])
        if message["msg_type"] not in ("text", "post") or given.get("msg_type") not in (
            "text",
            "post",
        ):
            raise Refused(230054, "This operation is not supported for this message type")
        self._check_text(str(given.get("content")))
        message |= {"content": given["content"], "msg_type": given["msg_type"]}
        return {"data": {"message_id": message["message_id"]}}

    def _api_get(self, request: web.Request, given: Answer) -> Answer:
        return {"data": {"items": [_as_told(self._existing(request.match_info["id"]))]}}

    def _api_resource(self, request: web.Request, given: Answer) -> bytes:
        self._existing(request.match_info["id"])
        key = request.match_info["key"]
        if key not in self.files or request.query.get("type") not in ("image", "file"):
            raise Refused(234003, "File not in msg")
        return self.files[key]

    def _existing(self, message_id: str) -> Answer:
        if message_id not in self.messages:
            raise Refused(230001, "invalid message_id")
        if self.messages[message_id].get("deleted"):
            raise Refused(230011, "The message was withdrawn.")
        return self.messages[message_id]

    def _own(self, message_id: str) -> Answer:
        message = self._existing(message_id)
        if message["sender"] != BOT:
            raise Refused(230017, "Bot is NOT the owner of the resource.")
        return message

    def _write(self, given: Answer, chat: str, **place: Any) -> Answer:
        if chat in self.left:
            raise Refused(230002, "The bot can not be outside the group.")
        uuid = given.get("uuid", "")
        if len(uuid) > 50:
            raise Refused(230001, "uuid is too long")
        if uuid in self._by_uuid:
            return self.messages[self._by_uuid[uuid]]
        check = {"interactive": self._check_card, "text": self._check_text}
        check[given["msg_type"]](given["content"])
        kept = {"msg_type": given["msg_type"], "content": given["content"]}
        message = self._keep(BOT, chat, kept | {k: v for k, v in place.items() if v is not None})
        if uuid:
            self._by_uuid[uuid] = message["message_id"]
        return message

    def _keep(self, sender: str, chat: str, fields: Answer) -> Answer:
        number = next(self._numbers)
        message = {"message_id": f"om_{number}", "chat_id": chat, "sender": sender} | fields
        message["create_time"] = str(int(time() * 1000))
        self.messages[message["message_id"]] = message
        return message

    def _check_card(self, content: str) -> None:
        card = json.loads(content)
        if len(content.encode()) > _CARD_BYTES or not isinstance(card.get("elements"), list):
            raise Refused(230025, "The length of the message content reaches its limit.")
        if not card.get("config", {}).get("update_multi"):
            raise Refused(230099, "Failed to create card content, ext=ErrCode: 11310")
        self.mentioned += _MENTION.findall(content)

    def _check_text(self, content: str) -> None:
        if not json.loads(content)["text"].strip():
            raise Refused(230001, "invalid message content: text is empty")
        self.mentioned += _MENTION.findall(content)

    def said(self, chat: str = DIRECT, thread: str | None = None) -> list[Answer]:
        """What the bot has written there, in order; `thread`: under this message alone."""
        return [
            one
            for one in self.messages.values()
            if one["sender"] == BOT
            and one["chat_id"] == chat
            and (thread is None or one.get("root_id") == thread)
        ]

    # --- what people do --------------------------------------------------------------------------

    def says(
        self, text: str, chat: str = DIRECT, *, sender: str = ANN, kind: str = "text", **place: Any
    ) -> Answer:
        """The event of a message; "@bot" and "@bob" in it are mentions.

        Args:
            place: `content` of a kind that is no text; `parent`: it replies to this message;
                `topic`: True to begin a topic.
        """
        mentions: list[Answer] = []
        for name, person in (("bot", BOT), ("bob", BOB)):
            if f"@{name}" in text:
                key = f"@_user_{len(mentions) + 1}"
                ids = {"open_id": person, "union_id": f"on_{name}", "user_id": ""}
                mentions.append({"key": key, "id": ids, "name": name, "tenant_key": "t0"})
                text = text.replace(f"@{name}", key)
        content = place.get("content") or {"text": text}
        fields: Answer = {"msg_type": kind, "content": json.dumps(content)}
        if parent := place.get("parent"):
            root = parent.get("root_id") or parent["message_id"]
            fields |= {"root_id": root, "parent_id": parent["message_id"]}
            fields |= {"thread_id": parent["thread_id"]} if "thread_id" in parent else {}
        elif place.get("topic"):
            fields["thread_id"] = f"omt_{next(self._numbers)}"
        kept = self._keep(sender, chat, fields)
        message = {
            name: value for name, value in kept.items() if name not in ("sender", "msg_type")
        }
        message |= {
            "message_type": kind,
            "chat_type": "p2p" if chat == DIRECT else "group",
            "mentions": mentions,
        }
        author = {"open_id": sender, "union_id": f"on_{sender}", "user_id": None}
        who = {"sender_id": author, "sender_type": "user", "tenant_key": "t0"}
        return self.event("im.message.receive_v1", {"sender": who, "message": message})

    def recalls(self, event: Answer) -> Answer:
        """The event of a message that is taken back."""
        message = event["event"]["message"]
        self.messages[message["message_id"]]["deleted"] = True
        told = {"message_id": message["message_id"], "chat_id": message["chat_id"]}
        told |= {"recall_time": str(int(time() * 1000)), "recall_type": "message_owner"}
        return self.event("im.message.recalled_v1", told)

    def presses(self, message: Answer, label: str, *, presser: str = ANN) -> Answer:
        """The callback of a button of a card that the bot wrote."""
        [value] = [one["value"] for one in buttons_of(message) if one["text"]["content"] == label]
        told = {
            "operator": {"tenant_key": "t0", "open_id": presser, "union_id": f"on_{presser}"},
            "token": "c-update",
            "action": {"value": value, "tag": "button"},
            "host": "im_message",
            "context": {
                "open_message_id": message["message_id"],
                "open_chat_id": message["chat_id"],
            },
        }
        return self.event("card.action.trigger", told)

    def event(self, kind: str, told: Answer) -> Answer:
        """An event of schema 2.0."""
        header = {
            "event_id": f"ev_{next(self._numbers)}",
            "token": self.verification_token,
            "create_time": str(int(time() * 1000)),
            "event_type": kind,
            "tenant_key": "t0",
            "app_id": APP_ID,
        }
        return {"schema": "2.0", "header": header, "event": told}

    def trial(self) -> Answer:
        """What Feishu asks when somebody fills in an address."""
        token = self.verification_token
        return {"challenge": "ajls384kdjx98XX", "token": token, "type": "url_verification"}

    async def tell(self, *events: Answer) -> list[int]:
        """Tell of events, each as often as it takes; how often that was."""
        return list(await asyncio.gather(*(self._tell(event) for event in events)))

    async def _tell(self, event: Answer) -> int:
        body, headers = sealed(event, self.encrypt_key)
        for attempt in range(1, self.tries + 1):
            async with self._http.post(self.request_url, data=body, headers=headers) as response:
                if response.status == 200:
                    self.answers.append(await response.json())
                    return attempt
        return self.tries + 1


def _as_told(message: Answer) -> Answer:
    """A message as the API shows it."""
    is_app = message["sender"] == BOT
    kind = ("app", "app_id", APP_ID) if is_app else ("user", "open_id", message["sender"])
    sender = dict(zip(("sender_type", "id_type", "id"), kind, strict=True))
    shown = {name: value for name, value in message.items() if name != "content"}
    return shown | {"sender": sender, "body": {"content": message["content"]}}


def _refusal(failure: Failure) -> web.Response:
    if failure.body is not None:
        return web.Response(status=failure.status, text=failure.body, content_type="text/html")
    told = {"code": failure.code, "msg": failure.msg}
    return web.json_response(told, status=failure.status, headers=failure.headers)
