"""What was calibrated, as the rules see it: curves, thresholds, whose estimates they correct."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfbot.calibration import Adjustment, Calibration, Correction, Curve, Signal, between
from kfbot.confidence import assess, explain, signals_version
from kfbot.knowledge_base import Passage, Retrieval
from kfbot.testing import evidence_for

MADE_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEVER = Adjustment(Curve(shift=-30.0), ((1.0, 0.99), (10.0, 0.9)), 100)


#: As JSON.
PLAIN = {"curve": {"high": 1, "low": 1, "shift": 0}, "thresholds": [[5, 0.5]], "questions": 1}
SCORE = {"weight": 1, "mean": 0, "scale": 1}
RERANKED = replace(
    NEVER,
    source="operator",
    reranked=Correction(Curve(), ((5.0, 0.6),), {"rerank": Signal(4.0, 10.0, 4.0)}),
)


def calibration(**changes: Any) -> Calibration:
    values: dict[str, Any] = {
        "adjustments": {"faq": NEVER}, "embedding_key": "a model", "signals": "some signals",
        "generation": 3, "made_at": MADE_AT, "source": "operator", "counts": {"in": 100},
    }  # fmt: skip
    return Calibration(**values | changes)


def found(name: str, *, rerank: float | None = None, **calibrations: Calibration) -> Retrieval:
    passage = Passage(
        knowledge_base=name, document_id="d", chunk_id="c", kind="faq", title="", text="text",
        question="question", score=1.0,
    )  # fmt: skip
    return Retrieval(
        query="q",
        passages=(passage,),
        evidence={"faq": evidence_for("answer") | ({} if rerank is None else {"rerank": rerank})},
        calibrations=calibrations,
    )


probabilities = st.floats(0, 1)
factors = st.floats(0, 10)


@given(probabilities, probabilities, factors, factors, st.floats(-10, 10))
def test_a_curve_keeps_the_order_of_probabilities(
    one: float, other: float, high: float, low: float, shift: float
) -> None:
    curve = Curve(high, low, shift)
    less, more = sorted((one, other))
    assert 0 <= curve.probability(less) <= curve.probability(more) + 1e-12 <= 1 + 1e-12


@given(st.floats(0.001, 0.999))
def test_the_curve_that_changes_nothing_changes_nothing(p: float) -> None:
    assert Curve().probability(p) == pytest.approx(p)


def test_between_two_positions_of_the_dial_the_threshold_lies_between() -> None:
    points = ((2.0, 0.9), (4.0, 0.7))
    assert [between(points, dial) for dial in (1, 2, 3, 4, 9)] == pytest.approx(
        [0.9, 0.9, 0.8, 0.7, 0.7]
    )


def test_it_comes_back_from_json_as_it_was() -> None:
    whole = calibration(adjustments={"faq": RERANKED, "document": NEVER})
    assert Calibration.read(json.loads(json.dumps(whole.as_data()))) == whole


def test_one_that_does_not_say_it_for_each_kind_has_one_source() -> None:
    data = calibration().as_data()
    del data["adjustments"]["faq"]["source"], data["adjustments"]["faq"]["reranked"]
    read = Calibration.read(data).adjustments["faq"]
    assert (read.source, read.reranked) == ("operator", None)


def test_what_a_reranker_says_counts_as_it_was_calibrated() -> None:
    calibrated = calibration(adjustments={"faq": RERANKED})
    plain = assess(found("shop"), 5.0).probability
    said = [
        assess(found("shop", rerank=score, shop=calibrated), 5.0) for score in (-9.0, 10.0, 18.0)
    ]
    assert said[0].probability < said[1].probability < said[2].probability
    assert said[1].probability == pytest.approx(plain)
    assert (said[0].decision, said[2].decision) == ("handoff", "answer")
    # A bound, as for every signal.
    assert assess(found("shop", rerank=1e9, shop=calibrated), 5.0).probability == pytest.approx(
        assess(found("shop", rerank=26.0, shop=calibrated), 5.0).probability
    )


def test_where_it_did_not_answer_the_bot_does_not_answer_more() -> None:
    calibrated = calibration(adjustments={"faq": RERANKED})
    assert assess(found("shop", shop=calibrated), 5.0) == assess(
        found("shop", shop=calibration()), 5.0
    )


def test_without_a_calibration_a_reranker_changes_no_estimate() -> None:
    assert assess(found("shop", rerank=1e9), 5.0) == assess(found("shop"), 5.0)


def test_with_another_reranker_it_holds_no_more() -> None:
    plain, one, other = (signals_version(key) for key in ("", "one@1", "other@1"))
    assert len({plain, one, other}) == 3
    assert not calibration(signals=one).holds_for("a model", other)


def test_what_counted_names_the_reranker_only_where_it_did() -> None:
    evidence = evidence_for("answer") | {"rerank": 18.0}
    assert ("rerank", 8.0) in explain("faq", evidence, RERANKED.by(evidence))
    assert "rerank" not in dict(explain("faq", evidence))


@pytest.mark.parametrize(
    "change",
    [
        {"made_at": "2026-03-01T12:00:00"},
        {"source": "somebody"},
        {"generation": -1},
        {"embedding_key": "a\0b"},
        {"adjustments": {"video": {}}},
        {"adjustments": {"faq": {**PLAIN, "source": "somebody"}}},
        {"adjustments": {"faq": {**PLAIN, "signals": {"x": SCORE}}}},
        {"adjustments": {"faq": {**PLAIN, "reranked": {}}}},
        {"adjustments": {"faq": {**PLAIN, "reranked": {
            **PLAIN, "signals": {"rerank": {**SCORE, "scale": 0}}}}}},
        {"adjustments": {"faq": {**PLAIN, "reranked": {
            **PLAIN, "signals": {"rerank": {**SCORE, "weight": float("nan")}}}}}},
        {"adjustments": {"faq": {"curve": {"high": -1, "low": 1, "shift": 0},
                                 "thresholds": [[5, 0.5]], "questions": 1}}},
        {"adjustments": {"faq": {"curve": {"high": 1, "low": 1, "shift": float("nan")},
                                 "thresholds": [[5, 0.5]], "questions": 1}}},
        {"adjustments": {"faq": {"curve": {"high": 1, "low": 1, "shift": 0},
                                 "thresholds": [[5, 0.5], [2, 0.6]], "questions": 1}}},
    ],
)  # fmt: skip
def test_nonsense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Calibration.read(calibration().as_data() | change)


def test_it_holds_for_its_model_and_its_signals_only() -> None:
    made = calibration()
    assert made.holds_for("a model", "some signals")
    assert not made.holds_for("another model", "some signals")
    assert not made.holds_for("a model", "other signals")


def test_a_calibration_corrects_its_own_knowledge_base_alone() -> None:
    plain = assess(found("shop"), 5.0)
    corrected = assess(found("shop", shop=calibration()), 5.0)
    other = assess(found("shop", office=calibration()), 5.0)
    assert plain.decision == "answer"
    assert corrected.decision != "answer"
    assert corrected.probability < plain.probability
    assert other == plain


def test_a_kind_that_was_not_calibrated_is_estimated_as_shipped() -> None:
    documents_only = calibration(adjustments={"document": NEVER})
    assert assess(found("shop", shop=documents_only), 5.0) == assess(found("shop"), 5.0)


def test_its_thresholds_are_what_the_dial_goes_by() -> None:
    lenient = Adjustment(Curve(), ((1.0, 1.01), (10.0, 0.0)), 100)
    calibrated = found("shop", shop=calibration(adjustments={"faq": lenient}))
    assert assess(calibrated, 1.0).decision != "answer"
    assert assess(calibrated, 10.0).decision == "answer"
