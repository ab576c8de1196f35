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
from kfbot.calibration import Adjustment, Curve, between
from kfbot.knowledge_base import PassageKind
from knowledge.calibration.asking import Asked
from knowledge.calibration.curves import (
    Floats,
    corrected,
    expected_calibration_error,
    fit_curve,
    fit_thresholds,
)

#: Positions of the dial that are shown.
SHOWN = (1, 2, 3, 5, 7, 10)
#: Parts of which each is told from what the others were fitted to.
_PARTS = 5


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

    def some(self, chosen: NDArray[Any]) -> Estimates:
        """Of these questions only."""
        return Estimates(
            self.kind, self.p[chosen], self.among[chosen], self.right[chosen],
            self.has_choices[chosen], self.scope[chosen], self.weight[chosen],
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
    )


def fit(some: Estimates) -> Adjustment:
    """The curve and the thresholds that fit these questions."""
    curve = fit_curve(some.p, some.right, some.weight)
    points = fit_thresholds(corrected(curve, some.p), some.right, some.weight)
    return Adjustment(curve, points, len(some.p))


def shipped(kind: PassageKind) -> Adjustment:
    """What holds where nothing was calibrated."""
    points = tuple((float(dial), confidence.threshold(kind, dial)) for dial in SHOWN)
    return Adjustment(Curve(), points, 0)


def compare(some: Estimates) -> dict[str, Any]:
    """What each position of the dial costs now and after, and how true probabilities are.

    "After" is told of each question by a fit without it.
    """
    now = shipped(some.kind)
    part = np.random.default_rng(3).permutation(len(some.p)) % _PARTS
    fitted = [fit(some.some(part != number)) for number in range(_PARTS)]
    after = [fitted[number] for number in part]
    before = [now] * len(part)
    return {
        "dials": [
            {"dial": dial, "now": outcome(some, before, dial), "after": outcome(some, after, dial)}
            for dial in SHOWN
        ],
        "calibration_error": {"now": _error(some, before), "after": _error(some, after)},
        "is_worse": _is_worse(some, before, after),
    }


def outcome(some: Estimates, by: Sequence[Adjustment], dial: float) -> dict[str, float | None]:
    """What happens at a position of the dial, a correction for each question.

    "wrong": so many of 100 answers. The others are percents of the questions in scope, and of
    those out of scope (of made ones: far out of it).
    """
    p = _corrected(some.p, by)
    answered = p >= np.array([between(one.thresholds, dial) for one in by])
    sure = np.maximum(p, _corrected(some.among, by)) >= confidence.clarify_from()
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


def _corrected(p: Floats, by: Sequence[Adjustment]) -> Floats:
    pairs = zip(by, p.tolist(), strict=True)
    return np.array([one.curve.probability(value) for one, value in pairs])


def _error(some: Estimates, by: Sequence[Adjustment]) -> float:
    error = expected_calibration_error(_corrected(some.p, by), some.right, some.weight)
    return round(error, 4)


def _is_worse(some: Estimates, before: Sequence[Adjustment], after: Sequence[Adjustment]) -> bool:
    """The log loss grows by more than its standard error."""
    more = _log_losses(some, after) - _log_losses(some, before)
    weight = some.weight / some.weight.sum()
    mean = float(weight @ more)
    return mean > math.sqrt(float(weight**2 @ (more - mean) ** 2))


def _log_losses(some: Estimates, by: Sequence[Adjustment]) -> Floats:
    p = np.clip(_corrected(some.p, by), 1e-6, 1 - 1e-6)
    return -np.log(np.where(some.right > 0.5, p, 1 - p))


def _percent(values: NDArray[Any], weight: Floats) -> float | None:
    if not len(values) or math.isclose(weight.sum(), 0):
        return None
    return round(float(100 * (weight @ values) / weight.sum()), 2)
