"""The table of faults: what was done to the bot, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from tests.faults.checker import Verdict

_HEAD = (
    "fault", "database", "injected", "questions", "lost", "reordered", "doubled",
    "without keys", "recovery median", "longest",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One kind of fault on one database."""

    fault: str
    database: str
    injected: int
    verdict: Verdict
    #: Seconds from each fault until what was under way then was done.
    recoveries: Sequence[float] = ()

    def cells(self) -> tuple[str, ...]:
        """As they stand in the table."""
        verdict, seconds = self.verdict, self.recoveries
        counts = (
            self.injected, verdict.questions, len(verdict.lost), len(verdict.reordered),
            len(verdict.doubled), len(verdict.repeated),
        )  # fmt: skip
        times = (median(seconds), max(seconds)) if seconds else ()
        shown = [f"{one:.2f} s" for one in times] or ["-", "-"]
        return (self.fault, self.database, *(str(count) for count in counts), *shown)


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """The table as text."""
    cells = [_HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD))]
    for line in cells:
        texts = (text.ljust(width) for text, width in zip(line[:2], widths[:2], strict=True))
        numbers = (text.rjust(width) for text, width in zip(line[2:], widths[2:], strict=True))
        yield "  ".join([*texts, *numbers])
