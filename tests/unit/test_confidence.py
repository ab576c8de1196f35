"""From evidence to a decision: the fitted numbers, the dial, and what is done with doubt."""

from __future__ import annotations

import asyncio
import json
import math
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from importlib.resources import files
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kfbot import confidence
from kfbot.calibration import Curve
from kfbot.confidence import (
    Logistic,
    Model,
    Signal,
    Target,
    assess,
    explain,
    model,
    threshold,
)
from kfbot.knowledge_base import Passage, PassageKind, Retrieval
from kfbot.store.knowledge_rows import ChunkRow, DocumentRow, StoredDocument
from kfbot.testing import evidence_for
from knowledge import index_build, terms
from knowledge.index import Index, Stamp
from knowledge.retrieval import find

KINDS = get_args(PassageKind)
TARGETS = get_args(Target)
DATA: dict[str, Any] = json.loads(
    files("kfbot").joinpath("confidence.json").read_text(encoding="utf-8")
)


def passage(number: int, kind: PassageKind = "faq", **fields: Any) -> Passage:
    values = {
        "knowledge_base": "shop", "document_id": f"d{number}", "chunk_id": f"c{number}",
        "kind": kind, "title": "", "text": f"answer {number}", "score": 1.0 / number,
        "question": f"question {number}" if kind == "faq" else "",
    }  # fmt: skip
    return Passage(**values | fields)


def found(*passages: Passage, **evidence: Mapping[str, float]) -> Retrieval:
    return Retrieval(query="q", passages=passages, evidence=evidence)  # type: ignore[arg-type]


# The evidence of a real index


def embed(text: str) -> NDArray[np.float32]:
    vector = np.full(64, 0.01, np.float32)
    for term in terms.tokenise(text):
        seed = np.random.default_rng(zlib.crc32(term.encode()))
        vector += seed.standard_normal(64).astype(np.float32)
    return vector / np.float32(np.linalg.norm(vector))


def stored(document_id: str, text: str, answer: str = "") -> StoredDocument:
    row = DocumentRow(
        document_id=document_id, kind="faq" if answer else "document", content_hash="",
        title="" if answer else document_id, url="", answer=answer,
    )  # fmt: skip
    vector = embed(text).astype("<f2").tobytes()
    chunk = ChunkRow(
        id=f"{document_id}:0", position=0, heading="", text=text, vector=vector,
        terms=terms.counts(text),
    )  # fmt: skip
    return StoredDocument(row, (chunk,))


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Mapping[PassageKind, Mapping[str, float]]:
    """What the knowledge room says on a question to a small knowledge base of both kinds."""
    folder = tmp_path_factory.mktemp("index")

    async def documents() -> AsyncIterator[StoredDocument]:
        yield stored("f1", "How do I return an item?", "Within 30 days.")
        yield stored("f2", "运费是多少？", "八元。")
        yield stored("warranty", "The warranty covers broken kettles. It ends after two years.")
        yield stored("garden", "Watering cans are rinsed weekly.")

    stamp = Stamp(knowledge_base="shop", generation=1, embedding_key="words", dimensions=64)
    asyncio.run(index_build.write_job(documents(), stamp, folder, {}))
    np.save(folder / "generic.npy", np.stack([embed("问题"), embed("question")]))
    index_build.make(folder)
    index = Index.open(folder / "index", stamp)
    text = "How do I return a broken kettle?"
    try:
        return asyncio.run(find([index], text, embed(text), 10)).evidence
    finally:
        index.close()


def parts(kind: PassageKind, target: Target) -> dict[str, Logistic]:
    one = model(kind, target)
    named = {"match": one.match, "gate": one.gate, "gate_foreign": one.gate_foreign}
    return {name: part for name, part in named.items() if part is not None}


# The fitted numbers


def test_there_is_a_model_for_every_kind_and_target() -> None:
    assert set(DATA["kinds"]) == set(KINDS)
    for kind in KINDS:
        for target in TARGETS:
            assert parts(kind, target)["match"].signals


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", TARGETS)
def test_every_fitted_signal_is_one_that_the_knowledge_room_gives(
    evidence: Mapping[PassageKind, Mapping[str, float]], kind: PassageKind, target: Target
) -> None:
    for name, part in parts(kind, target).items():
        assert set(part.signals) <= set(evidence[kind]), name
    assert "foreign" in evidence[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_the_evidence_of_the_knowledge_room_is_plain_finite_numbers(
    evidence: Mapping[PassageKind, Mapping[str, float]], kind: PassageKind
) -> None:
    assert all(type(value) is float for value in evidence[kind].values())
    assert all(math.isfinite(value) for value in evidence[kind].values())
    assert 0 < model(kind, "first").probability(evidence[kind]) < 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", TARGETS)
def test_every_signal_has_a_scale(kind: PassageKind, target: Target) -> None:
    for part in parts(kind, target).values():
        for signal in part.signals.values():
            assert signal.scale > 0
            assert all(map(math.isfinite, (signal.weight, signal.mean, signal.scale)))
    curve = model(kind, target).curve
    assert curve.high > 0
    assert curve.low > 0


# The dial


@pytest.mark.parametrize("kind", KINDS)
def test_the_more_may_be_wrong_the_lower_the_threshold(kind: PassageKind) -> None:
    points = DATA["kinds"][kind]["thresholds"]
    assert [point[0] for point in points] == sorted({point[0] for point in points})
    dial = [percent / 10 for percent in range(1, 1000)]
    thresholds = [threshold(kind, percent) for percent in dial]
    assert thresholds == sorted(thresholds, reverse=True)
    assert all(0 < one <= 1 for one in thresholds)
    assert thresholds[0] > thresholds[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_between_the_fitted_points_the_threshold_lies_between(kind: PassageKind) -> None:
    (x0, y0), (x1, y1) = DATA["kinds"][kind]["thresholds"][:2]
    assert threshold(kind, x0) == y0
    assert threshold(kind, (x0 + x1) / 2) == pytest.approx((y0 + y1) / 2)
    assert threshold(kind, x0 / 2) == y0
    assert threshold(kind, 99.9) == DATA["kinds"][kind]["thresholds"][-1][1]


# Decisions


@pytest.mark.parametrize("decision", ["answer", "clarify", "handoff"])
def test_evidence_leads_to_a_decision(decision: str) -> None:
    assessment = assess(found(passage(1), passage(2), faq=evidence_for(decision)), 5.0)
    assert assessment.decision == decision
    assert 0 < assessment.probability < 1
    assert bool(assessment.choices) is (decision == "clarify")


def test_nothing_found_is_handed_off() -> None:
    assert assess(found(), 5.0) == confidence.Assessment(0.0, "handoff")


def test_choices_are_two_or_three_that_a_customer_can_tell_apart() -> None:
    doubt = evidence_for("clarify")
    many = assess(found(*(passage(number) for number in range(1, 8)), faq=doubt), 5.0)
    assert [choice.document_id for choice in many.choices] == ["d1", "d2", "d3"]
    same = passage(2, question="question 1")
    some = assess(found(passage(1), same, passage(3), faq=doubt), 5.0)
    assert [choice.document_id for choice in some.choices] == ["d1", "d3"]


def test_a_single_doubtful_passage_is_not_a_choice() -> None:
    assert assess(found(passage(1), faq=evidence_for("clarify")), 5.0).decision == "handoff"


def test_chapters_of_one_title_are_told_apart_by_their_headings() -> None:
    sections = [
        passage(number, "document", title="Returns", heading=f"part {number}") for number in (2, 3)
    ]
    doubt = evidence_for("clarify")
    assessment = assess(found(passage(1), *sections, faq=doubt), 5.0)
    assert [choice.document_id for choice in assessment.choices] == ["d1", "d2", "d3"]


@given(st.floats(0.1, 99.9), st.floats(0.1, 99.9), st.integers(-40, 40))
def test_a_bolder_dial_never_answers_less(one: float, other: float, strength: int) -> None:
    cautious, bold = sorted((one, other))
    signals = model("faq", "first").match.signals
    evidence = {
        name: signal.mean + strength / 10 * math.copysign(signal.scale, signal.weight)
        for name, signal in signals.items()
    }
    outcomes = [
        assess(found(passage(1), passage(2), faq=evidence), dial) for dial in (cautious, bold)
    ]
    assert outcomes[0].probability == outcomes[1].probability
    assert outcomes[0].decision != "answer" or outcomes[1].decision == "answer"


# Evidence that lacks something


ANY_EVIDENCE = st.dictionaries(
    st.sampled_from(
        [*{name for kind in KINDS for name in model(kind, "first").match.signals}, "x"]
    ),
    st.floats(),
)


@given(st.sampled_from(KINDS), ANY_EVIDENCE)
def test_whatever_evidence_is_missing_or_odd_there_is_a_decision(
    kind: PassageKind, evidence: Mapping[str, float]
) -> None:
    assessment = assess(found(passage(1, kind), passage(2, kind), **{kind: evidence}), 5.0)
    assert 0 <= assessment.probability <= 1
    explain(kind, evidence)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("evidence", [{}, {"faq": {}, "document": {}}])
def test_a_passage_that_nothing_speaks_for_is_never_the_answer(
    kind: PassageKind, evidence: Mapping[str, Mapping[str, float]]
) -> None:
    nothing = found(passage(1, kind), passage(2, kind), **evidence)
    assert assess(nothing, 99.0) == confidence.Assessment(0.0, "handoff")


def test_evidence_on_the_other_kind_alone_does_not_answer() -> None:
    sure = evidence_for("answer")
    assert assess(found(passage(1, "document"), faq=sure), 5.0).decision == "handoff"


def test_a_number_that_is_none_adds_nothing() -> None:
    logistic = Logistic(0.0, {"a": Signal(2.0, 0.0, 1.0), "b": Signal(-1.0, 0.0, 1.0)})
    assert logistic.probability({"a": math.nan}) == logistic.probability({}) == 0.5


def test_no_signal_counts_without_bound() -> None:
    logistic = Logistic(0.0, {"a": Signal(2.0, 0.0, 1.0)})
    assert logistic.contributions({"a": math.inf}) == {"a": 8.0}
    assert logistic.contributions({"a": -1e300}) == {"a": -8.0}


# Explanations


@pytest.mark.parametrize("kind", KINDS)
def test_what_counted_is_told_strongest_first(
    evidence: Mapping[PassageKind, Mapping[str, float]], kind: PassageKind
) -> None:
    told = explain(kind, evidence[kind])
    fitted = model(kind, "first")
    assert fitted.gate is not None
    assert {name for name, _ in told} == {*fitted.match.signals, *fitted.gate.signals}
    strengths = [abs(added) for _, added in told]
    assert strengths == sorted(strengths, reverse=True)


def test_a_signal_counts_as_much_as_the_estimate_would_move() -> None:
    match, gate = Logistic(0.5, {"a": Signal(2.0, 0, 1)}), Logistic(0.2, {"b": Signal(1.0, 0, 1)})
    fitted = Model(match, gate, None, Curve())

    def log_odds(a: float, b: float) -> float:
        p = fitted.probability({"a": a, "b": b})
        return math.log(p / (1 - p))

    told = fitted.contributions({"a": 0.4, "b": 0.3})
    assert told["a"] == pytest.approx((log_odds(0.401, 0.3) - log_odds(0.4, 0.3)) * 400, rel=0.01)
    assert told["b"] == pytest.approx((log_odds(0.4, 0.301) - log_odds(0.4, 0.3)) * 300, rel=0.01)


def test_a_question_in_a_foreign_language_passes_another_gate() -> None:
    evidence = dict(evidence_for("answer"))
    home, foreign = ({**evidence, "foreign": flag} for flag in (0.0, 1.0))
    one = replace(model("faq", "first"), gate=Logistic(-50.0, {}), gate_foreign=Logistic(50.0, {}))
    assert one.probability(home) < 0.05 < 0.5 < one.probability(foreign)
