"""The reports of the desk over HTTP: what is counted, for whom, and as a table."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
import pytest_asyncio

from tests.integration.conftest import ServedBot
from tests.integration.desk_client import DeskClient, colleague, first_admin, waiting

pytestmark = pytest.mark.asyncio

REPORTS = "/desk/api/reports"


@pytest_asyncio.fixture
async def anna(bot: ServedBot) -> DeskClient:
    """Two answered, one handed off and answered by a person."""
    anna = await first_admin(bot)
    for number in range(2):
        await bot.ask("How do I return an item?", f"answered-{number}")
    number = await waiting(bot)
    await anna.reply(number, "您好，我来处理。")
    return anna


async def refused(desk: DeskClient, **query: str) -> Any:
    status, message = await desk.call("GET", REPORTS, params=query)
    assert status == 400
    return message


async def test_a_report_counts_by_day_channel_and_knowledge_base(anna: DeskClient) -> None:
    report = await anna.get(REPORTS)
    total = report["total"]
    assert (total["questions"], total["answer"], total["handoff"]) == (3, 2, 1)
    assert (total["cases"], total["open_cases"], total["reasons"]) == (
        1,
        1,
        {"asked_for_person": 1},
    )
    assert total["first_reply_median_seconds"] is not None
    assert total["resolution_median_seconds"] is None
    assert len(report["days"]) == 30
    assert report["days"][-1]["questions"] == 3
    assert {one["name"]: one["answer"] for one in report["knowledge_bases"]} == {"fake": 2}
    assert report["choices"] == {"channels": ["api"], "knowledge_bases": ["fake"]}


async def test_a_report_of_one_knowledge_base_leaves_the_others_out(anna: DeskClient) -> None:
    report = await anna.get(REPORTS, params={"knowledge_base": "fake", "channel": "api"})
    assert (report["total"]["questions"], report["total"]["cases"]) == (3, 1)
    for elsewhere in ({"channel": "nowhere"}, {"knowledge_base": "nothing"}):
        report = await anna.get(REPORTS, params=elsewhere)
        assert (report["total"]["questions"], report["total"]["cases"]) == (0, 0)
        assert report["choices"] == {"channels": ["api"], "knowledge_bases": ["fake"]}


async def test_the_table_has_the_figures_of_the_report(anna: DeskClient) -> None:
    headers = {"Cookie": f"kfbot_desk={anna.token}"}
    async with anna.bot.http.get(
        anna.bot.url + REPORTS, params={"format": "csv"}, headers=headers
    ) as response:
        assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert "attachment" in response.headers["Content-Disposition"]
        rows = list(csv.DictReader(io.StringIO((await response.read()).decode("utf-8-sig"))))
    report = await anna.get(REPORTS)
    assert [row["day"] for row in rows] == [one["day"] for one in report["days"]]
    assert (rows[-1]["questions"], rows[-1]["answer"]) == ("3", "2")


async def test_an_agent_sees_only_the_sums_of_their_teams(anna: DeskClient) -> None:
    await anna.done("PUT", "/desk/api/teams/shop", {"channels": ["web"], "knowledge_bases": []})
    ben = await colleague(anna, "ben", role="agent", teams=["shop"])
    report = await ben.get(REPORTS)
    assert (report["total"]["questions"], report["choices"]["channels"]) == (0, [])


async def test_a_span_or_zone_that_cannot_be_is_refused(anna: DeskClient) -> None:
    assert "Asia/Shanghai" in await refused(anna, zone="Nowhere/Town")
    assert "Asia/Shanghai" in await refused(anna, zone="../../etc/passwd")
    assert "1 to 366 days" in await refused(anna, **{"from": "2026-02-01", "to": "2026-01-01"})
    assert "1 to 366 days" in await refused(anna, **{"from": "2020-01-01", "to": "2026-01-01"})
    assert "2026-03-01" in await refused(anna, to="tomorrow")
    assert "2026-03-01" in await refused(anna, to="9999-12-31")


async def test_nobody_sees_reports_without_signing_in(bot: ServedBot) -> None:
    status, _ = await DeskClient(bot).call("GET", REPORTS)
    assert status == 401
