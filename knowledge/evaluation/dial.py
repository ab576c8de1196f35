"""What if the dial were turned: the whole evaluation at other positions, without asking again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from knowledge.evaluation.measures import NAMED
from knowledge.evaluation.scored import Scored

#: Measures shown for each position.
SHOWN = ("answered", "clarified", "handed_off", "wrong", "right_answers", "out_of_scope_recall")


def dial_of(scored: Sequence[Scored], max_wrong_percent: float) -> list[dict[str, Any]]:
    """Measures at each position of the dial, in rising order, the one in force among them."""
    positions = {dial for one in scored for dial in one.at_dial} | {max_wrong_percent}
    rows: list[dict[str, Any]] = []
    for dial in sorted(positions):
        # The one in force is what was done; it need not be among those that were tried.
        is_set = dial == max_wrong_percent
        then = list(scored) if is_set else [one.at_dial[dial] for one in scored if one.at_dial]
        rows.append(
            {"max_wrong_percent": dial, "is_set": is_set}
            | {name: NAMED[name].value(then) for name in SHOWN}
        )
    return rows
