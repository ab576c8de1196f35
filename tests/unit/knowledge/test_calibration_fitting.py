"""Curves and thresholds that are fitted to questions, and questions made of a knowledge base."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from kfbot.calibration import Adjustment, Curve
from kfbot.store.knowledge_rows import ChunkRow, DocumentRow, StoredDocument
from knowledge.calibration.curves import (
    Floats,
    corrected,
    expected_calibration_error,
    fit_curve,
    fit_thresholds,
    traffic,
)
from knowledge.calibration.fitting import Estimates, compare, fit
from knowledge.calibration.made_questions import FOLDS, far_questions, folds
from knowledge.geometry import GENERIC_QUESTIONS


def drawn(size: int, power: float) -> tuple[Floats, Floats]:
    """Estimates, and answers that are right as often as the estimate to a power says."""
    chance = np.random.default_rng(1)
    p = chance.random(size)
    return p, (chance.random(size) < p**power).astype(float)


def of(
    p: Floats,
    right: Floats,
    *,
    scope: str = "in",
    weight: Floats | None = None,
    reranked: Floats | None = None,
) -> Estimates:
    size = len(p)
    none = np.full((size, 2), np.nan)
    return Estimates(
        "faq", p, p, right, np.ones(size, bool), np.array([scope] * size),
        ones(p) if weight is None else weight, none if reranked is None else reranked,
    )  # fmt: skip


def ones(of: Sequence[float] | Floats) -> Floats:
    return np.ones(len(of))


# Curves


def test_many_questions_make_estimates_true() -> None:
    p, right = drawn(4000, 3.0)
    after = corrected(fit_curve(p[:2000], right[:2000], ones(p[:2000])), p[2000:])
    assert expected_calibration_error(p[2000:], right[2000:]) > 0.15
    assert expected_calibration_error(after, right[2000:]) < 0.04


def test_few_questions_move_estimates_little() -> None:
    p, right = np.full(3, 0.9), np.zeros(3)
    few = fit_curve(p, right, ones(p)).probability(0.9)
    many = fit_curve(np.tile(p, 100), np.tile(right, 100), np.ones(300)).probability(0.9)
    assert many < 0.05
    assert 0.4 < few < 0.9


def test_no_question_moves_nothing() -> None:
    nothing = np.zeros(0)
    assert fit_curve(nothing, nothing, nothing).probability(0.3) == pytest.approx(0.3)


def test_estimates_that_stand_on_their_head_are_flattened_not_turned_round() -> None:
    p, right = drawn(3000, 1.0)
    curve = fit_curve(p, 1 - right, ones(p))
    assert min(curve.high, curve.low) >= 0
    assert curve.probability(0.9) >= curve.probability(0.1)


# Thresholds


def test_the_dial_is_kept_on_other_questions() -> None:
    p, right = drawn(8000, 1.0)
    points = dict(fit_thresholds(p[:4000], right[:4000], np.ones(4000)))
    for dial, least in points.items():
        answered = p[4000:] >= least
        assert 100 * (1 - right[4000:][answered]).mean() <= dial * 1.3 + 0.5


def test_a_looser_dial_answers_no_less() -> None:
    p, right = drawn(300, 0.5)
    least = [one for _, one in fit_thresholds(p, right, ones(p))]
    assert least == sorted(least, reverse=True)


def test_nothing_is_answered_where_all_is_wrong() -> None:
    p = np.linspace(0.1, 0.99, 500)
    some = of(p, np.zeros(500), scope="near", weight=p)
    found = fit(some)
    assert corrected(found.curve, p).max() < min(least for _, least in found.thresholds)


def test_few_right_answers_do_not_open_the_dial() -> None:
    few = dict(fit_thresholds(np.full(5, 0.5), np.ones(5), np.ones(5)))
    many = dict(fit_thresholds(np.full(500, 0.5), np.ones(500), np.ones(500)))
    assert few[5.0] > 1
    assert many[5.0] <= 0.5


def test_out_of_scope_weighs_what_it_is_said_to() -> None:
    scope = np.array(["in"] * 8 + ["near"] * 5 + ["far"])
    weight = traffic(scope, 0.2)
    shares = {name: weight[scope == name].sum() for name in ("in", "near", "far")}
    assert shares == pytest.approx({"in": 0.8, "near": 0.1, "far": 0.1})


# What a calibration is said to do


def test_what_is_shown_is_measured_on_other_questions() -> None:
    # Estimates without any worth: whoever fits and looks at the same questions sees some.
    own, told = [], []
    for seed in range(10):
        chance = np.random.default_rng(seed)
        p, right = chance.random(60), (chance.random(60) < 0.5).astype(float)
        some = of(p, right)
        own.append(expected_calibration_error(corrected(fit(some).curve, p), right))
        told.append(compare(some)["calibration_error"]["after"])
    assert np.mean(told) > np.mean(own) + 0.01


def test_now_is_what_is_in_force() -> None:
    p, right = drawn(400, 1.0)
    never = Adjustment(Curve(shift=-30.0), ((5.0, 0.9),), 100)
    as_shipped, calibrated = compare(of(p, right)), compare(of(p, right), never)
    assert {row["now"]["answered"] for row in calibrated["dials"]} == {0.0}
    assert as_shipped["dials"][-1]["now"]["answered"] > 0
    assert [row["after"] for row in calibrated["dials"]] == [
        row["after"] for row in as_shipped["dials"]
    ]


# With a reranker


def scored(right: Floats, worth: float, *, seed: int = 2) -> Floats:
    """Scores, and leads, that tell right from wrong by so many standard deviations."""
    noise = np.random.default_rng(seed).standard_normal((len(right), 2))
    return np.asarray(7 + 3 * (noise + worth * right[:, None]))


def test_a_reranker_that_knows_better_is_made_to_count() -> None:
    p, right = drawn(600, 1.0)
    told = compare(of(p, right, reranked=scored(right, 2.0)))
    assert told["reranked"]
    assert told["auroc"]["after"] > told["auroc"]["now"] + 0.05
    found = fit(of(p, right, reranked=scored(right, 2.0)))
    likely, unlikely = ({"rerank": score, "rerank_lead": score} for score in (16.0, 4.0))
    assert found.by(likely).probability(0.5, likely) > 0.8
    assert found.by(unlikely).probability(0.5, unlikely) < 0.2


@pytest.mark.parametrize("worth", [0.0, -2.0])
def test_a_reranker_that_knows_nothing_hardly_counts(worth: float) -> None:
    p, right = drawn(600, 1.0)
    some = of(p, right, reranked=scored(right, worth))
    told = compare(some)
    assert told["auroc"]["after"] > told["auroc"]["now"] - 0.02
    reranked = fit(some).reranked
    weights = [one.weight for one in reranked.signals.values()] if reranked else []
    assert all(0 < weight < 0.3 for weight in weights)
    if worth < 0:
        # Its scores turned round would be worth a lot; they are not turned round.
        assert weights == []


def test_where_it_did_not_answer_the_estimate_is_corrected_without_it() -> None:
    p, right = drawn(600, 1.0)
    without, found = fit(of(p, right)), fit(of(p, right, reranked=scored(right, 2.0)))
    late = found.by({"dense": 1.0})
    assert (late.curve, late.thresholds) == (without.curve, without.thresholds)
    assert late.signals == {}


def test_few_scores_are_not_made_to_count() -> None:
    p, right = drawn(600, 1.0)
    some = scored(right, 2.0)
    some[20:] = np.nan
    assert fit(of(p, right, reranked=some)).reranked is None


def test_labelled_questions_can_be_weighed_too() -> None:
    scope = np.array(["in"] * 5 + ["out"] * 15)
    weight = traffic(scope, 0.2)
    assert weight[scope == "out"].sum() == pytest.approx(0.2)


# Made questions


def entry(name: str, *texts: str, answer: str = "") -> StoredDocument:
    chunks = tuple(
        ChunkRow(id=f"{name}-{at}", position=at, heading="", text=text, vector=b"", terms={})
        for at, text in enumerate(texts)
    )
    row = DocumentRow(document_id=name, kind="faq", content_hash="", answer=answer or name)
    return StoredDocument(row, chunks)


ENTRIES = [entry(f"e{n}", *(f"{n} {variant}" for variant in "abcdefg")) for n in range(20)]


def test_no_question_is_asked_of_an_index_that_has_it() -> None:
    for fold in folds(ENTRIES):
        there = {chunk.text for one in fold.documents for chunk in one.chunks}
        assert fold.questions
        assert not there & {question.text for question in fold.questions}


def test_each_variant_is_held_back_once_and_no_entry_loses_its_question() -> None:
    made = list(folds(ENTRIES))
    inside = [one.text for fold in made for one in fold.questions if one.scope == "in"]
    assert len(made) == FOLDS
    assert len(inside) == len(set(inside)) > 100
    for fold in made:
        assert all(one.chunks[0].text.endswith(" a") for one in fold.documents)


def test_what_is_near_and_out_of_scope_has_no_entry() -> None:
    for fold in folds(ENTRIES):
        there = {one.document.document_id for one in fold.documents}
        for question in fold.questions:
            name = f"e{question.text.split()[0]}"
            assert (name in there) == (question.scope == "in")
            assert question.gold == (frozenset({name}) if question.scope == "in" else frozenset())


def test_entries_with_one_answer_go_and_count_together() -> None:
    twins = [entry(name, *(f"{name} {at}" for at in range(6)), answer="same") for name in "xy"]
    for fold in folds([*ENTRIES, *twins]):
        there = {one.document.document_id for one in fold.documents}
        assert not {"x", "y"} & there or {"x", "y"} <= there
        for question in fold.questions:
            if question.scope == "in" and question.text[0] in "xy":
                assert question.gold == {"x", "y"}


def test_far_questions_are_of_both_languages_and_no_generic_ones() -> None:
    texts = far_questions()
    chinese = [text for text in texts if not text.isascii()]
    assert len(texts) == len(set(texts)) == 2 * len(chinese) == 120
    assert not set(texts) & {text for those in GENERIC_QUESTIONS.values() for text in those}
