"""Hundreds of random kills of the real command; run by `make soak`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.faults.random_kills import kill_at_random
from tests.faults.scene import Plan, Scene, Store, played
from tests.faults.stand_in import BROKEN, BUSY, SILENT
from tests.faults.table import Row

pytest_plugins = ("tests.faults.fixtures",)
pytestmark = [pytest.mark.soak, pytest.mark.asyncio]

KILLS = int(os.environ.get("KFBOT_TEST_KILLS", "200"))
#: Much longer than a replica takes to take over.
TAKEOVER_SECONDS = 15.0


async def test_random_kills_lose_reorder_and_double_nothing(
    store: Store, tmp_path: Path, fault_table: list[Row], capsys: pytest.CaptureFixture[str]
) -> None:
    troubles = (BUSY, BROKEN, SILENT)
    plan = Plan(store, busy=6, troubles=troubles, share=0.02, send_seconds=2.0, seed=KILLS)
    async with played(tmp_path, plan) as scene:

        def progress(done: int) -> None:
            with capsys.disabled():
                show(scene, store.name, done)

        await kill_at_random(scene, KILLS, seed=KILLS, start_seconds=3.0, progress=progress)
        verdict, recoveries = await scene.finish(), scene.recoveries()
        fault_table.append(Row("kill -9 at random", store.name, KILLS, verdict, recoveries))
        scene.expect(verdict.faultless, "something went wrong")
        scene.expect(not verdict.unexplained, "a message came twice for no reason")
        if store.replicas > 1:
            scene.expect(max(recoveries) < TAKEOVER_SECONDS, f"took over late: {recoveries}")


def show(scene: Scene, database: str, done: int) -> None:
    """A line that is written again and again; a new one now and then where that cannot be."""
    end = "\r" if sys.stderr.isatty() and done < KILLS else "\n"
    if end == "\r" or done % 10 == 0 or done == KILLS:
        asked = len(scene.customers.questions)
        text = f"{database}: {done} of {KILLS} kills, {asked} questions asked"
        print(text, end=end, file=sys.stderr, flush=True)
