"""From evidence to a probability, and from it to answer, clarify or hand off.

The probability that the first passage answers is a logistic combination of named signals,
fitted on public question sets by `python -m knowledge.fit_confidence`; its coefficients lie in
confidence.json beside their sources. FAQ entries and documents have a combination each. For
FAQ entries a second one, the gate, tells whether the question is about this field at all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Self

from kfbot.knowledge_base import Passage, PassageKind, Retrieval

#: What a signal may add or take away is bounded: so many standard deviations.
_FARTHEST = 4.0
#: Choices offered, at most.
CHOICES = 3

Target = Literal["first", "one_of_three"]


@dataclass(frozen=True, slots=True)
class Signal:
    """How one piece of evidence counts: from its mean, in its standard deviation."""

    weight: float
    mean: float
    scale: float


@dataclass(frozen=True, slots=True)
class Logistic:
    """A weighted sum of signals, as a probability."""

    bias: float
    signals: Mapping[str, Signal]

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """From its form in confidence.json."""
        signals = {name: Signal(*numbers) for name, numbers in data["signals"].items()}
        return cls(data["bias"], signals)

    def contributions(self, evidence: Mapping[str, float]) -> dict[str, float]:
        """What each signal adds to the log-odds; evidence that is missing adds nothing."""
        return {
            name: signal.weight
            * max(-_FARTHEST, min(_FARTHEST, (evidence[name] - signal.mean) / signal.scale))
            for name, signal in self.signals.items()
            if not math.isnan(evidence.get(name, math.nan))
        }

    def probability(self, evidence: Mapping[str, float]) -> float:
        """Between 0 and 1."""
        return _sigmoid(self.bias + sum(self.contributions(evidence).values()))


@dataclass(frozen=True, slots=True)
class Model:
    """The probability that the first passage, or one of the first three, answers."""

    match: Logistic
    #: Is the question about this field: asked in the language of what was found …
    gate: Logistic | None
    #: … and in another one.
    gate_foreign: Logistic | None
    #: Log-odds of the product are stretched and moved by these to be true frequencies
    #: (Platt 1999).
    stretch: float
    shift: float

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """From its form in confidence.json."""
        gate, foreign = data["gate"], data["gate_foreign"]
        return cls(
            match=Logistic.read(data["match"]),
            gate=Logistic.read(gate) if gate else None,
            gate_foreign=Logistic.read(foreign) if foreign else None,
            stretch=data["stretch"],
            shift=data["shift"],
        )

    def probability(self, evidence: Mapping[str, float]) -> float:
        """Between 0 and 1."""
        product = self.match.probability(evidence)
        if evidence.get("foreign", 0.0) > 0.5:
            product *= self.gate_foreign.probability(evidence) if self.gate_foreign else 1.0
        elif self.gate is not None:
            product *= self.gate.probability(evidence) ** 2
        product = min(max(product, 1e-6), 1 - 1e-6)
        return _sigmoid(self.stretch * math.log(product / (1 - product)) + self.shift)


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the bot should do with what was found."""

    #: That the first passage answers, 0 to 1.
    probability: float
    decision: Literal["answer", "clarify", "handoff"]
    #: Set for "clarify": two or three passages.
    choices: tuple[Passage, ...] = ()


def assess(found: Retrieval, max_wrong_percent: float) -> Assessment:
    """Decide what to do with what was found.

    Args:
        max_wrong_percent: The dial: so many of 100 answers may be wrong.
    """
    if not found.passages:
        return Assessment(0.0, "handoff")
    kind = found.passages[0].kind
    if not found.evidence.get(kind):
        # Nothing speaks for the first passage: a person must look.
        return Assessment(0.0, "handoff")
    probability = model(kind, "first").probability(found.evidence[kind])
    if probability >= threshold(kind, max_wrong_percent):
        return Assessment(probability, "answer")
    among = max(
        model(other, "one_of_three").probability(signals)
        for other, signals in found.evidence.items()
    )
    choices = _choices(found.passages)
    if max(among, probability) >= _data()["clarify_from"] and len(choices) > 1:
        return Assessment(probability, "clarify", choices)
    return Assessment(probability, "handoff")


def threshold(kind: PassageKind, max_wrong_percent: float) -> float:
    """The least probability at which at most so many of 100 answers were wrong when fitted.

    Between the fitted points it is interpolated, beyond the last ones they hold.
    """
    points: list[list[float]] = _data()["kinds"][kind]["thresholds"]
    below = [point for point in points if point[0] <= max_wrong_percent]
    above = [point for point in points if point[0] >= max_wrong_percent]
    if not below or not above:
        return (below or above)[-1 if below else 0][1]
    (x0, y0), (x1, y1) = below[-1], above[0]
    return y0 if x0 == x1 else y0 + (y1 - y0) * (max_wrong_percent - x0) / (x1 - x0)


def explain(kind: PassageKind, evidence: Mapping[str, float]) -> list[tuple[str, float]]:
    """What counted, the strongest first: signals with what each added to the log-odds."""
    added = model(kind, "first").match.contributions(evidence)
    return sorted(added.items(), key=lambda item: -abs(item[1]))


@cache
def model(kind: PassageKind, target: Target) -> Model:
    """The fitted model for a kind of passage."""
    return Model.read(_data()["kinds"][kind][target])


def _choices(passages: Sequence[Passage]) -> tuple[Passage, ...]:
    """The first passages that a customer can tell apart."""
    by_name: dict[str, Passage] = {}
    for passage in passages:
        by_name.setdefault(passage.question or f"{passage.title} {passage.heading}", passage)
    return tuple(by_name.values())[:CHOICES]


@cache
def _data() -> dict[str, Any]:
    text = files("kfbot").joinpath("confidence.json").read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
