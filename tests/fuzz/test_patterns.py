"""No regular expression of ours runs away on a text that is made for it (ReDoS).

The limit is of processor time, and generous: what runs away takes thousands of times as long.
In `make test` that is exponential growth; `make fuzz` also finds what is cubic.
"""

from __future__ import annotations

import math
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.fuzz.patterns import ENDS, Attack, Known, attacks, known_patterns, run
from tests.fuzz.profile import IS_DEEP

LENGTH = 1_000
SECONDS = 1.0
_ENDS = ENDS if IS_DEEP else ENDS[:1]
# So little says nothing of how it grows: a cubic pattern takes longer for LENGTH characters.
_LITTLE_SECONDS = 0.02
# Three times the text is 9 times the work where it grows as the square, 27 times as the cube.
_THREE_TIMES = 16


class _RunsAway(BaseException):
    """A match takes longer than it may; no `except` of ours is meant by it."""


def _stop(number: int, frame: Any) -> None:
    raise _RunsAway


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Break off what takes more processor time."""
    before = signal.signal(signal.SIGVTALRM, _stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def seconds_of(known: Known, attack: Attack, length: int, limit: float) -> float:
    """The processor time that a pattern takes for a text; infinite where it is over the limit."""
    text = attack.text(length)
    given = text if isinstance(known.pattern.pattern, str) else text.encode("latin-1", "replace")
    before = time.process_time()
    try:
        with limited(limit):
            for use in sorted(known.uses):
                run(known.pattern, use, given)
    except _RunsAway:
        return math.inf
    return time.process_time() - before


def runs_away(known: Known, seconds: float = SECONDS) -> str | None:
    """The beginning of a text on which a pattern takes too long, if there is one."""
    for attack in attacks(known.pattern, _ENDS):
        if seconds_of(known, attack, LENGTH, seconds) > seconds:
            return attack.text(40)
    return None


def is_cubic(known: Known) -> str | None:
    """The beginning of a text for which the work grows faster than with its square."""
    taken = {
        attack: seconds_of(known, attack, LENGTH, SECONDS) for attack in attacks(known.pattern)
    }
    for attack in sorted(taken, key=taken.__getitem__, reverse=True)[:3]:
        limit = _THREE_TIMES * min(taken[attack], SECONDS)
        is_long = taken[attack] > _LITTLE_SECONDS
        if is_long and seconds_of(known, attack, 3 * LENGTH, limit) > limit:
            return attack.text(40)
    return None


deep = pytest.mark.skipif(not IS_DEEP, reason="half a minute of work: make fuzz")


@pytest.fixture(scope="module")
def patterns() -> list[Known]:
    return list(known_patterns().values())


def test_the_patterns_of_all_rooms_are_found(patterns: list[Known]) -> None:
    rooms = {one.place.partition(".")[0] for one in patterns}
    assert rooms == {"adapters", "kfbot", "knowledge"}
    assert len(patterns) > 400


def test_no_pattern_runs_away(patterns: list[Known]) -> None:
    found = {one.place: text for one in patterns if (text := runs_away(one)) is not None}
    assert not found


@deep
def test_no_pattern_is_cubic(patterns: list[Known]) -> None:
    found = {one.place: text for one in patterns if (text := is_cubic(one)) is not None}
    assert not found


@deep
@pytest.mark.parametrize("pattern", [r"\s*x?\s*$", r"a*b?a*c"])
def test_a_cubic_pattern_is_caught(pattern: str) -> None:
    known = Known(re.compile(pattern), "here", frozenset(("search",)))
    assert is_cubic(known) is not None


@deep
def test_a_pattern_that_grows_as_the_square_is_let_be() -> None:
    known = Known(re.compile(r"\s*x"), "here", frozenset(("search",)))
    assert is_cubic(known) is None


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(?:a|a)*b", r"\s*(?:<!--.*?-->\s*)*<html"])
def test_a_pattern_that_runs_away_is_caught(pattern: str) -> None:
    known = Known(re.compile(pattern), "here", frozenset(("search",)))
    assert runs_away(known, seconds=0.2) is not None
