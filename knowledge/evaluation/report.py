"""All numbers of an evaluation as JSON."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from kfbot.language import language_of
from knowledge.evaluation import curves
from knowledge.evaluation.dial import dial_of
from knowledge.evaluation.intervals import with_intervals
from knowledge.evaluation.measures import NAMED, judged, top_is_right
from knowledge.evaluation.scored import Scored


def report_of(
    scored: Sequence[Scored],
    *,
    known_ids: Collection[str],
    names: Collection[str],
    max_wrong_percent: float = 5.0,
) -> dict[str, Any]:
    """All numbers: of all questions, per language, label and knowledge base, and the plots' points.

    Args:
        known_ids: The ids of all documents that are loaded.
        names: Of the knowledge bases.
        max_wrong_percent: The position of the dial.
    """
    languages = _groups(scored, lambda one: language_of(one.text))
    labels = _groups([one for one in scored if one.kb is not False], lambda one: one.kb or "(none)")
    sources = _groups(scored, lambda one: one.predicted_kb or "(none)")
    confidence, right, _ = judged(scored, top_is_right)
    return {
        "questions": len(scored),
        "unknown_gold_ids": sum(
            one not in known_ids for question in scored for one in question.gold_ids
        ),
        "all": measures_of(scored, names),
        "by_language": {name: measures_of(group, names) for name, group in languages.items()},
        "by_kb": {name: measures_of(group, names) for name, group in labels.items()},
        "by_knowledge_base": {name: measures_of(group, names) for name, group in sources.items()},
        "risk_coverage": [
            {"coverage": coverage, "risk": risk, "confidence": confidence}
            for coverage, risk, confidence in curves.risk_coverage(confidence, right)
        ],
        "reliability": curves.reliability(confidence, right),
        "reliability_by_mass": curves.reliability_by_mass(confidence, right),
        "histogram": curves.histogram(confidence, right),
        "dial": dial_of(scored, max_wrong_percent),
        "wrong_answers": [_wrong_answer(one) for one in scored if one.is_wrong_answer],
    }


def measures_of(scored: Sequence[Scored], names: Collection[str] = ()) -> dict[str, Any]:
    """The numbers of one group of questions; shares are 0 to 1, None of nothing.

    "measures" holds every measure under its name, with the 95 % interval of a bootstrap.
    """
    answers = [one for one in scored if one.decision == "answer" and one.in_scope is not None]
    routed = [one for one in scored if one.kb in names]
    measures = with_intervals(scored)
    value = {name: one["value"] for name, one in measures.items()}
    confidence, right, _ = judged(scored, top_is_right)
    return {
        "questions": len(scored),
        "unlabelled": sum(one.in_scope is None for one in scored),
        "in_scope": _with_gold([one for one in scored if one.has_gold]),
        "in_scope_without_gold": _decisions(
            [one for one in scored if one.in_scope and not one.gold_ids]
        ),
        "out_of_scope": _decisions([one for one in scored if one.in_scope is False]),
        "answers": len(answers),
        "wrong_answers": sum(one.is_wrong_answer for one in answers),
        "wrong_per_100_answers": value["wrong"],
        "auroc_right": value["auroc"],
        "auroc_in_scope": value["auroc_in_scope"],
        "brier": value["brier"],
        "calibration_error": curves.calibration_error(curves.reliability(confidence, right)),
        "routed_right": _mean(one.predicted_kb == one.kb for one in routed),
        "latency_ms": {"p50": value["latency_p50"], "p95": value["latency_p95"]},
        "measures": measures,
    }


def _with_gold(scored: Sequence[Scored]) -> dict[str, Any]:
    hits = {f"hit_at_{depth}": NAMED[f"hit@{depth}"].value(scored) for depth in (1, 3, 5, 10)}
    return {
        "questions": len(scored),
        **hits,
        "mrr_at_10": NAMED["mrr@10"].value(scored),
        "answered_right": _mean(one.is_right_answer for one in scored),
        "answered_wrong": _mean(one.is_wrong_answer for one in scored),
        "clarified_with_gold": _mean(one.offers_gold for one in scored),
        "clarified_without_gold": _mean(
            one.decision == "clarify" and not one.offers_gold for one in scored
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
