"""The measures of an evaluation: each has a name, a meaning, and a value for weighted questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from knowledge.evaluation import curves
from knowledge.evaluation.curves import Floats
from knowledge.evaluation.scored import Scored

#: Weights (k × n) of the n questions to k values; NaN where there is nothing to measure.
Statistic = Callable[[Floats], Floats]
Form = Literal["share", "ratio", "number"]


@dataclass(frozen=True, slots=True)
class Measure:
    """What is measured, and how it is named, written and explained."""

    #: As `--require` and the JSON report call it.
    name: str
    label: str
    #: "share": 0 to 1, shown as percent; "ratio": as it is; "number": with one decimal.
    form: Form
    #: Is more of it good?
    better: Literal["higher", "lower", "neither"]
    meaning: str
    #: What one question adds to a mean, None where it is not counted; for all other measures …
    each: Callable[[Scored], float | None] | None = None
    #: … what they are of all questions.
    whole: Callable[[Sequence[Scored]], Statistic] | None = None
    #: False: a bootstrap would mislead (binned errors grow in every resample) or says little.
    resampled: bool = True

    def of(self, scored: Sequence[Scored]) -> Statistic:
        """The measure of these questions, however they are weighed."""
        if self.whole is not None:
            return self.whole(scored)
        values = self.values(scored)
        counted = ~np.isnan(values)

        def mean(weights: Floats) -> Floats:
            above = weights[:, counted] @ values[counted]
            return curves.ratio(above, weights[:, counted].sum(axis=1))

        return mean

    def values(self, scored: Sequence[Scored]) -> Floats:
        """What each question adds to the mean; NaN where it is not counted."""
        each = self.each or (lambda one: None)
        return np.array([np.nan if (v := each(one)) is None else v for one in scored], float)

    def value(self, scored: Sequence[Scored]) -> float | None:
        """Of these questions; None where there is nothing to measure."""
        return number(self.of(scored)(np.ones((1, len(scored))))[0])


def number(value: float) -> float | None:
    """A value for JSON, which knows no NaN."""
    return None if np.isnan(value) else float(value)


def _curve(
    function: Callable[[Floats, Floats, Floats], Floats], right: Callable[[Scored], bool | None]
) -> Callable[[Sequence[Scored]], Statistic]:
    """A function of confidence and of whether it was right, over the questions where one knows."""

    def of(scored: Sequence[Scored]) -> Statistic:
        confidence, rights, known = judged(scored, right)
        return lambda weights: function(confidence, rights, weights[:, known])

    return of


def judged(
    scored: Sequence[Scored], right: Callable[[Scored], bool | None]
) -> tuple[Floats, Floats, Floats]:
    """Confidence and right (0 or 1) of the questions where that is known, and their places."""
    found = [(at, one.confidence, one_right) for at, one in enumerate(scored)
             if (one_right := right(one)) is not None]  # fmt: skip
    table = np.array(found, float).reshape(-1, 3)
    return table[:, 1], table[:, 2], table[:, 0].astype(int)


def top_is_right(one: Scored) -> bool | None:
    """Does the first entry answer? None where the labels do not tell."""
    return one.top_is_right


def _calibration(scored: Sequence[Scored]) -> Statistic:
    """The calibration error as it is: no weights, for it is not resampled."""
    confidence, rights, _ = judged(scored, top_is_right)
    error = curves.calibration_error(curves.reliability_by_mass(confidence, rights))
    return lambda weights: np.full(len(weights), np.nan if error is None else error)


def _latency(percent: float, scored: Sequence[Scored]) -> Statistic:
    value = curves.percentile([one.latency_ms for one in scored], percent)
    return lambda weights: np.full(len(weights), np.nan if value is None else value)


def _in_gold(value: Callable[[Scored], float]) -> Callable[[Scored], float | None]:
    return lambda one: value(one) if one.has_gold else None


def _decided(decision: str, in_scope: bool) -> Callable[[Scored], float | None]:
    return lambda one: one.decision == decision if one.in_scope is in_scope else None


def _of_answers(value: Callable[[Scored], bool]) -> Callable[[Scored], float | None]:
    """Per hundred answers to questions that are labelled."""
    return lambda one: (
        100 * value(one) if one.decision == "answer" and one.in_scope is not None else None
    )


def _reciprocal(one: Scored) -> float:
    return 1 / one.place if one.place else 0.0


def _hit(depth: int) -> Measure:
    first = "first" if depth == 1 else f"among the first {depth}"
    return Measure(
        f"hit@{depth}",
        f"right entry {first} (hit@{depth})",
        "share",
        "higher",
        f"Share of in-scope questions with a right entry {first}, whatever was decided.",
        each=_in_gold(lambda one: one.hit(depth)),
    )


#: In the order in which they are shown.
MEASURES: tuple[Measure, ...] = (
    Measure(
        "right_decision", "decided right", "share", "higher",
        "Share of questions answered from a right entry, asked back with a right entry offered,"
        " or, out of scope, handed off.",
        each=lambda one: one.is_right_decision,
    ),
    Measure(
        "wrong", "wrong per 100 answers", "number", "lower",
        "Of 100 answers given, so many came from a wrong entry or went to a question that is out"
        " of scope: what the dial limits.",
        each=_of_answers(lambda one: one.is_wrong_answer),
    ),
    Measure(
        "wrong_in_scope", "wrong: in scope, another entry", "number", "lower",
        "The part of the wrong ones of 100 answers that went to in-scope questions.",
        each=_of_answers(lambda one: one.is_wrong_answer and one.in_scope is True),
    ),
    Measure(
        "wrong_out_of_scope", "wrong: out of scope", "number", "lower",
        "The part of the wrong ones of 100 answers that went to out-of-scope questions.",
        each=_of_answers(lambda one: one.is_wrong_answer and one.in_scope is False),
    ),
    *map(_hit, (1, 3, 5, 10)),
    Measure(
        "mrr@10", "reciprocal place (MRR@10)", "ratio", "higher",
        "The mean of 1 / place of the first right entry among ten, 0 if it is not there"
        " (Voorhees 1999).",
        each=_in_gold(_reciprocal),
    ),
    Measure(
        "answered", "in scope: answered", "share", "higher",
        "Share of in-scope questions that the bot answered, right or wrong.",
        each=_decided("answer", True),
    ),
    Measure(
        "clarified", "in scope: asked back", "share", "neither",
        "Share of in-scope questions where the bot offered likely questions.",
        each=_decided("clarify", True),
    ),
    Measure(
        "handed_off", "in scope: handed off", "share", "lower",
        "Share of in-scope questions that went to a person.",
        each=_decided("handoff", True),
    ),
    Measure(
        "right_answers", "answered right", "share", "higher",
        "Share of in-scope questions answered from a right entry.",
        each=_in_gold(lambda one: one.is_right_answer),
    ),
    Measure(
        "clarified_with_gold", "right one offered when asked back", "share", "higher",
        "Of in-scope questions where the bot asked back, the share with a right entry offered.",
        each=lambda one: one.offers_gold if one.has_gold and one.decision == "clarify" else None,
    ),
    Measure(
        "out_of_scope_recall", "out of scope: handed off (recall)", "share", "higher",
        "Share of out-of-scope questions handed off; asking back does not count as noticed.",
        each=_decided("handoff", False),
    ),
    Measure(
        "out_of_scope_clarified", "out of scope: asked back", "share", "lower",
        "Share of out-of-scope questions where the bot offered likely questions.",
        each=_decided("clarify", False),
    ),
    Measure(
        "out_of_scope_answered", "out of scope: answered (wrong)", "share", "lower",
        "Share of out-of-scope questions that the bot answered.",
        each=_decided("answer", False),
    ),
    Measure(
        "auroc", "AUROC, first entry right", "ratio", "higher",
        "The chance that a question whose first entry is right has more confidence than one whose"
        " is not (Hanley & McNeil 1982); .5 is chance.",
        whole=_curve(curves.auroc, top_is_right),
    ),
    Measure(
        "auroc_in_scope", "AUROC, in scope", "ratio", "higher",
        "The chance that an in-scope question has more confidence than one out of scope:"
        " answerable or not.",
        whole=_curve(curves.auroc, lambda one: one.in_scope),
    ),
    Measure(
        "aurc", "area under risk and coverage (AURC)", "ratio", "lower",
        "The mean share of wrong first entries over all coverages, the surest first"
        " (Geifman, Uziel & El-Yaniv 2019).",
        whole=_curve(curves.aurc, top_is_right),
    ),
    Measure(
        "eaurc", "AURC above the best order", "ratio", "lower",
        "That area above the one of a confidence that puts every right entry before every wrong"
        " one (excess AURC, the same source).",
        whole=_curve(curves.excess_aurc, top_is_right),
    ),
    Measure(
        "ece", "calibration error (ECE)", "ratio", "lower",
        "The mean distance between confidence and share right over 15 bins of as many questions"
        " each (Naeini et al. 2015, bins by mass).",
        whole=_calibration,
        resampled=False,
    ),
    Measure(
        "brier", "Brier score", "ratio", "lower",
        "The mean squared distance between confidence and 1 or 0 for a right or wrong first entry"
        " (Brier 1950).",
        whole=_curve(curves.brier, top_is_right),
    ),
    Measure(
        "latency_p50", "latency p50, ms", "number", "lower",
        "Half of the questions took less, one at a time on this machine.",
        whole=partial(_latency, 50), resampled=False,
    ),
    Measure(
        "latency_p95", "latency p95, ms", "number", "lower",
        "95 of 100 questions took less, one at a time on this machine.",
        whole=partial(_latency, 95), resampled=False,
    ),
)  # fmt: skip
#: By name.
NAMED = {measure.name: measure for measure in MEASURES}
