"""A shop's own system behind actions: real HTTP on loopback, signatures checked by the library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from tests.platforms.webhook_receiver import Answer, WebhookReceiver

ORDERS = {
    "AB123456": {"status": "shipped", "carrier": "SF_Express", "url": "https://track.example/1"},
    "AB000001": {"status": "packed"},
}


class OrderSystem(WebhookReceiver):
    """Knows some orders, and cancels them; a repeat of a request is not done twice."""

    def __init__(self, secret: str) -> None:
        super().__init__(secret)
        #: Orders that were cancelled, in order.
        self.cancelled: list[str] = []
        #: Orders for which it always answers 500.
        self.broken: set[str] = set()

    async def answer_to(self, request: web.Request, message: Mapping[str, Any]) -> Answer:
        if self.answers:
            return await super().answer_to(request, message)
        order = message["slots"].get("order_number", "")
        if order in self.broken:
            return Answer(status=500)
        if message["action"] == "cancel_order":
            if request.headers["webhook-id"] not in self.kept:
                self.cancelled.append(order)
            return _json({"order": {"id": order}})
        found = ORDERS.get(order.upper())
        return Answer(status=404) if found is None else _json({"order": found})


def _json(answer: Any) -> Answer:
    return Answer(headers={"content-type": "application/json"}, body=json.dumps(answer).encode())
