"""Slack in a process of its own, so that the bot's time is the bot's: run by test_slack.py.

Prints the address of its Web API, reads where to push (an empty line: Socket Mode), tells of
events at a steady rate, and prints the seconds until each was acknowledged, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from time import perf_counter

from tests.platforms.slack import Slack

EVENTS, RATE, CUSTOMERS = 1000, 100, 200


async def main() -> None:
    """Be Slack for one run."""
    async with Slack() as slack:
        print(slack.api_base, flush=True)
        slack.request_url = (await asyncio.to_thread(sys.stdin.readline)).strip()
        assert await slack.tell(slack.says("warm up?"))
        started = perf_counter()
        told = (tell(slack, number, started) for number in range(EVENTS))
        print(json.dumps(await asyncio.gather(*told)), flush=True)


async def tell(slack: Slack, number: int, started: float) -> float:
    """Seconds until one event was acknowledged, told at its time whatever became of others."""
    await asyncio.sleep(max(started + number / RATE - perf_counter(), 0.0))
    event = slack.says("When will my refund arrive?", f"D{number % CUSTOMERS:04}")
    begun = perf_counter()
    assert await slack.tell(event) == 1, "not acknowledged in time"
    return perf_counter() - begun


if __name__ == "__main__":
    asyncio.run(main())
