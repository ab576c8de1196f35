"""Counts work instead of timing it: the calls of Python and C functions that a call makes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

#: Work may grow so much when the input doubles: a little more than twice, as of n log n. What is
#: quadratic comes to four.
DOUBLED = 3.0
#: So little work says nothing of how it grows.
_LITTLE = 2_000


def calls(function: Callable[[], Any]) -> int:
    """How many calls one call of a function leads to."""
    count = 0

    def count_one(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(count_one)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def check_linear(function: Callable[[str], Any], unit: str, size: int = 400) -> None:
    """Twice the text takes at most about twice the work.

    Raises:
        AssertionError: It takes more.
    """
    function(unit * size)
    once, twice = (calls(lambda: function(unit * number)) for number in (size, 2 * size))  # noqa: B023
    assert twice <= max(once * DOUBLED, _LITTLE), f"{unit!r}: {once} calls, then {twice}"
