"""Slack, by the Events API over HTTP or by Socket Mode: docs/slack.md."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.signature import SignatureVerifier
from slack_sdk.web.async_client import AsyncWebClient

from adapters.slack.blocks import to_arguments
from adapters.slack.calls import ask_name, check_agents_chat, data, is_in_thread
from adapters.slack.calls import title as thread_title
from adapters.slack.faults import code_of, is_elsewhere, mapped
from adapters.slack.files import download, is_slacks
from adapters.slack.people import People
from adapters.slack.routing import Identity, Routing
from adapters.slack.settings import SlackSettings
from adapters.slack.sockets import Envelope, Sockets
from adapters.slack.threads import Threads
from kfbot.adapter import Capabilities, ChannelAdapter, WebhookReply, WebhookRequest
from kfbot.errors import (
    ChannelError,
    ChannelUnavailable,
    MessageRejected,
    WebhookRejected,
)
from kfbot.messages import (
    Attachment,
    ConversationId,
    DeliveryReceipt,
    InboundEvent,
    OutboundMessage,
)

logger = logging.getLogger(__name__)

#: Slack's events are smaller.
BODY_BYTES = 1024 * 1024
#: Shorter than what the core gives a send.
TIMEOUT_SECONDS = 10.0
#: Slack shows up to 40,000, and reads best up to this; blocks take some more for their marks.
TEXT_LENGTH = 4000


class SlackAdapter(ChannelAdapter):
    """One app in one workspace.

    Slack drops no repeats of what is sent (`client_msg_id` is not honoured): a message that it
    took while its answer was lost is sent twice.
    """

    settings_type = SlackSettings
    streams = 8
    capabilities = Capabilities(
        text_length=TEXT_LENGTH,
        buttons=True,
        edit=True,
        edit_interval_seconds=1.5,
        # chat.update is of tier 3: "50+ per minute", for the app in a workspace.
        edits_per_minute=50,
        files=True,
        typing=True,
        threads=True,
        seconds_per_chat=1.0,
    )

    def __init__(self, channel: str, settings: SlackSettings) -> None:
        super().__init__(channel, settings)
        self._settings = settings
        secret = settings.signing_secret
        self._signatures = SignatureVerifier(secret.get_secret_value()) if secret else None
        self._threads = Threads(channel, self._is_in_thread)
        self._people = People(channel, self._ask_name)
        self._routing = Routing(
            channel,
            self._threads,
            self._identify,
            agents_chat=settings.agents_chat,
            name_of=self._people.name_of,
        )
        self._session: aiohttp.ClientSession | None = None
        self._web: AsyncWebClient | None = None
        self._sockets: Sockets | None = None
        self._bot = ""
        self._identifying = asyncio.Lock()
        #: Whether Slack takes a status at all.
        self._shows_typing = True

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._web = AsyncWebClient(
            token=self._settings.bot_token.get_secret_value(),
            base_url=self._settings.api_base,
            session=self._session,
            timeout=int(TIMEOUT_SECONDS),
            # A message that Slack took just before the connection broke would be sent twice.
            retry_handlers=[],
            logger=_quiet_logger(),
        )

    async def close(self) -> None:
        if self._sockets is not None:
            await self._sockets.close()
        if self._session is not None:
            await self._session.close()
        self._session = self._web = self._sockets = None
        self._bot = ""

    async def check(self) -> str:
        """Try both tokens and the agents' channel; the signing secret shows when Slack calls.

        Raises:
            ChannelUnauthorized: Slack refuses a token, or the bot is not with the agents.
            ChannelUnavailable: It cannot be asked now.
        """
        if self._web is None:
            async with self:
                return await self.check()
        identity = await self._identify()
        if self._settings.is_socket:
            await self._open_address()
        if self._settings.agents_chat:
            await check_agents_chat(self._opened(), self.channel, self._settings.agents_chat)
        place = f" in {identity.team}" if identity.team else ""
        return f"{identity.user or identity.user_id}{place}"

    async def listen(self) -> AsyncIterator[InboundEvent]:
        """Find out who we are; then, in socket mode, events, acknowledged once stored."""
        if self._session is None:
            raise ChannelUnavailable(self.channel, "is not open")
        async with self._identifying:
            if not self._bot:
                await self._identify()
        if not self._settings.is_socket:
            return
        if self._sockets is None:
            self._sockets = Sockets(self.channel, self._session, self._open_address)
        async for envelope in self._sockets.envelopes():
            async for event in self._events_of(envelope):
                yield event

    async def _events_of(self, envelope: Envelope) -> AsyncIterator[InboundEvent]:
        try:
            routed = await self._routing.route(dict(envelope.payload), mode="socket_mode")
        except ValueError as error:
            # It would be no better a second time.
            logger.warning("left out: %s", error, extra={"event": "envelope_malformed"})
            await envelope.acknowledge()
            return
        for event in routed.events:
            yield event
        if routed.response.status < 500:
            await envelope.acknowledge()

    async def receive_webhook(self, request: WebhookRequest) -> WebhookReply:
        """Check and read one request of Slack: an event, a pressed button, a command.

        Raises:
            WebhookRejected: 400 malformed, 401 not signed by Slack or over five minutes old,
                404 in socket mode, 405 not a POST, 413 too long.
        """
        if self._settings.is_socket:
            raise WebhookRejected(self.channel, 'mode = "socket": Slack does not call', status=404)
        if request.method != "POST":
            raise WebhookRejected(self.channel, "only POST is answered", status=405)
        if len(request.body) > BODY_BYTES:
            raise WebhookRejected(self.channel, f"body: over {BODY_BYTES} bytes", status=413)
        if not self._is_signed(request):
            raise WebhookRejected(self.channel, "not signed by Slack, or too old", status=401)
        try:
            routed = await self._routing.route(
                request.body.decode(), mode="http", headers=request.headers
            )
        except ValueError as error:
            raise WebhookRejected(self.channel, str(error), status=400) from None
        except ChannelError as error:
            logger.warning("Slack has to call again: %s", error, extra={"event": "not_identified"})
            return WebhookReply(status=503)
        response = routed.response
        return WebhookReply(
            events=routed.events,
            status=response.status,
            body=(response.body or "").encode(),
            headers=response.first_headers_without_set_cookie(),
        )

    def _is_signed(self, request: WebhookRequest) -> bool:
        timestamp = request.headers.get("x-slack-request-timestamp", "")
        signature = request.headers.get("x-slack-signature", "")
        # The library stumbles over what is no number, no ASCII and no UTF-8.
        if not (timestamp.isascii() and timestamp.isdigit() and signature.isascii()):
            return False
        try:
            body = request.body.decode()
        except UnicodeDecodeError:
            return False
        verifier = self._signatures
        return verifier is not None and verifier.is_valid(body, timestamp[:20], signature)

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        """Post the message, in its thread.

        Raises:
            ChannelUnavailable: No answer in time, a limit, or a fault of Slack's own.
            ChannelUnauthorized: The token or its scopes are refused.
            MessageRejected: The channel is gone, or Slack does not take the text.
        """
        web = self._opened()
        arguments = self._arguments(message)
        thread = message.conversation.thread
        if thread:
            arguments["thread_ts"] = thread
        try:
            posted = await self._posted(web, arguments)
        except MessageRejected as error:
            # A command can be given where the bot is not: who gave it is answered directly.
            member = message.conversation.member
            if member is None or not is_elsewhere(error):
                raise
            posted = await self._posted(web, arguments | {"channel": member})
        if thread:
            self._threads.join(message.conversation.chat, thread)
        ts = posted.get("ts")
        return DeliveryReceipt((ts,) if isinstance(ts, str) else ())

    async def _posted(self, web: AsyncWebClient, arguments: dict[str, Any]) -> Mapping[str, Any]:
        with mapped(self.channel):
            return await self._without_bad_blocks(web, "chat.postMessage", arguments)

    async def open_thread(self, chat: str, title: str) -> str:
        """Post the message that a thread hangs on; returns its ts.

        Raises:
            ChannelUnavailable: No answer in time, a limit, or a fault of Slack's own.
            ChannelUnauthorized: The token or its scopes are refused.
            MessageRejected: The bot is not in the channel, or the channel is gone.
        """
        with mapped(self.channel):
            posted = data(
                await self._opened().api_call("chat.postMessage", json=thread_title(chat, title))
            )
        ts = posted.get("ts")
        if not isinstance(ts, str):
            raise ChannelUnavailable(self.channel, "Slack names no message to begin a thread at")
        return ts

    async def rename_thread(self, conversation: ConversationId, title: str) -> None:
        """Change the message that a thread hangs on.

        Raises:
            ChannelError: Slack does not do it.
        """
        if conversation.thread is not None:
            changed = thread_title(conversation.chat, title) | {"ts": conversation.thread}
            with mapped(self.channel):
                await self._opened().api_call("chat.update", json=changed)

    async def edit(self, receipt: DeliveryReceipt, message: OutboundMessage) -> None:
        """Replace a message by chat.update.

        Raises:
            ChannelUnavailable: No answer in time, a limit, or a fault of Slack's own.
            ChannelUnauthorized: The token or its scopes are refused.
            MessageRejected: Slack has no such message of ours, or does not take the text.
        """
        if not receipt.platform_ids:
            raise MessageRejected(self.channel, "Slack gave this message no id to edit it by")
        web = self._opened()
        arguments = self._arguments(message) | {"ts": receipt.platform_ids[0]}
        # Buttons that the new text has not are to go.
        arguments.setdefault("blocks", [])
        with mapped(self.channel):
            await self._without_bad_blocks(web, "chat.update", arguments)

    async def show_typing(self, conversation: ConversationId) -> None:
        """Show "is typing…" in a thread, where Slack lets the app do so."""
        if self._web is None or not conversation.thread or not self._shows_typing:
            return
        try:
            with mapped(self.channel):
                await self._web.assistant_threads_setStatus(
                    channel_id=conversation.chat,
                    thread_ts=conversation.thread,
                    status="is typing…",
                )
        except ChannelUnavailable:
            return
        except ChannelError as error:
            self._shows_typing = False
            logger.info("typing is not shown: %s", error, extra={"event": "typing_not_shown"})

    async def fetch(self, attachment: Attachment) -> bytes:
        """The bytes of a shared file, of Slack's own servers only, at most 50 MB.

        Raises:
            ChannelUnavailable: Not now.
            MessageRejected: It is gone, too large, elsewhere, or the token may not read files.
        """
        self._opened()
        if self._session is None or not is_slacks(attachment.url, self._settings.api_base):
            raise MessageRejected(self.channel, "the file is not at Slack")
        token = self._settings.bot_token.get_secret_value()
        return await download(self._session, attachment.url, channel=self.channel, token=token)

    def _opened(self) -> AsyncWebClient:
        if self._web is None:
            raise ChannelUnavailable(self.channel, "is not open")
        return self._web

    def _arguments(self, message: OutboundMessage) -> dict[str, Any]:
        arguments = to_arguments(message)
        if not arguments["text"]:
            raise MessageRejected(self.channel, "there is nothing in the message")
        # Names in the text stay text, and its links are not unfolded.
        return arguments | {
            "channel": message.conversation.chat,
            "parse": "none",
            "link_names": False,
            "unfurl_links": False,
            "unfurl_media": False,
        }

    async def _without_bad_blocks(
        self, web: AsyncWebClient, method: str, arguments: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Call; if Slack does not like the form of the message, once more as text alone."""
        try:
            return data(await web.api_call(method, json=dict(arguments)))
        except SlackApiError as error:
            if not code_of(error).startswith("invalid_blocks"):
                raise
            logger.error("Slack takes no such blocks", extra={"event": "blocks_refused"})
            plain = {name: value for name, value in arguments.items() if name != "blocks"}
            return data(await web.api_call(method, json=plain))

    async def _identify(self) -> Identity:
        """Who our token stands for, which from now on is known."""
        web = self._opened()
        with mapped(self.channel):
            answer = data(await web.auth_test())
        identity = Identity(
            user_id=str(answer.get("user_id") or ""),
            team_id=str(answer.get("team_id") or ""),
            enterprise_id=str(answer.get("enterprise_id") or ""),
            user=str(answer.get("user") or ""),
            team=str(answer.get("team") or ""),
        )
        self._bot = identity.user_id
        self._routing.introduce(identity)
        return identity

    async def _ask_name(self, user: str) -> str:
        return await ask_name(self._opened(), self.channel, user)

    async def _open_address(self) -> str:
        token = self._settings.app_token
        web = self._opened()
        with mapped(self.channel, setting="app_token"):
            answer = data(
                await web.apps_connections_open(app_token=token.get_secret_value() if token else "")
            )
        return str(answer.get("url") or "")

    async def _is_in_thread(self, chat: str, thread: str) -> bool:
        return await is_in_thread(self._opened(), chat, thread, self._bot)


def _quiet_logger() -> logging.Logger:
    # The SDK logs what is sent, and prepares that even where nobody wants it.
    quiet = logging.getLogger(f"{__name__}.sdk")
    quiet.setLevel(logging.WARNING)
    return quiet


ADAPTER = SlackAdapter
