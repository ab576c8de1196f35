"""`make load`: what the whole bot does at, below and at twice its capacity.

Capacity is what it answers a second while it is offered far more than it can answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from pathlib import Path

from kfbot.cli import output
from kfbot.cli.load_driving import Plan, drive
from kfbot.cli.load_measuring import COLUMNS, Result, remarks, result_data, table_rows
from tests.faults.faq import QUESTIONS
from tests.load.scene import Loaded, loaded

#: Offered to find the capacity, a second: more than any machine answers.
FLOOD = 200.0
#: So long until everything is answered that was offered.
PATIENCE_SECONDS = 600.0


async def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="make load", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each run")
    parser.add_argument("--json", type=Path, help="takes all numbers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        async with loaded(Path(folder) / "bot") as scene:
            output.say(f"{len(scene.lines)} channels, machine load {os.getloadavg()[0]:.1f}")
            data = await measure(scene, options.seconds)
    if options.json is not None:
        options.json.write_text(json.dumps(data, indent=2), encoding="utf-8")


async def measure(scene: Loaded, seconds: float) -> dict[str, object]:
    """All runs, one after the other; their numbers."""
    await run(scene, 5.0, 5.0)
    flood = await run(scene, FLOOD, min(seconds, 8.0))
    capacity = capacity_of(flood)
    output.say(f"Capacity: {capacity:.1f} questions a second")
    data: dict[str, object] = {"capacity_per_second": capacity}
    for share in (0.5, 1.0, 2.0):
        result = await run(scene, capacity * share, seconds)
        title = f"{share:g} × capacity (machine load {os.getloadavg()[0]:.1f})"
        output.say_table(COLUMNS, table_rows(result), title=title, numbers=True)
        for remark in remarks(result):
            output.say(remark)
        data[f"{share:g}"] = result_data(result)
    return data


async def run(scene: Loaded, rate: float, seconds: float) -> Result:
    """Offer so many questions a second, over all channels."""
    plan = Plan(rate=rate, seconds=seconds, patience_seconds=PATIENCE_SECONDS)
    with output.progress_bar() as show:
        return await drive(
            scene.lines,
            QUESTIONS,
            plan,
            on_progress=lambda done, total: show("load", done, total),
        )


def capacity_of(flood: Result) -> float:
    """Questions a second that were answered while far more waited."""
    return len(flood.total().answers) / (flood.seconds + flood.drain_seconds)


if __name__ == "__main__":
    asyncio.run(main())
