"""Feishu's HTTP API for one app: its token, its errors, the calls that a bot needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from adapters.access_tokens import AccessToken, LentToken
from adapters.feishu.faults import TokenRefused, code_of, fault, fault_of_answer, said
from adapters.feishu.settings import FeishuSettings
from adapters.rest import RestApi, to_json
from kfbot.errors import ChannelUnauthorized, ChannelUnavailable, MessageRejected

#: Shorter than what the core gives a send.
TIMEOUT_SECONDS = 8.0
_MESSAGES = "/open-apis/im/v1/messages"
#: `activate_status` of an app that an organisation does not have in use.
# A tuple: no set can be asked for a list, should one come.
_NOT_IN_USE = (0, 1, 3, 5, 6)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the app's bot is taken for."""

    open_id: str
    name: str
    in_use: bool


class FeishuApi:
    """Calls as the app's bot. Open it before the first call and close it at the end."""

    def __init__(self, channel: str, settings: FeishuSettings) -> None:
        self._channel = channel
        self._settings = settings
        self._rest = RestApi(
            channel,
            settings.api_base,
            timeout_seconds=TIMEOUT_SECONDS,
            fault_of=lambda status, headers, raw: fault_of_answer(channel, status, headers, raw),
        )
        self._token = AccessToken(self._borrow)

    async def open(self) -> None:
        """Be ready for calls."""
        await self._rest.open()

    async def close(self) -> None:
        """Let go of connections."""
        await self._rest.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The answer to a call; a token that is no longer good is renewed once.

        Raises:
            ChannelUnavailable: No answer in time, a limit, or a fault of Feishu's own.
            ChannelUnauthorized: The app's id, secret or scopes are refused.
            MessageRejected: Anything else that Feishu does not do.
        """
        token = await self._token.get()
        try:
            return await self._called(method, path, token, body, params)
        except TokenRefused:
            self._token.refused(token)
        return await self._called(method, path, await self._token.get(), body, params)

    async def download(self, path: str) -> bytes:
        """A file, of at most adapters.rest.ANSWER_BYTES.

        Raises:
            ChannelUnavailable, ChannelUnauthorized, MessageRejected: As for `call`.
        """
        address = self._settings.api_base.rstrip("/") + path
        token = await self._token.get()
        try:
            return await self._rest.download(address, headers=_bearer(token))
        except TokenRefused:
            self._token.refused(token)
        return await self._rest.download(address, headers=_bearer(await self._token.get()))

    async def identify(self) -> Identity:
        """Ask who the app's bot is.

        Raises:
            ChannelUnavailable, ChannelUnauthorized, MessageRejected: As for `call`.
        """
        answer = await self.call("GET", "/open-apis/bot/v3/info")
        bot = answer.get("bot")
        fields = bot if isinstance(bot, dict) else {}
        open_id = fields.get("open_id")
        if not isinstance(open_id, str) or not open_id:
            raise ChannelUnavailable(self._channel, "Feishu does not say who the bot is")
        name = str(fields.get("app_name") or "")
        return Identity(open_id, name, fields.get("activate_status") not in _NOT_IN_USE)

    async def create(self, chat: str, content: Mapping[str, Any]) -> str:
        """Write into a chat; returns the id of the message. `content`: see `adapters.feishu.cards`.

        Raises:
            ChannelUnavailable, ChannelUnauthorized, MessageRejected: As for `call`.
        """
        body = {"receive_id": chat, **_encoded(content)}
        params = {"receive_id_type": "chat_id"}
        return _id_in(await self.call("POST", _MESSAGES, body=body, params=params))

    async def reply(self, to: str, content: Mapping[str, Any], *, in_thread: bool) -> str:
        """Write under a message; returns the id of the message.

        Raises:
            TargetGone: It is there no more.
            ChannelUnavailable, ChannelUnauthorized, MessageRejected: As for `call`.
        """
        body = {**_encoded(content), "reply_in_thread": in_thread}
        return _id_in(await self.call("POST", f"{_of(to)}/reply", body=body))

    async def change(self, message_id: str, content: Mapping[str, Any]) -> None:
        """Replace a message by another of the same type.

        Raises:
            FormRefused: It is of another type.
            ChannelUnavailable, ChannelUnauthorized, MessageRejected: As for `call`.
        """
        if content["msg_type"] == "interactive":
            encoded = {"content": to_json(content["content"])}
            await self.call("PATCH", _of(message_id), body=encoded)
        else:
            await self.call("PUT", _of(message_id), body=_encoded(content))

    async def is_own(self, message_id: str) -> bool:
        """Whether a message was written by this app.

        Raises:
            ChannelUnavailable, ChannelUnauthorized, MessageRejected: As for `call`.
        """
        data = (await self.call("GET", _of(message_id))).get("data")
        items = data.get("items") if isinstance(data, dict) else None
        first = items[0] if isinstance(items, list) and items else None
        sender = first.get("sender") if isinstance(first, dict) else None
        return isinstance(sender, dict) and sender.get("id") == self._settings.app_id

    async def _called(
        self, method: str, path: str, token: str, body: Any, params: Mapping[str, str] | None
    ) -> dict[str, Any]:
        answer = await self._rest.call(
            method, path, body=body, params=params, headers=_bearer(token)
        )
        if "code" not in answer:
            raise ChannelUnavailable(self._channel, "what answers does not speak Feishu's API")
        if code := code_of(answer):
            raise fault(self._channel, code, said(answer))
        return answer

    async def _borrow(self) -> LentToken:
        secret = self._settings.app_secret.get_secret_value()
        try:
            answer = await self._rest.call(
                "POST",
                "/open-apis/auth/v3/tenant_access_token/internal",
                body={"app_id": self._settings.app_id, "app_secret": secret},
            )
        except MessageRejected as error:
            reason = str(error).removeprefix(f"channel {self._channel}: ")
            raise ChannelUnauthorized(self._channel, _not_lent(reason)) from None
        code, token = code_of(answer), answer.get("tenant_access_token")
        if code:
            found = fault(self._channel, code, said(answer))
            if isinstance(found, ChannelUnavailable):
                raise found
            raise ChannelUnauthorized(self._channel, _not_lent(f"Feishu answers {code}"))
        seconds = answer.get("expire")
        if not isinstance(token, str) or not token.isascii() or not isinstance(seconds, int):
            raise ChannelUnavailable(self._channel, "what answers does not speak Feishu's API")
        return LentToken(token, float(seconds))


def resource(message_id: str, key: str, kind: str) -> str:
    """The path of a file in a message; `kind` is "image" or "file"."""
    return f"{_of(message_id)}/resources/{quote(key, safe='')}?type={kind}"


def _id_in(answer: Mapping[str, Any]) -> str:
    data = answer.get("data")
    message_id = data.get("message_id") if isinstance(data, dict) else None
    return message_id if isinstance(message_id, str) else ""


def _of(message_id: str) -> str:
    return f"{_MESSAGES}/{quote(message_id, safe='')}"


def _encoded(content: Mapping[str, Any]) -> dict[str, Any]:
    return {**content, "content": to_json(content["content"])}


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def _not_lent(reason: str) -> str:
    return f"{reason}: copy app_id and app_secret again from Credentials & Basic Info"
