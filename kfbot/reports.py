"""What the bot and the agents did, day by day: pure sums over what the store counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from statistics import median, quantiles
from typing import Any, Literal, TypeVar
from zoneinfo import ZoneInfo

from kfbot.conversation import Decision, HandoffReason

#: A report covers so many days at most.
LONGEST_DAYS = 366
_DECISIONS: tuple[Decision, ...] = ("answer", "clarify", "handoff", "smalltalk")
#: What is counted beside decisions.
_BESIDE = ("written", "tokens", "helpful", "not_helpful")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something happened."""

    channel: str
    #: "": no passage was found.
    knowledge_base: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """So many turns of one decision, presses of one verdict, or what a model did, in one place.

    Of answers so many were "written" by a chat model; turns took so many "tokens" of it.
    """

    #: The quarter of an hour that begins then.
    at: datetime
    place: Place
    what: Decision | Literal["helpful", "not_helpful", "written", "tokens"]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Handled:
    """A case, as far as it went; it counts where and when it was opened."""

    at: datetime
    place: Place
    reason: HandoffReason
    first_reply_at: datetime | None = None
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What the store found in a span of time."""

    tallies: Sequence[Tally] = ()
    cases: Sequence[Handled] = ()
    #: False: there was more than is counted; the oldest is missing.
    is_complete: bool = True

    def only(self, wanted: Callable[[Place], bool]) -> Counted:
        """What happened in the places that are wanted."""
        return Counted(
            tallies=[one for one in self.tallies if wanted(one.place)],
            cases=[one for one in self.cases if wanted(one.place)],
            is_complete=self.is_complete,
        )


@dataclass(frozen=True, slots=True)
class Spread:
    """Of many durations, in seconds: half are shorter than the median, nine tenths than p90."""

    median: float
    p90: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Sums over a day, a channel, a knowledge base, or everything."""

    #: By what is counted; see `Tally`.
    counts: Mapping[str, int] = field(default_factory=dict)
    #: Cases that were opened, by reason.
    reasons: Mapping[str, int] = field(default_factory=dict)
    #: Of these are not closed yet.
    open_cases: int = 0
    #: From opening a case to an agent's first words to the customer; None: there were none.
    first_reply: Spread | None = None
    #: From opening a case to its end.
    resolution: Spread | None = None

    def as_data(self) -> dict[str, Any]:
        """As JSON; the names are those of the CSV's columns."""
        return {
            "questions": sum(self.counts.get(name, 0) for name in _DECISIONS),
            **{name: self.counts.get(name, 0) for name in (*_DECISIONS, *_BESIDE)},
            "cases": sum(self.reasons.values()),
            "open_cases": self.open_cases,
            **_seconds("first_reply", self.first_reply),
            **_seconds("resolution", self.resolution),
        }


def days(first: date, last: date) -> list[date]:
    """Every day from the first to the last, both included."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def by_day(counted: Counted, first: date, last: date, zone: ZoneInfo) -> dict[date, Figures]:
    """The figures of every day between two, both included, as days go in a time zone."""
    found = _grouped(counted, lambda at, place: at.astimezone(zone).date())
    return {day: figures(found.get(day, Counted())) for day in days(first, last)}


def by_place(counted: Counted, name: Callable[[Place], str]) -> dict[str, Figures]:
    """The figures of every channel or knowledge base, by what `name` makes of a place."""
    found = _grouped(counted, lambda at, place: name(place))
    return {one: figures(found[one]) for one in sorted(found)}


def figures(counted: Counted) -> Figures:
    """The sums over everything that was counted."""
    counts: Counter[str] = Counter()
    for tally in counted.tallies:
        counts[tally.what] += tally.count
    cases = counted.cases
    return Figures(
        counts=counts,
        reasons=Counter(case.reason for case in cases),
        open_cases=sum(case.closed_at is None for case in cases),
        first_reply=_spread([(case.at, case.first_reply_at) for case in cases]),
        resolution=_spread([(case.at, case.closed_at) for case in cases]),
    )


def _grouped(counted: Counted, key: Callable[[datetime, Place], Key]) -> dict[Key, Counted]:
    tallies: dict[Key, list[Tally]] = defaultdict(list)
    cases: dict[Key, list[Handled]] = defaultdict(list)
    for tally in counted.tallies:
        tallies[key(tally.at, tally.place)].append(tally)
    for case in counted.cases:
        cases[key(case.at, case.place)].append(case)
    keys = tallies.keys() | cases.keys()
    return {one: Counted(tallies=tallies[one], cases=cases[one]) for one in keys}


def _spread(spans: Sequence[tuple[datetime, datetime | None]]) -> Spread | None:
    seconds = [(end - begin).total_seconds() for begin, end in spans if end is not None]
    if not seconds:
        return None
    tenths = quantiles(seconds, n=10, method="inclusive") if len(seconds) > 1 else seconds
    return Spread(median(seconds), tenths[-1])


def _seconds(name: str, spread: Spread | None) -> dict[str, float | None]:
    return {
        f"{name}_median_seconds": None if spread is None else round(spread.median, 1),
        f"{name}_p90_seconds": None if spread is None else round(spread.p90, 1),
    }
