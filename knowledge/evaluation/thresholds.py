"""Demands on an evaluation, as `--require 'hit@1>=0.9'` states them."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kfbot.errors import KnowledgeBaseError
from knowledge.evaluation.measures import NAMED

_DEMAND = re.compile(r"\s*([\w@]+)\s*(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?|-?\.\d+)\s*")
_HOLDS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}


@dataclass(frozen=True, slots=True)
class Demand:
    """What a measure must be."""

    measure: str
    sign: str
    bound: float

    def __str__(self) -> str:
        return f"{self.measure}{self.sign}{self.bound:g}"


def read_demand(text: str) -> Demand:
    """A demand from its text: a measure's name, <= >= < or >, and a number.

    Raises:
        KnowledgeBaseError: It is none, or there is no such measure; the message names them all.
    """
    read = _DEMAND.fullmatch(text)
    if read is None:
        raise KnowledgeBaseError(f"--require {text}: write it like 'hit@1>=0.9' or 'wrong<=5'")
    if read[1] not in NAMED:
        raise KnowledgeBaseError(
            f"--require {text}: no measure {read[1]}; there are {', '.join(NAMED)}"
        )
    return Demand(read[1], read[2], float(read[3]))


def check(demands: Sequence[Demand], measures: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """For each demand what was measured and whether it is met, as JSON.

    What could not be measured, because there was no question for it, is not met.
    """
    rows = []
    for demand in demands:
        value = measures[demand.measure]["value"]
        met = value is not None and bool(_HOLDS[demand.sign](value, demand.bound))
        rows.append({"demand": str(demand), "value": value, "met": met})
    return rows
