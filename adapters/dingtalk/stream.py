"""DingTalk's stream: a WebSocket that we open, on which every message waits for our answer.

https://open.dingtalk.com/document/direction/stream-mode-protocol-access-description; the official
SDK calls HTTP in the middle of its event loop, so it is not used.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from adapters.rest import RestApi, to_json
from kfbot.errors import ChannelUnavailable

logger = logging.getLogger(__name__)

#: What people write to the robot.
MESSAGES = "/v1.0/im/bot/messages/get"
#: The connection is asked so often whether it is still there.
_HEARTBEAT_SECONDS = 30.0
_LONGEST = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Frame:
    """One message for the robot, and how it is acknowledged."""

    message_id: str
    data: Mapping[str, Any]
    acknowledge: Callable[[], Awaitable[None]]


async def frames(
    api: RestApi,
    http: aiohttp.ClientSession,
    channel: str,
    client_id: str,
    client_secret: str,
) -> AsyncIterator[Frame]:
    """What comes through one connection, until DingTalk ends it to have it opened anew.

    Raises:
        ChannelUnavailable: The connection cannot be opened, or broke.
        ChannelUnauthorized: The credentials are refused.
        MessageRejected: DingTalk opens none, for another reason.
    """
    opened = await api.call(
        "POST",
        "/v1.0/gateway/connections/open",
        body={
            "clientId": client_id,
            "clientSecret": client_secret,
            "subscriptions": [{"type": "CALLBACK", "topic": MESSAGES}],
            "ua": "kfbot",
        },
    )
    endpoint, ticket = opened.get("endpoint"), opened.get("ticket")
    if not isinstance(endpoint, str) or not isinstance(ticket, str):
        raise ChannelUnavailable(channel, "DingTalk opens no connection")
    try:
        async with http.ws_connect(
            endpoint,
            params={"ticket": ticket},
            heartbeat=_HEARTBEAT_SECONDS,
            max_msg_size=_LONGEST,
        ) as socket:
            logger.info("connected", extra={"event": "dingtalk_connected"})
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT or not (raw := _read(message.data)):
                    continue
                if _is_end(raw):
                    return
                if frame := await _taken(socket, raw):
                    yield frame
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # Its text may hold the ticket.
        reason = f"the connection broke ({type(error).__name__})"
        raise ChannelUnavailable(channel, reason) from None


async def _taken(socket: aiohttp.ClientWebSocketResponse, raw: Mapping[str, Any]) -> Frame | None:
    """A message for the robot; anything else is acknowledged here."""
    headers = raw.get("headers")
    headers = headers if isinstance(headers, Mapping) else {}
    message_id, sent = str(headers.get("messageId", "")), raw.get("data")

    async def acknowledge(data: str = '{"response": null}') -> None:
        answer = {
            "code": 200,
            "headers": {"contentType": "application/json", "messageId": message_id},
            "message": "OK",
            "data": data,
        }
        try:
            await socket.send_str(to_json(answer))
        except OSError as error:
            # The connection is over, as is seen next. DingTalk tells the message again.
            logger.info("not acknowledged: %s", type(error).__name__, extra={"event": "ack_lost"})

    if raw.get("type") == "SYSTEM":
        # A ping wants its data back.
        await acknowledge(sent if isinstance(sent, str) else "{}")
        return None
    data = _read(sent)
    if raw.get("type") != "CALLBACK" or headers.get("topic") != MESSAGES or data is None:
        await acknowledge()
        return None
    return Frame(message_id, data, acknowledge)


def _is_end(raw: Mapping[str, Any]) -> bool:
    headers = raw.get("headers")
    topic = headers.get("topic") if isinstance(headers, Mapping) else None
    return raw.get("type") == "SYSTEM" and topic == "disconnect"


def _read(text: object) -> Mapping[str, Any] | None:
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, Mapping) else None
