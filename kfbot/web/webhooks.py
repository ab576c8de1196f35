"""`/webhooks/<channel>`: store what a platform sends, then answer it."""

from __future__ import annotations

from aiohttp import web

from kfbot.adapter import WebhookReply, WebhookRequest
from kfbot.application import TURN_TIMEOUT_SECONDS, Application
from kfbot.errors import WebhookRejected
from kfbot.messages import BOT, Button, Citation, ConversationId, OutboundMessage
from kfbot.store.acceptance import Accepted
from kfbot.store.transcripts import TranscriptMessage


async def receive(application: Application, request: web.Request) -> web.Response:
    """Hand a request to its channel's adapter; it is answered after storing.

    Raises:
        WebhookRejected: 404 for an unknown channel, or what the adapter says.
        StoreUnavailable: Nothing was stored.
    """
    channel = request.match_info["channel"]
    adapter = application.channels.get(channel)
    if adapter is None:
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
        events = [event.event_id for event in reply.events]
        reply = reply.respond(await _replies(application, address, accepted, events))
    return _response(reply)


async def _replies(
    application: Application,
    address: ConversationId,
    accepted: list[Accepted],
    event_ids: list[str],
) -> list[OutboundMessage]:
    """The bot's messages to these events; a repeated event gets the same ones again."""
    for one in accepted:
        await application.inbox.settled(one, timeout_seconds=TURN_TIMEOUT_SECONDS)
    said = await application.transcripts.replies_to(accepted[-1].conversation_id, event_ids)
    return [_outbound(address, message) for message in said]


def _outbound(address: ConversationId, message: TranscriptMessage) -> OutboundMessage:
    extras = message.extras
    return OutboundMessage(
        conversation=address,
        id=f"msg_{message.id}",
        text=message.text,
        kind=message.kind,
        sender=BOT,
        citations=tuple(Citation(**citation) for citation in extras.get("citations", ())),
        buttons=tuple(Button(**button) for button in extras.get("buttons", ())),
    )


def _response(reply: WebhookReply) -> web.Response:
    return web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))
