"""One question of an evaluation: what its labels say beside what the pipeline made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Decision = Literal["answer", "clarify", "handoff"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One question with its labels beside what the pipeline made of it."""

    text: str
    gold_ids: tuple[str, ...] = ()
    #: None: nobody says whether the knowledge answers it.
    in_scope: bool | None = None
    #: False: no label.
    kb: str | Literal[False] | None = False
    decision: str
    confidence: float
    ranked_ids: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    predicted_kb: str | None = None
    answer: str = ""
    latency_ms: float = 0.0
    #: What the pipeline would have done at other positions of the dial (wrong in 100 answers).
    at_dial: Mapping[float, Scored] = field(default_factory=dict, repr=False)

    @property
    def has_gold(self) -> bool:
        """In scope, and known which entries answer it."""
        return bool(self.in_scope and self.gold_ids)

    @property
    def top_is_right(self) -> bool | None:
        """Does ranked_ids[0] answer it? None where that is not known."""
        if self.in_scope is False:
            return False
        return self.hit(1) if self.has_gold else None

    @property
    def is_wrong_answer(self) -> bool:
        """Answered, and known to be wrong."""
        return self.decision == "answer" and self.top_is_right is False

    @property
    def is_right_answer(self) -> bool:
        """Answered from an entry that is known to be right."""
        return self.decision == "answer" and bool(self.top_is_right)

    @property
    def offers_gold(self) -> bool:
        """Asked back, with a right entry among the choices."""
        return self.decision == "clarify" and any(one in self.gold_ids for one in self.choices)

    @property
    def is_missed(self) -> bool:
        """In scope, and neither answered nor, where that is known, was a right entry offered."""
        if not self.in_scope or self.decision == "answer":
            return False
        return self.decision == "handoff" or (self.has_gold and not self.offers_gold)

    @property
    def is_right_decision(self) -> bool | None:
        """Answered right, a right entry offered, or out of scope and handed off.

        None where the labels do not tell.
        """
        if self.in_scope is False:
            return self.decision == "handoff"
        return self.is_right_answer or self.offers_gold if self.has_gold else None

    @property
    def place(self) -> int | None:
        """The place of the first right entry in ranked_ids, from 1; None: it is not there."""
        places = (at for at, one in enumerate(self.ranked_ids, 1) if one in self.gold_ids)
        return next(places, None)

    def hit(self, depth: int) -> bool:
        """Is a gold id among the first `depth`?"""
        return any(one in self.gold_ids for one in self.ranked_ids[:depth])
