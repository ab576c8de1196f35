"""Can confidence be trusted: ranking, risk and coverage, calibration, from plain numbers.

Everywhere `confidence` and `right` are arrays of one length n, `right` of 0 and 1. Functions
that take `weights` (k × n) give k values at once, one for each way to weigh the questions; that is
how a bootstrap asks them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Bins of equal width, as the plot of an earlier report has them …
BINS = 10
#: … and of equal mass, which empty stretches do not spoil.
MASS_BINS = 15
#: Two-sided 95 % of a normal distribution.
_Z = 1.959964


def auroc(confidence: Floats, right: Floats, weights: Floats | None = None) -> Floats:
    """The chance that a right one has the higher confidence than a wrong one; a tie is a half.

    The Mann-Whitney statistic (Hanley & McNeil 1982); NaN where all are right or all wrong.
    """
    weights = _ones(confidence) if weights is None else weights
    order = np.argsort(confidence, kind="stable")
    starts = np.flatnonzero(np.diff(confidence[order], prepend=-np.inf))
    if not len(starts):
        return np.full(len(weights), np.nan)
    good = np.add.reduceat((weights * right)[:, order], starts, axis=1)
    bad = np.add.reduceat((weights * (1 - right))[:, order], starts, axis=1)
    won = (good * (np.cumsum(bad, axis=1) - bad / 2)).sum(axis=1)
    return ratio(won, good.sum(axis=1) * bad.sum(axis=1))


def aurc(confidence: Floats, right: Floats, weights: Floats | None = None) -> Floats:
    """The mean risk over all coverages, the surest first (Geifman et al. 2019); 0 is best.

    Risk is the share of wrong ones among those taken in; questions of equal confidence are
    taken in together, in the mean over their orders.
    """
    weights = _ones(confidence) if weights is None else weights
    order = np.argsort(-confidence, kind="stable")
    wrong = 1 - _mean_of_ties(confidence, right)[order]
    sorted_weights = weights[:, order]
    taken = np.cumsum(sorted_weights, axis=1)
    risk = np.cumsum(sorted_weights * wrong, axis=1) / np.maximum(taken, 1e-12)
    return ratio((sorted_weights * risk).sum(axis=1), sorted_weights.sum(axis=1))


def excess_aurc(confidence: Floats, right: Floats, weights: Floats | None = None) -> Floats:
    """AURC above that of the best order of the same mistakes (Geifman et al. 2019)."""
    return aurc(confidence, right, weights) - aurc(right.astype(np.float64), right, weights)


def brier(confidence: Floats, right: Floats, weights: Floats | None = None) -> Floats:
    """The mean squared distance of confidence from what was true (Brier 1950)."""
    weights = _ones(confidence) if weights is None else weights
    return ratio(weights @ (confidence - right) ** 2, weights.sum(axis=1))


def risk_coverage(confidence: Floats, right: Floats) -> list[tuple[float, float, float]]:
    """(coverage, risk, confidence): answering all from that confidence up, how many are wrong?

    One point for each confidence that occurs, the surest first (El-Yaniv & Wiener 2010).
    """
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(1 - right[order])
    ordered = confidence[order]
    ends = np.flatnonzero(np.diff(ordered, append=-np.inf))
    return [
        ((end + 1) / len(ordered), float(wrong[end]) / (end + 1), float(ordered[end]))
        for end in ends.tolist()
    ]


def reliability(confidence: Floats, right: Floats) -> list[dict[str, Any]]:
    """Bins of equal width that are not empty: mean confidence beside the share that was right."""
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        {"from": place / BINS, "to": (place + 1) / BINS} | _bin(confidence, right, places == place)
        for place in np.unique(places).tolist()
    ]


def reliability_by_mass(confidence: Floats, right: Floats) -> list[dict[str, Any]]:
    """15 bins of as many questions each, with Wilson's 95 % interval of the share right."""
    order = np.argsort(confidence, kind="stable")
    # Within a tie that two bins share, the order of the questions must not count.
    smoothed = _mean_of_ties(confidence, right)
    bins = []
    for part in np.array_split(order, min(MASS_BINS, len(order)) or 1):
        if len(part):
            made = _bin(confidence, smoothed, part)
            low, high = wilson(made["right"], made["count"])
            span = {"from": float(confidence[part].min()), "to": float(confidence[part].max())}
            bins.append(span | made | {"low": low, "high": high})
    return bins


def calibration_error(bins: Sequence[dict[str, Any]]) -> float | None:
    """The distance of confidence from the share right, in the mean over questions (Naeini 2015)."""
    count = sum(one["count"] for one in bins)
    if not count:
        return None
    apart = sum(one["count"] * abs(one["confidence"] - one["right"]) for one in bins)
    return float(apart / count)


def histogram(confidence: Floats, right: Floats) -> list[dict[str, Any]]:
    """How many right and wrong ones lie in each of 20 bins of equal width."""
    edges = np.linspace(0, 1, 21)
    good, _ = np.histogram(confidence[right == 1], edges)
    bad, _ = np.histogram(confidence[right == 0], edges)
    return [
        {"from": float(low), "to": float(high), "right": int(one), "wrong": int(other)}
        for low, high, one, other in zip(edges[:-1], edges[1:], good, bad, strict=True)
    ]


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of so many (Wilson 1927)."""
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z * np.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2)) / (1 + _Z**2 / count)
    return max(float(middle - half), 0.0), min(float(middle + half), 1.0)


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The value below which so many percent lie, between two neighbours by their distance."""
    return float(np.percentile(values, percent)) if len(values) else None


def _bin(confidence: Floats, right: Floats, inside: NDArray[Any]) -> dict[str, Any]:
    return {
        "count": len(confidence[inside]),
        "confidence": float(confidence[inside].mean()),
        "right": float(right[inside].mean()),
    }


def _mean_of_ties(confidence: Floats, right: Floats) -> Floats:
    """For each question the share right among those of its very confidence."""
    _, place = np.unique(confidence, return_inverse=True)
    mean: Floats = (np.bincount(place, right) / np.maximum(np.bincount(place), 1))[place]
    return mean


def _ones(like: Floats) -> Floats:
    return np.ones((1, len(like)))


def ratio(above: Floats, below: Floats) -> Floats:
    """One by the other; NaN where there is nothing to divide by."""
    shares: Floats = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
    return shares
