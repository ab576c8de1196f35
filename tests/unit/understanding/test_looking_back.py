"""A rewritten question takes the place of a plain one only where it is found to be better."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from kfbot.confidence import Assessment
from kfbot.conversation import Decision
from kfbot.knowledge_base import Passage, Retrieval
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


def passage(name: str) -> Passage:
    return Passage(
        knowledge_base="shop", document_id=name, chunk_id=name, kind="document", title="",
        text=name, score=1.0,
    )  # fmt: skip


def attempt(
    alone: tuple[float, Decision],
    joined: tuple[float, Decision],
    written: tuple[float, Decision] | None,
    *,
    likely: float = 0.9,
    listed: dict[str, str] | None = None,
) -> Attempt:
    """The best attempt.

    Args:
        listed: The documents that each way of searching finds, a letter each.
    """
    listed = listed or {}

    def say(one: tuple[float, Decision]) -> Assessment:
        return Assessment(one[0], one[1])  # type: ignore[arg-type]

    FOUND.clear()
    FOUND["joined"] = say(joined)
    if written is not None:
        FOUND["written"] = say(written)

    async def search(question: str, earlier: Sequence[str] = (), **how: bool) -> Retrieval:
        assert earlier == EARLIER
        return retrieval("written" if how.get("standalone") else "joined")

    def retrieval(query: str) -> Retrieval:
        return Retrieval(query=query, passages=tuple(map(passage, listed.get(query, "a"))))

    async def rewrite() -> str | None:
        return None if written is None else "Do you ship to Canada?"

    first = Attempt("and to Canada?", retrieval("alone"), say(alone))
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


@pytest.mark.parametrize(
    ("listed", "wins"),
    [
        ({"alone": "xyza", "joined": "pqrs", "written": "ab"}, "written"),
        ({"alone": "xyzu", "joined": "pqra", "written": "ab"}, "written"),
        # Surer, of something that the question alone hardly leads to.
        ({"alone": "xyzua", "joined": "pqrsa", "written": "ab"}, "joined"),
        ({"alone": "bxyz", "joined": "bpqr", "written": "ab"}, "joined"),
        ({"alone": "", "joined": "", "written": "ab"}, "joined"),
        ({"alone": "ab", "joined": "ab", "written": ""}, "joined"),
    ],
)
def test_what_only_the_rewritten_question_finds_is_not_taken(
    listed: dict[str, str], wins: str
) -> None:
    best = attempt((0.1, "handoff"), (0.5, "clarify"), (0.97, "answer"), listed=listed)
    assert best.found.query == wins
