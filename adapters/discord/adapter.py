"""The Discord adapter: hears through the gateway or is called, speaks through the HTTP API."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp

from adapters.discord.api import DiscordApi
from adapters.discord.commands import fault_of_address, is_registered, register
from adapters.discord.faults import CONTENT_REFUSED
from adapters.discord.gateway import Dispatch, Gateway
from adapters.discord.history import missed
from adapters.discord.interactions import answer_to, check_signature
from adapters.discord.reading import INTERACTION, Reader
from adapters.discord.rendering import TEXT_LENGTH
from adapters.discord.sending import Speaker
from adapters.discord.settings import DiscordSettings
from adapters.discord.tokens import InteractionTokens
from adapters.requests import check_form, read_object
from adapters.rest import LONGEST_RETRY_AFTER_SECONDS
from kfbot.adapter import (
    Capabilities,
    ChannelAdapter,
    KnownConversations,
    WebhookReply,
    WebhookRequest,
)
from kfbot.errors import (
    ChannelError,
    ChannelUnauthorized,
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

#: Servers with their channels and roles, messages there, direct messages.
_INTENTS = 1 << 0 | 1 << 9 | 1 << 12
_CONTENT_INTENT = 1 << 15
#: Flags of an app that may have that intent: allowed by Discord, or for up to 100 servers.
_MAY_READ = 1 << 18 | 1 << 19
#: A connection that ends sooner is a fault.
_SHORT_SECONDS = 5.0
#: Discord takes the first answer to an interaction for so long.
_CONFIRM_SECONDS = 3.0
#: Where Discord keeps files.
_FILE_HOSTS = {"cdn.discordapp.com", "media.discordapp.net"}
#: What was told so shortly before the last dispatch may not have been told in order.
_OVERLAP = timedelta(minutes=1)
_JSON = {"content-type": "application/json"}


class DiscordAdapter(ChannelAdapter):
    """One bot."""

    settings_type = DiscordSettings
    #: Discord takes 50 calls a second of a bot, and in a channel 5 messages in 5 seconds and as
    #: many edits.
    capabilities = Capabilities(
        text_length=TEXT_LENGTH,
        buttons=True,
        edit=True,
        edit_interval_seconds=1.2,
        files=True,
        typing=True,
        threads=True,
        replies=True,
        idempotency_key=True,
        rate_per_second=40.0,
        seconds_per_chat=1.1,
    )

    def __init__(self, channel: str, settings: DiscordSettings) -> None:
        super().__init__(channel, settings)
        self._settings = settings
        token = settings.token.get_secret_value()
        tokens = InteractionTokens(token)
        self._api = DiscordApi(channel, settings)
        self._speaker = Speaker(channel, self._api, tokens)
        intents = _INTENTS | (_CONTENT_INTENT if settings.message_content else 0)
        self._gateway = Gateway(channel, token, intents)
        self._reader = Reader(channel, tokens)
        self._http: aiohttp.ClientSession | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._is_registered = not settings.register_command
        #: Set while something may have been written that the gateway did not tell.
        self._behind = asyncio.Event()
        #: Since when, if so; and how many sessions there have been.
        self._missed_since = datetime.now(UTC)
        self._sessions = 0
        #: When the gateway last told something that is stored.
        self._heard_at: datetime | None = None

    async def open(self) -> None:
        await self._api.open()
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())

    async def close(self) -> None:
        if self._running:
            # Who pressed or asked is not told that nobody answers.
            await asyncio.wait(self._running, timeout=_CONFIRM_SECONDS)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._api.close()
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def check(self) -> str:
        """The bot's name, what it sees in servers, and whether Discord offers its command.

        Raises:
            ChannelUnavailable: Discord did not answer.
            ChannelUnauthorized: The token is refused, texts of messages are not allowed, or
                interactions do not get here.
        """
        settings = self._settings
        app = await self._api.call("GET", "/applications/@me")
        flags, bot = app.get("flags"), app.get("bot")
        by_gateway = settings.mode == "gateway"
        may_read = isinstance(flags, int) and bool(flags & _MAY_READ)
        if by_gateway and settings.message_content and not may_read:
            raise ChannelUnauthorized(self.channel, CONTENT_REFUSED)
        if fault := fault_of_address(app, self.channel, settings.public_key, settings.mode):
            raise ChannelUnauthorized(self.channel, fault)
        name = bot.get("username") if isinstance(bot, dict) else app.get("name")
        sees = "everything" if settings.message_content else "mentions"
        seen = f"sees in servers {sees}" if by_gateway else "by interactions alone"
        offered = "registered"
        if not await is_registered(self._api, str(app.get("id"))):
            wanted = ": kfbot serve does it" if settings.register_command else ""
            offered = f"not registered{wanted}"
        return f"{name}, {seen}, /ask is {offered}"

    # Receiving

    async def listen(self) -> AsyncIterator[InboundEvent]:
        """What happens where the bot is; after a break Discord tells again what was not stored.

        Raises:
            ChannelUnavailable: There is no connection; the core opens another one.
            ChannelUnauthorized: The token or an intent is refused.
        """
        await self._register()
        while self._settings.mode == "gateway":
            if self._http is None:
                raise ChannelUnavailable(self.channel, "is not open")
            address = self._gateway.resume_url or await self._find_gateway()
            began = time.monotonic()
            async for dispatch in self._gateway.dispatches(self._http, address):
                self._reader.take_note(dispatch)
                self._note_session(dispatch)
                await self._learn_place(dispatch)
                events = tuple(self._reader.events_of(dispatch))
                for event in events:
                    yield event
                # Here it is stored.
                self._heard_at = datetime.now(UTC)
                self._confirm(dispatch, is_heard=bool(events))
            # Discord ends connections now and then to have them opened anew.
            if time.monotonic() - began < _SHORT_SECONDS:
                raise ChannelUnavailable(self.channel, "Discord ended the connection at once")

    async def catch_up(self, conversations: KnownConversations) -> AsyncIterator[InboundEvent]:
        """What was written where there are conversations, before each session of the gateway.

        Raises:
            ChannelUnauthorized: The token is refused.
        """
        while self._settings.mode == "gateway" and self._settings.catch_up_minutes:
            await self._behind.wait()
            sessions, since = self._sessions, self._missed_since
            known = await conversations()
            is_ours = partial(self._is_session, sessions)
            async for event in missed(self._api, self._reader, known, since, is_ours):
                yield event
            if is_ours():
                self._behind.clear()

    async def receive_webhook(self, request: WebhookRequest) -> WebhookReply:
        """Read an interaction: the slash command, or a press of a button.

        Raises:
            WebhookRejected: 401 not signed by Discord, or not just now; 400 no interaction; 404
                without a `public_key`; 405 not a POST; 413 too long.
        """
        if not self._settings.public_key:
            raise WebhookRejected(self.channel, "public_key is not set", status=404)
        check_form(self.channel, request)
        check_signature(self.channel, self._settings.public_key, request, time.time())
        data = read_object(self.channel, request.body)
        dispatch = Dispatch(INTERACTION, data)
        self._reader.take_note(dispatch)
        events = tuple(self._reader.events_of(dispatch))
        if (answer := answer_to(data, is_heard=bool(events))) is None:
            raise WebhookRejected(self.channel, "type: is no interaction that is known", status=400)
        return WebhookReply(events=events, body=json.dumps(answer).encode(), headers=_JSON)

    async def _register(self) -> None:
        """Have Discord offer the command; where it refuses that, a person has to look.

        Raises:
            ChannelUnavailable: Not now, and there is nothing else to listen to.
            ChannelUnauthorized: The token is refused.
        """
        if self._is_registered:
            return
        try:
            app = await self._api.call("GET", "/applications/@me")
            if await register(self._api, str(app.get("id"))):
                logger.info("/ask is registered", extra={"event": "discord_command_registered"})
        except (MessageRejected, ChannelUnavailable) as error:
            is_later = isinstance(error, ChannelUnavailable)
            if is_later and self._settings.mode == "interactions":
                raise
            logger.warning(
                "/ask is not registered: %s", error, extra={"event": "discord_command_refused"}
            )
            # Messages do not wait for it: the next time we listen is early enough.
            if is_later:
                return
        self._is_registered = True

    def _note_session(self, dispatch: Dispatch) -> None:
        """What was written before a new session is not told by it."""
        if dispatch.name != "READY":
            return
        since = datetime.now(UTC) - timedelta(minutes=self._settings.catch_up_minutes)
        if self._heard_at is not None:
            since = max(since, self._heard_at - _OVERLAP)
        self._missed_since = min(since, self._missed_since) if self._behind.is_set() else since
        self._sessions += 1
        self._behind.set()

    def _is_session(self, number: int) -> bool:
        return number == self._sessions

    async def _find_gateway(self) -> str:
        found = await self._api.call("GET", "/gateway/bot")
        limit, url = found.get("session_start_limit"), found.get("url")
        if isinstance(limit, dict) and limit.get("remaining") == 0:
            # Discord takes the token away from a bot that goes on.
            wait = limit.get("reset_after")
            seconds = wait / 1000 if isinstance(wait, int) else LONGEST_RETRY_AFTER_SECONDS
            reason = "Discord allows no more sessions today"
            raise ChannelUnavailable(self.channel, reason, retry_after_seconds=seconds)
        if not isinstance(url, str):
            raise ChannelUnavailable(self.channel, "Discord names no gateway")
        return url

    async def _learn_place(self, dispatch: Dispatch) -> None:
        """Learn whether a channel that we were not told of is a thread."""
        if place := self._reader.unknown_place(dispatch):
            found: Mapping[str, Any] = {}
            with suppress(MessageRejected):
                found = await self._api.call("GET", f"/channels/{place}")
            self._reader.learn_place(found, place)

    def _confirm(self, dispatch: Dispatch, *, is_heard: bool) -> None:
        """Answer an interaction, which Discord wants within 3 s; nothing waits for it."""
        if dispatch.name != INTERACTION:
            return
        if (answer := answer_to(dispatch.data, is_heard=is_heard)) is None:
            return
        number, token = (quote(str(dispatch.data.get(name)), safe="") for name in ("id", "token"))
        path = f"/interactions/{number}/{token}/callback"
        task = asyncio.create_task(self._attempt(path, answer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    # Sending

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        """Send as Discord's Markdown; it mentions nobody but whom it is for.

        Raises:
            ChannelUnavailable: No answer in time, 429, 5xx.
            ChannelUnauthorized: The token is refused.
            MessageRejected: Not allowed there, blocked, no text, too long.
        """
        return await self._speaker.send(message)

    async def edit(self, receipt: DeliveryReceipt, message: OutboundMessage) -> None:
        """Replace a message that was sent.

        Raises:
            ChannelUnavailable: No answer in time, 429, 5xx.
            ChannelUnauthorized: The token is refused.
            MessageRejected: It is gone, or not allowed there.
        """
        await self._speaker.edit(receipt, message)

    async def fetch(self, attachment: Attachment) -> bytes:
        """The bytes of an attachment; Discord's address of it is good for a day.

        Raises:
            ChannelUnavailable, ChannelUnauthorized: As for `send`.
            MessageRejected: It is no file of Discord's, gone, or too large.
        """
        try:
            parts, ours = urlsplit(attachment.url), urlsplit(self._settings.api_base)
            is_theirs = parts.scheme == "https" and parts.netloc in _FILE_HOSTS
        except ValueError:
            raise MessageRejected(self.channel, "no file of Discord's") from None
        if not is_theirs and (parts.scheme, parts.netloc) != (ours.scheme, ours.netloc):
            raise MessageRejected(self.channel, "no file of Discord's")
        return await self._api.download(attachment.url)

    async def show_typing(self, conversation: ConversationId) -> None:
        """Show for ten seconds that the bot is writing; a failure is logged."""
        with suppress(MessageRejected):
            await self._attempt(f"/channels/{self._speaker.place_of(conversation)}/typing", None)

    async def _attempt(self, path: str, body: object) -> None:
        """Call for something on which nothing depends."""
        try:
            await self._api.call("POST", path, body)
        except ChannelError as error:
            logger.info("not shown: %s", error, extra={"event": "discord_not_shown"})
