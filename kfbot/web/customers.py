"""`/api/v1/customers`: who wrote, what is kept of one of them, and its erasure."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

from aiohttp import web

from kfbot.privacy import Erasure, Privacy, backup_data
from kfbot.store.customers import Customer
from kfbot.web.api import BadRequest, NotFound, number, success

logger = logging.getLogger(__name__)

#: A list has at most so many.
LARGEST_PAGE = 100
_PAGE = 50
_ONE = "/api/v1/customers/{channel}/{id}"
#: In the audit log, for who came with a bearer token.
_ACTOR = "token"


class CustomerApi:
    """The handlers."""

    def __init__(self, privacy: Privacy) -> None:
        self._privacy = privacy

    def routes(self) -> list[web.RouteDef]:
        """Everything under /api/v1/customers."""
        return [
            web.get("/api/v1/customers", self.list),
            web.get(f"{_ONE}/export", self.export),
            web.delete(_ONE, self.erase),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """The newest first."""
        query = request.query
        limit = number(query.get("limit", str(_PAGE)))
        if limit is None or not 1 <= limit <= LARGEST_PAGE:
            raise BadRequest(f"limit: a number from 1 to {LARGEST_PAGE}")
        numbers = {
            name: number(query[name]) for name in ("before", "conversation") if name in query
        }
        for name, given in numbers.items():
            if given is None:
                raise BadRequest(f"{name}: a number is needed")
        found = await self._privacy.customers.page(
            channel=query.get("channel"), search=query.get("search"), limit=limit, **numbers
        )
        rest = found[-1].id if len(found) == limit else None
        return success({"customers": [_data(one) for one in found], "next": rest})

    async def export(self, request: web.Request) -> web.Response:
        """Everything that is kept of one customer."""
        channel, user = _named(request)
        found = await self._privacy.export(channel, user, actor=_ACTOR)
        if found is None:
            raise _unknown(channel)
        return success(found)

    async def erase(self, request: web.Request) -> web.Response:
        """Remove everything that is kept of one customer."""
        channel, user = _named(request)
        if (entries := request.query.get("entries", "false")) not in ("true", "false"):
            raise BadRequest("entries: true or false")
        erasure = await self._privacy.erase(channel, user, actor=_ACTOR, entries=entries == "true")
        if erasure is None:
            raise _unknown(channel)
        logger.info("customer %d erased", erasure.customer.id, extra={"event": "customer_erased"})
        return success(_erasure_data(erasure))


def _named(request: web.Request) -> tuple[str, str]:
    return request.match_info["channel"], request.match_info["id"]


def _unknown(channel: str) -> NotFound:
    # Not the id: it is a person's.
    return NotFound(f"nothing is kept of a customer of this id on channel {channel[:40]!r}")


def _data(customer: Customer) -> dict[str, Any]:
    return {
        "number": customer.id,
        "channel": customer.channel,
        "id": customer.platform_user,
        "name": customer.name,
        "known_since": customer.created_at.isoformat(),
    }


def _erasure_data(erasure: Erasure) -> dict[str, Any]:
    return {
        **asdict(erasure),
        "customer": {"number": erasure.customer.id, "channel": erasure.customer.channel},
        "rows": dict(erasure.rows),
        "entries": [asdict(one) for one in erasure.entries],
        "entries_removed": [asdict(one) for one in erasure.entries_removed],
        "backups": backup_data(erasure.backups),
        "elsewhere": list(erasure.elsewhere),
    }
