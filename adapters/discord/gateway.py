"""Discord's gateway: a WebSocket that we open, and whose session outlives a connection.

https://discord.com/developers/docs/events/gateway

Nothing is acknowledged there. What a lost connection kept from us is told again after the number
that a RESUME names: here that of the last dispatch that was stored. discord.py takes a number as
seen before anybody has heard of it, so it is not used.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from adapters.discord.faults import fault_of_close
from adapters.rest import to_json
from kfbot.errors import ChannelUnavailable

logger = logging.getLogger(__name__)

#: A server with thousands of channels is told in one text.
_LONGEST = 32 * 1024 * 1024
_HELLO_SECONDS = 20.0
#: A session ends when we close with 1000 or 1001.
_KEEPS_SESSION = 4000
#: Close codes after which there is no session to go on with: not logged in, number too high, too
#: late.
_FORGETS_SESSION = {4003, 4007, 4009}
#: Discord wants so long a pause before a new session.
_PAUSE_SECONDS = (1.0, 5.0)
_DISPATCH, _HEARTBEAT, _IDENTIFY, _RESUME = 0, 1, 2, 6
_RECONNECT, _INVALID_SESSION, _HELLO, _HEARTBEAT_ACK = 7, 9, 10, 11


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Something that happened."""

    name: str
    data: Mapping[str, Any]


@dataclass
class _Pulse:
    """Heartbeats of one connection."""

    interval: float
    #: By the loop's clock.
    due: float
    is_unanswered: bool = False


class Gateway:
    """One session of one bot, over as many connections as it takes."""

    def __init__(self, channel: str, token: str, intents: int) -> None:
        self._channel = channel
        self._token = token
        self._intents = intents
        self._session = ""
        #: Of the last dispatch that was stored.
        self._number: int | None = None
        #: Where the session goes on; "": at the address for new ones.
        self.resume_url = ""

    async def dispatches(self, http: aiohttp.ClientSession, url: str) -> AsyncIterator[Dispatch]:
        """What comes through one connection, until it has to be opened anew.

        One is taken for stored when the next one is asked for.

        Raises:
            ChannelUnavailable: The connection cannot be opened, or broke.
            ChannelUnauthorized: Discord will not have us.
        """
        address = URL(url).with_query(v="10", encoding="json")
        # If that place is gone, the next attempt asks for another one.
        self.resume_url, resume_url = "", self.resume_url
        try:
            # aiohttp's own answer to a close would be 1000.
            async with http.ws_connect(address, max_msg_size=_LONGEST, autoclose=False) as socket:
                try:
                    pulse = await self._log_in(socket)
                    self.resume_url = resume_url
                    async for dispatch in self._follow(socket, pulse):
                        yield dispatch
                finally:
                    await socket.close(code=_KEEPS_SESSION)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = f"the connection broke ({type(error).__name__})"
            raise ChannelUnavailable(self._channel, reason) from None

    async def _log_in(self, socket: aiohttp.ClientWebSocketResponse) -> _Pulse:
        frame = self._read(await socket.receive(timeout=_HELLO_SECONDS)) or {}
        told = frame.get("d")
        interval = told.get("heartbeat_interval") if isinstance(told, Mapping) else None
        if frame.get("op") != _HELLO or not isinstance(interval, int) or interval <= 0:
            raise ChannelUnavailable(self._channel, "what answers is not Discord's gateway")
        if self._session:
            await self._send(
                socket,
                _RESUME,
                {"token": self._token, "session_id": self._session, "seq": self._number},
            )
        else:
            about = {"os": "linux", "browser": "kfbot", "device": "kfbot"}
            await self._send(
                socket,
                _IDENTIFY,
                {"token": self._token, "intents": self._intents, "properties": about},
            )
        # Discord wants the first heartbeats of many clients apart from one another.
        first = interval / 1000 * random.random()  # noqa: S311
        return _Pulse(interval / 1000, asyncio.get_running_loop().time() + first)

    async def _follow(
        self, socket: aiohttp.ClientWebSocketResponse, pulse: _Pulse
    ) -> AsyncIterator[Dispatch]:
        while (frame := await self._next(socket, pulse)) is not None:
            if frame.get("op") == _DISPATCH:
                if dispatch := self._dispatch_of(frame):
                    yield dispatch
                if isinstance(number := frame.get("s"), int):
                    self._number = number
            elif not await self._goes_on(socket, pulse, frame):
                return

    async def _goes_on(
        self, socket: aiohttp.ClientWebSocketResponse, pulse: _Pulse, frame: Mapping[str, Any]
    ) -> bool:
        """Do what the gateway asks; False: open another connection."""
        operation = frame.get("op")
        if operation == _HEARTBEAT:
            await self._send(socket, _HEARTBEAT, self._number)
        elif operation == _HEARTBEAT_ACK:
            pulse.is_unanswered = False
        elif operation == _INVALID_SESSION:
            if frame.get("d") is not True:
                self._forget()
            await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))  # noqa: S311
        return operation not in {_RECONNECT, _INVALID_SESSION}

    async def _next(
        self, socket: aiohttp.ClientWebSocketResponse, pulse: _Pulse
    ) -> Mapping[str, Any] | None:
        """The next frame, heartbeats in between; None: the connection is over."""
        loop = asyncio.get_running_loop()
        while True:
            if (left := pulse.due - loop.time()) <= 0:
                await self._send(socket, _HEARTBEAT, self._number)
                pulse.due, pulse.is_unanswered = loop.time() + pulse.interval, True
                continue
            try:
                return self._read(await socket.receive(timeout=left))
            except TimeoutError:
                # Seen only where nothing waits to be read: storing may have taken long.
                if pulse.is_unanswered:
                    raise ChannelUnavailable(self._channel, "Discord went silent") from None

    def _read(self, message: aiohttp.WSMessage) -> Mapping[str, Any] | None:
        """What a frame says; None: the connection is over."""
        if message.type is not aiohttp.WSMsgType.TEXT:
            code = message.data if message.type is aiohttp.WSMsgType.CLOSE else None
            if fault := fault_of_close(self._channel, code):
                self._forget()
                raise fault
            if code in _FORGETS_SESSION:
                self._forget()
            logger.info("closed: %s", code, extra={"event": "discord_closed"})
            return None
        try:
            frame = json.loads(message.data)
        except RecursionError:
            frame = None
        return frame if isinstance(frame, Mapping) else {}

    def _dispatch_of(self, frame: Mapping[str, Any]) -> Dispatch | None:
        name, data = frame.get("t"), frame.get("d")
        if not isinstance(name, str) or not isinstance(data, Mapping):
            return None
        if name == "READY":
            self._session = str(data.get("session_id") or "")
            self.resume_url = str(data.get("resume_gateway_url") or "")
        if name in {"READY", "RESUMED"}:
            logger.info("connected: %s", name, extra={"event": "discord_connected"})
        return Dispatch(name, data)

    def _forget(self) -> None:
        self._session, self._number, self.resume_url = "", None, ""

    async def _send(
        self, socket: aiohttp.ClientWebSocketResponse, operation: int, data: object
    ) -> None:
        await socket.send_str(to_json({"op": operation, "d": data}))
