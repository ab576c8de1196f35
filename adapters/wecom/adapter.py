"""WeCom: the people who write to a self-built app, or customers of service accounts."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from adapters.plain_text import markdown_to_text
from adapters.requests import check_form
from adapters.wecom.api import WeComApi
from adapters.wecom.callbacks import Callbacks
from adapters.wecom.faults import Refused
from adapters.wecom.feed import Feed
from adapters.wecom.messages import MEDIA_SCHEME, read_app_message
from adapters.wecom.people import People
from adapters.wecom.sessions import Sessions
from adapters.wecom.settings import WeComSettings
from adapters.wecom.wording import (
    TEXT_BYTES,
    TEXT_LENGTH,
    in_parts,
    menu,
    message_id,
    over_menu,
    repeat_seconds,
    text_message,
    texts_of,
)
from kfbot.adapter import Capabilities, ChannelAdapter, WebhookReply, WebhookRequest
from kfbot.errors import ChannelError, ChannelUnauthorized, MessageRejected
from kfbot.messages import (
    Attachment,
    DeliveryReceipt,
    InboundEvent,
    OutboundMessage,
)

logger = logging.getLogger(__name__)

#: WeCom's callbacks hold a few kilobytes.
BODY_BYTES = 64 * 1024
_TEXT = {"content-type": "text/plain; charset=utf-8"}


class WeComAdapter(ChannelAdapter):
    """One self-built app of one corporation, or the service accounts that it answers for."""

    settings_type = WeComSettings

    def __init__(self, channel: str, settings: WeComSettings) -> None:
        super().__init__(channel, settings)
        self._settings = settings
        self._api = WeComApi(channel, settings)
        self._callbacks = Callbacks(
            channel,
            settings.corp_id,
            settings.token.get_secret_value(),
            settings.encoding_aes_key.get_secret_value(),
        )
        self._sessions = Sessions(self._api, settings.kf_servicer)
        self._people = People(self._api)
        self._feed = Feed(
            channel,
            self._api,
            self._people,
            self._sessions if settings.hands_over else None,
            settings.kf_accounts,
            timedelta(minutes=settings.kf_catch_up_minutes),
        )
        self.capabilities = Capabilities(
            text_length=TEXT_LENGTH,
            # An app's buttons hold ten characters, which is no question.
            buttons=bool(settings.kf_accounts),
            files=True,
            idempotency_key=True,
            help_desk=settings.hands_over,
        )

    async def open(self) -> None:
        await self._api.open()

    async def close(self) -> None:
        await self._api.close()

    async def check(self) -> str:
        """The app's name, or those of the accounts.

        Raises:
            ChannelUnavailable: WeCom did not answer.
            ChannelUnauthorized: Something is refused, or an account is not there.
        """
        try:
            if self._settings.agent_id is not None:
                path = f"/cgi-bin/agent/get?agentid={self._settings.agent_id}"
                app = await self._api.call(path)
                return f"app {app.get('name', '')} of {self._settings.corp_id}"
            return await self._check_accounts()
        except MessageRejected as error:
            reason = str(error).removeprefix(f"channel {self.channel}: ")
            raise ChannelUnauthorized(self.channel, reason) from None

    async def _check_accounts(self) -> str:
        answer = await self._api.call("/cgi-bin/kf/account/list", {"offset": 0, "limit": 100})
        listed = [one for one in answer.get("account_list") or () if isinstance(one, dict)]
        names = {str(one.get("open_kfid")): str(one.get("name")) for one in listed}
        if missing := [one for one in self._settings.kf_accounts if one not in names]:
            known = ", ".join(f"{one} ({name})" for one, name in names.items()) or "none"
            reason = f"kf_accounts: {missing[0]} is none that the app may call; those are: {known}"
            raise ChannelUnauthorized(self.channel, reason)
        found = ", ".join(names[one] for one in self._settings.kf_accounts)
        where = "in WeCom" if self._settings.hands_over else "at kfbot's desk"
        return f"customer service {found}; agents work {where}"

    # Receiving

    async def receive_webhook(self, request: WebhookRequest) -> WebhookReply:
        """Read one callback, or show WeCom that the address is ours.

        Raises:
            WebhookRejected: 401 not signed for us, or too old; 400 malformed; 405 neither GET nor
                POST; 413 too long.
        """
        if request.method == "GET":
            echo = self._callbacks.open_echo(request.query)
            return WebhookReply(body=echo, headers=_TEXT)
        check_form(self.channel, request, most_bytes=BODY_BYTES)
        fields = self._callbacks.open_message(request.query, request.body)
        if fields.get("Event") == "kf_msg_or_event":
            # WeCom itself keeps what happened; `listen` fetches it and only then moves on.
            self._feed.ring(fields.get("OpenKfId", ""), fields.get("Token", ""))
            return WebhookReply()
        if self._settings.agent_id is None:
            return WebhookReply()
        event = read_app_message(self.channel, fields, self._settings.agent_id)
        # An empty answer: nothing to say at once, and nothing to repeat.
        return WebhookReply(events=(event,) if event is not None else ())

    async def listen(self) -> AsyncIterator[InboundEvent]:
        """What happens at the service accounts; an app has nothing to be asked for.

        Raises:
            ChannelUnauthorized: WeCom refuses us, or an account.
        """
        if self._settings.kf_accounts:
            async for event in self._feed.events():
                yield event

    async def fetch(self, attachment: Attachment) -> bytes:
        """The bytes of a file, at most 4 MB; WeCom keeps it for three days.

        Raises:
            ChannelUnavailable: Not now.
            ChannelUnauthorized: The app is refused.
            MessageRejected: It is no file of WeCom's, gone, or too large.
        """
        if not attachment.url.startswith(MEDIA_SCHEME):
            raise MessageRejected(self.channel, "the attachment is no file")
        return await self._api.download(attachment.url.removeprefix(MEDIA_SCHEME))

    # Sending

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        """Send as plain text, in several messages where bytes demand it; a handoff, and its end,
        move the session too.

        Raises:
            ChannelUnavailable: No answer in time, busy, or called too often.
            ChannelUnauthorized: The app, its secret or this address is refused.
            MessageRejected: There is no text, no such user, or people have the session.
        """
        if not self._settings.kf_accounts:
            return await self._send_from_app(message)
        if message.conversation.thread is None:
            raise MessageRejected(self.channel, "it is for no service account")
        if not self._settings.hands_over:
            return await self._send_from_account(message)
        if message.kind == "handoff" and message.note:
            return await self._hand_over(message)
        if message.kind in ("handback", "resolved"):
            return await self._take_back(message)
        return await self._send_from_account(message)

    async def _send_from_app(self, message: OutboundMessage) -> DeliveryReceipt:
        sent = []
        for number, text in enumerate(self._texts(message)):
            wanted = {
                "touser": message.conversation.chat,
                "agentid": self._settings.agent_id,
                "enable_duplicate_check": 1,
                "duplicate_check_interval": repeat_seconds(message, number),
            }
            answer = await self._api.call("/cgi-bin/message/send", text_message(text) | wanted)
            if answer.get("invaliduser") or answer.get("unlicenseduser"):
                raise MessageRejected(self.channel, "the user cannot be reached by this app")
            sent.append(answer.get("msgid"))
        return DeliveryReceipt(tuple(one for one in sent if isinstance(one, str) and one))

    async def _send_from_account(self, message: OutboundMessage) -> DeliveryReceipt:
        texts = self._texts(message)
        bodies = [text_message(text) for text in texts]
        if message.buttons:
            *before, last = over_menu(texts)
            bodies = [*map(text_message, before), menu(last, message.buttons)]
        if code := self._feed.take_welcome(message.conversation):
            # Somebody who has only come in can be greeted by one message and no other.
            return await self._send_by_code(message, code, bodies[0])
        sent = []
        for number, body in enumerate(bodies):
            where = {"touser": message.conversation.chat, "open_kfid": message.conversation.thread}
            sent.append(await self._send_once(message, number, body | where))
        return DeliveryReceipt(tuple(sent))

    async def _send_once(self, message: OutboundMessage, number: int, body: dict[str, Any]) -> str:
        name = message_id(message, number)
        try:
            await self._api.call("/cgi-bin/kf/send_msg", body | {"msgid": name})
        except Refused as error:
            # What WeCom says of an id that it has seen; which code it has is not written anywhere.
            if "msgid" not in str(error):
                raise
        return name

    async def _send_by_code(
        self, message: OutboundMessage, code: str, body: dict[str, Any]
    ) -> DeliveryReceipt:
        name = message_id(message, 0)
        named = {"code": code, "msgid": name}
        await self._api.call("/cgi-bin/kf/send_msg_on_event", body | named)
        return DeliveryReceipt((name,))

    async def _hand_over(self, message: OutboundMessage) -> DeliveryReceipt:
        """Say what there is to say, then have WeCom call a person, whatever became of the words."""
        receipt = DeliveryReceipt()
        if message.text.strip():
            try:
                receipt = await self._send_from_account(message)
            except Refused as error:
                logger.warning("%s", error, extra={"event": "wecom_handoff_unsaid"})
        await self._sessions.hand_over(message.conversation)
        await self._tell_agents(message)
        return receipt

    async def _take_back(self, message: OutboundMessage) -> DeliveryReceipt:
        code = await self._sessions.take_back(message.conversation)
        if code is None and message.text.strip():
            return await self._send_from_account(message)
        if not code or not message.text.strip():
            return DeliveryReceipt()
        return await self._send_by_code(message, code, text_message(self._texts(message)[0]))

    async def _tell_agents(self, message: OutboundMessage) -> None:
        """Post the note to the agents' group; the customer does not wait for that to work."""
        if self._settings.robot_key is None:
            return
        try:
            note = f"{self._people.known(message.conversation.chat)}\n\n{message.note}"
            for part in in_parts(markdown_to_text(note), TEXT_BYTES):
                await self._api.tell_group(part)
        except ChannelError as error:
            logger.warning("%s", error, extra={"event": "wecom_robot_refused"})

    def _texts(self, message: OutboundMessage) -> list[str]:
        if not (texts := texts_of(message)):
            raise MessageRejected(self.channel, "there is no text")
        return texts
