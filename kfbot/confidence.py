"""From evidence to a probability, and from it to answer, clarify or hand off.

The probability that the first passage answers is a logistic combination of named signals,
fitted on public question sets by `python -m knowledge.fit_confidence`; its coefficients lie in
confidence.json beside their sources. FAQ entries and documents have a combination each. A second
one is the gate: for FAQ entries it tells whether the question is about this field at all, for
documents whether the passage says what is asked, or is only about it.
What an operator has calibrated (`kfbot.calibration`) comes with the passages and corrects it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal, Self

from kfbot.calibration import Adjustment, Correction, Curve, Signal, between, sigmoid
from kfbot.knowledge_base import Passage, PassageKind, Retrieval

#: Evidence that a reranker gives: its score of the first passage, and its lead over the next.
RERANK, RERANK_LEAD = "rerank", "rerank_lead"
#: Choices offered, at most.
CHOICES = 3

Target = Literal["first", "one_of_three"]
_NO_CORRECTIONS: Mapping[PassageKind, Correction] = MappingProxyType({})


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
            name: signal.adds(evidence[name])
            for name, signal in self.signals.items()
            if not math.isnan(evidence.get(name, math.nan))
        }

    def probability(self, evidence: Mapping[str, float]) -> float:
        """Between 0 and 1."""
        return sigmoid(self.bias + sum(self.contributions(evidence).values()))

    def doubt(self, evidence: Mapping[str, float]) -> float:
        """What the probability lacks of 1, exact where that is next to nothing."""
        return sigmoid(-self.bias - sum(self.contributions(evidence).values()))


@dataclass(frozen=True, slots=True)
class Model:
    """The probability that the first passage, or one of the first three, answers."""

    match: Logistic
    #: For questions in the language of what was found …
    gate: Logistic | None
    #: … and in another one.
    gate_foreign: Logistic | None
    #: Turns their product into true frequencies.
    curve: Curve

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """From its form in confidence.json."""
        gate, foreign = data["gate"], data["gate_foreign"]
        return cls(
            match=Logistic.read(data["match"]),
            gate=Logistic.read(gate) if gate else None,
            gate_foreign=Logistic.read(foreign) if foreign else None,
            curve=Curve(*data["curve"]),
        )

    def probability(self, evidence: Mapping[str, float]) -> float:
        """Between 0 and 1."""
        gate, power = self._gate_for(evidence)
        passed = gate.probability(evidence) ** power if gate else 1.0
        return self.curve.probability(self.match.probability(evidence) * passed)

    def contributions(self, evidence: Mapping[str, float]) -> dict[str, float]:
        """What each signal adds to the log-odds of the product, to first order.

        A gate that is open counts for nothing, however far it was opened.
        """
        gate, power = self._gate_for(evidence)
        unmatched = min(self.match.doubt(evidence), 1 - 1e-12)
        shut = min(gate.doubt(evidence), 1 - 1e-12) if gate else 0.0
        lacking = -math.expm1(math.log1p(-unmatched) + power * math.log1p(-shut))
        share, gate_share = unmatched / lacking, power * shut / lacking
        added = {name: one * share for name, one in self.match.contributions(evidence).items()}
        for name, one in (gate.contributions(evidence) if gate else {}).items():
            added[name] = added.get(name, 0.0) + one * gate_share
        return added

    @property
    def usual(self) -> dict[str, float]:
        """What each signal is on average."""
        gates = [one.signals for one in (self.gate_foreign, self.gate) if one is not None]
        signals = {name: one for each in (*gates, self.match.signals) for name, one in each.items()}
        return {name: one.mean for name, one in signals.items()}

    def _gate_for(self, evidence: Mapping[str, float]) -> tuple[Logistic | None, int]:
        """The gate that counts, and how often it does."""
        foreign = evidence.get("foreign", 0.0) > 0.5
        return (self.gate_foreign, 1) if foreign else (self.gate, 2)


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
        found: Its calibrations correct what is said of passages of their knowledge bases.
        max_wrong_percent: The dial: so many of 100 answers may be wrong.
    """
    if not found.passages:
        return Assessment(0.0, "handoff")
    kind = found.passages[0].kind
    if not found.evidence.get(kind):
        # Nothing speaks for the first passage: a person must look.
        return Assessment(0.0, "handoff")
    corrections = corrections_of(found)
    probability = _corrected(model(kind, "first"), found.evidence[kind], corrections.get(kind))
    if probability >= threshold(kind, max_wrong_percent, corrections.get(kind)):
        return Assessment(probability, "answer")
    choices = _choices(found.passages)
    likely = max(among(found.evidence, corrections), probability)
    if likely >= clarify_from() and len(choices) > 1:
        return Assessment(probability, "clarify", choices)
    return Assessment(probability, "handoff")


def among(
    evidence: Mapping[PassageKind, Mapping[str, float]],
    corrections: Mapping[PassageKind, Correction] = _NO_CORRECTIONS,
) -> float:
    """The probability that one of the first three answers."""
    return max(
        _corrected(model(kind, "one_of_three"), signals, corrections.get(kind))
        for kind, signals in evidence.items()
    )


def threshold(
    kind: PassageKind, max_wrong_percent: float, correction: Correction | None = None
) -> float:
    """The least probability at which at most so many of 100 answers were wrong when fitted.

    Between the fitted points it is interpolated, beyond the last ones they hold.
    """
    points = correction.thresholds if correction else _data()["kinds"][kind]["thresholds"]
    return between(points, max_wrong_percent)


def clarify_from() -> float:
    """Choices are offered where it is so likely that one of them answers."""
    least: float = _data()["clarify_from"]
    return least


@cache
def signals_version(reranker: str = "") -> str:
    """Another one means other signals or weights: what was calibrated before is void.

    Args:
        reranker: The key of the one that orders what is found; "": there is none.
    """
    shipped = hashlib.blake2s(_text().encode(), digest_size=8).hexdigest()
    return f"{shipped}+{reranker}" if reranker else shipped


def explain(
    kind: PassageKind, evidence: Mapping[str, float], correction: Correction | None = None
) -> list[tuple[str, float]]:
    """What counted, the strongest first: signals with what each added to the log-odds.

    Args:
        correction: What an operator's calibration adds, where it fits the evidence.
    """
    added = model(kind, "first").contributions(evidence)
    if correction is not None and correction.fits(evidence):
        added |= correction.contributions(evidence)
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


def corrections_of(found: Retrieval) -> dict[PassageKind, Correction]:
    """For each kind, what the knowledge base of its first passage was found to need."""
    first: dict[PassageKind, str] = {}
    for passage in found.passages:
        first.setdefault(passage.kind, passage.knowledge_base)
    needed: dict[PassageKind, Adjustment] = {
        kind: found.calibrations[name].adjustments[kind]
        for kind, name in first.items()
        if name in found.calibrations and kind in found.calibrations[name].adjustments
    }
    return {kind: one.by(found.evidence.get(kind, {})) for kind, one in needed.items()}


def _corrected(
    fitted: Model, evidence: Mapping[str, float], correction: Correction | None
) -> float:
    probability = fitted.probability(evidence)
    return correction.probability(probability, evidence) if correction else probability


@cache
def _text() -> str:
    return files("kfbot").joinpath("confidence.json").read_text(encoding="utf-8")


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(_text())
    return data
