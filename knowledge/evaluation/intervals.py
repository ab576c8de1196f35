"""How far chance may have moved a measure, and whether two runs differ by more than that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowledge.evaluation.curves import Floats, wilson
from knowledge.evaluation.measures import MEASURES, Measure, number
from knowledge.evaluation.scored import Scored

RESAMPLES = 1000
_SEED = 20
#: Numbers that the weights of some resamples may take at once.
_AT_ONCE = 1_000_000


def with_intervals(scored: Sequence[Scored]) -> dict[str, dict[str, float | None]]:
    """Each measure's value with the 95 % interval of a percentile bootstrap (Efron 1979).

    1,000 resamples of the questions from a fixed seed: the same run gives the same interval.
    Where all questions agree it is Wilson's.
    """
    statistics = {one.name: one.of(scored) for one in MEASURES if one.resampled}
    drawn: dict[str, list[Floats]] = {name: [] for name in statistics}
    for weights in _resamples(len(scored)):
        for name, statistic in statistics.items():
            drawn[name].append(statistic(weights))
    return {
        one.name: {"value": one.value(scored)}
        | (_unanimous(one, scored) or _interval(drawn.get(one.name, [])))
        for one in MEASURES
    }


def differences(
    measures: Sequence[Measure], old: Sequence[Scored], new: Sequence[Scored]
) -> list[dict[str, Any]]:
    """Each measure of both runs, and new - old with its paired bootstrap interval.

    A resample takes the same questions of both runs, so that hard questions cancel out.

    Args:
        old: The same questions in the same order as `new`.
    """
    pairs = {one.name: (one.of(old), one.of(new)) for one in measures if one.resampled}
    drawn: dict[str, list[Floats]] = {name: [] for name in pairs}
    for weights in _resamples(len(new)):
        for name, (before, after) in pairs.items():
            drawn[name].append(after(weights) - before(weights))
    rows = []
    for one in measures:
        before_value, after_value = one.value(old), one.value(new)
        known = before_value is not None and after_value is not None
        rows.append(
            {
                "name": one.name,
                "old": before_value,
                "new": after_value,
                "difference": after_value - before_value if known else None,  # type: ignore[operator]
            }
            | _interval(drawn.get(one.name, []))
        )
    return rows


def mcnemar(
    old: Sequence[Scored], new: Sequence[Scored], right: Callable[[Scored], bool | None]
) -> Mapping[str, float | int]:
    """Questions gained and lost, and the exact two-sided p of McNemar's test (1947).

    Under chance each question on which the runs differ falls either way like a coin.
    """
    changed = [
        bool(right(after))
        for before, after in zip(old, new, strict=True)
        if right(after) is not None and right(before) != right(after)
    ]
    gained, lost = sum(changed), len(changed) - sum(changed)
    return {"gained": gained, "lost": lost, "p": _coin(min(gained, lost), len(changed))}


def _coin(fewer: int, tosses: int) -> float:
    """How likely a fair coin falls at least as one-sided as that."""
    # Whole numbers: floats would overflow beyond a thousand tosses.
    ways = tail = 1
    for heads in range(fewer):
        ways = ways * (tosses - heads) // (heads + 1)
        tail += ways
    return float(min(2 * tail / 2**tosses, 1.0))


def _resamples(count: int) -> Iterator[Floats]:
    """How often each question is drawn, a row a resample, some rows at a time."""
    chance = np.random.default_rng(_SEED)
    rows = max(_AT_ONCE // max(count, 1), 1)
    for at in range(0, RESAMPLES, rows):
        size = min(rows, RESAMPLES - at)
        drawn: NDArray[np.int64] = chance.integers(0, count, (size, count))
        yield np.stack([np.bincount(one, minlength=count) for one in drawn]).astype(float)


def _unanimous(measure: Measure, scored: Sequence[Scored]) -> dict[str, float | None] | None:
    """Wilson's interval where all questions agree: resamples cannot tell how few they are."""
    if measure.each is None:
        return None
    values = measure.values(scored)
    values = values[~np.isnan(values)]
    most = 100.0 if measure.form == "number" else 1.0
    if not len(values) or values.min() < values.max() or values[0] not in (0.0, most):
        return None
    low, high = wilson(values[0] / most, len(values))
    return {"low": most * low, "high": most * high}


def _interval(drawn: Sequence[Floats]) -> dict[str, float | None]:
    values = np.concatenate(drawn) if drawn else np.zeros(0)
    values = values[~np.isnan(values)]
    if not len(values):
        return {"low": None, "high": None}
    low, high = np.percentile(values, [2.5, 97.5])
    return {"low": number(low), "high": number(high)}
