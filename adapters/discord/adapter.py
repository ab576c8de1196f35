"""The Discord adapter: hears through the gateway, speaks through the HTTP API."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp

from adapters.discord.faults import CONTENT_REFUSED, MAY_NOT_REPLY, fault_of_answer
from adapters.discord.gateway import Dispatch, Gateway
from adapters.discord.reading import Reader, is_id, is_press
from adapters.discord.rendering import TEXT_LENGTH, content_of, rows_of
from adapters.discord.settings import DiscordSettings
from adapters.rest import LONGEST_RETRY_AFTER_SECONDS, RestApi
from kfbot.adapter import Capabilities, ChannelAdapter
from kfbot.errors import ChannelError, ChannelUnauthorized, ChannelUnavailable, MessageRejected
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
#: No previews of links.
_SUPPRESS_EMBEDS = 1 << 2
_TAKEN_LATER = 6
#: Discord refuses calls of clients that do not name themselves so.
_AGENT = "DiscordBot (https://discord.com/developers/docs, 1)"
_NONCE_LENGTH = 25
#: A connection that ends sooner is a fault.
_SHORT_SECONDS = 5.0
#: Where Discord keeps files.
_FILE_HOSTS = {"cdn.discordapp.com", "media.discordapp.net"}


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
        self._headers = {"authorization": f"Bot {token}", "user-agent": _AGENT}
        self._api = RestApi(
            channel,
            settings.api_base,
            timeout_seconds=settings.timeout_seconds,
            fault_of=lambda status, headers, raw: fault_of_answer(channel, status, headers, raw),
        )
        intents = _INTENTS | (_CONTENT_INTENT if settings.message_content else 0)
        self._gateway = Gateway(channel, token, intents)
        self._reader = Reader(channel)
        self._http: aiohttp.ClientSession | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        await self._api.open()
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._api.close()
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def check(self) -> str:
        """The bot's name, and what it sees in servers.

        Raises:
            ChannelUnavailable: Discord did not answer.
            ChannelUnauthorized: The token is refused, texts of messages are not allowed, or
                presses of buttons go elsewhere.
        """
        app = await self._call("GET", "/applications/@me")
        flags, bot = app.get("flags"), app.get("bot")
        may_read = isinstance(flags, int) and bool(flags & _MAY_READ)
        if self._settings.message_content and not may_read:
            raise ChannelUnauthorized(self.channel, CONTENT_REFUSED)
        if app.get("interactions_endpoint_url"):
            reason = "clear Interactions Endpoint URL in the developer portal: buttons go there"
            raise ChannelUnauthorized(self.channel, reason)
        name = bot.get("username") if isinstance(bot, dict) else app.get("name")
        sees = "everything" if self._settings.message_content else "mentions"
        return f"{name}, sees in servers {sees}"

    # Receiving

    async def listen(self) -> AsyncIterator[InboundEvent]:
        """What happens where the bot is; after a break Discord tells again what was not stored.

        Raises:
            ChannelUnavailable: There is no connection; the core opens another one.
            ChannelUnauthorized: The token or an intent is refused.
        """
        if self._http is None:
            raise ChannelUnavailable(self.channel, "is not open")
        while True:
            address = self._gateway.resume_url or await self._find_gateway()
            began = time.monotonic()
            async for dispatch in self._gateway.dispatches(self._http, address):
                self._reader.take_note(dispatch)
                await self._learn_place(dispatch)
                for event in self._reader.events_of(dispatch):
                    yield event
                # Here it is stored.
                self._confirm_press(dispatch)
            # Discord ends connections now and then to have them opened anew.
            if time.monotonic() - began < _SHORT_SECONDS:
                raise ChannelUnavailable(self.channel, "Discord ended the connection at once")

    async def _find_gateway(self) -> str:
        found = await self._call("GET", "/gateway/bot")
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
                found = await self._call("GET", f"/channels/{place}")
            self._reader.learn_place(found, place)

    def _confirm_press(self, dispatch: Dispatch) -> None:
        """Tell Discord that a press was heard, which it wants within 3 s; nothing waits for it."""
        if dispatch.name != "INTERACTION_CREATE" or not is_press(dispatch.data):
            return
        number, token = (quote(str(dispatch.data.get(name)), safe="") for name in ("id", "token"))
        path = f"/interactions/{number}/{token}/callback"
        task = asyncio.create_task(self._attempt(path, {"type": _TAKEN_LATER}))
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
        path = f"/channels/{self._destination(message.conversation)}/messages"
        # Within some minutes Discord answers the same one with the message that it already has.
        nonce = hashlib.sha256(message.id.encode(errors="replace")).hexdigest()[:_NONCE_LENGTH]
        body = self._body(message) | {"nonce": nonce, "enforce_nonce": True}
        reply = _reference(message)
        try:
            sent = await self._call("POST", path, body | reply)
        except MessageRejected as error:
            if not reply or f" {MAY_NOT_REPLY}:" not in str(error):
                raise
            sent = await self._call("POST", path, body)
        number = sent.get("id")
        return DeliveryReceipt((number,) if isinstance(number, str) else ())

    async def edit(self, receipt: DeliveryReceipt, message: OutboundMessage) -> None:
        """Replace a message that was sent.

        Raises:
            ChannelUnavailable: No answer in time, 429, 5xx.
            ChannelUnauthorized: The token is refused.
            MessageRejected: It is gone, or not allowed there.
        """
        if not receipt.platform_ids:
            await self.send(message)
            return
        number = receipt.platform_ids[0]
        path = f"/channels/{self._destination(message.conversation)}/messages/{number}"
        await self._call("PATCH", path, self._body(message))

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
        # It has no need of the token.
        return await self._api.download(attachment.url)

    async def show_typing(self, conversation: ConversationId) -> None:
        """Show for ten seconds that the bot is writing; a failure is logged."""
        with suppress(MessageRejected):
            await self._attempt(f"/channels/{self._destination(conversation)}/typing", None)

    def _body(self, message: OutboundMessage) -> dict[str, Any]:
        member = message.conversation.member or ""
        # Nobody would see in a busy channel for whom an agent's answer is.
        is_late = message.sender.role == "agent" and not _reference(message)
        called = [member] if is_id(member) and is_late else []
        content = content_of(message, "".join(f"<@{one}> " for one in called))
        if not content:
            raise MessageRejected(self.channel, "there is no text, or too much")
        return {
            "content": content,
            "components": rows_of(message.buttons, member if is_id(member) else ""),
            "allowed_mentions": {"parse": [], "users": called, "replied_user": False},
            "flags": _SUPPRESS_EMBEDS,
        }

    def _destination(self, conversation: ConversationId) -> str:
        place = conversation.thread or conversation.chat
        if not is_id(place):
            raise MessageRejected(self.channel, "no channel of Discord's")
        return place

    async def _attempt(self, path: str, body: object) -> None:
        """Call for something on which nothing depends."""
        try:
            await self._call("POST", path, body)
        except ChannelError as error:
            logger.info("not shown: %s", error, extra={"event": "discord_not_shown"})

    async def _call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        return await self._api.call(method, path, body=body, headers=self._headers)


def _reference(message: OutboundMessage) -> dict[str, Any]:
    replied_to = message.in_reply_to or ""
    if not is_id(replied_to):
        return {}
    return {"message_reference": {"message_id": replied_to, "fail_if_not_exists": False}}
