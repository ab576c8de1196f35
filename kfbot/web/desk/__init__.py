"""`/desk`: where agents work, and the JSON that its page calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from kfbot.application import Application
from kfbot.web.desk.account import AccountApi
from kfbot.web.desk.canned import CannedApi
from kfbot.web.desk.conversations import ConversationsApi
from kfbot.web.desk.events import EventsApi
from kfbot.web.desk.learning import LearningApi
from kfbot.web.desk.page import Page
from kfbot.web.desk.people import PeopleApi
from kfbot.web.desk.reports import ReportsApi
from kfbot.web.desk.sessions import Sessions


class Desk:
    """The page, its JSON and its push."""

    def __init__(self, application: Application) -> None:
        stores, web_settings = application.desk, application.settings.web
        sessions = Sessions(stores.agents, stores.sign_ins, web_settings.trusted_proxies)
        self._events = EventsApi(application, sessions)
        self._parts = (
            Page(),
            AccountApi(application, sessions),
            ConversationsApi(application, sessions),
            CannedApi(application, sessions),
            PeopleApi(application, sessions),
            LearningApi(application, sessions),
            ReportsApi(application, sessions),
            self._events,
        )

    def routes(self) -> list[web.RouteDef]:
        """Everything under /desk."""
        return [route for part in self._parts for route in part.routes()]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open desks are told of changes while the block runs, and asked to leave at its end."""
        watcher = asyncio.create_task(self._events.desks.run(), name="desks")
        try:
            yield
        finally:
            self._events.closing.set()
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
