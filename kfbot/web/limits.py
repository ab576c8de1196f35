"""What strangers' connections may cost: how long they take, how many streams stay open."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from kfbot.web.access import UPLOAD, Refused

#: A connection that sends no whole head of a request, or none after the last, is closed. Proxies
#: close theirs before this (nginx after 60 s), so that none of them writes into a closed one.
IDLE_SECONDS = 75.0
#: A body comes whole within so long; a document of 20 MB may come through a slow line.
BODY_SECONDS, DOCUMENT_SECONDS = 30.0, 600.0
#: Pages that one visitor may have open.
MOST_OF_VISITOR = 10
#: Pages of all visitors, however many files the system allows.
MOST_STREAMS = 5000
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class TooSlow(Refused, TimeoutError):
    """A body does not come to an end; aiohttp, which reads what is left of it, knows the latter."""


@web.middleware
async def in_time(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read no body that is compressed, and none that does not come to an end.

    Raises:
        TooSlow: 408.
        Refused: 415 for a compressed one.
    """
    # The server is told not to unpack: 1 MB can become 1 GB, 2.6 s of the loop's time.
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise Refused(415, "send the body as it is, without Content-Encoding")
    if not request.can_read_body:
        return await handler(request)
    seconds = DOCUMENT_SECONDS if request.path == UPLOAD else BODY_SECONDS
    timer = asyncio.get_running_loop().call_later(seconds, _give_up, request, seconds)
    try:
        return await handler(request)
    finally:
        timer.cancel()


def _give_up(request: web.Request, seconds: float) -> None:
    if not request.content.is_eof():
        request.content.set_exception(TooSlow(408, f"the body took more than {seconds:g} s"))


def server_options() -> dict[str, Any]:
    """What aiohttp's server is told beside its application."""
    return {"keepalive_timeout": IDLE_SECONDS, "auto_decompress": False}


class Streams:
    """The open streams of chat pages: of one visitor the newest, of all so many as there is room,
    of one address half of that.

    Each is a descriptor, and those are needed by webhooks and the database too: so no more than
    half of them.
    """

    def __init__(self) -> None:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        unlimited = files == resource.RLIM_INFINITY
        self._most = MOST_STREAMS if unlimited else min(files // 2, MOST_STREAMS)
        #: By visitor, what ends each stream; the oldest first.
        self._open: dict[str, list[asyncio.Event]] = {}
        self._count = 0
        self._at: Counter[str | None] = Counter()
        self._is_closed = False

    @contextmanager
    def opened(self, visitor: str, address: str | None) -> Iterator[asyncio.Event]:
        """A stream; the event says that it has to end.

        Args:
            address: Of the visitor; None: nobody knows.

        Raises:
            Refused: 503 where all visitors together have too many, 429 those of one address.
        """
        if self._count >= self._most:
            raise Refused(503, "too many pages are open now: try again soon")
        # Visitors cost nothing: one address could be all of them. Half is room for a company.
        if address is not None and self._at[address] >= self._most // 2:
            raise Refused(429, "too many pages are open at your address: close some")
        end = asyncio.Event()
        if self._is_closed:
            end.set()
        theirs = self._open.setdefault(visitor, [])
        # The oldest goes: a phone that lost its line leaves streams that nobody reads.
        for old in theirs[: max(0, len(theirs) + 1 - MOST_OF_VISITOR)]:
            old.set()
        theirs.append(end)
        self._count += 1
        self._at[address] += 1
        try:
            yield end
        finally:
            self._count -= 1
            self._at[address] -= 1
            if not self._at[address]:
                del self._at[address]
            theirs.remove(end)
            if not theirs:
                self._open.pop(visitor, None)

    def close(self) -> None:
        """End them all, and those to come."""
        self._is_closed = True
        for theirs in self._open.values():
            for end in theirs:
                end.set()
