"""What customers are told outside of business hours: when somebody is back; pure, no I/O."""

from __future__ import annotations

from datetime import datetime, timedelta

from kfbot.conversation import HandoffReason, Language
from kfbot.handoff.business_hours import BusinessHours
from kfbot.texts import texts, waiting_texts


def closed_text(hours: BusinessHours, now: datetime, language: Language) -> str:
    """That the message is kept, and when somebody is there to answer it."""
    says = waiting_texts(language)
    opens_at = hours.opens_at(now)
    if opens_at is None:
        return says.closed_for_now
    return says.closed.format(when=when(opens_at, now, hours, language))


def handoff_text(
    text: str, reason: HandoffReason | None, hours: BusinessHours, now: datetime, language: Language
) -> str:
    """What is said at a handoff while nobody is there, instead of `text`.

    Answers to other questions of the same message are kept.
    """
    closed = closed_text(hours, now, language)
    if text not in _promises(language):
        return f"{text}\n\n{closed}"
    says = waiting_texts(language)
    first = {"unsure": says.unsure, "error": says.error}.get(reason or "", "")
    return ("" if language == "zh" else " ").join(part for part in (first, closed) if part)


def when(at: datetime, now: datetime, hours: BusinessHours, language: Language) -> str:
    """A day and a time, as people say it."""
    says, zone = waiting_texts(language), hours.zone
    local, today = at.astimezone(zone), now.astimezone(zone).date()
    name = says.zones.get(zone.key) or _offset(local)
    time = says.time.format(time=f"{local:%H:%M}", zone=name)
    if local.date() == today:
        return says.today.format(time=time)
    if local.date() == today + timedelta(days=1):
        return says.tomorrow.format(time=time)
    return says.day.format(
        weekday=says.weekdays[local.weekday()],
        day=local.day,
        month=says.months[local.month - 1],
        time=time,
    )


def _offset(local: datetime) -> str:
    """As in UTC+5:30."""
    offset = local.utcoffset() or timedelta()
    hours, minutes = divmod(abs(offset) // timedelta(minutes=1), 60)
    sign = "-" if offset < timedelta() else "+"
    return f"UTC{sign}{hours}" + (f":{minutes:02}" if minutes else "")


def _promises(language: Language) -> tuple[str, ...]:
    """Texts that say that a person comes now."""
    says = texts(language)
    helped = waiting_texts(language).not_helped
    return says.handoff, says.handoff_asked, says.handoff_error, helped
