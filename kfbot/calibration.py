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
#: What a signal may add or take away is bounded: so many standard deviations.
FARTHEST = 4.0

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

    def probability(self, p: float, more: float = 0.0) -> float:
        """Between 0 and 1; `more` is added to the log-odds."""
        p = min(max(p, _LEAST), 1 - _LEAST)
        return sigmoid(self.high * math.log(p) - self.low * math.log1p(-p) + self.shift + more)


@dataclass(frozen=True, slots=True)
class Signal:
    """How one piece of evidence counts: from its mean, in its standard deviation."""

    weight: float
    mean: float
    scale: float

    def adds(self, value: float) -> float:
        """To the log-odds."""
        away = (value - self.mean) / self.scale
        return self.weight * max(-FARTHEST, min(FARTHEST, away))


@dataclass(frozen=True, slots=True)
class Correction:
    """What is made of an estimate, and the least result to answer from."""

    curve: Curve
    #: Positions of the dial, rising, each with the least corrected probability to answer from.
    thresholds: tuple[tuple[float, float], ...]
    #: What counts beside the estimate; all of it must be there.
    signals: Mapping[str, Signal] = field(default_factory=dict)

    def fits(self, evidence: Mapping[str, float]) -> bool:
        """True where everything is there that counts."""
        return all(not math.isnan(evidence.get(name, math.nan)) for name in self.signals)

    def contributions(self, evidence: Mapping[str, float]) -> dict[str, float]:
        """What each signal adds to the log-odds."""
        return {name: signal.adds(evidence[name]) for name, signal in self.signals.items()}

    def probability(self, p: float, evidence: Mapping[str, float]) -> float:
        """Between 0 and 1."""
        return self.curve.probability(p, sum(self.contributions(evidence).values()))

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """From its form in SQL and HTTP; raises as `Adjustment.read`."""
        curve = Curve(*(float(data["curve"][name]) for name in ("high", "low", "shift")))
        points = tuple((float(dial), float(least)) for dial, least in data["thresholds"])
        signals = {
            str(name): Signal(*(float(one[part]) for part in ("weight", "mean", "scale")))
            for name, one in data.get("signals", {}).items()
        }
        numbers = [curve.high, curve.low, curve.shift, *(one for point in points for one in point)]
        numbers += [number for one in signals.values() for number in (one.weight, one.mean)]
        scales = [one.scale for one in signals.values()]
        dials = [dial for dial, _ in points]
        if not all(map(math.isfinite, numbers + scales)) or min(curve.high, curve.low) < 0:
            raise ValueError("a curve has finite numbers, and factors that are not negative")
        if min(scales, default=1.0) <= 0:
            raise ValueError("a signal has a scale above 0")
        if not points or dials != sorted(set(dials)):
            raise ValueError("thresholds stand by positions of the dial that rise")
        return cls(curve, points, signals)


@dataclass(frozen=True, slots=True)
class Adjustment:
    """The correction for one kind of passages."""

    curve: Curve
    #: As a correction's.
    thresholds: tuple[tuple[float, float], ...]
    #: So many questions it was fitted to.
    questions: int
    source: Source = "knowledge base"
    #: Where a reranker has scored the first passage: with what it says.
    reranked: Correction | None = None

    def by(self, evidence: Mapping[str, float]) -> Correction:
        """The correction for what was found: without the reranker's score where it is missing."""
        if self.reranked is not None and self.reranked.fits(evidence):
            return self.reranked
        return Correction(self.curve, self.thresholds)

    @classmethod
    def read(cls, data: Mapping[str, Any], source: Source = "knowledge base") -> Self:
        """From its form in SQL and HTTP.

        Args:
            source: Of one that does not say where its questions came from.

        Raises:
            KeyError: Something is missing.
            TypeError: Something is no number.
            ValueError: Something is no number, or the order of probabilities would not be kept.
        """
        plain, reranked = Correction.read(data), data.get("reranked")
        source = data.get("source", source)
        if plain.signals or source not in SOURCES:
            raise ValueError("an adjustment has a known source, and no signals of its own")
        return cls(
            plain.curve,
            plain.thresholds,
            int(data["questions"]),
            source,
            None if reranked is None else Correction.read(reranked),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What one knowledge base was found to need."""

    #: By kind of passage; of a kind that is missing the estimate is taken as it is.
    adjustments: Mapping[str, Adjustment]
    #: The model and the signals that were measured; with others it holds no more. A reranker
    #: is among the signals.
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
        source: Source = data["source"]
        if source not in SOURCES or not 0 <= int(data["generation"]) < 2**31:
            raise ValueError("source or generation is none that there can be")
        if "\0" in f"{data['embedding_key']}{data['signals']}":
            raise ValueError("a key holds NUL")
        return cls(
            adjustments={kind: Adjustment.read(one, source) for kind, one in kinds.items()},
            embedding_key=str(data["embedding_key"]),
            signals=str(data["signals"]),
            generation=int(data["generation"]),
            made_at=made_at,
            source=source,
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
