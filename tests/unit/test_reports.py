"""Sums for reports: days in a time zone, places, and how long customers waited."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from kfbot.reports import Counted, Handled, Place, Spread, Tally, by_day, by_place, figures

SHOP, WEB = Place("shop", "returns"), Place("web")
NIGHT = datetime(2026, 3, 1, 16, 30, tzinfo=UTC)


def tally(at: datetime, what: str, count: int = 1, place: Place = SHOP) -> Tally:
    return Tally(at=at, place=place, what=what, count=count)  # type: ignore[arg-type]


def case(at: datetime, minutes: float | None = None, place: Place = SHOP) -> Handled:
    replied = None if minutes is None else at + timedelta(minutes=minutes)
    return Handled(at=at, place=place, reason="unsure", first_reply_at=replied)


def test_a_day_begins_at_midnight_of_the_time_zone() -> None:
    counted = Counted(tallies=[tally(NIGHT, "answer", 3)], cases=[case(NIGHT)])
    days = by_day(counted, date(2026, 3, 1), date(2026, 3, 3), ZoneInfo("Asia/Shanghai"))
    assert [one.counts.get("answer", 0) for one in days.values()] == [0, 3, 0]
    assert days[date(2026, 3, 2)].reasons == {"unsure": 1}
    utc = by_day(counted, date(2026, 3, 1), date(2026, 3, 2), ZoneInfo("UTC"))
    assert [one.counts.get("answer", 0) for one in utc.values()] == [3, 0]


def test_questions_are_the_turns_in_which_the_bot_spoke_and_verdicts_are_none() -> None:
    tallies = [tally(NIGHT, "answer", 5), tally(NIGHT, "handoff", 2), tally(NIGHT, "helpful", 4)]
    data = figures(Counted(tallies=tallies)).as_data()
    assert (data["questions"], data["answer"], data["handoff"], data["helpful"]) == (7, 5, 2, 4)


def test_the_first_reply_is_told_by_median_and_ninth_tenth() -> None:
    cases = [case(NIGHT, minutes) for minutes in range(1, 12)] + [case(NIGHT)]
    found = figures(Counted(cases=cases))
    assert found.first_reply == Spread(6 * 60, 10 * 60)
    assert found.open_cases == 12
    assert found.resolution is None


def test_a_single_case_is_its_own_median_and_ninth_tenth() -> None:
    assert figures(Counted(cases=[case(NIGHT, 2)])).first_reply == Spread(120, 120)


def test_each_place_has_its_own_sums_and_what_is_not_wanted_counts_nowhere() -> None:
    counted = Counted(tallies=[tally(NIGHT, "answer"), tally(NIGHT, "answer", 2, WEB)])
    channels = by_place(counted, lambda place: place.channel)
    assert {name: one.counts["answer"] for name, one in channels.items()} == {"shop": 1, "web": 2}
    only = counted.only(lambda place: place.channel == "web")
    assert figures(only).counts["answer"] == 2
