"""What the chat model did in an evaluation: what it wrote, what of it was proved, what it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from knowledge.evaluation import curves


def writing_of(usages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts of answers and tokens, and how long the first token took, as JSON.

    An answer from an FAQ entry is never written, and is in none of the counts.

    Args:
        usages: Of each question, as `Turn.usage` has it; empty: no model was asked.
    """
    outcomes = Counter(one["outcome"] for one in usages if "outcome" in one)
    taken_out = Counter(verdict for one in usages for verdict in one.get("dropped", ()))
    waited = [one["first_token_ms"] for one in usages if one.get("first_token_ms")]
    return {
        "models": sorted({one["model"] for one in usages if one.get("model")}),
        "written": outcomes["written"],
        "quoted_after_fault": outcomes["unavailable"],
        "quoted_unproved": outcomes["unsupported"],
        "refused": outcomes["refused"],
        "sentences_taken_out": dict(sorted(taken_out.items())),
        **{
            name: sum(one.get(name, 0) for one in usages)
            for name in ("requests", "prompt_tokens", "completion_tokens")
        },
        "first_token_ms": {
            "p50": curves.percentile(waited, 50),
            "p95": curves.percentile(waited, 95),
        },
    }
