"""How a fitted confidence does on sets that it has not seen: the table of the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kfbot.calibration import between
from knowledge.calibration.curves import Floats, expected_calibration_error

#: Positions of the dial that are shown.
DIALS = (1, 2, 5, 10)
_HEAD = (
    "set", "in / near / far", "hit@1", "AUROC",
    *(f"dial {dial}: answered, wrong" for dial in DIALS),
    "far handed off", "near handed off", "ECE",
)  # fmt: skip


class Measured(Protocol):
    """What a row of the table is made of."""

    @property
    def name(self) -> str:
        """The set's."""

    @property
    def scope(self) -> NDArray[np.str_]:
        """Of each question: "in", "near" or "far"."""

    def first_is_right(self) -> Floats:
        """Of each question, 0 or 1: the first passage answers it."""


def table(
    sets: Sequence[Measured],
    said: Mapping[str, Floats],
    thresholds: Mapping[str, Sequence[Sequence[float]]],
) -> str:
    """A Markdown table, one row a set.

    "answered": percent of the questions in scope; "wrong": of 100 answers. "handed off": percent
    of the questions out of scope that stay below what 95 % of those in scope reach.

    Args:
        said: The probabilities of each set's questions, by a model that has not seen its family.
        thresholds: As confidence.json has them, by a fit that has not seen its family.
    """
    rows = [_row(one, said[one.name], thresholds[one.name]) for one in sets]
    lines = [_HEAD, ("---", *("---:" for _ in _HEAD[1:])), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def auroc(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """The chance that a positive scores above a negative; ties count half."""
    _, rank, count = np.unique(scores, return_inverse=True, return_counts=True)
    average = (np.cumsum(count) - (count - 1) / 2)[rank]
    pos, neg = positive.sum(), (~positive).sum()
    return float((average[positive].sum() - pos * (pos + 1) / 2) / (pos * neg))


def _row(one: Measured, p: Floats, points: Sequence[Sequence[float]]) -> tuple[str, ...]:
    inside, right = one.scope == "in", one.first_is_right()
    counts = " / ".join(str(int((one.scope == name).sum())) for name in ("in", "near", "far"))
    both = inside.any() and not inside.all()
    return (
        one.name,
        counts,
        f"{100 * right[inside].mean():.0f}" if inside.any() else "–",
        f"{auroc(p, inside):.3f}" if both else "–",
        *(_at(p >= between(points, dial), inside, right) for dial in DIALS),
        *(_handed_off(p, inside, one.scope == name) for name in ("far", "near")),
        f"{expected_calibration_error(p, right):.3f}",
    )


def _at(answered: NDArray[np.bool_], inside: NDArray[np.bool_], right: Floats) -> str:
    share = f"{100 * answered[inside].mean():.0f}" if inside.any() else "–"
    wrong = f"{100 * (1 - right[answered]).mean():.1f}" if answered.any() else "–"
    return f"{share}, {wrong}"


def _handed_off(p: Floats, inside: NDArray[np.bool_], outside: NDArray[np.bool_]) -> str:
    if not inside.any() or not outside.any():
        return "–"
    return f"{100 * (p[outside] < np.quantile(p[inside], 0.05)).mean():.1f}"
