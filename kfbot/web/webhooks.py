"""`/webhooks/<channel>`, and below it: store what a platform sends, then answer it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

import aiohttp
from aiohttp import web

from kfbot.adapter import ChannelAdapter, WebhookRequest
from kfbot.application import TURN_TIMEOUT_SECONDS, Application
from kfbot.errors import WebhookRejected
from kfbot.messages import (
    Button,
    Citation,
    ConversationId,
    OutboundMessage,
    Sender,
)
from kfbot.store.transcripts import TranscriptMessage
from kfbot.web.api import failure

logger = logging.getLogger(__name__)

#: A WebSocket that is silent is asked so often whether it is still there.
HEARTBEAT_SECONDS = 30.0
#: Longest message through a WebSocket.
SOCKET_BYTES = 1024 * 1024
#: Of the requests of a channel that are refused one is told of in the log, for so long.
REFUSAL_SECONDS = 60.0


class Webhooks:
    """Requests of platforms, and the WebSockets that they keep open."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._sockets: set[web.WebSocketResponse] = set()
        #: By channel, until when the log is told of no refusal.
        self._silent_until: dict[str, float] = {}

    async def receive(self, request: web.Request) -> web.StreamResponse:
        """One request; see `receive` and `ChannelAdapter.follow_socket`."""
        try:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._follow(request)
            return await receive(self._application, request)
        except WebhookRejected as error:
            self._log(error)
            raise

    def _log(self, error: WebhookRejected) -> None:
        """Say why a platform is refused; who calls without a secret cannot fill the log."""
        channel, now = error.channel, time.monotonic()
        if channel in self._application.channels and now >= self._silent_until.get(channel, 0.0):
            self._silent_until[channel] = now + REFUSAL_SECONDS
            logger.warning(
                "request refused with %d: %s",
                error.status,
                error,
                extra={"event": "webhook_refused"},
            )

    async def close(self, app: web.Application) -> None:
        """Hang up, so that the server can stop; platforms call again."""
        closing = [one.close(code=aiohttp.WSCloseCode.GOING_AWAY) for one in self._sockets]
        await asyncio.gather(*closing, return_exceptions=True)

    async def _follow(self, request: web.Request) -> web.StreamResponse:
        """Let the channel's adapter read a WebSocket until it closes."""
        adapter, read = _adapter_of(self._application, request)
        reads = adapter.follow_socket(read)
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_SECONDS, max_msg_size=SOCKET_BYTES)
        if not socket.can_prepare(request).ok:
            raise WebhookRejected(adapter.channel, "this is no WebSocket", status=400)
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            await reads(_Socket(socket))
        finally:
            self._sockets.discard(socket)
            await socket.close()
        return socket


class _Socket:
    """See `PlatformSocket`."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def receive(self) -> str | None:
        """See `PlatformSocket`."""
        message = await self._socket.receive()
        return message.data if message.type is aiohttp.WSMsgType.TEXT else None

    async def send(self, text: str) -> None:
        """See `PlatformSocket`."""
        if self._socket.closed:
            raise ConnectionError("closed")
        await self._socket.send_str(text)


def _adapter_of(
    application: Application, request: web.Request
) -> tuple[ChannelAdapter, WebhookRequest]:
    """Whom a request is for, and the request without its body."""
    channel = request.match_info["channel"]
    adapter = application.channels.get(channel)
    if adapter is None or adapter.internal:
        raise WebhookRejected(channel, "no such channel", status=404)
    path = request.match_info.get("path", "")
    if path and not adapter.webhook_paths:
        raise WebhookRejected(channel, "there is nothing below this address", status=404)
    read = WebhookRequest(
        method=request.method,
        query=dict(request.query),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=b"",
        path=path,
    )
    return adapter, read


async def receive(application: Application, request: web.Request) -> web.Response:
    """Hand a request to its channel's adapter; it is answered after storing.

    Raises:
        WebhookRejected: 404 for an unknown channel, or a path below one that has none; or what
            the adapter says.
        StoreUnavailable: Nothing was stored.
        Overloaded: Nor was it: too much waits.
    """
    adapter, read = _adapter_of(application, request)
    reply = await adapter.receive_webhook(replace(read, body=await request.read()))
    await application.backlog.admit(reply.events)
    accepted = [await application.inbox.accept(event) for event in reply.events]
    if reply.respond is not None and accepted:
        for one in accepted:
            if not await application.inbox.settled(one, timeout_seconds=TURN_TIMEOUT_SECONDS):
                return failure(504, "the turn takes long; the same request gets its messages later")
        events = [event.event_id for event in reply.events]
        said = await _said(application, adapter, accepted[-1].conversation_id, events)
        address = reply.events[-1].conversation
        reply = reply.respond([_outbound(address, message) for message in said])
    return web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))


async def _said(
    application: Application, adapter: ChannelAdapter, conversation_id: int, events: Sequence[str]
) -> list[TranscriptMessage]:
    """What the response holds: the bot's replies, and an agent's words if nothing else has them."""
    said = list(await application.transcripts.replies_to(conversation_id, events))
    if adapter.capabilities.reads_transcript:
        around = await application.transcripts.said_around(conversation_id, events[-1])
        # What an event led to is in the response to that event.
        said += [message for message in around if message.event_id is None]
    return sorted(said, key=lambda message: message.id)


def _outbound(address: ConversationId, message: TranscriptMessage) -> OutboundMessage:
    extras = message.extras
    return OutboundMessage(
        conversation=address,
        id=f"msg_{message.id}",
        text=message.text,
        kind=message.kind,
        sender=Sender(message.sender_name or message.role, message.role, message.sender_name),
        citations=tuple(Citation(**citation) for citation in extras.get("citations", ())),
        buttons=tuple(Button(**button) for button in extras.get("buttons", ())),
    )
