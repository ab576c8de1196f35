"""Discord's interactions: the command, its answers by token, and requests that PyNaCl signs.

https://discord.com/developers/docs/interactions/receiving-and-responding
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web
from nacl.signing import SigningKey

from tests.platforms.discord_forms import (
    ANN,
    DIRECT,
    GUILD,
    ME,
    TOKEN,
    answer,
    member,
    refusal,
    user,
)

#: Of a test, so that recorded requests can be signed again.
KEY = SigningKey(b"kfbot's tests, and nothing else!")
#: Discord's are longer.
INTERACTION_TOKEN = "interaction/token"
#: How clients write it in an address.
_YES = {"1", "true"}


class Interactions:
    """What an app can do with interactions, as far as a bot sees of it."""

    def __init__(
        self, message: Callable[..., dict[str, Any]], note: Callable[[list[Any], Any], None]
    ) -> None:
        self._message = message
        self._note = note
        self.public_key = KEY.verify_key.encode().hex()
        #: The app's commands.
        self.commands: list[dict[str, Any]] = []
        #: (path without the API's root, body) of what interactions were answered at once.
        self.answers: list[tuple[str, dict[str, Any]]] = []
        #: What was said by token, in order: the method, the message's id, the body.
        self.followups: list[tuple[str, str, dict[str, Any]]] = []
        #: The messages that show commands, by token; those that were not answered yet have none.
        self.originals: dict[str, dict[str, Any]] = {}
        #: Of the commands so far.
        self.tokens = {INTERACTION_TOKEN}
        #: The status with which the app's commands are refused; 0: they are not.
        self.refusal = 0
        #: The tokens are over.
        self.is_over = False

    def add_routes(self, app: web.Application, api: str) -> None:
        """Serve them."""
        commands = f"{api}/applications/{ME}/commands"
        hook = f"{api}/webhooks/{ME}/{{token}}"
        app.router.add_get(commands, self._list)
        app.router.add_post(commands, self._offer)
        app.router.add_put(commands, self._replace)
        app.router.add_post(f"{api}/interactions/{{id}}/{{token}}/callback", self._answer)
        app.router.add_post(hook, self._follow_up)
        app.router.add_get(f"{hook}/messages/@original", self._show)
        app.router.add_patch(f"{hook}/messages/{{message}}", self._change)

    def ask(self, question: str, *, channel: str = DIRECT, **given: Any) -> dict[str, Any]:
        """What an app is told of /ask; a channel other than DIRECT is a server's."""
        who = user(ANN, "ann")
        number = self._message("")["id"]
        option = {"type": 3, "name": "question", "value": question}
        kind = {DIRECT: 1, "800": 11, "801": 11}.get(channel, 0)
        place = {"id": channel, "type": kind, "name": "c"}
        if kind == 11:
            place["parent_id"] = "600"
        in_server = {"guild_id": GUILD, "guild": {"id": GUILD}, "context": 0}
        told = {
            "id": number, "application_id": ME, "type": 2, "token": INTERACTION_TOKEN,
            "version": 1, "channel_id": channel, "channel": place, "locale": "zh-CN",
            "entitlements": [], "authorizing_integration_owners": {"0": GUILD},
            "attachment_size_limit": 10_485_760, "app_permissions": "0",
            "data": {"id": "77", "name": "ask", "type": 1, "options": [option]},
        } | (
            {"user": who, "context": 1} if channel == DIRECT
            else in_server | {"member": member(permissions="0") | {"user": who}}
        ) | given  # fmt: skip
        self.tokens.add(told["token"])
        return told

    async def _list(self, request: web.Request) -> web.Response:
        self._authorized(request)
        if request.query.get("with_localizations") == "true":
            return answer(self.commands)
        hidden = {"name_localizations", "description_localizations"}
        return answer([{k: v for k, v in one.items() if k not in hidden} for one in self.commands])

    async def _offer(self, request: web.Request) -> web.Response:
        self._authorized(request)
        command = _known(await request.json())
        self.commands[:] = [one for one in self.commands if one["name"] != command["name"]]
        self._note(self.commands, command)
        return answer(command, status=201)

    async def _replace(self, request: web.Request) -> web.Response:
        self._authorized(request)
        self.commands[:] = [_known(one) for one in await request.json()]
        return answer(self.commands)

    def _authorized(self, request: web.Request) -> None:
        assert request.headers["Authorization"] == f"Bot {TOKEN}"
        if self.refusal:
            raise refusal(self.refusal, {"message": "Missing Access", "code": 50001})

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        token = request.match_info["token"]
        if body["type"] == 4:
            self.shown(body, token)
        self._note(self.answers, (request.raw_path.split("?")[0].removeprefix("/api/v10"), body))
        if request.query.get("with_response") not in _YES:
            return web.Response(status=204)
        about = {"id": request.match_info["id"], "type": 2, "response_message_id": "1"}
        resource = {"type": body["type"], "message": self.originals.get(token)}
        return answer({"interaction": about, "resource": resource})

    def shown(self, answered: dict[str, Any], token: str = INTERACTION_TOKEN) -> None:
        """Show the message with which a command was answered at once."""
        content = answered["data"]["content"]
        assert 0 < len(content) <= 2000
        self.originals[token] = self._message(content, author=user(ME, "kfbot", bot=True))

    async def _follow_up(self, request: web.Request) -> web.Response:
        body = await self._read(request)
        made = self._message(body["content"], author=user(ME, "kfbot", bot=True))
        self._note(self.followups, ("POST", made["id"], body))
        return answer(made) if request.query.get("wait") in _YES else web.Response(status=204)

    async def _show(self, request: web.Request) -> web.Response:
        await self._read(request)
        if (original := self.originals.get(request.match_info["token"])) is None:
            raise refusal(404, {"message": "Unknown Message", "code": 10008})
        return answer(original)

    async def _change(self, request: web.Request) -> web.Response:
        body = await self._read(request)
        self._note(self.followups, ("PATCH", request.match_info["message"], body))
        return answer(self._message(body["content"], id=request.match_info["message"]))

    async def _read(self, request: web.Request) -> dict[str, Any]:
        # The token in the address is enough.
        assert "Authorization" not in request.headers
        if self.is_over or request.match_info["token"] not in self.tokens:
            raise refusal(401, {"message": "Invalid Webhook Token", "code": 50027})
        body: dict[str, Any] = await request.json() if request.can_read_body else {}
        assert request.method == "GET" or 0 < len(body["content"]) <= 2000
        return body


def signed(body: bytes, *, now: float | None = None, key: SigningKey = KEY) -> dict[str, str]:
    """The headers with which Discord posts a body."""
    stamp = str(int(time.time() if now is None else now))
    return {
        "content-type": "application/json",
        "x-signature-timestamp": stamp,
        "x-signature-ed25519": key.sign(stamp.encode() + body).signature.hex(),
    }


def posted(data: dict[str, Any], **given: Any) -> dict[str, Any]:
    """Body and headers with which Discord posts an interaction, for aiohttp's client."""
    body = json.dumps(data, ensure_ascii=False).encode()
    return {"data": body, "headers": signed(body, **given)}


def _known(command: dict[str, Any]) -> dict[str, Any]:
    """A command as Discord keeps it."""
    added = {"id": "77", "application_id": ME, "version": "1", "nsfw": False}
    defaults: dict[str, Any]
    defaults = {"default_member_permissions": None, "dm_permission": None, "options": []}
    return defaults | command | added
