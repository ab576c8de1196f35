"""Calls of Telegram's Bot API by python-telegram-bot's request layer; its errors become ours.

The token is part of every address, so no address may reach a log or an error's text.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
from collections.abc import Mapping
from contextlib import nullcontext
from http import HTTPStatus
from typing import Any

import httpx
from telegram import Bot
from telegram.error import NetworkError, TelegramError, TimedOut
from telegram.request import HTTPXRequest

from kfbot.errors import ChannelError, ChannelUnauthorized, ChannelUnavailable, MessageRejected

#: A whole call takes at most so long; the core gives a send 20 s.
CALL_SECONDS = 15.0
#: Telegram keeps a question for updates open for so long where there are none.
POLL_SECONDS = 25
#: As far as Telegram lets bots download.
FILE_BYTES = 20 * 1024 * 1024
#: Sends at the same time; the core has 32 workers.
_CONNECTIONS = 64
#: Telegram allows 30 in its own second.
_MESSAGES_A_SECOND = 28
_SECOND = 1.05
_REASON_LENGTH = 300
_LONGEST_PAUSE_SECONDS = 30.0
_DAY_SECONDS = 86_400.0
_TOKEN_IN_ADDRESS = re.compile(r"/bot[^/\s]+")

logger = logging.getLogger(__name__)


class _Door:
    """Lets so many messages out that no more arrive in any second, however long they take.

    A place is free again a second after the answer: of messages that arrive within one second
    all have a place at the end of it.
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(_MESSAGES_A_SECOND)

    async def __aenter__(self) -> None:
        await self._places.acquire()

    async def __aexit__(self, *failure: object) -> None:
        asyncio.get_running_loop().call_later(_SECOND, self._places.release)


class _TokenFilter(logging.Filter):
    """Takes the token out of the addresses that the libraries below log."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = _TOKEN_IN_ADDRESS.sub("/bot…", record.getMessage()), ()
        return True


_FILTER = _TokenFilter()
_LOGGERS_WITH_ADDRESSES = ("httpx", "telegram.Bot")


class Refused(TelegramError):
    """Telegram answered with an error."""

    def __init__(self, status: int, description: str, parameters: Mapping[str, Any]) -> None:
        super().__init__(description)
        self.status = status
        self.parameters = parameters


class _Request(HTTPXRequest):
    """PTB's own, with the status of an error, and without logging what cannot be read."""

    async def do_request(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        status, payload = await super().do_request(*args, **kwargs)
        if 200 <= status < 300:
            return status, payload
        fault = _read(payload) or {}
        parameters = fault.get("parameters")
        raise Refused(
            status,
            str(fault.get("description") or _phrase(status)),
            parameters if isinstance(parameters, dict) else {},
        )

    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        parsed = _read(payload)
        # Something between us and Telegram answered. What it said may hold a customer's words.
        if parsed is None or "result" not in parsed:
            raise NetworkError("the answer is not the Bot API's")
        return parsed


def _read(payload: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _phrase(status: int) -> str:
    try:
        return f"{HTTPStatus(status).phrase} ({status})"
    except ValueError:
        return f"status {status}"


def _request(*, connections: int, read_timeout: float) -> _Request:
    # A connection that is kept saves the next answer a TLS handshake.
    limits = httpx.Limits(max_connections=connections, keepalive_expiry=60.0)
    return _Request(
        connection_pool_size=connections,
        read_timeout=read_timeout,
        connect_timeout=5.0,
        pool_timeout=5.0,
        httpx_kwargs={"limits": limits},
    )


class BotApi(Bot):
    """Results as Telegram sent them: PTB's objects refuse a whole batch for one bad update."""

    def __init__(self, channel: str, token: str, root: str) -> None:
        """`root`: of the Bot API, without a slash at its end."""
        for name in _LOGGERS_WITH_ADDRESSES:
            logging.getLogger(name).addFilter(_FILTER)
        self._polling = _request(connections=2, read_timeout=POLL_SECONDS + 10.0)
        self._calling = _request(connections=_CONNECTIONS, read_timeout=10.0)
        super().__init__(
            token,
            base_url=f"{root}/bot",
            base_file_url=f"{root}/file/bot",
            get_updates_request=self._polling,
            request=self._calling,
        )
        self._channel = channel
        self._was_accepted = False
        self._door = _Door()

    def __repr__(self) -> str:
        return f"BotApi({self._channel!r})"

    async def close_connections(self) -> None:
        """Close all connections; nothing can be called any more."""
        await self._polling.shutdown()
        await self._calling.shutdown()

    async def call(self, method: str, **parameters: Any) -> Any:
        """Call a method; its result as it came.

        Raises:
            ChatMoved: The group became a supergroup.
            PolledElsewhere: 409.
            ChannelUnavailable: No answer in time, 429, 5xx.
            ChannelUnauthorized: The token is refused.
            MessageRejected: Any other 4xx.
        """
        seconds = POLL_SECONDS + 10.0 if method == "getUpdates" else CALL_SECONDS
        try:
            async with self._door if method == "sendMessage" else nullcontext():
                async with asyncio.timeout(seconds):
                    # PTB's public methods make objects of the result; this gives it as it is.
                    result = await self._post(method, parameters)
        except (TelegramError, TimeoutError) as error:
            # Not `from error`: what lies beneath names the address.
            raise self._fault(method, error) from None
        self._was_accepted = True
        return result

    async def persist(self, method: str, **parameters: Any) -> Any:
        """Call until it succeeds, less and less often.

        Raises:
            ChannelUnauthorized: The token is refused.
        """
        attempts = 0
        while True:
            try:
                return await self.call(method, **parameters)
            except ChannelUnauthorized:
                raise
            except PolledElsewhere as error:
                advice = "another program uses this bot's token: stop it, or make it its own bot"
                logger.error("%s: %s", error, advice, extra={"event": "telegram_conflict"})
                if "webhook" in str(error).lower():
                    await self.drop_webhook()
                pause = _pause(attempts, None)
            except ChannelError as error:
                logger.warning("%s", error, extra={"event": "telegram_unreachable"})
                pause = _pause(attempts, getattr(error, "retry_after_seconds", None))
            attempts += 1
            await asyncio.sleep(pause)

    async def drop_webhook(self) -> None:
        """Take the webhook away: Telegram answers no poll while one is set.

        Raises:
            ChannelUnauthorized: The token is refused.
        """
        try:
            await self.call("deleteWebhook")
        except ChannelUnauthorized:
            raise
        except ChannelError as error:
            logger.warning("%s", error, extra={"event": "telegram_webhook_kept"})

    async def download(self, file_id: str) -> bytes:
        """The bytes of a file, at most 20 MB.

        Raises:
            ChannelError: As `call`; MessageRejected for a file that is too large.
        """
        file = await self.call("getFile", file_id=file_id)
        path = file.get("file_path") if isinstance(file, Mapping) else None
        if not isinstance(path, str) or not path:
            raise MessageRejected(self._channel, "getFile: there is no such file")
        size = file.get("file_size")
        if isinstance(size, int) and size > FILE_BYTES:
            raise MessageRejected(self._channel, f"getFile: over {FILE_BYTES} bytes")
        try:
            async with asyncio.timeout(4 * CALL_SECONDS):
                return await self._calling.retrieve(f"{self.base_file_url}/{path}")
        except (TelegramError, TimeoutError) as error:
            raise self._fault("download", error) from None

    def _fault(self, method: str, error: TelegramError | TimeoutError) -> ChannelError:
        if not isinstance(error, Refused):
            late = isinstance(error, TimedOut | TimeoutError)
            reason = "no answer in time" if late else f"no answer ({self._redacted(str(error))})"
            return ChannelUnavailable(self._channel, f"{method}: {reason}")
        reason = f"{method}: {self._redacted(error.message)}"
        if error.status in {401, 404}:
            return self._unknown(reason, error.status)
        if error.status == 409:
            return PolledElsewhere(self._channel, reason)
        if error.status == 429 or error.status >= 500 or error.status < 400:
            wait = _seconds(error.parameters.get("retry_after"))
            return ChannelUnavailable(self._channel, reason, retry_after_seconds=wait)
        moved_to = error.parameters.get("migrate_to_chat_id")
        if isinstance(moved_to, int):
            return ChatMoved(self._channel, moved_to)
        return MessageRejected(self._channel, reason)

    def _unknown(self, reason: str, status: int) -> ChannelError:
        # 404 is said of a malformed token, and by a proxy that has lost its way.
        if status == 404 and self._was_accepted:
            return ChannelUnavailable(self._channel, reason)
        advice = "set `token` to what @BotFather says (/mybots, API Token)"
        return ChannelUnauthorized(self._channel, f"the token is refused ({reason}): {advice}")

    def _redacted(self, text: str) -> str:
        text = _TOKEN_IN_ADDRESS.sub("/bot…", text.replace(self.token, "…"))
        return text[:_REASON_LENGTH]


class ChatMoved(MessageRejected):
    """The group became a supergroup: the chat has a new id."""

    def __init__(self, channel: str, chat_id: int) -> None:
        super().__init__(channel, f"the group moved to {chat_id}")
        self.chat_id = chat_id


class PolledElsewhere(ChannelUnavailable):
    """Another program asks for this bot's updates, or a webhook is set."""


def _pause(attempts: int, retry_after_seconds: float | None) -> float:
    """Doubling from half a second, with jitter; what Telegram asks for is a lower bound."""
    doubled = min(2.0 ** min(attempts, 10), _LONGEST_PAUSE_SECONDS)
    # Jitter spreads retries; nothing here is secret.
    return max(doubled * random.uniform(0.5, 1.0), retry_after_seconds or 0.0)  # noqa: S311


def _seconds(value: object) -> float | None:
    return min(max(float(value), 0.0), _DAY_SECONDS) if isinstance(value, int | float) else None
