"""The numbers of an evaluation: pure functions over what was asked and what came out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kfbot.language import language_of

#: Bins of the reliability diagram.
BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One question with its labels beside what the pipeline made of it."""

    text: str
    gold_ids: tuple[str, ...] = ()
    #: None: nobody says whether the knowledge answers it.
    in_scope: bool | None = None
    #: False: no label.
    kb: str | Literal[False] | None = False
    decision: str
    confidence: float
    ranked_ids: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    predicted_kb: str | None = None
    answer: str = ""
    latency_ms: float = 0.0

    @property
    def has_gold(self) -> bool:
        """In scope, and known which entries answer it."""
        return bool(self.in_scope and self.gold_ids)

    @property
    def top_is_right(self) -> bool | None:
        """Does ranked_ids[0] answer it? None where that is not known."""
        if self.in_scope is False:
            return False
        return self.hit(1) if self.has_gold else None

    @property
    def is_wrong_answer(self) -> bool:
        """Answered, and known to be wrong."""
        return self.decision == "answer" and self.top_is_right is False

    def hit(self, depth: int) -> bool:
        """Is a gold id among the first `depth`?"""
        return any(one in self.gold_ids for one in self.ranked_ids[:depth])


def report_of(
    scored: Sequence[Scored], *, known_ids: Collection[str], names: Collection[str]
) -> dict[str, Any]:
    """All numbers as JSON: of all questions, per language and per label, and the plots' points."""
    languages = _groups(scored, lambda one: language_of(one.text))
    labels = _groups([one for one in scored if one.kb is not False], lambda one: one.kb or "(none)")
    judged = [(one.confidence, one.top_is_right) for one in scored if one.top_is_right is not None]
    return {
        "questions": len(scored),
        "unknown_gold_ids": sum(
            one not in known_ids for question in scored for one in question.gold_ids
        ),
        "all": measures_of(scored, names),
        "by_language": {name: measures_of(group, names) for name, group in languages.items()},
        "by_kb": {name: measures_of(group, names) for name, group in labels.items()},
        "risk_coverage": [
            {"coverage": coverage, "risk": risk, "confidence": confidence}
            for coverage, risk, confidence in risk_coverage(judged)
        ],
        "reliability": reliability(judged),
        "wrong_answers": [_wrong_answer(one) for one in scored if one.is_wrong_answer],
    }


def measures_of(scored: Sequence[Scored], names: Collection[str] = ()) -> dict[str, Any]:
    """The numbers of one group of questions; shares are 0 to 1, None of nothing."""
    judged = [(one.confidence, one.top_is_right) for one in scored if one.top_is_right is not None]
    scoped = [(one.confidence, one.in_scope) for one in scored if one.in_scope is not None]
    answers = [one for one in scored if one.decision == "answer" and one.in_scope is not None]
    wrong = sum(one.is_wrong_answer for one in answers)
    routed = [one for one in scored if one.kb in names]
    latencies = [one.latency_ms for one in scored]
    return {
        "questions": len(scored),
        "unlabelled": sum(one.in_scope is None for one in scored),
        "in_scope": _with_gold([one for one in scored if one.has_gold]),
        "in_scope_without_gold": _decisions(
            [one for one in scored if one.in_scope and not one.gold_ids]
        ),
        "out_of_scope": _decisions([one for one in scored if one.in_scope is False]),
        "answers": len(answers),
        "wrong_answers": wrong,
        "wrong_per_100_answers": 100 * wrong / len(answers) if answers else None,
        "auroc_right": auroc(judged),
        "auroc_in_scope": auroc(scoped),
        "brier": _mean((confidence - right) ** 2 for confidence, right in judged),
        "calibration_error": _calibration_error(judged),
        "routed_right": _mean(one.predicted_kb == one.kb for one in routed),
        "latency_ms": {"p50": percentile(latencies, 50), "p95": percentile(latencies, 95)},
    }


def _with_gold(scored: Sequence[Scored]) -> dict[str, Any]:
    offered = [any(one in each.gold_ids for one in each.choices) for each in scored]
    clarified = [each.decision == "clarify" for each in scored]
    return {
        "questions": len(scored),
        "hit_at_1": _mean(one.hit(1) for one in scored),
        "hit_at_5": _mean(one.hit(5) for one in scored),
        "answered_right": _mean(one.decision == "answer" and one.hit(1) for one in scored),
        "answered_wrong": _mean(one.is_wrong_answer for one in scored),
        "clarified_with_gold": _mean(a and b for a, b in zip(clarified, offered, strict=True)),
        "clarified_without_gold": _mean(
            a and not b for a, b in zip(clarified, offered, strict=True)
        ),
        "handed_off": _mean(one.decision == "handoff" for one in scored),
    }


def _decisions(scored: Sequence[Scored]) -> dict[str, Any]:
    return {
        "questions": len(scored),
        "answered": _mean(one.decision == "answer" for one in scored),
        "clarified": _mean(one.decision == "clarify" for one in scored),
        "handed_off": _mean(one.decision == "handoff" for one in scored),
    }


def auroc(pairs: Sequence[tuple[float, bool]]) -> float | None:
    """The chance that a right one has the higher confidence than a wrong one; a tie is a half.

    None where all are right or all are wrong.
    """
    positives = sum(right for _, right in pairs)
    negatives = len(pairs) - positives
    if not positives or not negatives:
        return None
    won, below = 0.0, 0
    for _, group in _ties(sorted(pairs)):
        right = sum(group)
        won += right * (below + (len(group) - right) / 2)
        below += len(group) - right
    return won / (positives * negatives)


def risk_coverage(pairs: Sequence[tuple[float, bool]]) -> list[tuple[float, float, float]]:
    """(coverage, risk, confidence): answering all from that confidence up, how many are wrong?

    One point for each confidence that occurs, the surest first.
    """
    points, taken, wrong = [], 0, 0
    for confidence, group in _ties(sorted(pairs, reverse=True)):
        taken += len(group)
        wrong += len(group) - sum(group)
        points.append((taken / len(pairs), wrong / taken, confidence))
    return points


def reliability(pairs: Sequence[tuple[float, bool]]) -> list[dict[str, Any]]:
    """Bins of equal width that are not empty: mean confidence beside the share that was right."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for confidence, right in pairs:
        bins.setdefault(min(int(confidence * BINS), BINS - 1), []).append((confidence, right))
    return [
        {
            "from": place / BINS,
            "to": (place + 1) / BINS,
            "count": len(inside),
            "confidence": sum(confidence for confidence, _ in inside) / len(inside),
            "right": sum(right for _, right in inside) / len(inside),
        }
        for place, inside in sorted(bins.items())
    ]


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The value below which so many percent lie, between two neighbours by their distance."""
    if not values:
        return None
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _ties(pairs: Iterable[tuple[float, bool]]) -> list[tuple[float, list[bool]]]:
    """Sorted pairs, those of equal confidence together."""
    groups: list[tuple[float, list[bool]]] = []
    for confidence, right in pairs:
        if not groups or groups[-1][0] != confidence:
            groups.append((confidence, []))
        groups[-1][1].append(right)
    return groups


def _calibration_error(pairs: Sequence[tuple[float, bool]]) -> float | None:
    if not pairs:
        return None
    distances = (one["count"] * abs(one["confidence"] - one["right"]) for one in reliability(pairs))
    return float(sum(distances)) / len(pairs)


def _groups(scored: Iterable[Scored], name: Callable[[Scored], str]) -> dict[str, list[Scored]]:
    groups: dict[str, list[Scored]] = {}
    for one in scored:
        groups.setdefault(name(one), []).append(one)
    return dict(sorted(groups.items()))


def _wrong_answer(one: Scored) -> dict[str, Any]:
    return {
        "text": one.text,
        "answer": one.answer,
        "answered_from": one.ranked_ids[0] if one.ranked_ids else None,
        "gold_ids": list(one.gold_ids) if one.in_scope else [],
        "in_scope": one.in_scope,
        "confidence": one.confidence,
    }


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None
