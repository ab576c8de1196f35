"""Chatwoot, as an agent bot that hands over to the agents there: docs/chatwoot.md."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import SecretStr

from adapters.chatwoot.reading import WIDGET, Reader
from adapters.chatwoot.rendering import to_body, to_note
from adapters.chatwoot.settings import ChatwootSettings
from adapters.requests import check_form, read_object
from adapters.rest import RestApi
from kfbot.adapter import Capabilities, ChannelAdapter, WebhookReply, WebhookRequest
from kfbot.errors import (
    ChannelError,
    ChannelUnauthorized,
    ChannelUnavailable,
    MessageRejected,
    WebhookRejected,
)
from kfbot.messages import ConversationId, DeliveryReceipt, OutboundMessage

logger = logging.getLogger(__name__)

#: A payload holds the conversation and, of a mail, its text several times over.
BODY_BYTES = 1024 * 1024
#: A request may be so old, or early.
REPLAY_SECONDS = 300
#: Facebook takes no more in one message, and Chatwoot does not split.
TEXT_LENGTH = 2000
#: Messages whose steps, and chats whose inboxes, are remembered.
REMEMBERED = 10_000
#: Chatwoot takes 200 messages a minute in a conversation.
_FLOODED = "too many messages"
_CHAT = re.compile(r"([1-9][0-9]{0,18})/([1-9][0-9]{0,18})")
_STATUS = {"handoff": "open", "handback": "pending", "resolved": "resolved"}

_Value = TypeVar("_Value")
_Call = Callable[[], Awaitable[dict[str, Any]]]


class ChatwootAdapter(ChannelAdapter):
    """One agent bot, in the inboxes that it is connected to.

    Chatwoot drops no repeats of what is sent: a message that it took while its answer was lost
    is there twice. Of a message that takes several calls those that were done are not repeated
    while this process lives.
    """

    settings_type = ChatwootSettings
    capabilities = Capabilities(
        text_length=TEXT_LENGTH, buttons=True, typing=True, help_desk=True
    )  # fmt: skip

    def __init__(self, channel: str, settings: ChatwootSettings) -> None:
        super().__init__(channel, settings)
        self._settings = settings
        self._api = RestApi(channel, settings.base_url)
        self._reader = Reader(channel, settings.account_ids)
        #: The type of its inbox, by chat.
        self._inboxes: OrderedDict[str, str] = OrderedDict()
        #: By message id, the steps that were done, and what Chatwoot calls what they made.
        self._done: OrderedDict[str, dict[str, str]] = OrderedDict()
        #: Whether this Chatwoot lets a bot show that it types.
        self._shows_typing = True

    async def open(self) -> None:
        await self._api.open()

    async def close(self) -> None:
        await self._api.close()

    async def check(self) -> str:
        """Try the token in each account, at a conversation that no account has.

        Raises:
            ChannelUnauthorized: The token is refused, or no Chatwoot is at base_url.
            ChannelUnavailable: It cannot be asked now.
        """
        for account in self._settings.account_ids:
            try:
                await self._call(f"{account}/0", "toggle_status", {"status": "pending"})
            except MessageRejected as error:
                # Chatwoot itself says in JSON what it does not find.
                if "404:" not in str(error):
                    reason = f"base_url: no Chatwoot is there: {self._said(error)}"
                    raise ChannelUnauthorized(self.channel, reason) from None
            except ChannelUnauthorized as error:
                reason = f"copy the agent bot's token: in account {account} {self._said(error)}"
                raise ChannelUnauthorized(self.channel, reason) from None
        accounts = ", ".join(map(str, self._settings.account_ids))
        return f"an agent bot in account {accounts}"

    def _said(self, error: ChannelError) -> str:
        return str(error).removeprefix(f"channel {self.channel}: ")

    async def receive_webhook(self, request: WebhookRequest) -> WebhookReply:
        """Check and read one event; whatever is refused Chatwoot gives to its agents.

        Raises:
            WebhookRejected: 400 malformed, 401 not signed or too old, 403 of another account,
                405 not a POST, 413 too long.
        """
        check_form(self.channel, request, most_bytes=BODY_BYTES)
        if not self._is_chatwoots(request):
            raise WebhookRejected(self.channel, "not signed by Chatwoot, or too old", status=401)
        payload = read_object(self.channel, request.body)
        told = self._reader.read(payload, request.headers.get("x-chatwoot-delivery", ""))
        if told.inbox:
            _remember(self._inboxes, told.chat, told.inbox)
        return WebhookReply(events=() if told.event is None else (told.event,))

    def _is_chatwoots(self, request: WebhookRequest) -> bool:
        """True where every secret of the settings was used."""
        signed, in_url = self._settings.webhook_secret, self._settings.url_secret
        if in_url is not None:
            given = request.query.get("secret", "").encode(errors="replace")
            if not hmac.compare_digest(given, in_url.get_secret_value().encode()):
                return False
        return signed is None or _is_signed(request, signed, time.time())

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        """Do everything that a message stands for.

        A handoff: the note, the team, the sentence, the status. What Chatwoot refuses of it does
        not keep the customer from the agents.

        Raises:
            ChannelUnavailable: No answer in time, a limit, or a fault of Chatwoot's own.
            ChannelUnauthorized: The token is refused.
            MessageRejected: The conversation is gone, or Chatwoot does not take the text.
        """
        chat = message.conversation.chat
        if _CHAT.fullmatch(chat) is None:
            raise MessageRejected(self.channel, "its conversation is none of Chatwoot's")
        done = self._done.get(message.id, {})
        _remember(self._done, message.id, done)
        refused: MessageRejected | None = None
        steps = self._steps(message)
        for step, call in steps.items():
            if step in done:
                continue
            try:
                done[step] = str((await call()).get("id") or "")
            except MessageRejected as error:
                logger.warning("%s: %s", step, error, extra={"event": "step_refused"})
                done[step] = ""
                if step != "note" or len(steps) == 1:
                    refused = refused or error
        del self._done[message.id]
        if refused is not None:
            raise refused
        return DeliveryReceipt((done["text"],) if done.get("text") else ())

    def _steps(self, message: OutboundMessage) -> dict[str, _Call]:
        """The calls that a message takes, in order.

        The status is the last one: when the conversation is the agents', nothing is left to do.
        """
        chat, steps = message.conversation.chat, dict[str, _Call]()
        body = to_body(message, is_widget=self._inboxes.get(chat) == WIDGET)
        if message.note:
            note = to_note(message.note)
            steps["note"] = lambda: self._call(chat, "messages", note)
        # Where nothing is said an agent has taken it: nobody is looked for.
        if message.note and message.kind == "handoff" and body["content"]:
            steps |= {"team": lambda: self._assign(chat)} if self._settings.team_id else {}
        if body["content"]:
            steps["text"] = lambda: self._call(chat, "messages", body)
        if (status := _status(message)) is not None:
            steps["status"] = lambda: self._call(chat, "toggle_status", {"status": status})
        if not steps:
            raise MessageRejected(self.channel, "there is nothing in the message")
        return steps

    async def _assign(self, chat: str) -> dict[str, Any]:
        try:
            return await self._call(chat, "assignments", {"team_id": self._settings.team_id})
        except ChannelError as error:
            # Any agent is better than none.
            logger.warning("not assigned: %s", error, extra={"event": "team_refused"})
            return {}

    async def show_typing(self, conversation: ConversationId) -> None:
        """Show that an answer is on its way, where Chatwoot lets bots do so."""
        if not self._shows_typing or _CHAT.fullmatch(conversation.chat) is None:
            return
        try:
            await self._call(conversation.chat, "toggle_typing_status", {"typing_status": "on"})
        except ChannelUnavailable:
            return
        except ChannelError as error:
            self._shows_typing = False
            logger.info("typing is not shown: %s", error, extra={"event": "typing_not_shown"})

    async def _call(self, chat: str, action: str, body: dict[str, Any]) -> dict[str, Any]:
        account, _, number = chat.partition("/")
        try:
            return await self._api.call(
                "POST",
                f"/api/v1/accounts/{account}/conversations/{number}/{action}",
                body=body,
                headers={"api_access_token": self._settings.bot_token.get_secret_value()},
            )
        except MessageRejected as error:
            if _FLOODED not in str(error).lower():
                raise
            reason = "too many messages in this conversation"
            raise ChannelUnavailable(self.channel, reason, retry_after_seconds=60.0) from None


def _status(message: OutboundMessage) -> str | None:
    """What the conversation is to be after a message; None: what it is."""
    if message.sender.role == "agent":
        # Who has it at our own desk has it there too.
        return "open"
    # Of a long sentence only the last part has the note.
    is_part = message.kind == "handoff" and not message.note
    return None if is_part else _STATUS.get(message.kind)


def _is_signed(request: WebhookRequest, secret: SecretStr, now: float) -> bool:
    """By the rules of lib/webhooks/trigger.rb: over the time, a point and the body."""
    timestamp = request.headers.get("x-chatwoot-timestamp", "")
    if not re.fullmatch(r"[0-9]{1,12}", timestamp) or abs(now - int(timestamp)) > REPLAY_SECONDS:
        return False
    signed = timestamp.encode() + b"." + request.body
    digest = hmac.new(secret.get_secret_value().encode(), signed, hashlib.sha256).hexdigest()
    given = request.headers.get("x-chatwoot-signature", "").encode(errors="replace")
    return hmac.compare_digest(given, f"sha256={digest}".encode())


def _remember(memory: OrderedDict[str, _Value], key: str, value: _Value) -> None:
    """Keep a value as the newest; the oldest are forgotten."""
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > REMEMBERED:
        memory.popitem(last=False)


ADAPTER = ChatwootAdapter
