"""What is known of how far the estimates for one knowledge base are off, and what corrects them.

`kfbot calibrate` measures it; `kfbot.confidence` applies it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, Self, get_args

#: Probabilities are kept so far from 0 and 1, where logarithms end.
_LEAST = 1e-6

Source = Literal["operator", "knowledge base"]
SOURCES = get_args(Source)


@dataclass(frozen=True, slots=True)
class Curve:
    """Turns probabilities into frequencies, in the same order (Kull et al. 2017, beta calibration).

    The log-odds become `high` · ln p − `low` · ln(1 − p) + `shift`; neither factor is negative.
    """

    high: float = 1.0
    low: float = 1.0
    shift: float = 0.0

    def probability(self, p: float) -> float:
        """Between 0 and 1."""
        p = min(max(p, _LEAST), 1 - _LEAST)
        return sigmoid(self.high * math.log(p) - self.low * math.log1p(-p) + self.shift)


@dataclass(frozen=True, slots=True)
class Adjustment:
    """The correction for one kind of passages."""

    curve: Curve
    #: Positions of the dial, rising, each with the least corrected probability to answer from.
    thresholds: tuple[tuple[float, float], ...]
    #: So many questions it was fitted to.
    questions: int

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """From its form in SQL and HTTP.

        Raises:
            KeyError: Something is missing.
            TypeError: Something is no number.
            ValueError: Something is no number, or the order of probabilities would not be kept.
        """
        curve = Curve(*(float(data["curve"][name]) for name in ("high", "low", "shift")))
        points = tuple((float(dial), float(least)) for dial, least in data["thresholds"])
        numbers = [curve.high, curve.low, curve.shift, *(one for point in points for one in point)]
        dials = [dial for dial, _ in points]
        if not all(map(math.isfinite, numbers)) or min(curve.high, curve.low) < 0:
            raise ValueError("a curve has finite numbers, and factors that are not negative")
        if not points or dials != sorted(set(dials)):
            raise ValueError("thresholds stand by positions of the dial that rise")
        return cls(curve, points, int(data["questions"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What one knowledge base was found to need."""

    #: By kind of passage; of a kind that is missing the estimate is taken as it is.
    adjustments: Mapping[str, Adjustment]
    #: The model and the signals that were measured; with others it holds no more.
    embedding_key: str
    signals: str
    #: The state of the knowledge base that was measured.
    generation: int
    made_at: datetime
    #: Where the questions came from.
    source: Source
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def questions(self) -> int:
        """So many questions it was fitted to."""
        return sum(one.questions for one in self.adjustments.values())

    def holds_for(self, embedding_key: str, signals: str) -> bool:
        """False: the model or the signals are others now."""
        return (self.embedding_key, self.signals) == (embedding_key, signals)

    def as_data(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "made_at": self.made_at.isoformat()}

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """From its form as JSON.

        Raises:
            KeyError: Something is missing.
            TypeError: Something is of another type.
            ValueError: A number is none, or senseless.
        """
        kinds = data["adjustments"]
        if not isinstance(kinds, dict) or not kinds.keys() <= {"faq", "document"}:
            raise ValueError("adjustments stand by kind: faq, document")
        made_at = datetime.fromisoformat(data["made_at"])
        if made_at.tzinfo is None:
            raise ValueError("made_at has no time zone")
        if data["source"] not in SOURCES or not 0 <= int(data["generation"]) < 2**31:
            raise ValueError("source or generation is none that there can be")
        if "\0" in f"{data['embedding_key']}{data['signals']}":
            raise ValueError("a key holds NUL")
        return cls(
            adjustments={kind: Adjustment.read(one) for kind, one in kinds.items()},
            embedding_key=str(data["embedding_key"]),
            signals=str(data["signals"]),
            generation=int(data["generation"]),
            made_at=made_at,
            source=data["source"],
            counts={str(name): int(count) for name, count in data["counts"].items()},
        )


def between(points: Sequence[Sequence[float]], at: float) -> float:
    """The value at a place on a line through points; beyond the last ones they hold."""
    below = [point for point in points if point[0] <= at]
    above = [point for point in points if point[0] >= at]
    if not below or not above:
        return (below or above)[-1 if below else 0][1]
    (x0, y0), (x1, y1) = below[-1], above[0]
    return y0 if x0 == x1 else y0 + (y1 - y0) * (at - x0) / (x1 - x0)


def sigmoid(x: float) -> float:
    """The probability of log-odds."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
