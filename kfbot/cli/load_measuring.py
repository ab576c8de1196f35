"""What a load run has measured: percentiles, rates, what went wrong; pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Of those that are shown of every series.
PERCENTS = (50.0, 95.0, 99.0)


@dataclass(slots=True)
class Tally:
    """What one line of customers met; all times in seconds."""

    #: Questions that were due.
    offered: int = 0
    #: Questions that the bot acknowledged.
    taken: int = 0
    #: Each acknowledged request: from when it was due (a repeated one: was sent) until then.
    acks: list[float] = field(default_factory=list)
    #: Each answered question: from when it was due until the first reply.
    answers: list[float] = field(default_factory=list)
    #: Requests that were not taken, by what was said instead.
    refusals: Counter[str] = field(default_factory=Counter)
    #: Acknowledged, and no reply within patience.
    unanswered: int = 0
    #: Messages in a conversation in which nothing was asked.
    further: int = 0

    def merged(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            offered=self.offered + other.offered,
            taken=self.taken + other.taken,
            acks=self.acks + other.acks,
            answers=self.answers + other.answers,
            refusals=self.refusals + other.refusals,
            unanswered=self.unanswered + other.unanswered,
            further=self.further + other.further,
        )


@dataclass(frozen=True, slots=True)
class Result:
    """A whole run."""

    tallies: Mapping[str, Tally]
    #: Customers were coming for so long.
    seconds: float
    #: After that so long until the last reply, or until patience was at its end.
    drain_seconds: float
    #: How late the driver itself was at worst; it is in every time above.
    driver_lag_seconds: float

    def total(self) -> Tally:
        """All lines together."""
        every = Tally()
        for tally in self.tallies.values():
            every = every.merged(tally)
        return every


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all do not exceed (nearest rank).

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("no values")
    rank = max(math.ceil(len(values) * percent / 100), 1)
    return sorted(values)[rank - 1]


def series_data(values: Sequence[float]) -> dict[str, float] | None:
    """p50, p95, p99 and max in milliseconds; None of nothing."""
    if not values:
        return None
    named = {f"p{percent:g}": percentile(values, percent) for percent in PERCENTS}
    named["max"] = max(values)
    return {name: round(seconds * 1000, 1) for name, seconds in named.items()}


def tally_data(tally: Tally, result: Result) -> dict[str, Any]:
    """A tally as JSON."""
    return {
        "offered": tally.offered,
        "taken": tally.taken,
        "answered": len(tally.answers),
        "unanswered": tally.unanswered,
        "further_messages": tally.further,
        "offered_per_second": round(tally.offered / result.seconds, 1),
        "answered_per_second": round(
            len(tally.answers) / (result.seconds + result.drain_seconds), 1
        ),
        "ack_ms": series_data(tally.acks),
        "answer_ms": series_data(tally.answers),
        "refusals": dict(tally.refusals.most_common()),
    }


def result_data(result: Result) -> dict[str, Any]:
    """A whole run as JSON."""
    return {
        "seconds": round(result.seconds, 2),
        "drain_seconds": round(result.drain_seconds, 2),
        "driver_lag_ms": round(result.driver_lag_seconds * 1000, 1),
        "total": tally_data(result.total(), result),
        "channels": {name: tally_data(one, result) for name, one in result.tallies.items()},
    }


COLUMNS = (
    "channel", "offered/s", "taken", "answered", "answered/s", "not answered", "ack p50",
    "p95", "p99", "max", "answer p50", "p95", "p99", "max",
)  # fmt: skip


def table_rows(result: Result) -> list[list[str]]:
    """The rows below `COLUMNS`; times in milliseconds."""
    named = dict(result.tallies)
    if len(named) > 1:
        named["all"] = result.total()
    rows = []
    for name, tally in named.items():
        data = tally_data(tally, result)
        counts = (
            data["offered_per_second"], data["taken"], data["answered"],
            data["answered_per_second"], data["unanswered"],
        )  # fmt: skip
        series = [*_cells(data["ack_ms"]), *_cells(data["answer_ms"])]
        rows.append([name, *(str(count) for count in counts), *series])
    return rows


def remarks(result: Result) -> list[str]:
    """What the table does not say, a line each."""
    total = result.total()
    lines = [f"{count} × {kind}" for kind, count in total.refusals.most_common()]
    if lines:
        lines = ["Not taken at first: " + ", ".join(lines)]
    if total.further:
        lines.append(f"{total.further} further messages, beside the answers.")
    lines.append(
        f"Customers came for {result.seconds:.1f} s, the last reply {result.drain_seconds:.1f} s"
        f" later; the driver was late by {result.driver_lag_seconds * 1000:.0f} ms at worst."
    )
    return lines


def _cells(series: Mapping[str, float] | None) -> list[str]:
    if series is None:
        return ["–"] * (len(PERCENTS) + 1)
    return [f"{value:.0f}" for value in series.values()]
