"""The DingTalk adapter: hears through the stream, answers by session webhook or by the API."""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from pydantic import Field, SecretStr

from adapters.access_tokens import AccessToken, LentToken
from adapters.dingtalk.faults import check_taken, fault_of_answer, later
from adapters.dingtalk.reading import FILE_SCHEME, GROUP, USER, event_of
from adapters.dingtalk.stream import frames
from adapters.plain_text import to_plain_text
from adapters.rest import HttpAddress, RestApi
from kfbot.adapter import AdapterSettings, Capabilities, ChannelAdapter
from kfbot.errors import ChannelUnauthorized, ChannelUnavailable, MessageRejected
from kfbot.messages import (
    Attachment,
    ConversationId,
    DeliveryReceipt,
    InboundEvent,
    OutboundMessage,
)

logger = logging.getLogger(__name__)

#: A webhook is not used any more so shortly before its end.
_SPARE_SECONDS = 30.0
#: A connection that ends sooner is a fault.
_SHORT_SECONDS = 5.0
#: A webhook's codes for "not now": busy, and too many in a minute.
_BUSY = (-1, 130101, 660026)
#: Chats whose webhook is known, at most.
_REMEMBERED = 10_000


class DingTalkSettings(AdapterSettings):
    """`platform = "dingtalk"`: an app with a robot in stream mode."""

    client_id: str = Field(min_length=1)
    client_secret: SecretStr
    #: The robot's, where it is not the client_id.
    robot_code: str = ""
    api_base: HttpAddress = "https://api.dingtalk.com"
    timeout_seconds: float = Field(default=10.0, gt=0, le=60)


class DingTalkAdapter(ChannelAdapter):
    """One robot."""

    settings_type = DingTalkSettings
    #: A robot may send 20 messages a minute into a group.
    capabilities = Capabilities(text_length=2000, rate_per_second=20.0, seconds_per_chat=1.0)

    def __init__(self, channel: str, settings: DingTalkSettings) -> None:
        super().__init__(channel, settings)
        self._settings = settings
        self._robot = settings.robot_code or settings.client_id
        timeout = settings.timeout_seconds
        self._api = RestApi(
            channel,
            settings.api_base,
            timeout_seconds=timeout,
            fault_of=lambda status, headers, raw: fault_of_answer(channel, status, headers, raw),
        )
        self._token = AccessToken(self._fetch_token)
        self._http: aiohttp.ClientSession | None = None
        #: Chat → where it is answered, and until when (seconds since 1970). Lost by a restart:
        #: the API then does it.
        self._webhooks: OrderedDict[str, tuple[str, float]] = OrderedDict()

    async def open(self) -> None:
        await self._api.open()
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())

    async def close(self) -> None:
        await self._api.close()
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def check(self) -> str:
        """The robot, if DingTalk takes its credentials.

        Raises:
            ChannelUnavailable: It did not answer.
            ChannelUnauthorized: The credentials are refused.
        """
        await self._token.get()
        return f"robot {self._robot}"

    async def listen(self) -> AsyncIterator[InboundEvent]:
        """What people write to the robot; DingTalk is told that we have it once it is stored.

        Raises:
            ChannelUnavailable: There is no connection; the core opens another one.
            ChannelUnauthorized: The credentials are refused.
        """
        if self._http is None:
            raise ChannelUnavailable(self.channel, "is not open")
        secret = self._settings.client_secret.get_secret_value()
        while True:
            began = time.monotonic()
            try:
                async for frame in frames(
                    self._api, self._http, self.channel, self._settings.client_id, secret
                ):
                    if event := event_of(frame.data, self.channel):
                        self._remember(event.conversation.chat, frame.data)
                        yield event
                    await frame.acknowledge()
            except MessageRejected as error:
                raise later(error) from None
            # DingTalk ends connections now and then to have them opened anew.
            if time.monotonic() - began < _SHORT_SECONDS:
                raise ChannelUnavailable(self.channel, "DingTalk hangs up at once")

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        """Answer by the webhook that came with the last message; without one, by the API.

        Raises:
            ChannelUnavailable: Not now.
            ChannelUnauthorized: The credentials are refused, or a permission is missing.
            MessageRejected: There is nothing to be seen, or no such chat.
        """
        text = to_plain_text(message)
        if not text:
            raise MessageRejected(self.channel, "the text shows nothing")
        kind, _, number = message.conversation.chat.partition(":")
        if kind not in (GROUP, USER) or not number:
            raise MessageRejected(self.channel, "no chat of DingTalk's")
        if await self._send_by_webhook(message.conversation, text):
            return DeliveryReceipt()
        return await self._send_by_api(kind, number, text)

    async def _send_by_webhook(self, conversation: ConversationId, text: str) -> bool:
        """Answer where the last message said; False: there, nothing is taken any more."""
        address, until = self._webhooks.get(conversation.chat, ("", 0.0))
        if until - _SPARE_SECONDS <= time.time():
            return False
        body: dict[str, Any] = {"msgtype": "text", "text": {"content": text}}
        if conversation.member:
            body["at"] = {"atUserIds": [conversation.member]}
        try:
            code = (await self._api.call("POST", address, body=body)).get("errcode", 0)
        except (MessageRejected, ChannelUnauthorized) as error:
            # The API is to say whether it is the message or only this address.
            code = str(error)
        if code in _BUSY:
            reason = f"DingTalk answers {code}"
            raise ChannelUnavailable(self.channel, reason, retry_after_seconds=60.0)
        if code != 0:
            logger.warning("webhook answers %s", code, extra={"event": "webhook_refused"})
            # Meanwhile another answer may have dropped it, or a message brought a new one.
            if self._webhooks.get(conversation.chat, ("", 0.0))[0] == address:
                del self._webhooks[conversation.chat]
        return bool(code == 0)

    async def _send_by_api(self, kind: str, number: str, text: str) -> DeliveryReceipt:
        to = {"openConversationId": number} if kind == GROUP else {"userIds": [number]}
        path = "groupMessages/send" if kind == GROUP else "oToMessages/batchSend"
        content = json.dumps({"content": text}, ensure_ascii=False)
        body = {"robotCode": self._robot, "msgKey": "sampleText", "msgParam": content, **to}
        found = await self._called(f"/v1.0/robot/{path}", body)
        check_taken(self.channel, number, found)
        key = found.get("processQueryKey")
        return DeliveryReceipt((key,) if isinstance(key, str) else ())

    async def fetch(self, attachment: Attachment) -> bytes:
        """The bytes of an attachment.

        Raises:
            ChannelUnavailable, ChannelUnauthorized: As for `send`.
            MessageRejected: It is no file of DingTalk's, or gone.
        """
        if not attachment.url.startswith(FILE_SCHEME):
            raise MessageRejected(self.channel, "no file of DingTalk's")
        code = attachment.url.removeprefix(FILE_SCHEME)
        body = {"downloadCode": code, "robotCode": self._robot}
        found = await self._called("/v1.0/robot/messageFiles/download", body)
        if not isinstance(address := found.get("downloadUrl"), str):
            raise MessageRejected(self.channel, "DingTalk has no such file")
        return await self._api.download(address)

    async def _called(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Call the API; with another token, once, where this one is refused."""
        token = await self._token.get()
        try:
            return await self._posted(path, body, token)
        except ChannelUnauthorized:
            self._token.refused(token)
            if (again := await self._token.get()) == token:
                raise
            return await self._posted(path, body, again)

    async def _posted(self, path: str, body: Mapping[str, Any], token: str) -> dict[str, Any]:
        headers = {"x-acs-dingtalk-access-token": token}
        return await self._api.call("POST", path, body=body, headers=headers)

    async def _fetch_token(self) -> LentToken:
        secret = self._settings.client_secret.get_secret_value()
        body = {"appKey": self._settings.client_id, "appSecret": secret}
        try:
            found = await self._api.call("POST", "/v1.0/oauth2/accessToken", body=body)
        except MessageRejected as error:
            raise later(error) from None
        token, seconds = found.get("accessToken"), found.get("expireIn")
        if not isinstance(token, str) or not isinstance(seconds, int):
            raise ChannelUnavailable(self.channel, "DingTalk lends no token")
        return LentToken(token, seconds)

    def _remember(self, chat: str, data: Mapping[str, Any]) -> None:
        """Know where a chat is answered, if that is an address of DingTalk's."""
        address, until = data.get("sessionWebhook"), data.get("sessionWebhookExpiredTime")
        if not isinstance(address, str) or not isinstance(until, int):
            return
        parts, ours = urlsplit(address), urlsplit(self._settings.api_base)
        is_theirs = parts.scheme == "https" and (parts.hostname or "").endswith(".dingtalk.com")
        if is_theirs or (parts.scheme, parts.netloc) == (ours.scheme, ours.netloc):
            self._webhooks[chat] = address, until / 1000
            self._webhooks.move_to_end(chat)
            while len(self._webhooks) > _REMEMBERED:
                self._webhooks.popitem(last=False)
