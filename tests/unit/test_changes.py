"""Who watches a conversation is woken when something in it changes, and nobody else."""

from __future__ import annotations

import pytest

from kfbot.changes import Changes

pytestmark = pytest.mark.asyncio


async def test_watchers_of_a_conversation_and_of_all_are_woken() -> None:
    changes = Changes()
    with changes.watching(1) as one, changes.watching(2) as two, changes.watching(0) as everything:
        changes.announce(1)
        assert (one.is_set(), two.is_set(), everything.is_set()) == (True, False, True)


async def test_two_watchers_of_one_conversation_are_both_woken() -> None:
    changes = Changes()
    with changes.watching(1) as first:
        with changes.watching(1) as second:
            changes.announce(1)
            assert first.is_set()
            assert second.is_set()
        first.clear()
        changes.announce(1)
        assert first.is_set()


async def test_who_has_gone_is_not_woken() -> None:
    changes = Changes()
    with changes.watching(1) as gone:
        pass
    changes.announce(1)
    assert not gone.is_set()
