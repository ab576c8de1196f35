"""Tells whoever watches for it in this process that something changed, here or elsewhere."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

#: Notices may have been missed: whoever watches anything has to look.
EVERYTHING = "everything"


class Heard:
    """The notices that came since they were taken last, each once."""

    def __init__(self) -> None:
        self._notices: dict[str, None] = {}
        #: Set while there are any.
        self.any = asyncio.Event()

    def add(self, notice: str) -> None:
        """One more came."""
        self._notices[notice] = None
        self.any.set()

    def take(self) -> tuple[str, ...]:
        """What came, in order; it is forgotten here."""
        taken = tuple(self._notices)
        self._notices.clear()
        self.any.clear()
        return taken


class Changes:
    """Wakes watchers by the notices of `kfbot.store.notices`; what changed they read there."""

    def __init__(self) -> None:
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._followers: set[Heard] = set()

    def announce(self, notice: str) -> None:
        """Wake all who watch for this."""
        for heard in self._followers:
            heard.add(notice)
        watched = [notice] if notice != EVERYTHING else list(self._watchers)
        for one in watched:
            for event in tuple(self._watchers.get(one, ())):
                event.set()

    @contextmanager
    def following(self) -> Iterator[Heard]:
        """All notices, whatever they are about."""
        heard = Heard()
        self._followers.add(heard)
        try:
            yield heard
        finally:
            self._followers.discard(heard)

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
