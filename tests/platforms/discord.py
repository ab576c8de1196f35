"""Discord, as far as a bot sees of it: gateway with sessions that resume, messages, interactions.

https://discord.com/developers/docs/events/gateway
"""

from __future__ import annotations

import asyncio
import json
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from types import TracebackType
from typing import Any, ClassVar, Self

from aiohttp import WSMsgType, web

from tests.platforms.discord_forms import (
    ANN,
    CHANNEL,
    DIRECT,
    EPOCH,
    GUILD,
    ME,
    TOKEN,
    answer,
    guild,
    member,
    refusal,
    user,
)
from tests.platforms.discord_interactions import Interactions


@dataclass
class DiscordStandIn:
    """Serves on loopback; tells a session that resumes what came after the number that it names."""

    interactions_type: ClassVar[type[Interactions]] = Interactions

    heartbeat_ms: int = 41_250
    intents_allowed: int = 1 << 0 | 1 << 9 | 1 << 12 | 1 << 15
    flags: int = 1 << 19
    interactions_endpoint_url: str | None = None
    sessions_left: int = 1000
    #: Sessions are not kept over a break.
    forgetful: bool = False
    #: Heartbeats are not answered.
    silent: bool = False
    #: Statuses and answers to a message or a question for a channel, in order; then all goes well.
    refusals: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    #: (method, channel, body) of every message that was taken, also of one that was there already.
    sent: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    #: (path, body) of calls for something else.
    called: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    #: Messages of the bot by their ids.
    shown: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: What connections began with: the op and its data.
    logins: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    heartbeats: list[int | None] = field(default_factory=list)
    #: Everything that people wrote, also while nobody was told.
    written: list[dict[str, Any]] = field(default_factory=list)
    #: Channels into which the bot may not write.
    closed: set[str] = field(default_factory=set)
    url: str = ""

    async def __aenter__(self) -> Self:
        self._ids = count(1)
        self._changed = asyncio.Event()
        self._session, self._buffer = "", list[dict[str, Any]]()
        self._sockets: list[_Socket] = []
        self._nonces: dict[str, str] = {}
        self.interactions = self.interactions_type(self.message, self.note)
        app = web.Application()
        api = "/api/v10"
        app.router.add_get(f"{api}/gateway/bot", self._find)
        app.router.add_get(f"{api}/users/@me", self._who)
        app.router.add_get(f"{api}/applications/@me", self._app)
        app.router.add_get(f"{api}/oauth2/applications/@me", self._app)
        app.router.add_get(f"{api}/channels/{{channel}}", self._channel)
        app.router.add_post(f"{api}/channels/{{channel}}/messages", self._create)
        app.router.add_patch(f"{api}/channels/{{channel}}/messages/{{message}}", self._change)
        app.router.add_post(f"{api}/channels/{{channel}}/typing", self._note)
        app.router.add_get(f"{api}/channels/{{channel}}/messages", self._list)
        app.router.add_post(f"{api}/users/@me/channels", self._open)
        self.interactions.add_routes(app, api)
        app.router.add_get("/file", self._file)
        app.router.add_get("/gateway", self._serve)
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

    @property
    def api_base(self) -> str:
        return f"{self.url}/api/v10"

    @property
    def gateway(self) -> str:
        return f"{self.url.replace('http', 'ws')}/gateway"

    # What happens at Discord

    def id(self) -> str:
        """A new id of now."""
        now = int(datetime.now(UTC).timestamp() * 1000)
        return str((now - EPOCH << 22) + next(self._ids))

    def message(self, said: str, *, channel: str = DIRECT, **given: Any) -> dict[str, Any]:
        """What a bot is told of a text; a channel other than DIRECT is a server's."""
        where: dict[str, Any] = {"channel_id": channel}
        if channel != DIRECT:
            where |= {"guild_id": GUILD, "member": member(nick="Ann of the shop")}
        mentions = [user(ME, "kfbot", bot=True)] if f"<@{ME}>" in said else []
        return {
            "id": self.id(), "type": 0, "content": said, "author": user(ANN, "ann"),
            "timestamp": datetime.now(UTC).isoformat(), "edited_timestamp": None, "tts": False,
            "mention_everyone": False, "mentions": mentions, "mention_roles": [],
            "attachments": [], "embeds": [], "pinned": False, **where,
        } | given  # fmt: skip

    def press(
        self, custom_id: str, message: dict[str, Any], *, presser: str = ANN
    ) -> dict[str, Any]:
        """What a bot is told of a button under one of its messages."""
        channel = message["channel_id"]
        who = user(presser, "presser")
        place = {"guild_id": GUILD, "member": member() | {"user": who}}
        return {
            "id": self.id(), "application_id": ME, "type": 3, "token": "interaction/token",
            "version": 1, "channel_id": channel, "channel": {"id": channel, "type": 0, "name": "c"},
            "guild": {"id": GUILD}, "message": message, "entitlements": [],
            "authorizing_integration_owners": {},
            "attachment_size_limit": 10_485_760,
            "data": {"component_type": 2, "custom_id": custom_id},
        } | ({"user": who} if channel == DIRECT else place)  # fmt: skip

    async def tell(self, name: str, data: dict[str, Any]) -> None:
        """Tell the bot, now or when its session goes on."""
        frame = {"op": 0, "t": name, "s": len(self._buffer) + 1, "d": data}
        self._buffer.append(frame)
        await self.push(frame)

    async def say(self, said: str, **given: Any) -> dict[str, Any]:
        """Somebody writes."""
        message = self.message(said, **given)
        self.written.append(message)
        await self.tell("MESSAGE_CREATE", message)
        return message

    async def push(self, frame: dict[str, Any]) -> None:
        """A frame on the last connection, if there is one."""
        for socket in self._sockets[-1:]:
            await socket.send(frame)

    async def hang_up(self, code: int = 4000) -> None:
        """Close the connection."""
        sockets, self._sockets = self._sockets, []
        if self.forgetful:
            self._session = ""
        for socket in sockets:
            await socket.response.close(code=code)

    async def until(self, what: list[Any], number: int) -> list[Any]:
        """A list of ours, once it is so long."""
        async with asyncio.timeout(60):
            while len(what) < number:
                self._changed.clear()
                await self._changed.wait()
        return what

    # The gateway

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        assert (request.query["v"], request.query["encoding"]) == ("10", "json")
        response = web.WebSocketResponse()
        await response.prepare(request)
        packs = request.query.get("compress") == "zlib-stream"
        socket = _Socket(response, zlib.compressobj() if packs else None)
        await socket.send({"op": 10, "d": {"heartbeat_interval": self.heartbeat_ms}})
        async for message in response:
            assert message.type is WSMsgType.TEXT
            await self._hear(socket, message.json())
        if socket in self._sockets:
            self._sockets.remove(socket)
            # A client that closes so ends its session.
            if response.close_code in {1000, 1001}:
                self._session = ""
        return response

    async def _hear(self, socket: _Socket, frame: dict[str, Any]) -> None:
        operation, data = frame["op"], frame["d"]
        if operation == 1:
            self.note(self.heartbeats, data)
            if not self.silent:
                await socket.send({"op": 11})
        elif operation in {2, 6}:
            self.note(self.logins, (operation, data))
            if data["token"] != TOKEN:
                await socket.response.close(code=4004)
            elif operation == 2:
                await self._identify(socket, data)
            else:
                await self._resume(socket, data)

    async def _identify(self, socket: _Socket, data: dict[str, Any]) -> None:
        assert set(data["properties"]) >= {"os", "browser", "device"}
        if data["intents"] & ~self.intents_allowed:
            await socket.response.close(code=4014)
            return
        self._session, self._buffer = f"session-{len(self.logins)}", []
        self._sockets.append(socket)
        await self.tell(
            "READY",
            {
                "v": 10, "user": user(ME, "kfbot", bot=True), "session_id": self._session,
                "guilds": [{"id": GUILD, "unavailable": True}], "private_channels": [],
                "resume_gateway_url": self.gateway, "application": {"id": ME, "flags": self.flags},
            },
        )  # fmt: skip
        await self.tell("GUILD_CREATE", guild())

    async def _resume(self, socket: _Socket, data: dict[str, Any]) -> None:
        if not self._session or data["session_id"] != self._session:
            await socket.send({"op": 9, "d": False})
            return
        self._sockets.append(socket)
        for frame in self._buffer[data["seq"] or 0 :]:
            await socket.send(frame)
        await self.tell("RESUMED", {})

    # The API

    def _authorized(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != f"Bot {TOKEN}":
            raise web.HTTPUnauthorized(text='{"message": "401: Unauthorized", "code": 0}')
        assert request.headers["User-Agent"].startswith("DiscordBot (")

    async def _find(self, request: web.Request) -> web.Response:
        self._authorized(request)
        limit = {
            "total": 1000, "remaining": self.sessions_left, "reset_after": 5000,
            "max_concurrency": 1,
        }  # fmt: skip
        found = {"url": self.gateway, "shards": 1, "session_start_limit": limit}
        return answer(found)

    async def _who(self, request: web.Request) -> web.Response:
        self._authorized(request)
        return answer(user(ME, "kfbot", bot=True))

    async def _app(self, request: web.Request) -> web.Response:
        self._authorized(request)
        return answer(
            {
                "id": ME, "name": "kfbot", "icon": None, "description": "", "bot_public": False,
                "bot_require_code_grant": False, "flags": self.flags,
                "verify_key": self.interactions.public_key,
                "owner": user(ANN, "ann"), "bot": user(ME, "kfbot", bot=True), "team": None,
                "interactions_endpoint_url": self.interactions_endpoint_url,
            }
        )  # fmt: skip

    async def _channel(self, request: web.Request) -> web.Response:
        self._authorized(request)
        number = request.match_info["channel"]
        self.note(self.called, (request.path, {}))
        self._refuse()
        if not number.startswith("8"):
            return answer({"message": "Unknown Channel", "code": 10003}, status=404)
        return answer({"id": number, "type": 11, "parent_id": CHANNEL, "name": "t"})

    async def _create(self, request: web.Request) -> web.Response:
        body = await self._read(request)
        nonce, channel = body.get("nonce"), request.match_info["channel"]
        self._enter(channel)
        number = self._nonces.get(str(nonce)) if body.get("enforce_nonce") else None
        if number is None:
            number = self.id()
            self.shown[number] = self.message(body["content"], channel=channel) | {
                "id": number, "author": user(ME, "kfbot", bot=True),
                "components": body.get("components", []),
                "message_reference": body.get("message_reference"),
            }  # fmt: skip
            self._nonces[str(nonce)] = number
        self.note(self.sent, ("POST", channel, body))
        return answer(self.shown[number])

    async def _change(self, request: web.Request) -> web.Response:
        body, number = await self._read(request), request.match_info["message"]
        self._enter(request.match_info["channel"])
        if number not in self.shown:
            return answer({"message": "Unknown Message", "code": 10008}, status=404)
        self.shown[number] |= {"content": body["content"], "components": body["components"]}
        self.note(self.sent, ("PATCH", request.match_info["channel"], body))
        return answer(self.shown[number])

    async def _list(self, request: web.Request) -> web.Response:
        self._authorized(request)
        channel, after = request.match_info["channel"], int(request.query["after"])
        self.note(self.called, (request.path_qs.removeprefix("/api/v10"), {}))
        self._refuse()
        said = [*self.written, *self.shown.values()]
        here = [one for one in said if one["channel_id"] == channel]
        later = sorted(
            (one for one in here if int(one["id"]) > after), key=lambda one: int(one["id"])
        )
        page = later[: int(request.query["limit"])]
        # Of the server that a message is in nothing is said there.
        kept = [{k: v for k, v in one.items() if k not in {"guild_id", "member"}} for one in page]
        return answer(kept[::-1])

    async def _open(self, request: web.Request) -> web.Response:
        self._authorized(request)
        assert (await request.json())["recipient_id"] == ANN
        return answer({"id": DIRECT, "type": 1, "recipients": [user(ANN, "ann")]})

    async def _read(self, request: web.Request) -> dict[str, Any]:
        self._authorized(request)
        body: dict[str, Any] = await request.json()
        self._refuse()
        rows = body.get("components") or []
        fits = len(body["content"].strip()) > 0 and len(body["content"]) <= 2000 and len(rows) <= 5
        fits = fits and len(str(body.get("nonce") or "")) <= 25
        buttons = [one for row in rows for one in row["components"]]
        names = [one["custom_id"] for one in buttons]
        fits = fits and all(1 <= len(one["label"]) <= 80 for one in buttons)
        if not fits or len(set(names)) < len(names) or any(len(one) > 100 for one in names):
            raise refusal(400, {"message": "Invalid Form Body", "code": 50035})
        return body

    def _enter(self, channel: str) -> None:
        if channel in self.closed:
            raise refusal(403, {"message": "Missing Access", "code": 50001})

    def _refuse(self) -> None:
        if self.refusals:
            status, answer = self.refusals.pop(0)
            raise refusal(status, answer)

    async def _note(self, request: web.Request) -> web.Response:
        self._authorized(request)
        body = await request.json() if request.can_read_body else {}
        self.note(self.called, (request.raw_path.removeprefix("/api/v10"), body))
        return web.Response(status=204)

    async def _file(self, request: web.Request) -> web.Response:
        assert "Authorization" not in request.headers
        return web.Response(body=b"picture")

    def note(self, what: list[Any], value: Any) -> None:
        """Put into a list of ours what happens, for `until`."""
        what.append(value)
        self._changed.set()


@dataclass(eq=False)
class _Socket:
    response: web.WebSocketResponse
    #: discord.py wants everything in one compressed stream.
    packer: Any

    async def send(self, frame: dict[str, Any]) -> None:
        text = json.dumps(frame)
        if self.packer is None:
            await self.response.send_str(text)
        else:
            packed = self.packer.compress(text.encode()) + self.packer.flush(zlib.Z_SYNC_FLUSH)
            await self.response.send_bytes(packed)
