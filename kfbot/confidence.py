"""From evidence to a probability, and from it to answer, clarify or hand off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kfbot.knowledge_base import Passage, Retrieval


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the bot should do with what was found."""

    #: That the best passage answers, 0 to 1.
    probability: float
    decision: Literal["answer", "clarify", "handoff"]
    #: Set for "clarify": two or three passages.
    choices: tuple[Passage, ...] = ()


def assess(found: Retrieval, max_wrong_percent: float) -> Assessment:
    """Decide."""
    p = found.evidence.get("dense", 0.0) if found.passages else 0.0
    if p >= 1 - max_wrong_percent / 100:
        return Assessment(p, "answer")
    if p >= 0.5 and len(found.passages) > 1:
        return Assessment(p, "clarify", found.passages[:3])
    return Assessment(p, "handoff")


SURE = {"dense": 0.99}
UNDECIDED = {"dense": 0.6}
UNSURE = {"dense": 0.1}
