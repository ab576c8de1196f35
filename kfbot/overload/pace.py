"""How many conversations are worked on at a time, so that whoever writes is heard at once.

To acknowledge a message takes some ten passes of the event loop, and every conversation in work
makes each of them longer. More of them than keep the processors busy answer nobody sooner: where
the loop falls behind for the work of this process, fewer are begun; where they wait for a chat
model or a platform the loop is free, and as many as there may be are begun.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

#: Never fewer: one that waits for a platform must not hold up all others.
FEWEST = 4
#: The loop is looked at so often while there is work, and while there is none.
LOOK_SECONDS, REST_SECONDS = 0.05, 1.0
#: A timer that comes later than this tells of a loop that is behind …
LATE_SECONDS = 0.02
#: … for our own work, if this process had so much of a processor meanwhile.
OWN_SHARE = 0.3


class Pace:
    """The number of conversations that may be in work, between `FEWEST` and `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.limit = most

    def judge(self, late_seconds: float, own_share: float) -> None:
        """Follow what was seen: down by half, up by one."""
        if late_seconds > LATE_SECONDS and own_share > OWN_SHARE:
            self.limit = max(self.limit // 2, min(FEWEST, self._most))
        else:
            self.limit = min(self.limit + 1, self._most)

    async def keep(self, in_work: Callable[[], int], on_room: Callable[[], None]) -> None:
        """Look at the loop until cancelled.

        Args:
            on_room: Told that there is room for another one.
        """
        while True:
            seconds = LOOK_SECONDS if in_work() >= FEWEST else REST_SECONDS
            began, used = time.monotonic(), time.process_time()
            await asyncio.sleep(seconds)
            passed = time.monotonic() - began
            before = self.limit
            self.judge(passed - seconds, (time.process_time() - used) / passed)
            if self.limit > before:
                on_room()
