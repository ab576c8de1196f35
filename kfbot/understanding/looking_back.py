"""Searches for a question that may lean on what was said before, in each way there is, and takes
the best: by itself, together with what was said, and as a chat model makes it standalone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from kfbot import confidence
from kfbot.conversation import HistoryMessage
from kfbot.knowledge_base import Retrieval
from kfbot.understanding.follow_up import LEANING_DIAL, LEANS_FROM, better_joined, carried

#: The question made standalone, or None.
Rewrite = Callable[[], Awaitable[str | None]]


class Search(Protocol):
    """Looks for a question in what may be used."""

    async def __call__(self, question: str, earlier: Sequence[str] = (), **how: bool) -> Retrieval:
        """As `KnowledgeBase.search`."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to search for a question, and what came of it."""

    #: What was searched for; in its last line the customer's own words.
    question: str
    found: Retrieval
    assessment: confidence.Assessment


async def looked_back(
    alone: Attempt,
    words: str,
    *,
    likely: float,
    earlier: Sequence[str],
    history: Sequence[HistoryMessage],
    search: Search,
    max_wrong_percent: float,
    rewrite: Rewrite | None,
) -> Attempt:
    """The best attempt at a question that leans on what was said, or is nothing by itself.

    Args:
        alone: The question by itself.
        words: What is searched for with `earlier`.
        likely: That the question leans.
        rewrite: None: there is no chat model.
    """
    leans, dial = likely >= LEANS_FROM, max_wrong_percent * LEANING_DIAL
    best, sure = alone, alone.assessment.probability
    if alone.assessment.decision != "answer":
        found = await search(words, earlier)
        joined = Attempt(carried(alone.question, history), found, confidence.assess(found, dial))
        if better_joined(likely, sure, joined.assessment.probability):
            best = joined
    if rewrite is not None and (line := await rewrite()) is not None:
        found = await search(line, earlier, standalone=True)
        written = Attempt(f"{line}\n{alone.question}", found, confidence.assess(found, dial))
        holds = better_joined(likely, sure, written.assessment.probability)
        if holds and _is_better(written.assessment, best.assessment):
            best = written
    if best is alone or leans:
        return best
    return replace(best, question=alone.question, assessment=_doubted(best.assessment, likely))


def _is_better(written: confidence.Assessment, best: confidence.Assessment) -> bool:
    """Whether a rewritten question may take the place of the best attempt without it.

    That it is there says nothing for it: it must be surer, and what is answered stays answered.
    """
    if best.decision == "answer" and written.decision != "answer":
        return False
    return written.probability > best.probability


def _doubted(assessment: confidence.Assessment, likely: float) -> confidence.Assessment:
    """For a question that hardly leans nothing is offered that only earlier ones lead to."""
    return confidence.Assessment(assessment.probability * likely, "handoff")
