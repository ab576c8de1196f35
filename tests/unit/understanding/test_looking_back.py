"""A rewritten question takes the place of a plain one only where it is found to be better."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from kfbot.confidence import Assessment
from kfbot.conversation import Decision
from kfbot.knowledge_base import Retrieval
from kfbot.understanding.looking_back import Attempt, looked_back

EARLIER = ("Do you ship abroad?", "We do.")
FOUND: dict[str, Assessment] = {}


@pytest.fixture(autouse=True)
def assessed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found for a question is as good as FOUND says, at half of the dial."""

    def assess(found: Retrieval, max_wrong_percent: float) -> Assessment:
        assert max_wrong_percent == 2.5
        return FOUND[found.query]

    # The numbers behind a probability are fitted anew now and then; here they must not count.
    monkeypatch.setattr("kfbot.confidence.assess", assess)


def attempt(
    alone: tuple[float, Decision],
    joined: tuple[float, Decision],
    written: tuple[float, Decision] | None,
    *,
    likely: float = 0.9,
) -> Attempt:
    def say(one: tuple[float, Decision]) -> Assessment:
        return Assessment(one[0], one[1])  # type: ignore[arg-type]

    FOUND.clear()
    FOUND["joined"] = say(joined)
    if written is not None:
        FOUND["written"] = say(written)

    async def search(question: str, earlier: Sequence[str] = (), **how: bool) -> Retrieval:
        assert earlier == EARLIER
        return Retrieval(query="written" if how.get("standalone") else "joined")

    async def rewrite() -> str | None:
        return None if written is None else "Do you ship to Canada?"

    first = Attempt("and to Canada?", Retrieval(query="alone"), say(alone))
    made = looked_back(
        first,
        "and to Canada?",
        likely=likely,
        earlier=EARLIER,
        history=(),
        search=search,
        max_wrong_percent=5.0,
        rewrite=rewrite,
    )
    return asyncio.run(made)


@pytest.mark.parametrize(
    ("alone", "joined", "written", "wins"),
    [
        ((0.3, "handoff"), (0.5, "clarify"), (0.97, "answer"), "written"),
        # Nothing but being there speaks for it.
        ((0.3, "handoff"), (0.5, "clarify"), (0.5, "clarify"), "joined"),
        ((0.3, "handoff"), (0.6, "clarify"), (0.4, "handoff"), "joined"),
        ((0.3, "handoff"), (0.6, "clarify"), None, "joined"),
        # What is sure by itself gives way to what is surer, and to no less than an answer.
        ((0.98, "answer"), (0.5, "clarify"), (0.97, "answer"), "alone"),
        ((0.98, "answer"), (0.5, "clarify"), (0.99, "clarify"), "alone"),
        ((0.98, "answer"), (0.5, "clarify"), (0.99, "answer"), "written"),
    ],
)
def test_the_better_assessed_one_wins(
    alone: tuple[float, Decision],
    joined: tuple[float, Decision],
    written: tuple[float, Decision] | None,
    wins: str,
) -> None:
    best = attempt(alone, joined, written)
    assert best.found.query == wins
    asked = ["Do you ship to Canada?", "and to Canada?"]
    assert best.question.splitlines() == (asked if wins == "written" else asked[1:])
    expected = {"alone": alone, "joined": joined, "written": written}[wins]
    assert (best.assessment.probability, best.assessment.decision) == expected


def test_for_a_question_that_hardly_leans_nothing_is_offered() -> None:
    best = attempt((0.1, "handoff"), (0.5, "clarify"), (0.97, "answer"), likely=0.4)
    assert best.found.query == "written"
    assert best.question == "and to Canada?"
    assert best.assessment.decision == "handoff"
    assert best.assessment.probability == pytest.approx(0.97 * 0.4)
