"""One of several processes on a PostgreSQL database: `python -m tests.benchmarks.replica URL`.

Says "ready" and works until its standard input is closed; then it prints as JSON what it sent.
"""

from __future__ import annotations

import asyncio
import json
import sys

from tests.benchmarks.lanes import running


async def replica(url: str) -> None:
    async with running(url) as bot:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    print(json.dumps(bot.outlet.sent))


if __name__ == "__main__":
    asyncio.run(replica(sys.argv[1]))
