"""What customers are told outside of business hours."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from kfbot.handoff.closing_times import closed_text, handoff_text, when
from kfbot.handoff.settings import HandoffSettings
from kfbot.texts import texts

WEEK = {"mon-fri": ("09:00-12:00", "13:00-18:00")}


def office(zone: str, **settings: Any) -> Any:
    return HandoffSettings(time_zone=zone, **{"hours": WEEK} | settings).business_hours


def at(text: str, zone: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


@pytest.mark.parametrize(
    ("zone", "now", "english", "chinese"),
    [
        ("Asia/Shanghai", "2026-03-02T12:30", "today at 13:00 (Beijing time)",
         "今天 13:00（北京时间）"),
        ("Asia/Kolkata", "2026-03-02T18:30", "tomorrow at 09:00 (UTC+5:30)",
         "明天 09:00（UTC+5:30）"),
        ("America/New_York", "2026-03-06T18:30", "on Monday, 9 March at 09:00 (UTC-4)",
         "3 月 9 日（周一）09:00（UTC-4）"),
        ("UTC", "2026-03-07T10:00", "on Monday, 9 March at 09:00 (UTC)",
         "3 月 9 日（周一）09:00（UTC）"),
    ],
)  # fmt: skip
def test_the_next_opening_is_told_as_people_say_it(
    zone: str, now: str, english: str, chinese: str
) -> None:
    hours, moment = office(zone), at(now, zone)
    opens_at = hours.opens_at(moment)
    assert when(opens_at, moment, hours, "en") == english
    assert when(opens_at, moment, hours, "zh") == chinese
    assert chinese in closed_text(hours, moment, "zh")


def test_where_no_opening_is_to_be_foreseen_none_is_promised() -> None:
    gone = office("UTC", holidays=("2026-01-01/2029-12-31",))
    told = closed_text(gone, at("2026-03-02T10:00", "UTC"), "en")
    assert told.startswith("Our team is away at the moment.")
    assert "{" not in told


def test_answers_to_other_questions_of_the_message_are_kept() -> None:
    hours, now = office("UTC"), at("2026-03-02T20:00", "UTC")
    text = handoff_text("You have 15 days.\n\nThe rest …", "unsure", hours, now, "en")
    assert text.startswith("You have 15 days.\n\nThe rest …\n\nOur team is back tomorrow")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("reason", ["unsure", "error", "asked_for_person"])
def test_nobody_is_promised_at_once(language: Any, reason: Any) -> None:
    says = texts(language)
    promise = {"unsure": says.handoff, "error": says.handoff_error}.get(reason, says.handoff_asked)
    hours, now = office("UTC"), at("2026-03-02T20:00", "UTC")
    told = handoff_text(promise, reason, hours, now, language)
    assert closed_text(hours, now, language) in told
    assert "just a moment" not in told
    assert "请稍等" not in told
