"""When agents are there: opening hours, holidays and working weekends; pure, no I/O.

Spans are of a day in the operator's time zone; one that ends before it begins goes on into the
next day, whatever that day is. A time that a clock skips, when it is put forward, is taken as
late as it would have been; of a time that comes twice, a span begins at the first and ends at
the second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: So many days ahead are looked through: a company that opens once a year is found open.
HORIZON_DAYS = 400

_SPAN = re.compile(r"(\d{1,2}):(\d{2})\s*[-–]\s*(\d{1,2}):(\d{2})")
_DAY = timedelta(days=1)

#: Minutes of the day; the second one may lie in the next day.
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class BusinessHours:
    """When somebody is there. Without any hours: always."""

    zone: ZoneInfo
    #: By day of the week, 0 for Monday; empty: always open.
    week: Mapping[int, tuple[Span, ...]]
    #: First and last day of each holiday.
    holidays: tuple[tuple[date, date], ...] = ()
    #: Days that are worked on although they are weekend or holiday.
    workdays: tuple[tuple[date, date], ...] = ()

    def is_open(self, at: datetime) -> bool:
        """True where somebody is there."""
        return self.opens_at(at) == at

    def opens_at(self, at: datetime) -> datetime | None:
        """The first moment from `at` on when somebody is there; None: none is to be foreseen."""
        for begin, end in self._open(at):
            if end > at:
                return max(begin, at)
        return None

    def closes_at(self, at: datetime) -> datetime | None:
        """When the hours end in which `at` lies, or else the next ones; None: not to be foreseen.

        Hours that follow one another without a break are one.
        """
        found: datetime | None = None
        for begin, end in self._open(at):
            if found is not None and begin > found:
                return found
            if end > at:
                found = end if found is None else max(found, end)
        # Open to the end of what is looked at: it never closes.
        return None if found is None or self._is_beyond(found, at) else found

    def after(self, since: datetime, open_time: timedelta) -> datetime | None:
        """When somebody will have been there for so long since then; None: not to be foreseen."""
        rest = open_time
        reached = since
        for begin, end in self._open(since):
            begin = max(begin, reached)
            if end <= begin:
                continue
            if end - begin >= rest:
                return begin + rest
            rest -= end - begin
            reached = end
        return None

    def _is_beyond(self, found: datetime, at: datetime) -> bool:
        return found - at >= (HORIZON_DAYS - 2) * _DAY

    def _open(self, at: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Hours that end after `at`, in order of their beginning, in UTC; they may overlap."""
        if not any(self.week.values()):
            yield at, at + HORIZON_DAYS * _DAY
            return
        # A span of the day before may reach into today.
        first = at.astimezone(self.zone).date() - _DAY
        for number in range(HORIZON_DAYS):
            day = first + number * _DAY
            for begin, end in self._spans(day):
                opened, closed = self._utc(day, begin), self._utc(day, end, is_end=True)
                if closed > max(opened, at):
                    yield opened, closed

    def _spans(self, day: date) -> tuple[Span, ...]:
        if _lies_in(day, self.workdays):
            usual = (self.week[number] for number in sorted(self.week) if self.week[number])
            return self.week.get(day.weekday()) or next(usual)
        if _lies_in(day, self.holidays):
            return ()
        return self.week.get(day.weekday(), ())

    def _utc(self, day: date, minutes: int, *, is_end: bool = False) -> datetime:
        days, minutes = divmod(minutes, 24 * 60)
        clock = time(minutes // 60, minutes % 60)
        local = datetime.combine(day + days * _DAY, clock, tzinfo=self.zone)
        first, second = (local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
        return max(first, second) if is_end else first


def _lies_in(day: date, ranges: Sequence[tuple[date, date]]) -> bool:
    return any(first <= day <= last for first, last in ranges)


def read_days(names: str) -> tuple[int, ...]:
    """The days of the week of "mon", "mon-fri", "sat,sun" or "fri-mon", 0 for Monday.

    Raises:
        ValueError: There is no such day.
    """
    found: list[int] = []
    for part in names.lower().replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        begin = _day(first, names)
        end = _day(last, names) if dash else begin
        found += [number % 7 for number in range(begin, end + 1 + 7 * (end < begin))]
    return tuple(dict.fromkeys(found))


def _day(name: str, whole: str) -> int:
    if name not in DAYS:
        raise ValueError(f'"{whole}": days are {", ".join(DAYS)}, or "mon-fri"')
    return DAYS.index(name)


def read_span(text: str) -> Span:
    """The span of "09:00-18:00"; "22:00-06:00" goes on into the next day, "24:00" ends one.

    Raises:
        ValueError: It is none.
    """
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f'"{text}": write a span as "09:00-18:00"')
    begin, end = (
        _minutes(int(hour), int(minute), text)
        for hour, minute in (found.group(1, 2), found.group(3, 4))
    )
    if begin == end:
        raise ValueError(f'"{text}" begins as it ends: the whole day is "00:00-24:00"')
    return begin, end + 24 * 60 * (end < begin)


def _minutes(hour: int, minute: int, text: str) -> int:
    if hour > 24 or minute > 59 or (hour == 24 and minute):
        raise ValueError(f'"{text}": there is no {hour:02}:{minute:02}')
    return 60 * hour + minute


def read_dates(text: str) -> tuple[date, date]:
    """First and last day of "2026-10-01" or "2026-10-01/2026-10-07".

    Raises:
        ValueError: They are no days, or in the wrong order.
    """
    first, slash, last = (part.strip() for part in text.partition("/"))
    try:
        begin = date.fromisoformat(first)
        end = date.fromisoformat(last) if slash else begin
    except ValueError:
        fault = f'"{text}": write a day as "2026-10-01", several as "2026-10-01/2026-10-07"'
        raise ValueError(fault) from None
    if end < begin:
        raise ValueError(f'"{text}" ends before it begins')
    return begin, end
