"""This run beside an earlier one on the same questions: what moved, and was it more than chance?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kfbot.errors import KnowledgeBaseError
from knowledge.evaluation.asking import Prediction, score
from knowledge.evaluation.intervals import differences, mcnemar
from knowledge.evaluation.measures import MEASURES, top_is_right
from knowledge.evaluation.questions import Question
from knowledge.evaluation.scored import Scored

#: Questions listed as gained, and as lost.
LISTED = 100
_SHOWN_LENGTH = 60
_NEEDED = ("text", "decision", "confidence", "ranked_ids")


def read_earlier(file: Path, questions: Sequence[Question]) -> list[Scored]:
    """The earlier run, scored by the labels of today.

    Args:
        file: A report of `--report`, or predictions of `--predictions`.

    Raises:
        KnowledgeBaseError: It cannot be read, or is not of the same questions in the same order.
    """
    rows = list(_rows(file))
    if len(rows) != len(questions):
        raise KnowledgeBaseError(
            f"--compare {file}: {len(rows)} questions there, {len(questions)} here;"
            " compare runs of the same questions"
        )
    for number, (row, question) in enumerate(zip(rows, questions, strict=True), 1):
        if row["text"] != question.text:
            raise KnowledgeBaseError(
                f"--compare {file}: question {number} is “{_short(row['text'])}” there and"
                f" “{_short(question.text)}” here; compare runs of the same questions"
            )
    return [
        score(question, _prediction(row)) for row, question in zip(rows, questions, strict=True)
    ]


def compare(name: str, old: Sequence[Scored], new: Sequence[Scored]) -> dict[str, Any]:
    """Differences of all measures, and the questions gained and lost, as JSON.

    Args:
        name: What the earlier run is called.
    """
    changed = [
        (before, after)
        for before, after in zip(old, new, strict=True)
        if after.is_right_decision is not None
        and before.is_right_decision != after.is_right_decision
    ]
    return {
        "with": name,
        "measures": differences(MEASURES, old, new),
        "mcnemar": {
            "hit@1": mcnemar(old, new, lambda one: top_is_right(one) if one.has_gold else None),
            "right_decision": mcnemar(old, new, lambda one: one.is_right_decision),
        },
        "gained": [_change(*pair) for pair in changed if pair[1].is_right_decision][:LISTED],
        "lost": [_change(*pair) for pair in changed if pair[0].is_right_decision][:LISTED],
    }


def _change(before: Scored, after: Scored) -> dict[str, Any]:
    return {
        "text": after.text,
        "gold_ids": list(after.gold_ids) if after.in_scope else [],
        "old": _outcome(before),
        "new": _outcome(after),
    }


def _outcome(one: Scored) -> dict[str, Any]:
    first = one.ranked_ids[0] if one.ranked_ids else None
    return {"decision": one.decision, "first": first, "confidence": one.confidence}


def _rows(file: Path) -> Iterator[Mapping[str, Any]]:
    try:
        content = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise KnowledgeBaseError(f"--compare {file}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise KnowledgeBaseError(f"--compare {file}: not UTF-8 at byte {error.start}") from None
    for number, row in enumerate(_decoded(file, content), 1):
        if not isinstance(row, dict) or any(name not in row for name in _NEEDED):
            raise KnowledgeBaseError(
                f"--compare {file}: row {number} is no prediction (it needs {', '.join(_NEEDED)})"
            )
        yield row


def _decoded(file: Path, content: str) -> list[Any]:
    """The rows of a report, else of a predictions file."""
    try:
        whole = json.loads(content)
    except ValueError:
        whole = None
    if isinstance(whole, dict) and "text" not in whole:
        if not isinstance(whole.get("rows"), list):
            raise KnowledgeBaseError(
                f"--compare {file}: a report without rows; name the predictions of that run"
            )
        return list(whole["rows"])
    try:
        # Not splitlines(): JSON may hold U+2028 as it is.
        return [json.loads(line) for line in content.split("\n") if line.strip()]
    except ValueError:
        raise KnowledgeBaseError(f"--compare {file}: neither a report nor predictions") from None


def _prediction(row: Mapping[str, Any]) -> Prediction:
    return Prediction(
        text=row["text"],
        decision=row["decision"],
        confidence=float(row["confidence"] or 0.0),
        ranked_ids=tuple(row["ranked_ids"] or ()),
        choices=tuple(row.get("choices") or ()),
        kb=row.get("kb"),
        latency_ms=float(row.get("latency_ms") or 0.0),
    )


def _short(text: object) -> str:
    words = str(text)
    return words if len(words) <= _SHOWN_LENGTH else words[: _SHOWN_LENGTH - 1] + "…"
