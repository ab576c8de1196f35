"""The OneBot v11 adapter: the implementation calls us, by a WebSocket or by posts."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

from adapters.onebot.calls import SocketCalls, call_http, fault_of_answer, read_text
from adapters.onebot.reading import GROUP, PRIVATE, event_of
from adapters.onebot.segments import segment
from adapters.onebot.settings import OneBotSettings
from adapters.plain_text import to_plain_text
from adapters.requests import check_form, read_object
from adapters.rest import RestApi
from kfbot.adapter import (
    Capabilities,
    ChannelAdapter,
    PlatformSocket,
    SocketReader,
    WebhookReply,
    WebhookRequest,
)
from kfbot.errors import MessageRejected, WebhookRejected
from kfbot.messages import (
    Attachment,
    DeliveryReceipt,
    InboundEvent,
    OutboundMessage,
)

logger = logging.getLogger(__name__)

#: So many of the bot's messages are known when somebody replies to one.
_REMEMBERED = 2000
#: So many events wait to be stored; then no more is read, since OneBot tells nothing twice.
_MOST_UNSTORED = 1000


class OneBotAdapter(ChannelAdapter):
    """One account; another one is a channel of its own."""

    settings_type = OneBotSettings
    #: QQ cuts a text at about 4,500 characters; an account that writes faster is soon limited.
    capabilities = Capabilities(
        text_length=2000, replies=True, rate_per_second=2.0, burst=4, seconds_per_chat=0.5
    )

    def __init__(self, channel: str, settings: OneBotSettings) -> None:
        super().__init__(channel, settings)
        self._settings = settings
        self._token = settings.access_token.get_secret_value()
        self._calls = SocketCalls(channel, settings.timeout_seconds)
        self._api: RestApi | None = None
        if settings.api_base is not None:
            self._api = RestApi(
                channel,
                settings.api_base,
                timeout_seconds=settings.timeout_seconds,
                fault_of=partial(fault_of_answer, channel),
            )
        self._files = RestApi(channel, "", timeout_seconds=settings.timeout_seconds)
        #: "account:message" of what the bot wrote; a set that keeps its order.
        self._sent: dict[str, None] = {}
        self._unstored: asyncio.Queue[InboundEvent] = asyncio.Queue(_MOST_UNSTORED)
        #: What the core is storing, or failed to store: OneBot would not tell it again.
        self._told: InboundEvent | None = None
        #: The account's number, once it is heard.
        self._me = ""

    async def open(self) -> None:
        await self._files.open()
        if self._api is not None:
            await self._api.open()

    async def close(self) -> None:
        if unstored := self._unstored.qsize() + (self._told is not None):
            logger.error(
                "%d events are not stored", unstored, extra={"event": "onebot_events_unstored"}
            )
        await self._files.close()
        if self._api is not None:
            await self._api.close()

    async def check(self) -> str:
        """The account, where the implementation can be asked.

        Raises:
            ChannelUnavailable: It does not answer.
            ChannelUnauthorized: The access_token is refused.
        """
        if self._api is None:
            return "waits for its WebSocket at /webhooks/" + self.channel
        found = await self._call("get_login_info", {})
        return f"{found.get('nickname', '')} ({found.get('user_id', '?')})"

    def follow_socket(self, request: WebhookRequest) -> SocketReader:
        """Let in who shows the access_token, in the header or, as some do, in the address.

        Raises:
            WebhookRejected: 401: it is another one; 404: none is set, so posts are expected.
        """
        if not self._token:
            raise WebhookRejected(self.channel, "access_token is not set", status=404)
        kind, _, shown = request.headers.get("authorization", "").partition(" ")
        given = shown if kind.lower() in ("bearer", "token") else ""
        given = given or request.query.get("access_token", "")
        if not hmac.compare_digest(given.strip().encode(errors="replace"), self._token.encode()):
            raise WebhookRejected(self.channel, "access_token: it is another one", status=401)
        # Some open a WebSocket for events and another one for calls.
        takes_calls = request.headers.get("x-client-role", "").lower() != "event"
        return partial(self._read, takes_calls=takes_calls)

    async def _read(self, socket: PlatformSocket, *, takes_calls: bool) -> None:
        """Read on, though the store may be away: answers to calls come this way too."""
        if takes_calls:
            self._calls.opened(socket)
        logger.info("connected", extra={"event": "onebot_connected"})
        try:
            while (text := await socket.receive()) is not None:
                raw = read_text(text)
                if raw is None:
                    logger.warning("skipped: no JSON object", extra={"event": "update_skipped"})
                elif self._calls.answered(raw):
                    # At once: the next text may be somebody's reply to it.
                    self._remember(raw.get("data"))
                elif event := self._event_of(raw):
                    await self._unstored.put(event)
        finally:
            if takes_calls:
                self._calls.closed(socket)
            logger.info("disconnected", extra={"event": "onebot_disconnected"})
        # A server that stops waits a while for this.
        await self._unstored.join()

    async def listen(self) -> AsyncIterator[InboundEvent]:
        """What came through WebSockets, in its order; first what could not be stored before."""
        while True:
            if self._told is None:
                self._told = await self._unstored.get()
            yield self._told
            # Here it is stored.
            self._told = None
            self._unstored.task_done()

    async def receive_webhook(self, request: WebhookRequest) -> WebhookReply:
        """Read a post; X-Signature is the HMAC-SHA1 of its body.

        Raises:
            WebhookRejected: 401 not signed, 404 posts are not expected, 400, 405, 413.
        """
        check_form(self.channel, request)
        secret = self._settings.secret.get_secret_value()
        if not secret:
            raise WebhookRejected(self.channel, "secret is not set, so no posts", status=404)
        digest = hmac.new(secret.encode(), request.body, hashlib.sha1).hexdigest()
        given = request.headers.get("x-signature", "").encode(errors="replace")
        if not hmac.compare_digest(given, f"sha1={digest}".encode()):
            raise WebhookRejected(self.channel, "x-signature: it is another one", status=401)
        raw = read_object(self.channel, request.body)
        if not isinstance(raw.get("post_type"), str):
            raise WebhookRejected(self.channel, "post_type: is missing", status=400)
        event = self._event_of(raw)
        return WebhookReply(events=() if event is None else (event,), status=204)

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        """Send a message; in a group it names the member whom it answers.

        Raises:
            ChannelUnavailable: Nobody is connected, or QQ does not let it now.
            ChannelUnauthorized: The access_token is refused.
            MessageRejected: There is nothing to be seen, or no such chat.
        """
        text = to_plain_text(message)
        if not text:
            raise MessageRejected(self.channel, "the text shows nothing")
        kind, _, number = message.conversation.chat.partition(":")
        if kind not in (GROUP, PRIVATE) or not number.isdecimal():
            raise MessageRejected(self.channel, "no chat of OneBot's")
        said = [segment("text", text=text)]
        if kind == GROUP and (member := message.conversation.member):
            said = [segment("at", qq=member), segment("text", text=f" {text}")]
        if message.in_reply_to:
            said.insert(0, segment("reply", id=message.in_reply_to))
        name = "group_id" if kind == GROUP else "user_id"
        found = await self._call(f"send_{kind}_msg", {name: int(number), "message": said})
        self._remember(found)
        return DeliveryReceipt((str(found["message_id"]),) if "message_id" in found else ())

    async def fetch(self, attachment: Attachment) -> bytes:
        """The bytes behind an attachment's address.

        Raises:
            ChannelUnavailable, ChannelUnauthorized, MessageRejected: See `RestApi.download`.
        """
        return await self._files.download(attachment.url)

    async def _call(self, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if self._calls.is_open or self._api is None:
            return await self._calls.call(action, params)
        return await call_http(self._api, self.channel, self._token, action, params)

    def _event_of(self, raw: Mapping[str, Any]) -> InboundEvent | None:
        if isinstance(raw.get("self_id"), int | str):
            self._me = str(raw["self_id"])
        return event_of(raw, self.channel, self._sent)

    def _remember(self, done: object) -> None:
        """Know the bot's own message again, if the data of an answer names one."""
        if not isinstance(done, Mapping) or "message_id" not in done:
            return
        self._sent[f"{self._me}:{done['message_id']}"] = None
        while len(self._sent) > _REMEMBERED:
            del self._sent[next(iter(self._sent))]
