"""Tells whoever watches a conversation in this process that something in it changed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Changes:
    """Wakes watchers; what changed they read from the store."""

    def __init__(self) -> None:
        self._watchers: defaultdict[int, set[asyncio.Event]] = defaultdict(set)

    def announce(self, conversation_id: int) -> None:
        """Wake all who watch this conversation, and those who watch all (id 0)."""
        for event in (*self._watchers.get(conversation_id, ()), *self._watchers.get(0, ())):
            event.set()

    @contextmanager
    def watching(self, conversation_id: int) -> Iterator[asyncio.Event]:
        """An event that is set at every change; clear it before reading the store."""
        event = asyncio.Event()
        self._watchers[conversation_id].add(event)
        try:
            yield event
        finally:
            self._watchers[conversation_id].discard(event)
            if not self._watchers[conversation_id]:
                del self._watchers[conversation_id]
