"""Tells whoever watches for it in this process that something changed, here or elsewhere."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

#: Notices may have been missed: whoever watches anything has to look.
EVERYTHING = "everything"


class Changes:
    """Wakes watchers by the notices of `kfbot.store.notices`; what changed they read there."""

    def __init__(self) -> None:
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def announce(self, notice: str) -> None:
        """Wake all who watch for this."""
        watched = [notice] if notice != EVERYTHING else list(self._watchers)
        for one in watched:
            for event in tuple(self._watchers.get(one, ())):
                event.set()

    @contextmanager
    def watching(self, *notices: str) -> Iterator[asyncio.Event]:
        """An event that is set at every such notice; clear it before reading the store."""
        event = asyncio.Event()
        for notice in notices:
            self._watchers[notice].add(event)
        try:
            yield event
        finally:
            for notice in notices:
                self._watchers[notice].discard(event)
                if not self._watchers[notice]:
                    del self._watchers[notice]
