"""Fits what turns estimates into frequencies, and the least estimate to answer from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kfbot.calibration import Curve

Floats = NDArray[np.float64]

#: Positions of the dial that thresholds are fitted for: so many of 100 answers may be wrong.
DIALS = (1, 2, 3, 5, 7, 10, 15, 20)
#: So many of 100 questions are taken to be out of scope where nobody knows.
OUT_OF_SCOPE_PERCENT = 20
#: How far the curve of a knowledge base is from the common one: standard deviations of `high`,
#: `low` and `shift` over the public sets.
SPREAD = (0.4, 0.4, 0.8)
#: What a signal is worth that was not in the common fit: so many log-odds a standard deviation.
SIGNAL_SPREAD = 1.5
#: The common estimate of risk counts as so many answers.
PRIOR_ANSWERS = 20.0
#: Risk is taken so many of its standard errors higher: half as many wrong as right guesses.
CAUTION = 0.5
_LEAST = 1e-6
_STEPS = 100


def fit_curve(p: Floats, right: Floats, weight: Floats, spread: Sequence[float] = SPREAD) -> Curve:
    """The likeliest curve, when curves are so far spread around "as it is" (MAP, by Newton).

    Args:
        weight: One question counts as so many.
    """
    return fit_curve_and_signals(p, np.zeros((len(p), 0)), right, weight, spread)[0]


def fit_curve_and_signals(
    p: Floats, signals: Floats, right: Floats, weight: Floats, spread: Sequence[float] = SPREAD
) -> tuple[Curve, list[float]]:
    """The likeliest curve, and what each of further signals adds to the log-odds.

    Args:
        signals: A column each, standardised; one that would speak against what it says counts
            for nothing.
        weight: One question counts as so many.
    """
    p = np.clip(p, _LEAST, 1 - _LEAST)
    x = np.column_stack([np.log(p), -np.log1p(-p), np.ones(len(p)), signals])
    prior = np.zeros(x.shape[1])
    prior[:2] = 1.0
    stiff = np.array([*spread, *[SIGNAL_SPREAD] * signals.shape[1]]) ** -2.0
    rising = [factor for factor in range(x.shape[1]) if factor != 2]
    floor = np.where(np.arange(x.shape[1]) == 2, -np.inf, 0.0)
    found = _newton(x, right, weight, prior, stiff)
    for factor in rising:
        # The order of probabilities must not turn round: what would, stays flat.
        if found[factor] < 0:
            prior[factor] = found[factor] = 0.0
            stiff[factor] = 1e9
            found = np.maximum(_newton(x, right, weight, prior, stiff), floor)
    rounded = [round(float(one), 5) for one in found]
    return Curve(*rounded[:3]), rounded[3:]


def _newton(x: Floats, y: Floats, w: Floats, prior: Floats, stiff: Floats) -> Floats:
    def loss(at: Floats) -> float:
        z = x @ at
        return float((w * (np.logaddexp(0, z) - y * z)).sum() + stiff @ (at - prior) ** 2 / 2)

    found = prior.copy()
    for _ in range(_STEPS):
        q = 1 / (1 + np.exp(-np.clip(x @ found, -40, 40)))
        slope = x.T @ (w * (q - y)) + stiff * (found - prior)
        step = np.linalg.solve((x * (w * q * (1 - q))[:, None]).T @ x + np.diag(stiff), slope)
        before = loss(found)
        while loss(found - step) > before + 1e-12 and np.abs(step).max() > 1e-9:
            step /= 2
        found = found - step
        if np.abs(step).max() < 1e-7:
            break
    return found


def corrected(curve: Curve, p: Floats) -> Floats:
    """What a curve makes of probabilities."""
    return np.array([curve.probability(float(one)) for one in p])


def fit_thresholds(
    p: Floats,
    right: Floats,
    weight: Floats,
    *,
    prior: float = PRIOR_ANSWERS,
    slack: float = 1.0,
) -> tuple[tuple[float, float], ...]:
    """For each position of the dial, the least probability that keeps to it.

    The risk of answering from a probability up is estimated from what was right, with `prior`
    answers that are as wrong as their probability says, and taken somewhat higher, the more so
    the fewer there are. Where nothing keeps to the dial, the threshold is above 1.

    Args:
        slack: So many times what the dial allows is allowed.
    """
    p, right, weight = p[weight > 0], right[weight > 0], weight[weight > 0]
    order = np.argsort(-p, kind="stable")
    p, weight = p[order], weight[order]
    taken = np.cumsum(weight)
    wrong = np.cumsum(weight * (1 - right[order]))
    said = np.cumsum(weight * (1 - p)) / taken
    risk = (wrong + prior * said) / (taken + prior)
    # Weights may be few and large: what counts is how many questions they are.
    size = taken**2 / np.cumsum(weight**2) + prior
    risk = risk + CAUTION * np.sqrt(np.maximum(risk * (1 - risk), 0) / size)
    # Equal probabilities are answered together.
    last = np.append(p[1:] != p[:-1], True)
    points = []
    least = 1.01
    for dial in DIALS:
        kept = np.flatnonzero((risk <= slack * dial / 100) & last)
        least = min(least, float(p[kept[-1]])) if len(kept) else least
        points.append((float(dial), round(least - 5e-5, 4) if least <= 1 else least))
    return tuple(points)


def traffic(scope: NDArray[np.str_], out_of_scope: float) -> Floats:
    """Weights that mix questions as customers' are.

    They add up to 1, or to the share of what there is.

    Args:
        scope: Of each question: "in", "near", "far", or "out" where nobody knows how far.
        out_of_scope: The share of questions that the knowledge base does not answer: half of
            them on its field, if there are both kinds.
    """
    outside = [name for name in ("near", "far", "out") if (scope == name).any()]
    shares = {"in": 1 - out_of_scope, **dict.fromkeys(outside, out_of_scope / max(len(outside), 1))}
    weight = np.zeros(len(scope))
    for name, share in shares.items():
        chosen = scope == name
        weight[chosen] = share / max(chosen.sum(), 1)
    return weight


def expected_calibration_error(p: Floats, right: Floats, weight: Floats | None = None) -> float:
    """How far probabilities are from frequencies on average, in ten bins of equal width."""
    weight = np.ones(len(p)) if weight is None else weight
    place = np.minimum((p * 10).astype(int), 9)
    gaps = np.bincount(place, weight * (p - right), minlength=10)
    return float(np.abs(gaps).sum() / weight.sum())
