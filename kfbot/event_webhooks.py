"""Tells other systems what happens to conversations: signed, tried again for days, and logged."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import aiohttp
from standardwebhooks import Webhook

from kfbot.changes import Changes
from kfbot.errors import StoreUnavailable
from kfbot.event_webhook_settings import EventWebhookSettings
from kfbot.observability import metrics
from kfbot.store.conversation_events import ConversationEventStore, Delivery
from kfbot.store.notices import EVENTS

logger = logging.getLogger(__name__)

#: After the first try that failed, the second, …: as the Standard Webhooks spec proposes.
RETRY_SECONDS = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
#: What is to be told is looked for so often, in case a notice was missed.
LOOK_SECONDS = 30.0
#: Of one system so many are told at the same time.
PARALLEL = 4
#: The receiver wants no more of them.
_GONE = 410


class EventWebhooks:
    """Follows the store and posts; several replicas share the work."""

    def __init__(
        self,
        webhooks: Mapping[str, EventWebhookSettings],
        store: ConversationEventStore,
        changes: Changes,
        clock: Callable[[], datetime],
    ) -> None:
        self._webhooks = webhooks
        self._store = store
        self._changes = changes
        self._clock = clock

    async def run(self) -> None:
        """Tell until cancelled; returns at once where no system is to be told anything."""
        if not self._webhooks:
            return
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
            asyncio.TaskGroup() as tasks,
        ):
            for name, section in self._webhooks.items():
                tasks.create_task(self._serve(name, section, http), name=f"event-webhook {name}")

    async def _serve(
        self, name: str, section: EventWebhookSettings, http: aiohttp.ClientSession
    ) -> None:
        with self._changes.watching(EVENTS) as changed:
            while True:
                changed.clear()
                pause = LOOK_SECONDS
                try:
                    # What is new goes first: it must not grow stale while a backlog is told.
                    while await self._store.hand_out(self._webhooks) or await self._tell_due(
                        name, section, http
                    ):
                        pass
                    if (due := await self._store.next_due(name)) is not None:
                        left = (due - self._clock()).total_seconds()
                        pause = min(max(left, 0.05), LOOK_SECONDS)
                except StoreUnavailable as error:
                    logger.error("not told yet: %s", error, extra={"event": "store_unavailable"})
                    pause = 1.0
                except Exception:
                    # A fault in here must not stop the answers to customers.
                    logger.exception("not told", extra={"event": "event_webhook_failed"})
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await changed.wait()

    async def _tell_due(
        self, name: str, section: EventWebhookSettings, http: aiohttp.ClientSession
    ) -> bool:
        # What is lent out longer than a try may take is somebody else's again.
        seconds = 2 * section.timeout_seconds + 10
        due = await self._store.claim(name, PARALLEL, seconds)
        # What goes wrong with one must not break off the others.
        told = await asyncio.gather(
            *(self._tell(delivery, section, http) for delivery in due), return_exceptions=True
        )
        for fault in told:
            if fault is not None:
                raise fault
        return bool(due)

    async def _tell(
        self, delivery: Delivery, section: EventWebhookSettings, http: aiohttp.ClientSession
    ) -> None:
        status, error = await post(section, delivery.event_uid, delivery.body, http)
        about = {"event": "event_told", "webhook": delivery.webhook, "uid": delivery.event_uid}
        if not error:
            logger.info("told %s of %s", delivery.webhook, delivery.type, extra=about)
            await self._store.settle(delivery, "delivered", status=status)
            metrics.told(delivery.webhook, "delivered")
            return
        is_last = status == _GONE or delivery.attempts > len(RETRY_SECONDS)
        logger.log(
            logging.ERROR if is_last else logging.WARNING,
            "event webhook %s: %s%s", delivery.webhook, error, "; given up" if is_last else "",
            extra=about | {"event": "event_not_told"},
        )  # fmt: skip
        if is_last:
            await self._store.settle(delivery, "dead", status=status, error=error)
            metrics.told(delivery.webhook, "dead")
            return
        wait = RETRY_SECONDS[delivery.attempts - 1] * random.uniform(0.8, 1.2)  # noqa: S311
        next_at = self._clock() + timedelta(seconds=wait)
        await self._store.settle(delivery, "pending", status=status, error=error, next_at=next_at)
        metrics.told(delivery.webhook, "failed")


async def post(
    section: EventWebhookSettings, uid: str, body: str, http: aiohttp.ClientSession
) -> tuple[int | None, str]:
    """Post a signed body; the status of the answer, if there was one, and what went wrong: ""
    for nothing. Standard Webhooks, https://www.standardwebhooks.com.
    """
    now = datetime.now(UTC)
    headers = {
        "content-type": "application/json; charset=utf-8",
        "webhook-id": uid,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(section.secret.get_secret_value()).sign(uid, now, body),
    }
    timeout = aiohttp.ClientTimeout(total=section.timeout_seconds)
    try:
        # The body of the answer means nothing to us and is not read.
        async with http.post(
            section.url,
            data=body.encode(),
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
        ) as response:
            is_taken = 200 <= response.status < 300
            return response.status, "" if is_taken else f"it answers {response.status}"
    except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError.
        # The text of the error may hold the address, which may hold a key.
        return None, f"it does not answer ({type(error).__name__})"
