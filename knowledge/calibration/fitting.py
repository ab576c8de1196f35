"""Fits how far estimates are off, and tells what correcting them changes.

What a calibration would do is told from questions that it was not fitted to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfbot import confidence
from kfbot.calibration import FARTHEST, Adjustment, Correction, Curve, Signal, Source, between
from kfbot.knowledge_base import PassageKind
from knowledge.calibration.asking import Asked
from knowledge.calibration.curves import (
    Floats,
    corrected,
    expected_calibration_error,
    fit_curve,
    fit_curve_and_signals,
    fit_thresholds,
)
from knowledge.calibration.left_out import auroc

#: Positions of the dial that are shown.
SHOWN = (1, 2, 3, 5, 7, 10)
#: Parts of which each is told from what the others were fitted to.
_PARTS = 5
#: What a reranker says; with fewer questions that it has scored it is not made to count.
_RERANKED = (confidence.RERANK, confidence.RERANK_LEAD)
_FEWEST_RERANKED = 30


@dataclass(frozen=True, slots=True)
class Estimates:
    """Questions as arrays: what was estimated, and what is true."""

    kind: PassageKind
    p: Floats
    #: That one of the first three answers.
    among: Floats
    right: Floats
    has_choices: NDArray[np.bool_]
    scope: NDArray[np.str_]
    weight: Floats
    #: Of each question a row: what a reranker says, by `_RERANKED`; not a number where it does not.
    reranked: Floats

    def some(self, chosen: NDArray[Any]) -> Estimates:
        """Of these questions only."""
        return Estimates(
            self.kind, self.p[chosen], self.among[chosen], self.right[chosen],
            self.has_choices[chosen], self.scope[chosen], self.weight[chosen],
            self.reranked[chosen],
        )  # fmt: skip


def estimates(kind: PassageKind, asked: Sequence[Asked], weight: Floats) -> Estimates:
    """What the shipped model says of questions whose first passage is of this kind."""
    first = confidence.model(kind, "first")
    return Estimates(
        kind,
        np.array([first.probability(one.evidence[kind]) for one in asked]),
        np.array([confidence.among(one.evidence) for one in asked]),
        np.array([float(one.right) for one in asked]),
        np.array([one.has_choices for one in asked]),
        np.array([one.scope for one in asked]),
        weight,
        np.array([[one.evidence[kind].get(name, math.nan) for name in _RERANKED] for one in asked]),
    )


def fit(some: Estimates, source: Source = "knowledge base") -> Adjustment:
    """The curve and the thresholds that fit these questions, also with what a reranker says."""
    curve = fit_curve(some.p, some.right, some.weight)
    points = fit_thresholds(corrected(curve, some.p), some.right, some.weight)
    return Adjustment(curve, points, len(some.p), source, _fit_reranked(some))


def _fit_reranked(some: Estimates) -> Correction | None:
    """None: too little was scored, or what the reranker says tells nothing here."""
    scored = np.asarray(np.isfinite(some.reranked).all(axis=1))
    if scored.sum() < _FEWEST_RERANKED:
        return None
    some = some.some(scored)
    weight = some.weight / some.weight.sum()
    mean = weight @ some.reranked
    # A signal that hardly differs says nothing, and is not divided by nothing.
    scale = np.maximum(np.sqrt(weight @ (some.reranked - mean) ** 2), 1e-6)
    away = np.clip((some.reranked - mean) / scale, -FARTHEST, FARTHEST)
    curve, worth = fit_curve_and_signals(some.p, away, some.right, some.weight)
    signals = {
        name: Signal(counts, float(mean[at]), float(scale[at]))
        for at, (name, counts) in enumerate(zip(_RERANKED, worth, strict=True))
        if counts > 0
    }
    if not signals:
        return None
    unfinished = Adjustment(Curve(), ((0.0, 0.0),), 0, reranked=Correction(curve, (), signals))
    p = _corrected(some.p, some, [unfinished] * len(some.p))
    return Correction(curve, fit_thresholds(p, some.right, some.weight), signals)


def shipped(kind: PassageKind) -> Adjustment:
    """What holds where nothing was calibrated."""
    points = tuple((float(dial), confidence.threshold(kind, dial)) for dial in SHOWN)
    return Adjustment(Curve(), points, 0)


def compare(some: Estimates, in_force: Adjustment | None = None) -> dict[str, Any]:
    """What each position of the dial costs now and after, and how true probabilities are.

    "After" is told of each question by a fit without it.

    Args:
        in_force: What corrects estimates now; None: nothing does.
    """
    as_shipped = [shipped(some.kind)] * len(some.p)
    before = as_shipped if in_force is None else [in_force] * len(some.p)
    part = np.random.default_rng(3).permutation(len(some.p)) % _PARTS
    fitted = [fit(some.some(part != number)) for number in range(_PARTS)]
    after = [fitted[number] for number in part]
    return {
        "dials": [
            {"dial": dial, "now": outcome(some, before, dial), "after": outcome(some, after, dial)}
            for dial in SHOWN
        ],
        "calibration_error": {"now": _error(some, before), "after": _error(some, after)},
        "auroc": {"now": _told_apart(some, before), "after": _told_apart(some, after)},
        "reranked": any(one.reranked is not None for one in fitted),
        "is_worse": _is_worse(some, as_shipped, after),
    }


def outcome(some: Estimates, by: Sequence[Adjustment], dial: float) -> dict[str, float | None]:
    """What happens at a position of the dial, a correction for each question.

    "wrong": so many of 100 answers. The others are percents of the questions in scope, and of
    those out of scope (of made ones: far out of it).
    """
    p = _corrected(some.p, some, by)
    corrections = [one.by(row) for one, row in zip(by, _evidence(some), strict=True)]
    answered = p >= np.array([between(one.thresholds, dial) for one in corrections])
    sure = np.maximum(p, _corrected(some.among, some, by)) >= confidence.clarify_from()
    clarified = ~answered & sure & some.has_choices
    inside, far = some.scope == "in", np.isin(some.scope, ("far", "out"))
    weight = some.weight
    return {
        "wrong": _percent(1 - some.right[answered], weight[answered]),
        "answered": _percent(answered[inside], weight[inside]),
        "clarified": _percent(clarified[inside], weight[inside]),
        "handed_off": _percent(~(answered | clarified)[inside], weight[inside]),
        "out_of_scope_handed_off": _percent(~(answered | clarified)[far], weight[far]),
    }


def _corrected(p: Floats, some: Estimates, by: Sequence[Adjustment]) -> Floats:
    rows = zip(by, p.tolist(), _evidence(some), strict=True)
    return np.array([one.by(row).probability(value, row) for one, value, row in rows])


def _evidence(some: Estimates) -> list[dict[str, float]]:
    return [dict(zip(_RERANKED, row, strict=True)) for row in some.reranked.tolist()]


def _error(some: Estimates, by: Sequence[Adjustment]) -> float:
    p = _corrected(some.p, some, by)
    return round(expected_calibration_error(p, some.right, some.weight), 4)


def _told_apart(some: Estimates, by: Sequence[Adjustment]) -> float | None:
    """The chance that a right first passage is thought likelier than a wrong one."""
    right = some.right > 0.5
    if right.all() or not right.any():
        return None
    return round(auroc(_corrected(some.p, some, by), right), 4)


def _is_worse(some: Estimates, before: Sequence[Adjustment], after: Sequence[Adjustment]) -> bool:
    """The log loss grows by more than its standard error."""
    more = _log_losses(some, after) - _log_losses(some, before)
    weight = some.weight / some.weight.sum()
    mean = float(weight @ more)
    return mean > math.sqrt(float(weight**2 @ (more - mean) ** 2))


def _log_losses(some: Estimates, by: Sequence[Adjustment]) -> Floats:
    p = np.clip(_corrected(some.p, some, by), 1e-6, 1 - 1e-6)
    return -np.log(np.where(some.right > 0.5, p, 1 - p))


def _percent(values: NDArray[Any], weight: Floats) -> float | None:
    if not len(values) or math.isclose(weight.sum(), 0):
        return None
    return round(float(100 * (weight @ values) / weight.sum()), 2)
