"""Opening hours across zones, midnights, holidays and changes of the clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kfbot.handoff.business_hours import BusinessHours, read_dates, read_days, read_span
from kfbot.handoff.settings import HandoffSettings


def hours(zone: str = "Asia/Shanghai", **settings: Any) -> BusinessHours:
    return HandoffSettings(time_zone=zone, **settings).business_hours


def at(text: str, zone: str = "Asia/Shanghai") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


OFFICE: dict[str, Any] = {"hours": {"mon-fri": ("09:00-12:00", "13:00-18:00")}}


def test_without_hours_somebody_is_always_there() -> None:
    always, now = hours(), at("2026-10-03T03:00")
    assert always.is_open(now)
    assert always.opens_at(now) == now
    assert always.closes_at(now) is None
    assert always.after(now, timedelta(minutes=5)) == now + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("now", "opens_at", "closes_at"),
    [
        # 2026-03-02 is a Monday.
        ("2026-03-02T08:59", "2026-03-02T09:00", "2026-03-02T12:00"),
        ("2026-03-02T09:00", "2026-03-02T09:00", "2026-03-02T12:00"),
        ("2026-03-02T11:59", "2026-03-02T11:59", "2026-03-02T12:00"),
        ("2026-03-02T12:00", "2026-03-02T13:00", "2026-03-02T18:00"),
        ("2026-03-06T18:00", "2026-03-09T09:00", "2026-03-09T12:00"),
        ("2026-03-08T10:00", "2026-03-09T09:00", "2026-03-09T12:00"),
    ],
)
def test_a_working_week(now: str, opens_at: str, closes_at: str) -> None:
    office = hours(**OFFICE)
    assert office.is_open(at(now)) is (now == opens_at)
    assert office.opens_at(at(now)) == at(opens_at)
    assert office.closes_at(at(now)) == at(closes_at)


def test_time_in_which_nobody_is_there_does_not_count() -> None:
    office = hours(**OFFICE)
    assert office.after(at("2026-03-06T17:50"), timedelta(minutes=30)) == at("2026-03-09T09:20")
    assert office.after(at("2026-03-02T11:50"), timedelta(minutes=10)) == at("2026-03-02T12:00")
    assert office.after(at("2026-03-02T12:30"), timedelta()) == at("2026-03-02T13:00")


def test_a_working_weekend_between_holidays_has_the_hours_of_a_working_day() -> None:
    office = hours(
        **OFFICE, holidays=("2026-10-01/2026-10-07",), workdays=("2026-10-10", "2026-10-05")
    )
    assert office.opens_at(at("2026-09-30T18:00")) == at("2026-10-05T09:00")
    assert office.opens_at(at("2026-10-05T18:00")) == at("2026-10-08T09:00")
    assert office.opens_at(at("2026-10-09T18:00")) == at("2026-10-10T09:00")
    assert not office.is_open(at("2026-10-11T10:00"))


def test_a_span_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    night = hours(hours={"fri": ("22:00-06:00",)}, holidays=("2026-03-13",))
    assert night.is_open(at("2026-03-07T05:59"))
    assert not night.is_open(at("2026-03-07T06:00"))
    assert night.closes_at(at("2026-03-06T23:00")) == at("2026-03-07T06:00")
    # The holiday is the Friday, not the Saturday after it.
    assert not night.is_open(at("2026-03-14T05:00"))
    assert night.opens_at(at("2026-03-13T23:00")) == at("2026-03-20T22:00")


def test_hours_that_follow_one_another_are_one() -> None:
    whole = hours(hours={"mon-fri": ("00:00-24:00",)})
    assert whole.closes_at(at("2026-03-02T10:00")) == at("2026-03-07T00:00")
    assert hours(hours={"mon-sun": ("00:00-24:00",)}).closes_at(at("2026-03-02T10:00")) is None


def test_hours_go_by_the_clock_on_the_wall_when_it_is_changed() -> None:
    # On 2026-03-29 Berlin goes from 2:00 to 3:00, on 2026-10-25 from 3:00 to 2:00.
    berlin = hours("Europe/Berlin", hours={"mon-sun": ("09:00-17:00",)})
    assert berlin.opens_at(datetime(2026, 3, 28, 20, tzinfo=UTC)) == datetime(
        2026, 3, 29, 7, tzinfo=UTC
    )
    night = hours("Europe/Berlin", hours={"sat": ("22:00-04:00",)})
    spring, autumn = (
        at("2026-03-28T22:00", "Europe/Berlin"),
        at("2026-10-24T22:00", "Europe/Berlin"),
    )
    assert night.closes_at(spring) == spring + timedelta(hours=5)
    assert night.closes_at(autumn) == autumn + timedelta(hours=7)
    assert night.after(autumn, timedelta(hours=6, minutes=30)) == at(
        "2026-10-25T03:30", "Europe/Berlin"
    )


def test_a_time_that_the_clock_skips_or_has_twice() -> None:
    small = hours("Europe/Berlin", hours={"sun": ("02:15-02:45",)})
    skipped = small.opens_at(datetime(2026, 3, 28, 20, tzinfo=UTC))
    assert skipped == datetime(2026, 3, 29, 1, 15, tzinfo=UTC)
    twice = small.opens_at(datetime(2026, 10, 24, 20, tzinfo=UTC))
    assert twice == datetime(2026, 10, 25, 0, 15, tzinfo=UTC)
    assert small.closes_at(twice) == datetime(2026, 10, 25, 1, 45, tzinfo=UTC)


def test_a_company_that_is_never_there_again_is_not_waited_for() -> None:
    gone = hours(**OFFICE, holidays=("2026-01-01/2029-12-31",))
    assert gone.opens_at(at("2026-03-02T10:00")) is None
    assert gone.after(at("2026-03-02T10:00"), timedelta(minutes=1)) is None


def test_holidays_alone_are_the_only_days_on_which_nobody_is_there() -> None:
    office = hours(holidays=("2026-10-01/2026-10-07",))
    assert office.is_open(at("2026-09-30T23:59"))
    assert office.opens_at(at("2026-10-01T00:00")) == at("2026-10-08T00:00")


_SPANS = st.lists(
    st.tuples(st.integers(0, 1439), st.integers(1, 1440)).map(lambda one: (one[0], sum(one))),
    max_size=3,
).map(lambda spans: tuple(sorted(spans)))


@given(
    week=st.dictionaries(st.integers(0, 6), _SPANS, min_size=1).filter(
        lambda week: any(week.values())
    ),
    zone=st.sampled_from(["Asia/Shanghai", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]),
    now=st.integers(0, 365 * 24 * 60).map(
        lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    ),
    minutes=st.integers(0, 3000),
)
def test_openings_closings_and_waits_agree(
    week: dict[int, tuple[tuple[int, int], ...]], zone: str, now: datetime, minutes: int
) -> None:
    office, moment = BusinessHours(ZoneInfo(zone), week), now
    opens_at = office.opens_at(moment)
    assert opens_at is not None
    assert opens_at >= moment
    assert office.is_open(opens_at)
    closes_at = office.closes_at(moment)
    if closes_at is not None:
        assert closes_at > opens_at
        assert not office.is_open(closes_at)
        assert office.is_open(closes_at - timedelta(microseconds=1))
    until = office.after(moment, timedelta(minutes=minutes))
    if until is not None:
        assert until >= opens_at + timedelta(minutes=minutes)
        half = office.after(moment, timedelta(minutes=minutes / 2))
        assert half is not None
        assert office.after(half, timedelta(minutes=minutes / 2)) == until or minutes == 0


def test_how_days_spans_and_dates_are_written() -> None:
    assert read_days("mon-fri") == (0, 1, 2, 3, 4)
    assert read_days("Sat, Sun") == (5, 6)
    assert read_days("fri-mon") == (4, 5, 6, 0)
    assert read_span("9:00 - 18:00") == (540, 1080)
    assert read_span("22:00-06:00") == (1320, 1800)
    assert read_span("00:00-24:00") == (0, 1440)
    assert read_dates("2026-10-01/2026-10-07") == (date(2026, 10, 1), date(2026, 10, 7))


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"hours": {"mo": ("09:00-18:00",)}}, '"mo": days are mon, tue'),
        ({"hours": {"mon": ("9-18",)}}, 'write a span as "09:00-18:00"'),
        ({"hours": {"mon": ("25:00-26:00",)}}, "there is no 25:00"),
        ({"hours": {"mon": ("24:30-26:00",)}}, "there is no 24:30"),
        ({"hours": {"mon": ("09:00-09:00",)}}, "begins as it ends"),
        ({"hours": {"mon": ()}}, "no day has any"),
        ({"hours": {"mon-fri": ("09:00-18:00",), "fri": ("09:00-12:00",)}}, "fri is set twice"),
        ({"holidays": ("2026-13-01",)}, 'write a day as "2026-10-01"'),
        ({"holidays": ("2026-10-07/2026-10-01",)}, "ends before it begins"),
        ({"time_zone": "Asia/Shangai"}, "write a time zone as"),
        ({"time_zone": "../etc/passwd"}, "write a time zone as"),
        ({"keywords": ("!!",)}, "neither letters nor digits"),
    ],
)
def test_a_fault_says_what_to_write(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        HandoffSettings(**settings)


def test_a_channel_changes_only_what_it_names() -> None:
    common = HandoffSettings(time_zone="Asia/Shanghai", **OFFICE, keywords=("law",))
    own = HandoffSettings(time_zone="Europe/Berlin", give_up_after_minutes=15)
    both = common.with_channel(own)
    assert (both.time_zone, both.keywords) == ("Europe/Berlin", ("law",))
    assert both.business_hours.opens_at(at("2026-03-02T05:00", "UTC")) == at(
        "2026-03-02T08:00", "UTC"
    )
