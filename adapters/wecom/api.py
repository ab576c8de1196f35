"""Calls of WeCom's API for one app, with the access token that it lends."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from adapters.access_tokens import AccessToken, LentToken
from adapters.rest import RestApi
from adapters.wecom.faults import STALE_TOKEN, code_of, fault_of
from adapters.wecom.settings import WeComSettings
from kfbot.errors import ChannelUnavailable, MessageRejected

#: Shorter than what the core gives a send, which takes a few calls.
TIMEOUT_SECONDS = 6.0


class WeComApi:
    """Every fault is one of the contract. The token is a part of every address: none is shown."""

    def __init__(self, channel: str, settings: WeComSettings) -> None:
        self._channel = channel
        self._settings = settings
        self._rest = RestApi(channel, settings.api_base, timeout_seconds=TIMEOUT_SECONDS)
        self._token = AccessToken(self._lend)

    async def open(self) -> None:
        """Be ready for calls."""
        await self._rest.open()

    async def close(self) -> None:
        """Let go of connections."""
        await self._rest.close()

    async def call(self, path: str, body: Any = None) -> dict[str, Any]:
        """What the API answers; without a body it is a GET.

        Raises:
            ChannelUnavailable: No answer in time, busy, or called too often.
            ChannelUnauthorized: The app, its secret or this address is refused.
            MessageRejected: WeCom will never do it.
        """
        answer = await self._once(path, body)
        if code_of(answer) in STALE_TOKEN:
            answer = await self._once(path, body)
        if fault := fault_of(self._channel, answer):
            raise fault
        return answer

    async def _once(self, path: str, body: Any) -> dict[str, Any]:
        token = await self._token.get()
        method = "GET" if body is None else "POST"
        answer = await self._rest.call(method, path, body=body, params={"access_token": token})
        if code_of(answer) in STALE_TOKEN:
            self._token.refused(token)
        return answer

    async def download(self, media_id: str) -> bytes:
        """The bytes of a file that a customer sent; WeCom keeps it for three days.

        Raises:
            ChannelUnavailable, ChannelUnauthorized, MessageRejected: As for `call`.
        """
        raw = await self._download_once(media_id)
        if code_of(_as_answer(raw)) in STALE_TOKEN:
            raw = await self._download_once(media_id)
        if fault := fault_of(self._channel, _as_answer(raw)):
            raise fault
        return raw

    async def _download_once(self, media_id: str) -> bytes:
        token = await self._token.get()
        query = urlencode({"access_token": token, "media_id": media_id})
        raw = await self._rest.download(f"/cgi-bin/media/get?{query}")
        if code_of(_as_answer(raw)) in STALE_TOKEN:
            self._token.refused(token)
        return raw

    async def tell_group(self, text: str) -> None:
        """Post to the group of the robot.

        Raises:
            ChannelUnavailable, ChannelUnauthorized, MessageRejected: As for `call`.
        """
        if self._settings.robot_key is None:
            raise MessageRejected(self._channel, "robot_key is not set")
        answer = await self._rest.call(
            "POST",
            "/cgi-bin/webhook/send",
            params={"key": self._settings.robot_key.get_secret_value()},
            body={"msgtype": "text", "text": {"content": text}},
        )
        if fault := fault_of(self._channel, answer):
            raise fault

    async def _lend(self) -> LentToken:
        secret = self._settings.secret.get_secret_value()
        params = {"corpid": self._settings.corp_id, "corpsecret": secret}
        answer = await self._rest.call("GET", "/cgi-bin/gettoken", params=params)
        if fault := fault_of(self._channel, answer):
            raise fault
        value, seconds = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(value, str) or not value or not isinstance(seconds, int):
            raise ChannelUnavailable(self._channel, "what answers is not WeCom's API")
        return LentToken(value, float(seconds))


def _as_answer(raw: bytes) -> dict[str, Any]:
    """What a download says instead of the file; empty where it is the file."""
    # Errors are short; a customer's own JSON file has no errcode.
    if len(raw) > 4096 or not raw.startswith(b"{"):
        return {}
    try:
        answer = json.loads(raw)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) and isinstance(answer.get("errcode"), int) else {}
