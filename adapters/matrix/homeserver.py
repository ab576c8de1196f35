"""The homeserver's client API for one account: matrix-nio asks, the answers are read here.

Of nio's own reading nothing is used: it takes answers of any size, keeps every room it has seen
in memory, and logs what people wrote where an event does not have the form it expects.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from nio import AsyncClient, AsyncClientConfig, MessageDirection
from nio.responses import FileResponse

from adapters.matrix.faults import NotThere, fault_of, mapped
from adapters.rest import to_json
from kfbot.errors import ChannelUnavailable, MessageRejected

#: For one call; a sync may wait for news beside.
CALL_SECONDS = 15.0
#: A join may lead over several other homeservers.
JOIN_SECONDS = 60.0
#: Of an answer, at most so much is read.
ANSWER_BYTES = 64 * 1024 * 1024
#: Largest file that is fetched.
FILE_BYTES = 20 * 1024 * 1024
_MEDIA = re.compile(r"mxc://[0-9A-Za-z.\-\[\]:]{1,255}/[0-9A-Za-z_\-]{1,255}")
_API = "/_matrix/client/v3"


class _Client(AsyncClient):  # type: ignore[misc]  # nio is not typed
    """Asks once, answers with JSON objects or raises errors of the contract, keeps nothing."""

    def __init__(self, channel: str, address: str, token: str) -> None:
        config = AsyncClientConfig(
            max_limit_exceeded=0,
            max_timeouts=0,
            request_timeout=CALL_SECONDS,
            encryption_enabled=False,
        )
        super().__init__(address.rstrip("/"), config=config)
        self.channel = channel
        self.access_token = token

    async def create_matrix_response(
        self,
        response_class: type,
        transport_response: aiohttp.ClientResponse,
        data: object = None,
        save_to: object = None,
    ) -> Any:
        is_file = isinstance(response_class, type) and issubclass(response_class, FileResponse)
        async with transport_response as answer:
            is_wanted = is_file and answer.status == 200
            most = FILE_BYTES if is_wanted else ANSWER_BYTES
            raw = await _read(answer, most)
            headers = {name.lower(): value for name, value in answer.headers.items()}
        if raw is None and is_wanted:
            raise MessageRejected(self.channel, f"the file is over {most} bytes")
        if is_wanted:
            return raw
        fields = None if raw is None else _fields(raw)
        if fault := fault_of(self.channel, answer.status, headers, fields):
            raise fault
        if fields is None:
            raise ChannelUnavailable(self.channel, "what answers does not speak Matrix")
        return fields

    async def receive_response(self, response: object) -> None:
        pass


class Homeserver:
    """What the adapter asks of the homeserver, by an account's token.

    Every method raises, beside what it says itself:
        ChannelUnavailable: No answer in time, a limit, a fault of the homeserver's own.
        ChannelUnauthorized: The token or the account is refused; its text says what to do.
        MessageRejected: It will not be done, now or later.
    """

    def __init__(self, channel: str, address: str, token: str) -> None:
        self._channel = channel
        self._client = _Client(channel, address, token)

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.close()

    async def whoami(self) -> str:
        """The id of the account."""
        user = _text((await self._ask(self._client.whoami())).get("user_id"))
        if not user:
            raise ChannelUnavailable(self._channel, "what answers does not speak Matrix")
        self._client.user_id = user
        return user

    async def display_name(self, user: str) -> str:
        """What a user is called; "" without a name."""
        try:
            answer = await self._ask(self._client.get_displayname(user))
        except NotThere:
            return ""
        return _text(answer.get("displayname"))

    async def sync(
        self, since: str | None, wait_seconds: float, wanted: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What is new; waits for news as long as it may."""
        milliseconds = int(wait_seconds * 1000)
        return await self._ask(
            self._client.sync(timeout=milliseconds, since=since, sync_filter=dict(wanted)),
            seconds=wait_seconds + CALL_SECONDS,
        )

    async def messages(
        self,
        room: str,
        start: str,
        end: str | None,
        wanted: Mapping[str, Any],
        *,
        backwards: bool,
        limit: int = 50,
    ) -> dict[str, Any]:
        """A page of a room's events from one token on, up to another."""
        direction = MessageDirection.back if backwards else MessageDirection.front
        return await self._ask(
            self._client.room_messages(room, start, end, direction, limit, dict(wanted))
        )

    async def event(self, room: str, event_id: str) -> dict[str, Any]:
        """One event; raises NotThere."""
        return await self._ask(self._client.room_get_event(room, event_id))

    async def members(self, room: str) -> int:
        """How many have joined a room."""
        joined = (await self._ask(self._client.joined_members(room))).get("joined")
        return len(joined) if isinstance(joined, dict) else 0

    async def state(self, room: str, kind: str) -> dict[str, Any] | None:
        """What a room's state of that kind says; None: it has none."""
        try:
            return await self._ask(self._client.room_get_state_event(room, kind))
        except NotThere:
            return None

    async def join(self, room: str, via: str = "") -> None:
        """Join a room, by way of a server that is in it."""
        by = f"?{urlencode({'server_name': via, 'via': via})}" if via else ""
        path = f"{_API}/join/{quote(room, safe='')}{by}"
        await self._call("POST", path, {}, seconds=JOIN_SECONDS)

    async def leave(self, room: str) -> None:
        """Leave a room, or decline its invitation."""
        await self._ask(self._client.room_leave(room))

    async def post(self, room: str, content: Mapping[str, Any], transaction: str) -> str:
        """Send a message, once for each name of a transaction; returns its event id."""
        sent = await self._ask(
            self._client.room_send(room, "m.room.message", dict(content), transaction)
        )
        return _text(sent.get("event_id"))

    async def type(self, room: str, seconds: float) -> None:
        """Show that the bot is typing for so long; 0: no longer."""
        milliseconds = int(seconds * 1000)
        await self._ask(self._client.room_typing(room, seconds > 0, milliseconds))

    async def download(self, address: str) -> bytes:
        """The bytes behind an mxc:// address."""
        if _MEDIA.fullmatch(address) is None:
            raise MessageRejected(self._channel, "the attachment is no file")
        with mapped(self._channel):
            async with asyncio.timeout(JOIN_SECONDS):
                raw: bytes = await self._client.download(address)
        return raw

    async def load(self, user: str, kind: str) -> dict[str, Any]:
        """What the account's data of that kind hold; empty: there are none."""
        try:
            return await self._call("GET", _account_data(user, kind))
        except NotThere:
            return {}

    async def keep(self, user: str, kind: str, content: Mapping[str, Any]) -> None:
        """Keep data of that kind with the account."""
        await self._call("PUT", _account_data(user, kind), content)

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        seconds: float = CALL_SECONDS,
    ) -> dict[str, Any]:
        """Call what nio has no method for."""
        headers = {"authorization": f"Bearer {self._client.access_token}"}
        data = None if body is None else to_json(body)
        with mapped(self._channel):
            response = await self._client.send(method, path, data, headers, timeout=seconds)
            fields: dict[str, Any] = await self._client.create_matrix_response(object, response)
        return fields

    async def _ask(self, answer: Awaitable[Any], seconds: float = CALL_SECONDS) -> dict[str, Any]:
        with mapped(self._channel):
            # Without a wait nio gives a sync no limit at all.
            async with asyncio.timeout(seconds):
                fields: dict[str, Any] = await answer
        return fields


def server_of(user: str) -> str:
    """The homeserver in the id of a user: "@li:shop.example" → "shop.example"."""
    return user.partition(":")[2]


def host_of(address: str) -> str:
    """The host of a web address, for people to read."""
    return urlsplit(address).hostname or ""


def _account_data(user: str, kind: str) -> str:
    return f"{_API}/user/{quote(user, safe='')}/account_data/{quote(kind, safe='')}"


async def _read(answer: aiohttp.ClientResponse, most: int) -> bytes | None:
    """The body; None: it is longer."""
    raw = bytearray()
    async for part in answer.content.iter_chunked(65536):
        raw += part
        if len(raw) > most:
            answer.close()
            return None
    return bytes(raw)


def _fields(raw: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
