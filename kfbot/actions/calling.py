"""Calls the operator's system: signed, within a time, and not at all while it is dead."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import aiohttp
from standardwebhooks import Webhook

from kfbot.actions.answers import is_nothing
from kfbot.actions.settings import ActionSettings
from kfbot.observability import metrics, tracing

logger = logging.getLogger(__name__)

#: Of an answer at most so much is read.
ANSWER_BYTES = 256 * 1024
#: A request that the system could not take is sent again so often, …
_RETRIES = 2
#: … after pauses of this and twice this.
RETRY_SECONDS = 0.3
#: A dead system is left alone for so long, then twice as long, and at most …
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 15.0, 300.0
#: Statuses that say "not now", and are worth another try at once.
_AGAIN = {408, 425, 429, 502, 503, 504}

#: "unavailable": nobody knows whether it was done; "refused": a 4xx, or a redirect.
Kind = Literal["answered", "empty", "unavailable", "refused", "unreadable"]


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a call."""

    kind: Kind
    #: JSON; None unless it was answered.
    answer: Any = None
    status: int | None = None
    milliseconds: float = 0.0


class ActionCaller:
    """Calls the system behind one action. What fails is said, never raised."""

    def __init__(
        self,
        name: str,
        settings: ActionSettings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._name = name
        self._settings = settings
        self._webhook = Webhook(settings.secret.get_secret_value())
        self._places = asyncio.Semaphore(settings.parallel)
        self._monotonic = monotonic
        self._retry_seconds = retry_seconds
        #: The first request that failed since one was answered.
        self._failed: Mapping[str, Any] | None = None
        #: Since and until when it is left alone, and for how long the next time.
        self._closed_at = self._closed_until = float("-inf")
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._answered_at = float("-inf")

    async def call(self, webhook_id: str, body: Mapping[str, Any]) -> Came:
        """Post a request; the same id with the same body is the same request.

        Takes no longer than the action's timeout_seconds, and no time while the system is dead.
        """
        began = self._monotonic()
        if began < self._closed_until:
            logger.warning("not called: %s is left alone", self._name, extra=_event("skipped"))
            return Came("unavailable")
        if self._closed_until > float("-inf"):
            # Who looks whether it is back looks alone.
            self._closed_until = began + self._settings.timeout_seconds
        with tracing.span("action", action=self._name) as span:
            came = await self._called(webhook_id, json.dumps(body, ensure_ascii=False))
            span.note(came=came.kind, status=came.status)
        self._learn(came, began, body)
        milliseconds = (self._monotonic() - began) * 1000
        metrics.action_called(self._name, came.kind, milliseconds / 1000)
        level = logging.INFO if came.kind in ("answered", "empty") else logging.WARNING
        logger.log(
            level, "action %s: %s, status %s, %.0f ms",
            self._name, came.kind, came.status, milliseconds, extra=_event("called"),
        )  # fmt: skip
        return replace(came, milliseconds=milliseconds)

    async def _called(self, webhook_id: str, body: str) -> Came:
        came = Came("unavailable")
        try:
            async with asyncio.timeout(self._settings.timeout_seconds), self._places:
                timeout = aiohttp.ClientTimeout(total=None)
                async with aiohttp.ClientSession(
                    timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
                ) as session:
                    for attempt in range(1 + _RETRIES):
                        if attempt:
                            await asyncio.sleep(self._retry_seconds * attempt)
                        came = await self._tried(session, webhook_id, body)
                        if came.kind != "unavailable":
                            break
        except TimeoutError:
            pass
        return came

    async def _tried(self, session: aiohttp.ClientSession, webhook_id: str, body: str) -> Came:
        try:
            async with session.post(
                self._settings.url,
                data=body.encode(errors="replace"),
                headers=self._headers(webhook_id, body),
                allow_redirects=False,
            ) as response:
                raw = b""
                async for piece in response.content.iter_chunked(65_536):
                    raw += piece
                    if len(raw) > ANSWER_BYTES:
                        return Came("unreadable", status=response.status)
                return _read(response.status, raw)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # The text of the error may hold the address, which may hold a key.
            logger.debug("%s: %s", self._name, type(error).__name__)
            return Came("unavailable")

    def _headers(self, webhook_id: str, body: str) -> dict[str, str]:
        now = datetime.now(UTC)
        signed = body.encode(errors="replace").decode()
        return {
            "content-type": "application/json; charset=utf-8",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(webhook_id, now, signed),
        }

    def _learn(self, came: Came, began: float, body: Mapping[str, Any]) -> None:
        """Leave alone what is dead; what answers others meanwhile is slow, not dead."""
        now = self._monotonic()
        if came.kind != "unavailable":
            self._answered_at, self._failed = now, None
            self._closed_until, self._pause_seconds = float("-inf"), FIRST_PAUSE_SECONDS
        elif began < self._answered_at or began <= self._closed_at:
            # Others have learned more since.
            return
        elif self._failed is None or _is_akin(self._failed, body):
            # It may be for this one alone; who comes next looks.
            self._failed = self._failed or body
            self._closed_until = min(self._closed_until, now)
        else:
            self._closed_at, self._closed_until = now, now + self._pause_seconds
            self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
            logger.error("%s is left alone for a while", self._name, extra=_event("system_down"))


def _is_akin(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """True where requests share what they may fail of: the conversation, or all values."""
    parts = ((one.get(part), other.get(part)) for part in ("conversation", "slots"))
    return any(this and this == that for this, that in parts)


def _event(what: str) -> dict[str, str]:
    return {"event": f"action_{what}"}


def _read(status: int, raw: bytes) -> Came:
    if status == 404 or (200 <= status < 300 and not raw.strip()):
        return Came("empty", status=status)
    if status in _AGAIN or status >= 500:
        return Came("unavailable", status=status)
    if not 200 <= status < 300:
        return Came("refused", status=status)
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        return Came("unreadable", status=status)
    if is_nothing(answer):
        return Came("empty", status=status)
    return Came("answered", answer, status)
