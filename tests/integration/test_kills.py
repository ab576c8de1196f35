"""The bot as real processes that are killed, stopped and cut off under load: nothing is lost.

The same run is judged twice: as a platform sees it that drops repeats of a message's id, and as
one that shows every request.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.driver import Habits
from tests.faults.faq import ENTRIES, STANDSTILL
from tests.faults.random_kills import kill_at_random
from tests.faults.scene import Plan, Scene, Store, played
from tests.faults.table import Row

pytest_plugins = ("tests.faults.fixtures",)
pytestmark = [pytest.mark.slow, pytest.mark.asyncio]

KILLS = 20
RANDOM_KILLS = 6
#: A replica that has not taken over by then never will; the table has the real times.
RECOVERY_SECONDS = 15.0
PLACES = {
    "accepted": "kill -9 between accept and ack",
    "mid-turn": "kill -9 in mid-turn",
    "committed": "kill -9 between commit and send",
    "sent": "kill -9 between send and its commit",
}


@pytest.mark.parametrize("place", PLACES)
async def test_a_process_killed_at_a_chosen_place_loses_reorders_and_doubles_nothing(
    store: Store, place: str, tmp_path: Path, fault_table: list[Row]
) -> None:
    holding = {} if place == "sent" else {"point": place}
    plan = Plan(store, holding=holding, busy=3, habits=Habits(pause_seconds=0.1))
    async with played(tmp_path, plan) as scene:
        for _ in range(KILLS):
            await kill_where_it_stands(scene, at_platform=place == "sent")
        verdict = await scene.finish()
        row = Row(PLACES[place], store.name, KILLS, verdict, scene.recoveries())
        fault_table.append(row)
        scene.expect(verdict.faultless, "something went wrong")
        scene.expect(not verdict.unexplained, "a message came twice for no reason")
        if store.replicas > 1:
            late = [seconds for seconds in row.recoveries if seconds > RECOVERY_SECONDS]
            scene.expect(not late, f"took over late: {late}")
        # What the place promises: the marked message is on its way only at the last of them.
        again = [line for line in verdict.repeated if line.endswith(ENTRIES[STANDSTILL])]
        due = KILLS if place == "sent" else 0
        scene.expect(len(again) == due, f"{len(again)} marked messages came twice, not {due}")


async def kill_where_it_stands(scene: Scene, *, at_platform: bool) -> None:
    """Kill the process that holds a message; another one, or the next one, has to go on."""
    held = await scene.hold(at_platform=at_platform)
    await scene.kill(held.server)
    if len(scene.servers) == 1:
        await held.server.start()
    await scene.replied(held, RECOVERY_SECONDS)
    if len(scene.servers) > 1:
        await held.server.start()


async def test_the_real_command_killed_at_any_time_loses_reorders_and_doubles_nothing(
    store: Store, tmp_path: Path, fault_table: list[Row]
) -> None:
    async with played(tmp_path, Plan(store)) as scene:
        await kill_at_random(scene, RANDOM_KILLS, seed=1, start_seconds=4.0)
        verdict = await scene.finish()
        row = Row("kill -9 at random", store.name, RANDOM_KILLS, verdict, scene.recoveries())
        fault_table.append(row)
        scene.expect(verdict.faultless, "something went wrong")
        scene.expect(not verdict.unexplained, "a message came twice for no reason")
        if store.replicas > 1:
            late = [seconds for seconds in row.recoveries if seconds > RECOVERY_SECONDS]
            scene.expect(not late, f"took over late: {late}")
