"""Fewer conversations at a time while the loop is behind for our own work, else all that may be."""

from __future__ import annotations

import asyncio
import time

import pytest

from kfbot.overload.pace import FEWEST, LATE_SECONDS, OWN_SHARE, Pace

BEHIND = LATE_SECONDS * 2
BUSY = OWN_SHARE * 2


def test_at_first_as_many_are_begun_as_there_may_be() -> None:
    assert Pace(32).limit == 32


def test_a_loop_that_is_behind_has_fewer_begun_but_never_too_few() -> None:
    pace, limits = Pace(32), []
    for _ in range(5):
        pace.judge(BEHIND, BUSY)
        limits.append(pace.limit)
    assert limits == [16, 8, 4, FEWEST, FEWEST]


@pytest.mark.parametrize(
    ("late", "share"),
    [(BEHIND, OWN_SHARE / 2), (LATE_SECONDS / 2, BUSY)],
    ids=["others keep the machine busy", "the loop keeps up"],
)
def test_where_fewer_would_not_help_one_more_is_begun_each_time(late: float, share: float) -> None:
    pace = Pace(8)
    for _ in range(20):
        pace.judge(BEHIND, BUSY)
    assert pace.limit == FEWEST
    pace.judge(late, share)
    assert pace.limit == FEWEST + 1
    for _ in range(20):
        pace.judge(late, share)
    assert pace.limit == 8


def test_one_at_a_time_stays_one_at_a_time() -> None:
    pace = Pace(1)
    pace.judge(BEHIND, BUSY)
    assert pace.limit == 1


@pytest.mark.asyncio
async def test_a_loop_that_is_kept_busy_is_noticed_and_room_is_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kfbot.overload.pace.LOOK_SECONDS", 0.001)
    pace, told = Pace(32), asyncio.Event()
    keeping = asyncio.create_task(pace.keep(lambda: FEWEST, told.set))
    while pace.limit == 32:
        await asyncio.sleep(0)
        _work(BEHIND)
    # Now it may rest.
    await asyncio.wait_for(told.wait(), 60)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


def _work(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
