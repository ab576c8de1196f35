"""`/desk/api/reports`: figures of a span of days, as JSON for the page and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

from kfbot.agents import may_see
from kfbot.application import Application
from kfbot.reports import LONGEST_DAYS, Counted, Figures, Place, by_day, by_place, figures
from kfbot.web.api import BadRequest, success
from kfbot.web.desk.sessions import Sessions

#: Without dates a report covers so many days, today the last.
DAYS = 30


class ReportsApi:
    """The handler; what an agent may not see is in no sum."""

    def __init__(self, application: Application, sessions: Sessions) -> None:
        self._application = application
        self._sessions = sessions

    def routes(self) -> list[web.RouteDef]:
        """What the reports tab asks."""
        return [web.get("/desk/api/reports", self.report)]

    async def report(self, request: web.Request) -> web.Response:
        """Figures by day, channel and knowledge base, both days included."""
        agent = await self._sessions.agent_of(request)
        zone = _zone(request.query.get("zone", "UTC"))
        first, last = self._span(request, zone)
        counted = await self._application.reports.counted(
            datetime.combine(first, time(), zone),
            datetime.combine(last + timedelta(days=1), time(), zone),
        )
        seen = counted.only(lambda place: may_see(agent, place.channel, place.knowledge_base))
        shown = seen.only(_wanted(request))
        daily = by_day(shown, first, last, zone)
        if request.query.get("format") == "csv":
            return _csv(daily, first, last)
        return success(_data(seen, shown, daily, zone))

    def _span(self, request: web.Request, zone: ZoneInfo) -> tuple[date, date]:
        today = self._application.clock().astimezone(zone).date()
        last = _day(request, "to") or today
        first = _day(request, "from") or last - timedelta(days=DAYS - 1)
        if not timedelta() <= last - first < timedelta(days=LONGEST_DAYS):
            raise BadRequest(f"from, to: 1 to {LONGEST_DAYS} days, the first one first")
        return first, last


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise BadRequest("zone: a name like Asia/Shanghai is needed") from None


def _day(request: web.Request, name: str) -> date | None:
    text = request.query.get(name, "")
    try:
        day = date.fromisoformat(text) if text else None
    except ValueError:
        raise BadRequest(f"{name}: a day like 2026-03-01 is needed") from None
    if day is not None and not 2000 <= day.year <= 2999:
        raise BadRequest(f"{name}: a day like 2026-03-01 is needed")
    return day


def _wanted(request: web.Request) -> Callable[[Place], bool]:
    channel, knowledge_base = (request.query.get(name) for name in ("channel", "knowledge_base"))

    def wanted(place: Place) -> bool:
        return (not channel or place.channel == channel) and (
            not knowledge_base or place.knowledge_base == knowledge_base
        )

    return wanted


def _data(
    seen: Counted, shown: Counted, daily: dict[date, Figures], zone: ZoneInfo
) -> dict[str, Any]:
    total = figures(shown)
    return {
        "zone": zone.key,
        "is_complete": shown.is_complete,
        "total": total.as_data() | {"reasons": dict(total.reasons)},
        "days": [{"day": day.isoformat()} | one.as_data() for day, one in daily.items()],
        "channels": _places(shown, "channel"),
        "knowledge_bases": _places(shown, "knowledge_base"),
        # To choose from, whatever is chosen now.
        "choices": {
            "channels": sorted({place.channel for place in _all(seen)}),
            "knowledge_bases": sorted({place.knowledge_base for place in _all(seen)} - {""}),
        },
    }


def _places(counted: Counted, name: str) -> list[dict[str, Any]]:
    found = by_place(counted, lambda place: str(getattr(place, name)))
    return [{"name": one} | sums.as_data() for one, sums in found.items()]


def _all(counted: Counted) -> list[Place]:
    return [*(one.place for one in counted.tallies), *(one.place for one in counted.cases)]


def _csv(daily: dict[date, Figures], first: date, last: date) -> web.Response:
    """One line a day; a spreadsheet reads it as UTF-8 because of its first three bytes."""
    columns = ["day", *Figures().as_data()]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    for day, one in daily.items():
        writer.writerow({"day": day.isoformat()} | one.as_data())
    return web.Response(
        body=text.getvalue().encode("utf-8-sig"),
        content_type="text/csv",
        charset="utf-8",
        headers={"Content-Disposition": f'attachment; filename="kfbot-{first}-{last}.csv"'},
    )
