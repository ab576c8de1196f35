"""FeishuAdapter: one app's bot in one organisation."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from adapters.feishu.api import FeishuApi, resource
from adapters.feishu.cards import is_blank, to_card, to_plain_card, to_text
from adapters.feishu.events import Found, meaning, mentions_anybody
from adapters.feishu.faults import FormRefused, TargetGone
from adapters.feishu.sealing import Seal, is_trial
from adapters.feishu.settings import FeishuSettings
from adapters.feishu.wording import address_of
from adapters.rest import to_json
from kfbot.adapter import Capabilities, ChannelAdapter, WebhookReply, WebhookRequest
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
    MessageDeleted,
    MessageReceived,
    OutboundMessage,
)

logger = logging.getLogger(__name__)

#: Feishu waits three seconds for us, so we do not wait long for it.
ASKING_SECONDS = 1.5
#: Messages of which is known where they are, or whose.
REMEMBERED = 10_000
_JSON = {"content-type": "application/json; charset=utf-8"}
_DONE = WebhookReply(body=b"{}", headers=_JSON)


class FeishuAdapter(ChannelAdapter):
    """Takes events over HTTP and answers with cards; Lark is the same at another address."""

    settings_type = FeishuSettings
    capabilities = Capabilities(
        # With marks and sources it stays within the 30 KB of a card.
        text_length=4000,
        buttons=True,
        edit=True,
        # "5 QPS for one message", and 1,000 changes a minute over all.
        edit_interval_seconds=0.5,
        edits_per_minute=1000,
        files=True,
        threads=True,
        replies=True,
        idempotency_key=True,
        # "1,000 a minute, 50 a second", and 5 a second in one chat.
        rate_per_second=16.0,
        burst=50,
        seconds_per_chat=0.2,
    )

    def __init__(self, channel: str, settings: FeishuSettings) -> None:
        super().__init__(channel, settings)
        self._seal = Seal(channel, settings)
        self._api = FeishuApi(channel, settings)
        self._bot = ""
        self._identifying = asyncio.Lock()
        #: Whether messages can be looked up.
        self._looks_up = True
        #: By message: the conversation of what people wrote, which a recall does not tell.
        self._places: OrderedDict[str, ConversationId] = OrderedDict()
        #: By message: whether we wrote it.
        self._own: OrderedDict[str, bool] = OrderedDict()

    async def open(self) -> None:
        await self._api.open()

    async def close(self) -> None:
        await self._api.close()

    async def check(self) -> str:
        """Try id and secret; whether Feishu calls us shows only when it does.

        Raises:
            ChannelUnauthorized: They are refused, or the app is not in use.
            ChannelUnavailable: Feishu cannot be asked now.
        """
        try:
            identity = await self._api.identify()
        except MessageRejected as error:
            raise ChannelUnavailable(self.channel, _without_channel(error)) from None
        if not identity.in_use:
            raise ChannelUnauthorized(
                self.channel, "the app is not in use: publish a version, or enable it as an admin"
            )
        return identity.name or identity.open_id

    async def listen(self) -> AsyncIterator[InboundEvent]:
        """Find out who we are, so that a mention is known; Feishu calls us for all else."""
        await self._know_who_we_are()
        return
        yield

    async def receive_webhook(self, request: WebhookRequest) -> WebhookReply:
        """Check and read one request: an event, or a pressed button.

        Raises:
            WebhookRejected: 400 malformed, 401 not Feishu's or too old, 405 not a POST, 413 too
                long.
        """
        payload = self._seal.open(request)
        if is_trial(payload):
            return self._tried(payload)
        if mentions_anybody(payload):
            try:
                async with asyncio.timeout(ASKING_SECONDS):
                    await self._know_who_we_are()
            except (TimeoutError, ChannelError) as error:
                # It comes again in 15 s, 5 min, 1 h and 6 h.
                logger.warning(
                    "Feishu has to call again: %s", error, extra={"event": "not_identified"}
                )
                return WebhookReply(status=503)
        try:
            found = meaning(payload, self.channel, self._bot)
        except ValueError as error:
            raise WebhookRejected(self.channel, str(error), status=400) from None
        return _DONE if found is None else replace(_DONE, events=(await self._placed(found),))

    def _tried(self, payload: Mapping[str, Any]) -> WebhookReply:
        challenge = payload.get("challenge")
        if not isinstance(challenge, str) or len(challenge) > 1000:
            raise WebhookRejected(self.channel, "challenge: is missing", status=400)
        body = to_json({"challenge": challenge}).encode()
        return WebhookReply(body=body, headers=_JSON)

    async def _placed(self, found: Found) -> InboundEvent:
        """The event, with what only memory or a question to Feishu can tell."""
        event = found.event
        if isinstance(event, MessageDeleted):
            place = self._places.get(event.message_id, event.conversation)
            return replace(event, conversation=place)
        if isinstance(event, MessageReceived):
            _remember(self._places, event.message_id, event.conversation)
            if not event.addressed_to_bot and found.replies_to is not None:
                return replace(event, addressed_to_bot=await self._wrote(found.replies_to))
        return event

    async def _wrote(self, message_id: str) -> bool:
        """Whether a message is ours; what cannot be found out is not."""
        known = self._own.get(message_id)
        if known is not None or not self._looks_up:
            return bool(known)
        try:
            async with asyncio.timeout(ASKING_SECONDS):
                known = await self._api.is_own(message_id)
        except (TimeoutError, ChannelUnavailable) as error:
            logger.warning("reply not looked up: %s", error, extra={"event": "reply_unknown"})
            return False
        except ChannelUnauthorized as error:
            # It will say so every time.
            self._looks_up = False
            logger.warning(
                "replies are not looked up: %s; the bot has to be mentioned in them",
                error,
                extra={"event": "replies_unknown"},
            )
            return False
        except MessageRejected:
            known = False
        _remember(self._own, message_id, known)
        return known

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        """Deliver one message: as a card, or as plain text where no card is taken.

        Raises:
            ChannelUnavailable: No answer in time, a limit, or a fault of Feishu's own.
            ChannelUnauthorized: The app's id, secret or scopes are refused.
            MessageRejected: The chat is gone, or Feishu does not take the text.
        """
        self._check_visible(message)
        card = to_card(message)
        try:
            sent = await self._sent(message, card or to_text(message))
        except FormRefused as error:
            if card is None:
                raise
            logger.error("Feishu takes no such card: %s", error, extra={"event": "card_refused"})
            sent = await self._sent(message, to_text(message))
        if sent:
            _remember(self._own, sent, True)
        return DeliveryReceipt((sent,) if sent else ())

    async def _sent(self, message: OutboundMessage, content: Mapping[str, Any]) -> str:
        place = message.conversation
        targets = [one for one in (message.in_reply_to, place.thread) if one is not None]
        for number, target in enumerate(targets, start=1):
            try:
                return await self._api.reply(target, content, in_thread=place.thread is not None)
            except TargetGone:
                # Into a topic nothing can be written but replies.
                if place.thread is not None and number == len(targets):
                    raise
        return await self._api.create(place.chat, content)

    async def edit(self, receipt: DeliveryReceipt, message: OutboundMessage) -> None:
        """Replace a message of ours, in the form that it was sent in.

        Raises:
            ChannelUnavailable: No answer in time, a limit, or a fault of Feishu's own.
            ChannelUnauthorized: The app's id, secret or scopes are refused.
            MessageRejected: It is gone, too old, or Feishu does not take the text.
        """
        self._check_visible(message)
        if not receipt.platform_ids:
            raise MessageRejected(self.channel, "Feishu gave this message no id to edit it by")
        card = to_card(message)
        # A card can only become a card, and a text a text; which it is was not kept.
        forms = [*([card] if card else []), to_plain_card(message), to_text(message)]
        for form in forms[:-1]:
            try:
                return await self._api.change(receipt.platform_ids[0], form)
            except FormRefused as error:
                logger.info("another form is tried: %s", error, extra={"event": "form_refused"})
        await self._api.change(receipt.platform_ids[0], forms[-1])

    async def fetch(self, attachment: Attachment) -> bytes:
        """The bytes of a file in a message, at most adapters.rest.ANSWER_BYTES.

        Raises:
            ChannelUnavailable: Not now.
            ChannelUnauthorized: A scope is missing.
            MessageRejected: It is gone or too large, or Feishu gives nobody its bytes.
        """
        address = address_of(attachment)
        if address is None:
            raise MessageRejected(self.channel, "Feishu gives no bytes of this")
        message_id, kind, key = address
        return await self._api.download(resource(message_id, key, kind))

    def _check_visible(self, message: OutboundMessage) -> None:
        if is_blank(message):
            raise MessageRejected(self.channel, "there is nothing in the message")

    async def _know_who_we_are(self) -> None:
        async with self._identifying:
            if not self._bot:
                self._bot = (await self._api.identify()).open_id


def _remember(memory: OrderedDict[str, Any], key: str, value: Any) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)


def _without_channel(error: ChannelError) -> str:
    return str(error).removeprefix(f"channel {error.channel}: ")
