"""Slack as far as a bot sees it: Web API, Events API over HTTP, and Socket Mode, on loopback."""

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
from slack_sdk.signature import SignatureVerifier

from tests.platforms.slack_forms import Refused, arguments_of, check_message, form_of

BOT_TOKEN, APP_TOKEN = "xoxb-stand-in-bot", "xapp-1-stand-in-app"
SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
TEAM, APP, BOT, BOT_ID = "T0SHOP", "A0KFBOT", "U0KFBOT", "B0KFBOT"
#: A person, a channel, and the direct messages of the two.
ANN, CHANNEL, DIRECT = "U0ANN", "C0HELP", "D0ANN"
#: What a bot does not do in this time it does never.
PATIENCE_SECONDS = 60.0
Answer = dict[str, Any]


@dataclass
class Failure:
    """What one call of a method is answered instead."""

    error: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Not JSON at all.
    body: str | None = None
    hangs: bool = False


class Slack:
    """One workspace with one app. Set `request_url` for HTTP; connect for Socket Mode."""

    def __init__(self) -> None:
        self.request_url = ""
        #: A bot that does not answer in this time gets the event again.
        self.ack_seconds = 3.0
        self.tries = 4
        #: Answered first, in order, by method.
        self.failures: dict[str, list[Failure]] = defaultdict(list)
        #: Methods that this Slack does not know.
        self.unknown: set[str] = set()
        #: Channels that the bot is not in.
        self.left: set[str] = set()
        #: Every call: method and arguments.
        self.calls: list[tuple[str, dict[str, Any]]] = []
        #: By channel and ts.
        self.messages: dict[tuple[str, str], dict[str, Any]] = {}
        self.responses: list[dict[str, Any]] = []
        self.connections: list[web.WebSocketResponse] = []
        self.connected = 0
        #: Envelopes, each time that one was sent.
        self.sent = 0
        self.acknowledged: list[str] = []
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._changed = asyncio.Condition()
        self._closing = asyncio.Event()
        self._numbers = itertools.count(1)
        self._started = int(time())

    # --- the server ------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/api/{method}", self._call)
        app.router.add_get("/link", self._link)
        app.router.add_post("/response/{id}", self._respond)
        app.router.add_get("/files/{name}", self._file)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.root = "http://{}:{}".format(*self._runner.addresses[0][:2])
        self.api_base = f"{self.root}/api/"
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        for connection in tuple(self.connections):
            await connection.close()
        await self._http.close()
        await self._runner.cleanup()

    async def _call(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        arguments = await arguments_of(request)
        self.calls.append((method, arguments))
        failure = self.failures[method].pop(0) if self.failures[method] else None
        if failure is not None and failure.hangs:
            await self._closing.wait()
        if failure is not None and failure.body is not None:
            return web.Response(status=failure.status, text=failure.body, content_type="text/html")
        if failure is not None:
            answer = {"ok": False, "error": failure.error}
            return web.json_response(answer, status=failure.status, headers=failure.headers)
        try:
            return web.json_response({"ok": True} | self._answer(method, arguments, request))
        except Refused as refused:
            return web.json_response({"ok": False, "error": str(refused)})

    def _answer(self, method: str, given: dict[str, Any], request: web.Request) -> Answer:
        known = getattr(self, "_api_" + method.replace(".", "_"), None)
        if known is None or method in self.unknown:
            raise Refused("unknown_method")
        wanted = APP_TOKEN if method == "apps.connections.open" else BOT_TOKEN
        if request.headers.get("Authorization") != f"Bearer {wanted}":
            raise Refused("invalid_auth" if "Authorization" in request.headers else "not_authed")
        answer: Answer = known(given)
        return answer

    # --- the Web API -----------------------------------------------------------------------------

    def _api_auth_test(self, given: dict[str, Any]) -> Answer:
        return {"user_id": BOT, "user": "kfbot", "team_id": TEAM, "team": "Shop", "bot_id": BOT_ID}

    def _api_users_info(self, given: dict[str, Any]) -> Answer:
        names = {"display_name": "", "real_name": given["user"].removeprefix("U0").capitalize()}
        return {"user": {"id": given["user"], "name": given["user"].lower(), "profile": names}}

    def _api_conversations_info(self, given: dict[str, Any]) -> Answer:
        chat = given["channel"]
        return {"channel": {"id": chat, "is_member": chat not in self.left}}

    def _api_conversations_open(self, given: dict[str, Any]) -> Answer:
        return {"channel": {"id": "D" + str(given["users"])[1:]}}

    def _api_conversations_replies(self, given: dict[str, Any]) -> Answer:
        chat, thread = given["channel"], given["ts"]
        found = [
            one
            for (channel, ts), one in self.messages.items()
            if channel == chat and thread in (ts, one.get("thread_ts"))
        ]
        if not found:
            raise Refused("thread_not_found")
        return {"messages": found[: int(given.get("limit", 1000))], "has_more": False}

    def _api_chat_postMessage(self, given: dict[str, Any]) -> Answer:
        check_message(given)
        if not re.fullmatch(r"[CDGU]\w+", str(given.get("channel", ""))):
            raise Refused("channel_not_found")
        if given["channel"] in self.left:
            raise Refused("not_in_channel")
        return {"channel": given["channel"], "ts": self._keep(given["channel"], BOT, given)["ts"]}

    def _api_chat_update(self, given: dict[str, Any]) -> Answer:
        check_message(given)
        message = self._own(given)
        message |= {"text": given.get("text", ""), "blocks": given.get("blocks", [])}
        return {"channel": given["channel"], "ts": given["ts"]}

    def _api_chat_delete(self, given: dict[str, Any]) -> Answer:
        self._own(given)
        del self.messages[given["channel"], given["ts"]]
        return {"channel": given["channel"], "ts": given["ts"]}

    def _api_assistant_threads_setStatus(self, given: dict[str, Any]) -> Answer:
        return {}

    def _api_apps_connections_open(self, given: dict[str, Any]) -> Answer:
        return {"url": f"{self.root.replace('http', 'ws')}/link?ticket={next(self._numbers)}"}

    def _own(self, given: dict[str, Any]) -> dict[str, Any]:
        message = self.messages.get((given["channel"], given["ts"]))
        if message is None or message["user"] != BOT:
            raise Refused("message_not_found" if message is None else "cant_update_message")
        return message

    def _keep(self, channel: str, user: str, given: Mapping[str, Any]) -> dict[str, Any]:
        ts = f"{self._started}.{next(self._numbers):06}"
        message = {"type": "message", "user": user, "ts": ts, "text": given.get("text", "")}
        message |= {name: given[name] for name in ("thread_ts", "blocks", "files") if name in given}
        if user == BOT:
            message["bot_id"] = BOT_ID
        self.messages[channel, ts] = message
        return message

    def said(self, channel: str, thread: str | None = None) -> list[dict[str, Any]]:
        """What the bot has posted there, in order; without a thread: everywhere in the channel."""
        return [
            message
            for (chat, _), message in self.messages.items()
            if chat == channel
            and message["user"] == BOT
            and thread in (None, message.get("thread_ts"))
        ]

    # --- what people do --------------------------------------------------------------------------

    def says(self, text: str, channel: str = DIRECT, *, user: str = ANN, **fields: Any) -> Answer:
        """A person writes; returns the event. Deliver it with `tell`."""
        message = self._keep(channel, user, {"text": text} | fields)
        kind = "im" if channel.startswith("D") else "channel"
        parent = self.messages.get((channel, message.get("thread_ts", "")))
        replies = {"parent_user_id": parent["user"]} if parent and parent is not message else {}
        extra = fields | {"channel": channel, "channel_type": kind, "event_ts": message["ts"]}
        return message | extra | {"team": TEAM} | replies

    def mention_of(self, event: Mapping[str, Any]) -> Answer:
        """The event `app_mention` that comes beside the message."""
        without = {name: value for name, value in event.items() if name != "channel_type"}
        return without | {"type": "app_mention"}

    def edits(self, event: Mapping[str, Any], text: str, **change: Any) -> Answer:
        """The event of an edit; `change` replaces fields of the message."""
        before = {name: event[name] for name in event if name not in ("channel", "channel_type")}
        ts = f"{self._started}.{next(self._numbers):06}"
        after = before | {"text": text, "edited": {"user": event["user"], "ts": ts}} | change
        return self._about(event, "message_changed", message=after, previous_message=before, ts=ts)

    def deletes(self, event: Mapping[str, Any]) -> Answer:
        """The event of a message that was taken back."""
        ts = f"{self._started}.{next(self._numbers):06}"
        before = {name: event[name] for name in event if name not in ("channel", "channel_type")}
        gone = event["ts"]
        return self._about(
            event, "message_deleted", deleted_ts=gone, previous_message=before, ts=ts
        )

    def _about(self, event: Mapping[str, Any], subtype: str, **fields: Any) -> Answer:
        named = {name: event[name] for name in ("channel", "channel_type")}
        return {"type": "message", "subtype": subtype, "hidden": True} | named | fields

    async def tell(self, event: Mapping[str, Any], event_id: str = "") -> int:
        """Deliver an event as Slack does, again where it is not acknowledged.

        Returns:
            How often it was sent; 0: it was given up.
        """
        body = {
            "token": "unused",
            "team_id": TEAM,
            "api_app_id": APP,
            "event": dict(event),
            "type": "event_callback",
            "event_id": event_id or f"Ev{next(self._numbers):08}",
            "event_time": self._started,
            "authorizations": [{"team_id": TEAM, "user_id": BOT, "is_bot": True}],
        }
        return await self._deliver("events_api", body, json.dumps(body))

    async def press(
        self, message: Mapping[str, Any], label: str, *, channel: str = DIRECT, user: str = ANN
    ) -> int:
        """Press a button of a message of the bot; how often Slack told, as `tell`."""
        blocks = [one for one in message.get("blocks", ()) if one["type"] == "actions"]
        buttons = [button for block in blocks for button in block["elements"]]
        button = next(one for one in buttons if one["text"]["text"] == label)
        action = {name: button[name] for name in ("type", "action_id", "value", "text")}
        number = next(self._numbers)
        payload = {
            "type": "block_actions",
            "user": {"id": user, "username": user.lower(), "team_id": TEAM},
            "team": {"id": TEAM},
            "api_app_id": APP,
            "container": {"type": "message", "message_ts": message["ts"], "channel_id": channel},
            "channel": {"id": channel},
            "message": dict(message),
            "trigger_id": f"trigger.{number}",
            "response_url": f"{self.root}/response/{number}",
            "actions": [action | {"action_ts": f"{self._started}.{number:06}", "block_id": "b"}],
        }
        return await self._deliver(
            "interactive", payload, form_of({"payload": json.dumps(payload)})
        )

    async def command(self, command: str, text: str, channel: str = DIRECT, user: str = ANN) -> int:
        """Type a slash command; how often Slack told, as `tell`."""
        number = next(self._numbers)
        payload = {
            "command": command,
            "text": text,
            "user_id": user,
            "user_name": user.lower(),
            "channel_id": channel,
            "team_id": TEAM,
            "trigger_id": f"trigger.{number}",
            "response_url": f"{self.root}/response/{number}",
        }
        return await self._deliver("slash_commands", payload, form_of(payload))

    # --- delivery --------------------------------------------------------------------------------

    async def _deliver(self, kind: str, payload: Answer, body: str) -> int:
        if self.request_url:
            return await self._push(body)
        return await self._send(kind, payload)

    async def _push(self, body: str) -> int:
        for number in range(self.tries):
            retry = {"X-Slack-Retry-Num": str(number), "X-Slack-Retry-Reason": "http_error"}
            status, _ = await self.post(body, headers=retry if number else {})
            if 200 <= status < 300:
                return number + 1
        return 0

    async def post(
        self, body: str, *, headers: Mapping[str, str] = {}, at: int | None = None
    ) -> tuple[int, str]:
        """Post a signed body to the bot; status and body of the answer."""
        timestamp = str(int(time()) if at is None else at)
        form = "application/json" if body.startswith("{") else "application/x-www-form-urlencoded"
        verifier = SignatureVerifier(SIGNING_SECRET)
        signed = {
            "Content-Type": form,
            "X-Slack-Request-Timestamp": timestamp,
            "X-Slack-Signature": str(verifier.generate_signature(timestamp=timestamp, body=body)),
        }
        limit = aiohttp.ClientTimeout(total=self.ack_seconds)
        try:
            async with self._http.post(
                self.request_url, data=body.encode(), headers=signed | dict(headers), timeout=limit
            ) as response:
                return response.status, await response.text()
        except (TimeoutError, aiohttp.ClientError):
            return 0, ""

    async def _send(self, kind: str, payload: Answer) -> int:
        envelope_id = f"envelope-{next(self._numbers)}"
        acknowledged = self._waiting[envelope_id] = asyncio.get_running_loop().create_future()
        envelope = {"type": kind, "envelope_id": envelope_id, "payload": payload}
        for number in range(self.tries):
            connection = await self.connection()
            try:
                await connection.send_json(envelope | {"retry_attempt": number})
                await self._notice(sent=1)
                await asyncio.wait_for(asyncio.shield(acknowledged), self.ack_seconds)
                return number + 1
            except (TimeoutError, ConnectionError):
                continue
        return 0

    async def until_sent(self, times: int) -> None:
        """Wait until so many envelopes were sent, counting each time."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: self.sent >= times)

    async def _notice(self, *, sent: int = 0) -> None:
        async with self._changed:
            self.sent += sent
            self._changed.notify_all()

    async def connection(self) -> web.WebSocketResponse:
        """An open connection of the bot, as soon as there is one; the latest."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: bool(self.connections))
            return self.connections[-1]

    async def disconnect(self, reason: str = "refresh_requested", *, close: bool = True) -> None:
        """End the latest connection as Slack does; without `close` it is only announced."""
        connection = await self.connection()
        await connection.send_json({"type": "disconnect", "reason": reason})
        if close:
            await connection.close()

    async def _link(self, request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse(timeout=0.5)
        await connection.prepare(request)
        await connection.send_json({"type": "hello", "num_connections": len(self.connections) + 1})
        self.connections.append(connection)
        self.connected += 1
        await self._notice()
        async for message in connection:
            answer = json.loads(message.data)
            self.acknowledged.append(answer["envelope_id"])
            waiting = self._waiting.get(answer["envelope_id"])
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        self.connections.remove(connection)
        return connection

    async def _respond(self, request: web.Request) -> web.Response:
        self.responses.append(await request.json())
        return web.json_response({"ok": True})

    async def _file(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {BOT_TOKEN}":
            raise web.HTTPFound(f"{self.root}/elsewhere")
        return web.Response(body=request.match_info["name"].encode() * 10)
