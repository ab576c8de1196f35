"""No regular expression of ours runs away on a text that is made for it (ReDoS).

The limit is of processor time, and generous: what runs away takes thousands of times as long.
In `make test` that is exponential growth; `make fuzz` also finds what is cubic.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.fuzz.patterns import ENDS, Known, attacks, known_patterns, run
from tests.fuzz.profile import IS_DEEP

LENGTH = 6_000 if IS_DEEP else 1_000
SECONDS = 1.5 if IS_DEEP else 1.0
_ENDS = ENDS if IS_DEEP else ENDS[:1]


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


def runs_away(known: Known, seconds: float = SECONDS) -> str | None:
    """The beginning of a text on which a pattern takes too long, if there is one."""
    for text in attacks(known.pattern, LENGTH, _ENDS):
        is_text = isinstance(known.pattern.pattern, str)
        given = text if is_text else text.encode("latin-1", "replace")
        try:
            with limited(seconds):
                for use in sorted(known.uses):
                    run(known.pattern, use, given)
        except _RunsAway:
            return text[:40]
    return None


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


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(?:a|a)*b", r"\s*(?:<!--.*?-->\s*)*<html"])
def test_a_pattern_that_runs_away_is_caught(pattern: str) -> None:
    known = Known(re.compile(pattern), "here", frozenset(("search",)))
    assert runs_away(known, seconds=0.2) is not None
