"""`/desk/api/canned`: what agents write again and again."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import Field

from kfbot.application import Application
from kfbot.store.canned import CannedAnswer
from kfbot.web.api import NotFound, StrictBody, Words, number, read_body, success
from kfbot.web.desk.sessions import Sessions


class CannedBody(StrictBody):
    """Body of a canned answer."""

    title: Words = Field(max_length=100)
    text: Words = Field(max_length=20_000)


class CannedApi:
    """The handlers; each change is answered with the whole list."""

    def __init__(self, application: Application, sessions: Sessions) -> None:
        self._store = application.desk.canned
        self._sessions = sessions

    def routes(self) -> list[web.RouteDef]:
        """Everything under /desk/api/canned."""
        return [
            web.get("/desk/api/canned", self.list),
            web.post("/desk/api/canned", self.add),
            web.put("/desk/api/canned/{id}", self.change),
            web.delete("/desk/api/canned/{id}", self.remove),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """All, by title."""
        await self._sessions.agent_of(request)
        return await self._all()

    async def add(self, request: web.Request) -> web.Response:
        """A new one."""
        agent = await self._sessions.change_of(request)
        body = await read_body(request, CannedBody)
        await self._store.put(None, body.title.strip(), body.text, by=agent.name)
        return await self._all()

    async def change(self, request: web.Request) -> web.Response:
        """Another title or text."""
        agent = await self._sessions.change_of(request)
        body = await read_body(request, CannedBody)
        found = number(request.match_info["id"])
        if found is None or not await self._store.put(
            found, body.title.strip(), body.text, by=agent.name
        ):
            raise NotFound("there is no such canned answer")
        return await self._all()

    async def remove(self, request: web.Request) -> web.Response:
        """Take one away."""
        agent = await self._sessions.change_of(request)
        found = number(request.match_info["id"])
        if found is None or not await self._store.remove(found, by=agent.name):
            raise NotFound("there is no such canned answer")
        return await self._all()

    async def _all(self) -> web.Response:
        return success([_data(answer) for answer in await self._store.list()])


def _data(answer: CannedAnswer) -> dict[str, Any]:
    return {
        "id": answer.id,
        "title": answer.title,
        "text": answer.text,
        "updated_by": answer.updated_by,
        "updated_at": answer.updated_at.isoformat(),
    }
