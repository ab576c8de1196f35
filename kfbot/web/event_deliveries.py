"""`/api/v1/event-deliveries`: which systems were told of what, and once more if need be."""

from __future__ import annotations

import json
import logging
from typing import Any, cast, get_args

from aiohttp import web

from kfbot.store.conversation_events import ConversationEventStore, Delivery, DeliveryState
from kfbot.web.api import BadRequest, NotFound, number, success

logger = logging.getLogger(__name__)

#: A list has at most so many.
LARGEST_PAGE = 100
_PAGE = 50


class EventDeliveryApi:
    """The handlers."""

    def __init__(self, store: ConversationEventStore) -> None:
        self._store = store

    def routes(self) -> list[web.RouteDef]:
        """Everything under /api/v1/event-deliveries."""
        return [
            web.get("/api/v1/event-deliveries", self.list),
            web.post("/api/v1/event-deliveries/{id}/retry", self.retry),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """The newest first."""
        query = request.query
        if (state := query.get("state")) not in (None, *get_args(DeliveryState)):
            raise BadRequest("state: pending, delivered or dead")
        limit = number(query.get("limit", str(_PAGE)))
        if limit is None or not 1 <= limit <= LARGEST_PAGE:
            raise BadRequest(f"limit: a number from 1 to {LARGEST_PAGE}")
        before = number(query["before"]) if "before" in query else None
        if "before" in query and before is None:
            raise BadRequest("before: a number, from `next` of the part before")
        found = await self._store.list(
            webhook=query.get("webhook"),
            state=cast("DeliveryState | None", state),
            before=before,
            limit=limit,
        )
        rest = found[-1].id if len(found) == limit else None
        return success({"deliveries": [_data(one) for one in found], "next": rest})

    async def retry(self, request: web.Request) -> web.Response:
        """Tell it once more."""
        delivery = number(request.match_info["id"])
        if delivery is None or not await self._store.retry(delivery):
            raise NotFound(f"there is no delivery {request.match_info['id'][:20]!r}")
        logger.info("delivery %d again", delivery, extra={"event": "delivery_retried"})
        return success({"id": delivery})


def _data(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "webhook": delivery.webhook,
        "webhook_id": delivery.event_uid,
        "type": delivery.type,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "status": delivery.status,
        "error": delivery.error,
        "created_at": delivery.created_at.isoformat(),
        "next_at": delivery.next_at.isoformat() if delivery.state == "pending" else None,
        "finished_at": delivery.finished_at.isoformat() if delivery.finished_at else None,
        "body": json.loads(delivery.body),
    }
