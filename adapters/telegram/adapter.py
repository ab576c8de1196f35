"""Telegram: one bot with its private chats, groups and topics, by long polling or a webhook."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from adapters.telegram import forum
from adapters.telegram.api import POLL_SECONDS, BotApi, ChatMoved
from adapters.telegram.payloads import WANTED, Update
from adapters.telegram.reading import Reader
from adapters.telegram.rendering import LIMIT, TEXT_LENGTH, keyboard, to_html, to_plain, units
from adapters.telegram.settings import TelegramSettings
from adapters.telegram.updates import FILE_SCHEME, GENERAL
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

#: Telegram allows 20 messages a minute in a group, 1 a second in other chats; a little less goes
#: out, since what leaves here evenly does not arrive there so.
GROUP_SECONDS = 3.1
CHAT_SECONDS = 1.1
#: After an empty answer of a server that does not hold the line.
_EMPTY_PAUSE_SECONDS = 0.05
_JSON = {"content-type": "application/json"}


class TelegramAdapter(ChannelAdapter):
    """Asks Telegram for updates, or is told them; sends by sendMessage."""

    settings_type = TelegramSettings
    capabilities = Capabilities(
        text_length=TEXT_LENGTH,
        buttons=True,
        edit=True,
        # In groups `seconds_between` keeps them further apart: edits count as messages do.
        edit_interval_seconds=CHAT_SECONDS,
        files=True,
        typing=True,
        threads=True,
        replies=True,
        # At most 27 leave in a second: Telegram allows 30, but they do not arrive evenly.
        rate_per_second=23,
        burst=4,
        seconds_per_chat=CHAT_SECONDS,
    )

    def __init__(self, channel: str, settings: TelegramSettings) -> None:
        super().__init__(channel, settings)
        self._settings = settings
        self._api: BotApi | None = None
        self._reader = Reader(channel, settings.token.get_secret_value(), settings.agents_chat)
        #: Groups that became supergroups, as far as we were told: old id → new id.
        self._moved: dict[int, int] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        token = self._settings.token.get_secret_value()
        self._api = BotApi(self.channel, token, self._settings.api_base)

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._api is not None:
            await self._api.close_connections()
            self._api = None

    async def check(self) -> str:
        """The bot's name, what it sees in groups, and where its agents are.

        Raises:
            ChannelUnavailable: Telegram did not answer.
            ChannelUnauthorized: The token is refused, or the agents' chat is none yet.
        """
        bot = await self._call("getMe")
        self._reader.introduce(bot)
        sees_all = isinstance(bot, dict) and bot.get("can_read_all_group_messages") is True
        sees = "everything" if sees_all else "commands, mentions and replies"
        found = f"@{self._reader.me.username}, sees in groups {sees}"
        if not (chat := self._settings.agents_chat):
            return found
        agents = await forum.look_at(self._opened(), self.channel, chat, self._reader.me.id)
        return f"{found}; {agents}"

    def seconds_between(self, conversation: ConversationId) -> float:
        """In groups a message takes its share of the 20 a minute."""
        normal = self.capabilities.seconds_per_chat
        in_group = normal and conversation.chat.startswith("-")
        return max(GROUP_SECONDS, normal) if in_group else normal

    # Receiving

    async def listen(self) -> AsyncIterator[InboundEvent]:
        """Updates by long polling; one is confirmed once the core has stored what it means.

        Raises:
            ChannelUnauthorized: The token is refused.
        """
        self._reader.introduce(await self._opened().persist("getMe"))
        logger.info("bot @%s", self._reader.me.username, extra={"event": "telegram_started"})
        await self._find_agents()
        if self._settings.mode == "webhook":
            await self._set_webhook()
            return
        await self._opened().drop_webhook()
        offset: int | None = None
        while True:
            asked_at, before = time.monotonic(), offset
            for raw in await self._poll(offset):
                update_id, update = self._reader.read(raw)
                if update is not None and (event := self._reader.meaning(update)) is not None:
                    yield event
                    # Here the core has stored it, so that the next poll may confirm it.
                    self._confirm_press(update)
                if update_id is not None:
                    # Ordered within a batch; after a week without news the numbers may begin lower.
                    offset = update_id + 1
            if offset == before and time.monotonic() - asked_at < 1.0:
                await asyncio.sleep(_EMPTY_PAUSE_SECONDS)

    async def _poll(self, offset: int | None) -> list[Any]:
        updates = await self._opened().persist(
            "getUpdates", offset=offset, timeout=POLL_SECONDS, allowed_updates=list(WANTED)
        )
        updates = updates if isinstance(updates, list) else []
        self._reader.look_ahead(updates)
        return updates

    async def _find_agents(self) -> None:
        """Learn whether the agents' chat has another id by now than in the settings."""
        if chat := self._settings.agents_chat:
            with suppress(ChannelUnavailable, MessageRejected):
                await self._call_chat("getChat", chat_id=int(chat))

    async def _set_webhook(self) -> None:
        secret = self._settings.webhook_secret
        if self._settings.webhook_url is None or secret is None:
            return
        await self._opened().persist(
            "setWebhook",
            url=self._settings.webhook_url,
            secret_token=secret.get_secret_value(),
            allowed_updates=list(WANTED),
        )

    async def receive_webhook(self, request: WebhookRequest) -> WebhookReply:
        """Read one update.

        Raises:
            WebhookRejected: 404 in polling mode, 405 not a POST, 401 without the secret, 400 no
                update, 425 before we know the bot's name, by which groups call it.
        """
        secret = self._settings.webhook_secret
        if self._settings.mode != "webhook" or secret is None:
            raise WebhookRejected(self.channel, 'set mode = "webhook" to be called', status=404)
        if request.method != "POST":
            raise WebhookRejected(self.channel, "only POST is answered", status=405)
        given = request.headers.get("x-telegram-bot-api-secret-token", "")
        if not hmac.compare_digest(
            given.encode(errors="surrogateescape"), secret.get_secret_value().encode()
        ):
            raise WebhookRejected(self.channel, "the secret token is not ours", status=401)
        update_id, update = self._reader.read(_from_json(request.body))
        if update_id is None:
            raise WebhookRejected(self.channel, "body: is no update", status=400)
        if update is None:
            return WebhookReply()
        await self._ensure_introduced(update)
        event = self._reader.meaning(update)
        if event is None:
            return WebhookReply()
        if update.callback_query is not None:
            # The response may hold a call, which saves one.
            answer = {
                "method": "answerCallbackQuery",
                "callback_query_id": update.callback_query.id,
            }
            return WebhookReply(events=(event,), body=json.dumps(answer).encode(), headers=_JSON)
        return WebhookReply(events=(event,))

    async def _ensure_introduced(self, update: Update) -> None:
        message = update.message or update.edited_message
        may_call_us = message is not None and "@" in message.text + message.caption
        if self._reader.me.username or not may_call_us:
            return
        try:
            self._reader.introduce(await self._call("getMe"))
        except ChannelError as error:
            reason = f"our name is not known yet ({error})"
            # Telegram repeats what was not taken.
            raise WebhookRejected(self.channel, reason, status=425) from None

    def _confirm_press(self, update: Update) -> None:
        """Stop the clock that Telegram shows on the button; nothing waits for it."""
        if update.callback_query is None:
            return
        press = update.callback_query.id
        task = asyncio.create_task(self._attempt("answerCallbackQuery", callback_query_id=press))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    # Sending

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        """Send as Telegram's HTML; as plain text where Telegram cannot read that.

        Raises:
            ChannelUnavailable: No answer in time, 429, 5xx.
            ChannelUnauthorized: The token is refused.
            MessageRejected: Blocked, thrown out, too long, no text.
        """
        if message.conversation.chat == self._settings.agents_chat:
            message = replace(message, text=forum.without_mentions(message.text))
        where = self._destination(message.conversation) | {
            "link_preview_options": {"is_disabled": True},
            "reply_markup": keyboard(message.buttons),
            "reply_parameters": _reply_parameters(message),
        }
        sent = await self._with_form("sendMessage", message, where)
        number = sent.get("message_id") if isinstance(sent, dict) else None
        return DeliveryReceipt((str(number),) if isinstance(number, int) else ())

    async def edit(self, receipt: DeliveryReceipt, message: OutboundMessage) -> None:
        """Replace a message that was sent; one that reads so already stays as it is.

        Raises:
            ChannelUnavailable: No answer in time, 429, 5xx.
            ChannelUnauthorized: The token is refused.
            MessageRejected: It is gone, or cannot be changed any more.
        """
        if not receipt.platform_ids:
            await self.send(message)
            return
        where = {
            "chat_id": self._destination(message.conversation)["chat_id"],
            "message_id": receipt.platform_ids[0],
            "link_preview_options": {"is_disabled": True},
            "reply_markup": keyboard(message.buttons),
        }
        try:
            await self._with_form("editMessageText", message, where)
        except MessageRejected as error:
            if "not modified" not in str(error):
                raise

    async def fetch(self, attachment: Attachment) -> bytes:
        """The bytes of a file, at most 20 MB.

        Raises:
            ChannelUnavailable: Not now.
            MessageRejected: It is no file of Telegram's, or too large.
        """
        if not attachment.url.startswith(FILE_SCHEME):
            raise MessageRejected(self.channel, "the attachment is no file")
        return await self._opened().download(attachment.url.removeprefix(FILE_SCHEME))

    async def show_typing(self, conversation: ConversationId) -> None:
        """Show for five seconds that the bot is writing; a failure is logged."""
        with suppress(MessageRejected):
            where = self._destination(conversation)
            await self._attempt("sendChatAction", action="typing", **where)

    async def open_thread(self, chat: str, title: str) -> str:
        """Begin a topic in a group of agents.

        Raises:
            ChannelUnavailable: No answer in time, 429, 5xx.
            ChannelUnauthorized: The token is refused.
            MessageRejected: The group has no topics, or the bot may not begin any.
        """
        where = self._destination(ConversationId(self.channel, chat))
        return await forum.open_topic(self._call_chat, self.channel, title, where)

    async def rename_thread(self, conversation: ConversationId, title: str) -> None:
        """Give a topic another name.

        Raises:
            ChannelError: It could not be done; nothing depends on it.
        """
        where = self._destination(conversation) | {"name": forum.topic_name(title)}
        await forum.change_topic(self._call_chat, "editForumTopic", where)

    async def close_thread(self, conversation: ConversationId) -> None:
        """Close a topic: only admins write in it any more, the bot among them.

        Raises:
            ChannelError: It could not be done; nothing depends on it.
        """
        where = self._destination(conversation)
        await forum.change_topic(self._call_chat, "closeForumTopic", where)

    async def _with_form(self, method: str, message: OutboundMessage, where: dict[str, Any]) -> Any:
        """Call with the text as HTML, and if that cannot be had or read, as it was written."""
        if markup := to_html(message):
            try:
                return await self._call_chat(method, **where, text=markup, parse_mode="HTML")
            except MessageRejected as error:
                if "parse entities" not in str(error):
                    raise
                logger.warning("%s", error, extra={"event": "telegram_sent_plain"})
        plain = to_plain(message)
        if not plain or units(plain) > LIMIT:
            reason = f"over {LIMIT} units long" if plain else "there is no text"
            raise MessageRejected(self.channel, reason)
        return await self._call_chat(method, **where, text=plain)

    async def _call_chat(self, method: str, *, chat_id: int, **parameters: Any) -> Any:
        """Call with a chat, wherever it has moved."""
        chat_id = self._moved.get(chat_id, chat_id)
        try:
            return await self._call(method, chat_id=chat_id, **parameters)
        except ChatMoved as error:
            logger.warning("%s", error, extra={"event": "telegram_chat_moved"})
            self._moved[chat_id] = error.chat_id
            self._reader.follow(str(chat_id), error.chat_id)
            return await self._call(method, chat_id=error.chat_id, **parameters)

    def _destination(self, conversation: ConversationId) -> dict[str, Any]:
        """Where a conversation takes place.

        Raises:
            MessageRejected: It is no address of Telegram's.
        """
        thread = conversation.thread
        try:
            where = {"chat_id": int(conversation.chat)}
            # Telegram knows the first topic of a forum only by no topic being named.
            if thread is not None and thread != GENERAL:
                where["message_thread_id"] = int(thread)
        except ValueError:
            raise MessageRejected(self.channel, "the address is not Telegram's") from None
        return where

    async def _attempt(self, method: str, **parameters: Any) -> None:
        """Call what nothing depends on."""
        try:
            await self._call(method, **parameters)
        except ChannelError as error:
            logger.info("%s", error, extra={"event": "telegram_call_failed"})

    async def _call(self, method: str, **parameters: Any) -> Any:
        return await self._opened().call(method, **parameters)

    def _opened(self) -> BotApi:
        if self._api is None:
            raise ChannelUnavailable(self.channel, "is not open")
        return self._api


def _reply_parameters(message: OutboundMessage) -> dict[str, Any] | None:
    replied_to = message.in_reply_to
    if replied_to is None or not replied_to.isdecimal():
        return None
    return {"message_id": int(replied_to), "allow_sending_without_reply": True}


def _from_json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
