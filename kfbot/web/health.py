"""`/healthz`: whether a question can be answered here."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.knowledge_base import KnowledgeBase

#: Who cannot find anything for so long cannot answer.
SEARCH_SECONDS = 5.0
#: Anybody may ask, and a search costs: a verdict is good for so long.
KEPT_SECONDS = 2.0


class Health:
    """Searches for those who ask: once at a time, and seldom."""

    def __init__(self, knowledge: KnowledgeBase) -> None:
        self._knowledge = knowledge
        self._verdict: asyncio.Task[None] | None = None
        self._good_until = 0.0

    async def check(self, request: web.Request) -> web.Response:
        """200 where something can be searched for.

        Raises:
            KnowledgeBaseUnavailable: It cannot, or takes too long.
        """
        verdict = self._verdict
        if verdict is None or (verdict.done() and time.monotonic() >= self._good_until):
            verdict = self._verdict = asyncio.create_task(self._search(), name="health")
        # Who hangs up takes it from nobody else.
        await asyncio.shield(verdict)
        return web.json_response({"status": "ok"})

    async def close(self, app: web.Application) -> None:
        """Break off what is being searched for."""
        if self._verdict is not None:
            self._verdict.cancel()
            await asyncio.gather(self._verdict, return_exceptions=True)

    async def _search(self) -> None:
        try:
            async with asyncio.timeout(SEARCH_SECONDS):
                await self._knowledge.search("health")
        except TimeoutError:
            reason = f"nothing is found within {SEARCH_SECONDS:g} s"
            raise KnowledgeBaseUnavailable(reason) from None
        finally:
            self._good_until = time.monotonic() + KEPT_SECONDS
