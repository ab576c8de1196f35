"""Who watches for a notice is woken by it, and nobody else."""

from __future__ import annotations

import pytest

from kfbot.changes import EVERYTHING, Changes

pytestmark = pytest.mark.asyncio
ONE, TWO = "conversation 1", "conversation 2"


async def test_a_notice_wakes_who_watches_for_it_and_nobody_else() -> None:
    changes = Changes()
    with changes.watching(ONE) as one, changes.watching(TWO) as two:
        changes.announce(ONE)
        assert (one.is_set(), two.is_set()) == (True, False)


async def test_where_notices_may_have_been_missed_everybody_is_woken() -> None:
    changes = Changes()
    with changes.watching(ONE) as one, changes.watching(TWO) as two:
        changes.announce(EVERYTHING)
        assert (one.is_set(), two.is_set()) == (True, True)


async def test_who_watches_for_several_notices_is_woken_by_each() -> None:
    changes = Changes()
    with changes.watching(ONE, TWO) as either:
        for notice in (ONE, TWO):
            changes.announce(notice)
            assert either.is_set()
            either.clear()


async def test_two_who_watch_for_the_same_are_both_woken() -> None:
    changes = Changes()
    with changes.watching(ONE) as first:
        with changes.watching(ONE) as second:
            changes.announce(ONE)
            assert first.is_set()
            assert second.is_set()
        first.clear()
        changes.announce(ONE)
        assert first.is_set()


async def test_who_has_gone_is_not_woken() -> None:
    changes = Changes()
    with changes.watching(ONE) as gone:
        pass
    changes.announce(ONE)
    changes.announce(EVERYTHING)
    assert not gone.is_set()


async def test_a_notice_that_nobody_watches_for_wakes_nobody() -> None:
    changes = Changes()
    with changes.watching(ONE) as one:
        changes.announce("lane")
        assert not one.is_set()
