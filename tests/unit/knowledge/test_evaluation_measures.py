"""The numbers of an evaluation on hand-made predictions, each counted by hand or by another."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import brier_score_loss, roc_auc_score

from knowledge.evaluation import curves
from knowledge.evaluation.dial import dial_of
from knowledge.evaluation.intervals import differences, mcnemar, with_intervals
from knowledge.evaluation.measures import MEASURES, NAMED
from knowledge.evaluation.report import measures_of, report_of
from knowledge.evaluation.scored import Scored


def scored(decision: str, confidence: float, *ranked: str, **labels: Any) -> Scored:
    given: dict[str, Any] = {"text": "q", "latency_ms": 1.0} | labels
    return Scored(**given, decision=decision, confidence=confidence, ranked_ids=ranked)


MIXED = [
    scored("answer", 0.9, "a", "b", gold_ids=("a",), in_scope=True, kb="shop", predicted_kb="shop"),
    scored("answer", 0.8, "b", "a", gold_ids=("a",), in_scope=True, kb="shop", predicted_kb="bank"),
    scored("clarify", 0.6, *"bcda", gold_ids=("a",), in_scope=True, choices=("b", "a"), kb="other"),
    scored("clarify", 0.5, *"bcdefa", gold_ids=("a",), in_scope=True, choices=("b", "c")),
    scored("handoff", 0.4, "a", gold_ids=("a", "z"), in_scope=True),
    scored("answer", 0.7, "a", in_scope=True),
    scored("handoff", 0.2, in_scope=False, kb=None),
    scored("answer", 0.3, "a", in_scope=False),
    scored("answer", 0.95, "a"),
]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        # Right: 0 answered, 2 offered, 6 handed off; of 7 of which one knows.
        ("right_decision", 3 / 7),
        # Answers with a label: 0, 1, 5, 7. Wrong: 1 (another entry) and 7 (out of scope).
        ("wrong", 50),
        ("wrong_in_scope", 25),
        ("wrong_out_of_scope", 25),
        ("hit@1", 2 / 5),
        ("hit@3", 3 / 5),
        ("hit@5", 4 / 5),
        ("hit@10", 1),
        ("mrr@10", (1 + 1 / 2 + 1 / 4 + 1 / 6 + 1) / 5),
        ("answered", 3 / 6),
        ("clarified", 2 / 6),
        ("handed_off", 1 / 6),
        ("right_answers", 1 / 5),
        ("clarified_with_gold", 1 / 2),
        ("out_of_scope_recall", 1 / 2),
        ("out_of_scope_clarified", 0),
        ("out_of_scope_answered", 1 / 2),
        # Right .9 and .4; wrong .8 .6 .5 .3 .2: of ten pairs .9 wins five and .4 two.
        ("auroc", 7 / 10),
        # In scope .9 .8 .7 .6 .5 .4, out of scope .3 .2: each pair is won.
        ("auroc_in_scope", 1),
        # Wrong so far, the surest first (.9 .8 .6 .5 .4 .3 .2): 0 1 2 3 3 4 5.
        ("aurc", (0 + 1 / 2 + 2 / 3 + 3 / 4 + 3 / 5 + 4 / 6 + 5 / 7) / 7),
        # Both right ones first: 0 0 1 2 3 4 5.
        (
            "eaurc",
            (0 + 1 / 2 + 2 / 3 + 3 / 4 + 3 / 5 + 4 / 6 + 5 / 7) / 7
            - (0 + 0 + 1 / 3 + 2 / 4 + 3 / 5 + 4 / 6 + 5 / 7) / 7,
        ),
        # A bin for each: .1 .8 .6 .5 .6 .3 .2 apart.
        ("ece", (0.1 + 0.8 + 0.6 + 0.5 + 0.6 + 0.3 + 0.2) / 7),
        ("brier", (0.01 + 0.64 + 0.36 + 0.25 + 0.36 + 0.09 + 0.04) / 7),
        ("latency_p50", 1),
        ("latency_p95", 1),
    ],
)
def test_measure_is_what_is_counted_by_hand(name: str, value: float) -> None:
    assert NAMED[name].value(MIXED) == pytest.approx(value)


def test_every_measure_of_nothing_is_unknown() -> None:
    unlabelled = [scored("handoff", 0.1)]
    values = {one.name: one.value(unlabelled) for one in MEASURES}
    known = {name for name, value in values.items() if value is not None}
    assert known == {"latency_p50", "latency_p95"}


def test_in_scope_without_gold_counts_as_answerable_only() -> None:
    with_it = [*MIXED, scored("answer", 0.99, "x", in_scope=True)]
    for name in ("hit@1", "auroc", "brier", "right_answers", "right_decision"):
        assert NAMED[name].value(with_it) == NAMED[name].value(MIXED)
    assert NAMED["answered"].value(with_it) == pytest.approx(4 / 7)
    assert NAMED["wrong"].value(with_it) == pytest.approx(40)


# The report keeps its form


def test_in_scope_questions_are_counted_by_what_came_of_them() -> None:
    assert measures_of(MIXED)["in_scope"] == {
        "questions": 5,
        "hit_at_1": 2 / 5,
        "hit_at_3": 3 / 5,
        "hit_at_5": 4 / 5,
        "hit_at_10": 1,
        "mrr_at_10": pytest.approx((1 + 1 / 2 + 1 / 4 + 1 / 6 + 1) / 5),
        "answered_right": 1 / 5,
        "answered_wrong": 1 / 5,
        "clarified_with_gold": 1 / 5,
        "clarified_without_gold": 1 / 5,
        "handed_off": 1 / 5,
    }


def test_out_of_scope_questions_should_be_handed_off() -> None:
    assert measures_of(MIXED)["out_of_scope"] == {
        "questions": 2,
        "answered": 0.5,
        "clarified": 0,
        "handed_off": 0.5,
    }


def test_wrong_per_100_answers_counts_what_is_known_to_be_wrong() -> None:
    measured = measures_of(MIXED)
    assert (measured["answers"], measured["wrong_answers"]) == (4, 2)
    assert measured["wrong_per_100_answers"] == 50


def test_without_answers_there_is_no_share_of_wrong_ones() -> None:
    assert measures_of([scored("handoff", 0.1, in_scope=True)])["wrong_per_100_answers"] is None


def test_routing_is_measured_where_the_label_names_a_knowledge_base() -> None:
    assert measures_of(MIXED, names={"shop", "bank"})["routed_right"] == 0.5
    assert measures_of(MIXED, names={"default"})["routed_right"] is None


def test_report_groups_by_language_label_and_knowledge_base_and_counts_unknown_gold() -> None:
    questions = [*MIXED, scored("handoff", 0.1, text="怎么退货", in_scope=False)]
    report = report_of(questions, known_ids={"a", "b"}, names={"shop"})
    assert report["unknown_gold_ids"] == 1

    def counts(key: str) -> dict[str, int]:
        return {name: group["questions"] for name, group in report[key].items()}

    assert counts("by_language") == {"en": 9, "zh": 1}
    assert counts("by_kb") == {"(none)": 1, "other": 1, "shop": 2}
    assert counts("by_knowledge_base") == {"(none)": 8, "bank": 1, "shop": 1}
    assert [one["answered_from"] for one in report["wrong_answers"]] == ["b", "a"]


# Curves


def pairs(*given: tuple[float, bool]) -> tuple[curves.Floats, curves.Floats]:
    table = np.array(given, float)
    return table[:, 0], table[:, 1]


def test_auroc_of_a_known_case() -> None:
    # 4 pairs: 0.8 beats both, 0.4 ties with one and loses to the other.
    assert curves.auroc(*pairs((0.8, True), (0.4, True), (0.6, False), (0.4, False))) == 2.5 / 4
    assert np.isnan(curves.auroc(*pairs((0.1, True), (0.9, True))))


def test_auroc_and_brier_equal_those_of_scikit_learn_with_weights_too() -> None:
    chance = np.random.default_rng(5)
    confidence, right = chance.random(200).round(1), (chance.random(200) < 0.4).astype(float)
    weights = chance.integers(0, 3, (1, 200)).astype(float)
    for given in (np.ones((1, 200)), weights):
        expected = roc_auc_score(right, confidence, sample_weight=given[0])
        assert curves.auroc(confidence, right, given) == pytest.approx([expected])
        expected = brier_score_loss(right, confidence, sample_weight=given[0])
        assert curves.brier(confidence, right, given) == pytest.approx([expected])


def test_risk_coverage_takes_the_surest_first_and_ties_together() -> None:
    given = pairs((0.5, False), (0.9, True), (0.5, True), (0.1, False))
    assert curves.risk_coverage(*given) == [(0.25, 0, 0.9), (0.75, 1 / 3, 0.5), (1, 0.5, 0.1)]


def test_area_under_risk_and_coverage_does_not_depend_on_the_order_of_ties() -> None:
    given = [(0.5, False), (0.9, True), (0.5, True), (0.5, True), (0.1, False)]
    shuffled = given[::-1]
    assert curves.aurc(*pairs(*given)) == pytest.approx(curves.aurc(*pairs(*shuffled)))


def test_reliability_bins_hold_their_edges() -> None:
    bins = curves.reliability(
        *pairs((0.0, False), (0.95, True), (1.0, True), (0.5, True), (0.5, False))
    )
    assert [(one["from"], one["count"], one["right"]) for one in bins] == [
        (0, 1, 0),
        (0.5, 2, 0.5),
        (0.9, 2, 1),
    ]


def test_bins_of_equal_mass_hold_as_many_questions_each() -> None:
    chance = random.Random(1)
    given = pairs(*((chance.random() ** 3, chance.random() < 0.5) for _ in range(45)))
    bins = curves.reliability_by_mass(*given)
    assert [one["count"] for one in bins] == [3] * 15
    assert all(one["low"] <= one["right"] <= one["high"] for one in bins)
    assert [one["from"] for one in bins] == sorted(one["from"] for one in bins)


def test_calibration_error_of_perfect_confidence_is_nothing() -> None:
    given = pairs(*((0.25, number % 4 == 0) for number in range(400)))
    assert curves.calibration_error(curves.reliability_by_mass(*given)) == pytest.approx(0)


def test_histogram_counts_every_question_once() -> None:
    bins = curves.histogram(*pairs((0, False), (0.5, True), (1, True), (1, False)))
    assert sum(one["right"] + one["wrong"] for one in bins) == 4
    assert (bins[-1]["right"], bins[-1]["wrong"]) == (1, 1)


def test_interval_of_a_share_is_that_of_wilson() -> None:
    low, high = curves.wilson(0.3, 50)
    expected = binomtest(15, 50).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_percentile_lies_between_neighbours() -> None:
    assert curves.percentile([4, 1, 3, 2], 50) == 2.5
    assert curves.percentile([7], 95) == 7
    assert curves.percentile([], 50) is None


# Chance


def answers(right: int, wrong: int) -> list[Scored]:
    return [
        scored("answer", 0.9, "a" if at < right else "b", gold_ids=("a",), in_scope=True)
        for at in range(right + wrong)
    ]


def test_interval_of_a_bootstrap_is_that_of_theory_and_always_the_same() -> None:
    found = with_intervals(answers(80, 20))["hit@1"]
    # Normal approximation: .8 ± 1.96 · sqrt(.8 · .2 / 100).
    assert found["value"] == pytest.approx(0.8)
    assert found["low"] == pytest.approx(0.8 - 0.0784, abs=0.015)
    assert found["high"] == pytest.approx(0.8 + 0.0784, abs=0.015)
    assert with_intervals(answers(80, 20))["hit@1"] == found


def test_interval_of_no_mistake_in_a_few_answers_is_wide() -> None:
    found = with_intervals(answers(20, 0))["wrong"]
    assert found["value"] == found["low"] == 0
    assert found["high"] == pytest.approx(16.1, abs=0.1)


def test_paired_difference_is_surer_than_the_two_intervals() -> None:
    # Both runs fail on the same hard half; the new one gets ten more right.
    [found] = differences([NAMED["hit@1"]], answers(50, 50), answers(60, 40))
    assert found["difference"] == pytest.approx(0.1)
    assert 0.03 < found["low"] < found["high"] < 0.17


def test_mcnemar_is_the_exact_test_of_the_changed_ones() -> None:
    old = answers(6, 14)
    new = [*answers(0, 2), *answers(18, 0)]
    found = mcnemar(old, new, lambda one: one.top_is_right)
    assert (found["gained"], found["lost"]) == (14, 2)
    assert found["p"] == pytest.approx(binomtest(2, 16).pvalue)


def test_mcnemar_of_thousands_of_changes_neither_overflows_nor_takes_long() -> None:
    found = mcnemar(answers(0, 5000), answers(5000, 0), lambda one: one.top_is_right)
    assert found == {"gained": 5000, "lost": 0, "p": 0.0}
    assert mcnemar(answers(1, 1), answers(1, 1), lambda one: one.top_is_right)["p"] == 1


# The dial


def test_dial_tells_what_would_be_done_at_each_position() -> None:
    labels: dict[str, Any] = {"gold_ids": ("a",), "in_scope": True}
    shy, bold = scored("handoff", 0.4, "b", **labels), scored("answer", 0.4, "b", **labels)
    one = scored("clarify", 0.4, "b", **labels, at_dial={1.0: shy, 15.0: bold})
    rows = dial_of([one], 5.0)
    assert [(row["max_wrong_percent"], row["is_set"]) for row in rows] == [
        (1, False),
        (5, True),
        (15, False),
    ]
    assert [row["handed_off"] for row in rows] == [1, 0, 0]
    assert [row["wrong"] for row in rows] == [None, None, 100]
