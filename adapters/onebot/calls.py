"""Actions of a OneBot implementation: through the WebSocket that it opened, or its HTTP API.

https://github.com/botuniverse/onebot-11/blob/master/communication/ws-reverse.md
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping
from typing import Any

from adapters.rest import RestApi, fault_of_status, to_json
from kfbot.adapter import PlatformSocket
from kfbot.errors import ChannelError, ChannelUnauthorized, ChannelUnavailable, MessageRejected

#: retcode for an action that is unknown, or not to be had here.
_UNKNOWN = {1404, 404}


class SocketCalls:
    """The WebSockets that are open, and the answers that are waited for."""

    def __init__(self, channel: str, timeout_seconds: float) -> None:
        self._channel = channel
        self._timeout_seconds = timeout_seconds
        #: The newest last: a broken one may be noticed late.
        self._open: list[PlatformSocket] = []
        self._waiting: dict[str, tuple[PlatformSocket, asyncio.Future[Mapping[str, Any]]]] = {}

    @property
    def is_open(self) -> bool:
        """True while an implementation is connected."""
        return bool(self._open)

    def opened(self, socket: PlatformSocket) -> None:
        """One more may be called through."""
        self._open.append(socket)

    def closed(self, socket: PlatformSocket) -> None:
        """It may not any more; what was called through it is not answered."""
        self._open.remove(socket)
        for called, waiting in self._waiting.values():
            if called is socket and not waiting.done():
                waiting.set_exception(ConnectionError("closed"))

    def answered(self, raw: Mapping[str, Any]) -> bool:
        """Take an answer to a call; False: it is none."""
        echo = raw.get("echo")
        if "retcode" not in raw or not isinstance(echo, str):
            return False
        _, waiting = self._waiting.get(echo, (None, None))
        if waiting is not None and not waiting.done():
            waiting.set_result(raw)
        return True

    async def call(self, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """What an action answers; see `data_of`.

        Raises:
            ChannelUnavailable: Nobody is connected, or there is no answer in time.
            ChannelUnauthorized, MessageRejected: See `data_of`.
        """
        if not self._open:
            raise ChannelUnavailable(self._channel, "no OneBot implementation is connected")
        echo, socket = secrets.token_hex(8), self._open[-1]
        waiting: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[echo] = socket, waiting
        try:
            async with asyncio.timeout(self._timeout_seconds):
                call = {"action": action, "params": params, "echo": echo}
                await socket.send(to_json(call))
                answer = await waiting
        except OSError as error:  # ConnectionError and TimeoutError.
            reason = f"no answer to {action} ({type(error).__name__})"
            raise ChannelUnavailable(self._channel, reason) from None
        finally:
            del self._waiting[echo]
        return data_of(self._channel, action, answer)


async def call_http(
    api: RestApi, channel: str, token: str, action: str, params: Mapping[str, Any]
) -> dict[str, Any]:
    """What an action answers over HTTP; see `data_of`.

    Raises:
        ChannelError: What `RestApi.call` and `data_of` raise.
    """
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return data_of(
        channel, action, await api.call("POST", f"/{action}", body=params, headers=headers)
    )


def fault_of_answer(
    channel: str, status: int, headers: Mapping[str, str], _: bytes
) -> ChannelError:
    """The error for an answer of the HTTP API that is not 2xx."""
    reason = f"the HTTP API answers {status}"
    if status == 404:
        # What is called is in every implementation: the address is wrong, not the message.
        return ChannelUnavailable(channel, f"api_base: {reason}, so it is no OneBot's")
    return fault_of_status(channel, status, headers, reason) or ChannelUnavailable(channel, reason)


def data_of(channel: str, action: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """The data of an answer that says that all went well.

    Raises:
        ChannelUnauthorized: The access_token is refused.
        ChannelUnavailable: QQ does not let it now: the account is limited, or offline.
        MessageRejected: The action is unknown, or its parameters will never do.
    """
    code, status = answer.get("retcode"), answer.get("status")
    if code in (0, 1) and status in ("ok", "async"):
        data = answer.get("data")
        return dict(data) if isinstance(data, Mapping) else {}
    said = str(answer.get("message") or answer.get("wording") or answer.get("msg") or "")
    shown = "".join(one if one.isprintable() else " " for one in said[:120])
    reason = f"{action} answers {code}" + (f": {shown}" if shown else "")
    if code in (1401, 1403, 401, 403):
        raise ChannelUnauthorized(channel, f"access_token: {reason}")
    if code in _UNKNOWN or (isinstance(code, int) and code // 100 in (14, 4)):
        raise MessageRejected(channel, reason)
    raise ChannelUnavailable(channel, reason)


def read_text(text: str) -> Mapping[str, Any] | None:
    """The object that a text through a WebSocket holds; None: it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, Mapping) else None
