"""Kills at times that nobody chose, also while a server is starting."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from tests.faults.scene import Scene

#: A server that is ready lives so long at most.
_LIFE_SECONDS = 2.0
#: Of all starts, so many are broken off by the next kill.
_STARTS_BROKEN_OFF = 0.2


async def kill_at_random(
    scene: Scene,
    kills: int,
    *,
    seed: int,
    start_seconds: float,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Kill one server after the other, and start it again; in the end all are ready.

    Args:
        start_seconds: About what a start takes: a kill that breaks one off comes within it.
        progress: Told how many kills are done.
    """
    chance = random.Random(seed)
    victim, starting = chance.choice(scene.servers), False
    for done in range(1, kills + 1):
        await asyncio.sleep(chance.uniform(0, start_seconds if starting else _LIFE_SECONDS))
        await scene.kill(victim)
        await victim.launch()
        starting = done < kills and chance.random() < _STARTS_BROKEN_OFF
        if not starting:
            await victim.ready()
            victim = chance.choice(scene.servers)
        progress(done)
