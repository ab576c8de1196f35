"""`/webhooks/<channel>`: store what a platform sends, then answer it."""

from __future__ import annotations

from aiohttp import web

from kfbot.adapter import WebhookReply, WebhookRequest
from kfbot.application import TURN_TIMEOUT_SECONDS, Application
from kfbot.errors import WebhookRejected
from kfbot.messages import Button, Citation, ConversationId, OutboundMessage, Sender
from kfbot.store.transcripts import TranscriptMessage


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
        address = reply.events[-1].conversation
        for one in accepted:
            await application.inbox.settled(one, timeout_seconds=TURN_TIMEOUT_SECONDS)
        events = [event.event_id for event in reply.events]
        conversation_id = accepted[-1].conversation_id
        said = (
            await application.transcripts.said_around(conversation_id, events[-1])
            if adapter.capabilities.reads_transcript
            else await application.transcripts.replies_to(conversation_id, events)
        )
        reply = reply.respond([_outbound(address, message) for message in said])
    return _response(reply)


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


def _response(reply: WebhookReply) -> web.Response:
    return web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))
