"""`/webhooks/<channel>`: store what a platform sends, then answer it."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from kfbot.adapter import ChannelAdapter, WebhookRequest
from kfbot.application import TURN_TIMEOUT_SECONDS, Application
from kfbot.errors import WebhookRejected
from kfbot.messages import Button, Citation, ConversationId, OutboundMessage, Sender
from kfbot.store.transcripts import TranscriptMessage
from kfbot.web.api import failure


async def receive(application: Application, request: web.Request) -> web.Response:
    """Hand a request to its channel's adapter; it is answered after storing.

    Raises:
        WebhookRejected: 404 for an unknown channel, or what the adapter says.
        StoreUnavailable: Nothing was stored.
    """
    channel = request.match_info["channel"]
    adapter = application.channels.get(channel)
    if adapter is None or adapter.internal:
        raise WebhookRejected(channel, "no such channel", status=404)
    reply = await adapter.receive_webhook(
        WebhookRequest(
            method=request.method,
            query=dict(request.query),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=await request.read(),
        )
    )
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
