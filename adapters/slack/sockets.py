"""Socket Mode: websockets to Slack; an envelope is acknowledged by whoever has stored it.

slack_sdk's own client is not used: it asks for an address with a refused token for ever, takes
envelopes without limit while the store is busy, and acknowledges on whichever connection is the
latest.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from slack_sdk.socket_mode.response import SocketModeResponse

from kfbot.errors import ChannelUnavailable

logger = logging.getLogger(__name__)

#: Envelopes that are taken from Slack before the first of them is stored.
WAITING = 100
#: A connection that answers no ping for so long is dead.
HEARTBEAT_SECONDS = 15.0
CONNECT_SECONDS = 10.0
#: Of Slack's largest envelopes none comes near it.
LARGEST_ENVELOPE = 32 * 1024 * 1024
#: So often in a row is connecting tried before the channel is given back to the core.
ATTEMPTS = 5
#: A connection that lasts so long, or brings something, was no failure.
GOOD_AFTER_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Envelope:
    """What Slack wants acknowledged, and where."""

    type: str
    payload: Mapping[str, Any]
    _id: str
    _connection: aiohttp.ClientWebSocketResponse

    async def acknowledge(self) -> None:
        """Tell Slack; if the connection is gone by now, Slack sends the envelope again."""
        response = SocketModeResponse(envelope_id=self._id)
        try:
            await self._connection.send_json(response.to_dict())
        except (aiohttp.ClientError, OSError, RuntimeError):
            logger.info("not acknowledged: it comes again", extra={"event": "ack_lost"})


class Sockets:
    """Keeps one connection open; before one that Slack will close ends, the next one is there."""

    def __init__(
        self,
        channel: str,
        session: aiohttp.ClientSession,
        open_address: Callable[[], Awaitable[str]],
    ) -> None:
        """`open_address`: apps.connections.open; raises ChannelUnavailable, ChannelUnauthorized."""
        self._channel = channel
        self._session = session
        self._open_address = open_address
        self._taken: asyncio.Queue[Envelope | Exception] = asyncio.Queue(WAITING)
        #: The connection that has no successor yet.
        self._latest: aiohttp.ClientWebSocketResponse | None = None
        self._wanted = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._asked_to_wait = 0.0

    async def envelopes(self) -> AsyncIterator[Envelope]:
        """Envelopes as they come, of all connections, each to one of those who ask.

        Raises:
            ChannelUnavailable: Connecting failed several times in a row.
            ChannelUnauthorized: Slack refuses the app token.
        """
        if not self._tasks:
            self._start(self._keep_connected())
        while True:
            taken = await self._taken.get()
            if isinstance(taken, Exception):
                raise taken
            yield taken

    async def close(self) -> None:
        """Close every connection; what was not acknowledged comes again."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="slack-socket")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_connected(self) -> None:
        try:
            while True:
                self._wanted.clear()
                self._latest = await self._connect()
                self._start(self._read(self._latest))
                await self._wanted.wait()
        except Exception as error:
            # Whoever reads the envelopes is told.
            await self._taken.put(error)

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        fault: ChannelUnavailable | None = None
        while self._failures < ATTEMPTS:
            if self._failures:
                await asyncio.sleep(max(_pause(self._failures), self._asked_to_wait))
            try:
                return await self._open()
            except ChannelUnavailable as error:
                fault = error
                self._failures += 1
                self._asked_to_wait = error.retry_after_seconds or 0.0
                logger.warning("not connected: %s", error, extra={"event": "socket_not_connected"})
        raise fault or ChannelUnavailable(self._channel, "Slack ends every connection at once")

    async def _open(self) -> aiohttp.ClientWebSocketResponse:
        address = await self._open_address()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await self._session.ws_connect(
                    address,
                    heartbeat=HEARTBEAT_SECONDS,
                    max_msg_size=LARGEST_ENVELOPE,
                    timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Its text may hold the address, and in it the ticket.
            reason = f"the websocket of Slack cannot be opened ({type(error).__name__})"
            raise ChannelUnavailable(self._channel, reason) from None

    async def _read(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        # Until it has proved good the connection counts as one that failed.
        self._failures += 1
        loop = asyncio.get_running_loop()
        good_at = loop.time() + GOOD_AFTER_SECONDS
        try:
            async for message in connection:
                if message.type == aiohttp.WSMsgType.TEXT:
                    await self._take(connection, message.data)
        finally:
            if loop.time() >= good_at:
                self._failures = 0
            self._leave(connection, "closed")
            await connection.close()

    async def _take(self, connection: aiohttp.ClientWebSocketResponse, text: str) -> None:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            logger.warning("no JSON came from Slack", extra={"event": "envelope_malformed"})
            return
        kind, reason = message.get("type"), message.get("reason")
        if kind == "disconnect":
            # There are ten connections at most; one more would be ended too.
            if reason != "too_many_websockets":
                self._failures = 0
            self._leave(connection, str(reason))
            return
        envelope_id, payload = message.get("envelope_id"), message.get("payload")
        if isinstance(envelope_id, str):
            self._failures = 0
            known = payload if isinstance(payload, dict) else {}
            await self._taken.put(Envelope(str(kind), known, envelope_id, connection))

    def _leave(self, connection: aiohttp.ClientWebSocketResponse, reason: str) -> None:
        """Get another connection; what still comes on this one is taken."""
        if connection is self._latest:
            logger.info("connection renewed: %s", reason[:40], extra={"event": "socket_renewed"})
            self._latest = None
            self._wanted.set()


def _pause(failures: int) -> float:
    """Seconds to wait after so many failures: doubling, with jitter."""
    # Jitter spreads reconnections; nothing here is secret.
    return min(2.0**failures, _LONGEST_PAUSE_SECONDS) * random.uniform(0.25, 0.5)  # noqa: S311
