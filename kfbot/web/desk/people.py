"""`/desk/api/agents`, `/teams` and `/audit`: who works at the desk, on what, and who did what."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from aiohttp import web
from pydantic import Field

from kfbot.agents import AgentRole, Team, login_of
from kfbot.application import Application
from kfbot.handoff.assignment import PRESENT
from kfbot.passwords import LONGEST
from kfbot.store.agents import Member, NewAgent
from kfbot.store.events import storable
from kfbot.web.api import BadRequest, NotFound, StrictBody, Text, Words, number, read_body, success
from kfbot.web.desk.account import agent_data, checked_hash, checked_login
from kfbot.web.desk.sessions import Sessions

_Names = list[Text]
_LONGEST_TEAM = 60


class NewAgentBody(StrictBody):
    """Body of `POST /desk/api/agents`."""

    name: Text = Field(max_length=200)
    display_name: Words = Field(max_length=100)
    role: AgentRole = "agent"
    password: Text = Field(max_length=4 * LONGEST)
    teams: _Names = Field(default_factory=list, max_length=100)
    capacity: int = Field(default=5, ge=0, le=1000)


class AgentPatch(StrictBody):
    """Body of `PATCH /desk/api/agents/{name}`: what changes."""

    display_name: Words | None = Field(default=None, max_length=100)
    role: AgentRole | None = None
    password: Text | None = Field(default=None, max_length=4 * LONGEST)
    teams: _Names | None = Field(default=None, max_length=100)
    capacity: int | None = Field(default=None, ge=0, le=1000)
    active: bool | None = None


class TeamBody(StrictBody):
    """Body of `PUT /desk/api/teams/{name}`; empty lists: all."""

    channels: _Names = Field(default_factory=list, max_length=1000)
    knowledge_bases: _Names = Field(default_factory=list, max_length=1000)


class PeopleApi:
    """The handlers."""

    def __init__(self, application: Application, sessions: Sessions) -> None:
        self._application = application
        self._agents = application.desk.agents
        self._sessions = sessions

    def routes(self) -> list[web.RouteDef]:
        """Agents, teams, and the record of what was done."""
        return [
            web.get("/desk/api/agents", self.agents),
            web.post("/desk/api/agents", self.add),
            web.patch("/desk/api/agents/{name}", self.change),
            web.get("/desk/api/teams", self.teams),
            web.put("/desk/api/teams/{name}", self.put_team),
            web.delete("/desk/api/teams/{name}", self.remove_team),
            web.get("/desk/api/audit", self.audit),
        ]

    async def agents(self, request: web.Request) -> web.Response:
        """Everybody, and who is there."""
        await self._sessions.agent_of(request)
        return await self._everybody()

    async def add(self, request: web.Request) -> web.Response:
        """A new agent."""
        admin = await self._sessions.admin_of(request)
        body = await read_body(request, NewAgentBody)
        new = NewAgent(
            name=checked_login(body.name),
            display_name=body.display_name.strip(),
            role=body.role,
            password_hash=await checked_hash(self._sessions, body.password, body.name),
            teams=tuple(body.teams),
            capacity=body.capacity,
        )
        await self._agents.add(new, by=admin.name)
        return await self._everybody()

    async def change(self, request: web.Request) -> web.Response:
        """What an agent may do and see; what is not named stays as it is."""
        admin = await self._sessions.admin_of(request)
        body = await read_body(request, AgentPatch)
        name = login_of(request.match_info["name"]) or ""
        values: dict[str, Any] = body.model_dump(exclude_none=True, exclude={"password", "teams"})
        if body.password is not None:
            values["password_hash"] = await checked_hash(self._sessions, body.password, name)
        teams = None if body.teams is None else tuple(body.teams)
        if not await self._agents.change(name, values, teams=teams, by=admin.name):
            raise NotFound("there is no such agent")
        if body.password is not None:
            # Who forgot the old one has locked themselves out by now.
            await self._application.desk.sign_ins.unlock(name)
        return await self._everybody()

    async def teams(self, request: web.Request) -> web.Response:
        """All teams, and what they look after."""
        await self._sessions.agent_of(request)
        return await self._all_teams()

    async def put_team(self, request: web.Request) -> web.Response:
        """A new team, or what one looks after."""
        admin = await self._sessions.admin_of(request)
        body = await read_body(request, TeamBody)
        name = _team_name(request)
        settings = self._application.settings
        _check_known("channels", body.channels, self._application.channels)
        _check_known("knowledge_bases", body.knowledge_bases, settings.knowledge)
        team = Team(
            name=name,
            channels=tuple(dict.fromkeys(body.channels)),
            knowledge_bases=tuple(dict.fromkeys(body.knowledge_bases)),
        )
        await self._agents.put_team(team, by=admin.name)
        return await self._all_teams()

    async def remove_team(self, request: web.Request) -> web.Response:
        """Take a team away."""
        admin = await self._sessions.admin_of(request)
        if not await self._agents.remove_team(_team_name(request), by=admin.name):
            raise NotFound("there is no such team")
        return await self._all_teams()

    async def audit(self, request: web.Request) -> web.Response:
        """Who did what, newest first."""
        await self._sessions.admin_of(request)
        before = number(request.query["before"]) if "before" in request.query else None
        if "before" in request.query and before is None:
            raise BadRequest("before: the id of a row is needed")
        deeds = await self._application.desk.audit.list(before=before)
        return success(
            [
                {
                    "id": deed.id,
                    "at": deed.at.isoformat(),
                    "actor": deed.actor,
                    "action": deed.action,
                    "target": deed.target,
                    "details": dict(deed.details),
                }
                for deed in deeds
            ]
        )

    async def _everybody(self) -> web.Response:
        now = self._application.clock()
        members = await self._agents.list()
        return success([_member_data(member, now - PRESENT) for member in members])

    async def _all_teams(self) -> web.Response:
        return success(
            [
                {
                    "name": team.name,
                    "channels": list(team.channels),
                    "knowledge_bases": list(team.knowledge_bases),
                }
                for team in await self._agents.teams()
            ]
        )


def _member_data(member: Member, since: datetime) -> dict[str, Any]:
    is_here = member.seen_at is not None and member.seen_at >= since
    return agent_data(member.agent, active=member.active) | {
        "present": is_here and member.active and not member.agent.away,
        "open_cases": member.open_cases,
    }


def _team_name(request: web.Request) -> str:
    name = storable(request.match_info["name"]).strip()
    if not name or len(name) > _LONGEST_TEAM:
        raise BadRequest(f"a team's name has 1 to {_LONGEST_TEAM} characters")
    return name


def _check_known(what: str, names: Collection[str], known: Collection[str]) -> None:
    """A misspelt name would hide cases from everybody.

    Raises:
        BadRequest: One of them is unknown.
    """
    for name in names:
        if name not in known:
            raise BadRequest(f"{what}: {name[:40]!r} is unknown: one of {', '.join(known)}")
