"""`/desk/api/session`: signing in and out, the first visit, one's own name and password."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import Field

from kfbot.agents import LOGIN_FORM, Agent, login_of
from kfbot.application import Application
from kfbot.passwords import LONGEST, fault_of
from kfbot.store.agents import NewAgent
from kfbot.store.sign_ins import hash_of
from kfbot.web.access import Refused
from kfbot.web.api import BadRequest, StrictBody, Text, Words, failure, read_body, success
from kfbot.web.desk.sessions import (
    COOKIE,
    LockedOut,
    Sessions,
    check_sender,
    csrf_of,
    forget_cookie,
    set_cookie,
)


class SignInBody(StrictBody):
    """Body of `POST /desk/api/session`."""

    name: Text = Field(max_length=200)
    password: Text = Field(max_length=4 * LONGEST)


class SetupBody(SignInBody):
    """Body of `POST /desk/api/setup`."""

    display_name: Words = Field(max_length=100)


class NewPassword(StrictBody):
    """A password that replaces another."""

    old: Text = Field(max_length=4 * LONGEST)
    new: Text = Field(max_length=4 * LONGEST)


class AccountBody(StrictBody):
    """Body of `PATCH /desk/api/session`."""

    away: bool | None = None
    display_name: Words | None = Field(default=None, max_length=100)
    password: NewPassword | None = None


class AccountApi:
    """The handlers of the session and of the account behind it."""

    def __init__(self, application: Application, sessions: Sessions) -> None:
        self._agents = application.desk.agents
        self._sessions = sessions

    def routes(self) -> list[web.RouteDef]:
        """The session, and the first visit."""
        return [
            web.get("/desk/api/session", self.show),
            web.post("/desk/api/setup", self.set_up),
            web.post("/desk/api/session", self.sign_in),
            web.delete("/desk/api/session", self.sign_out),
            web.patch("/desk/api/session", self.change),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """Who is signed in; nobody, and whether this is the first visit."""
        try:
            agent = await self._sessions.agent_of(request)
        except Refused:
            first = await self._sessions.is_first_visit(request)
            return success({"agent": None, "csrf": None, "first_visit": first})
        return success(_session_data(agent, request.cookies[COOKIE]))

    async def set_up(self, request: web.Request) -> web.Response:
        """Make the first admin, and sign in."""
        check_sender(request)
        if not await self._sessions.is_first_visit(request):
            raise Refused(403, "the first admin is made from this machine, once")
        body = await read_body(request, SetupBody)
        new = NewAgent(
            name=checked_login(body.name),
            display_name=body.display_name.strip(),
            role="admin",
            password_hash=await checked_hash(self._sessions, body.password, body.name),
        )
        await self._agents.add_first(new)
        return await self._open(request, new.name, body.password)

    async def sign_in(self, request: web.Request) -> web.Response:
        """Sign in."""
        check_sender(request)
        body = await read_body(request, SignInBody)
        try:
            return await self._open(request, body.name, body.password)
        except LockedOut as locked:
            answer = failure(locked.status, str(locked))
            answer.headers["Retry-After"] = str(locked.seconds)
            return answer

    async def sign_out(self, request: web.Request) -> web.Response:
        """Sign out."""
        agent = await self._sessions.agent_of(request)
        await self._sessions.sign_out(request, agent)
        answer = success({"agent": None, "csrf": None, "first_visit": False})
        forget_cookie(answer)
        return answer

    async def change(self, request: web.Request) -> web.Response:
        """Be away or back; another name or password. A new password ends all other sessions."""
        agent = await self._sessions.agent_of(request)
        body = await read_body(request, AccountBody)
        values: dict[str, Any] = {}
        if body.away is not None:
            values["away"] = body.away
        if body.display_name is not None:
            values["display_name"] = body.display_name.strip()
        if body.password is not None:
            await self._sessions.check_password(request, agent, body.password.old)
            values["password_hash"] = await checked_hash(
                self._sessions, body.password.new, agent.name
            )
        token = request.cookies[COOKIE]
        if values:
            await self._agents.change(
                agent.name, values, by=agent.name, keep_session=hash_of(token)
            )
        return success(_session_data(await self._sessions.agent_of(request), token))

    async def _open(self, request: web.Request, name: str, password: str) -> web.Response:
        agent, token = await self._sessions.sign_in(request, name, password)
        answer = success(_session_data(agent, token))
        set_cookie(request, answer, token)
        return answer


def agent_data(agent: Agent, *, active: bool = True) -> dict[str, Any]:
    """An agent as JSON."""
    return {
        "name": agent.name,
        "display_name": agent.display_name,
        "role": agent.role,
        "away": agent.away,
        "capacity": agent.capacity,
        "teams": None if agent.teams is None else [team.name for team in agent.teams],
        "active": active,
    }


def checked_login(typed: str) -> str:
    """A new login, as it is kept.

    Raises:
        BadRequest: It can be none.
    """
    login = login_of(typed)
    if login is None:
        raise BadRequest(LOGIN_FORM)
    return login


async def checked_hash(sessions: Sessions, password: str, name: str) -> str:
    """The hash of a new password.

    Raises:
        BadRequest: It is too short, or what anybody would try first.
    """
    if fault := fault_of(password, name):
        raise BadRequest(f"password: {fault}")
    return await sessions.passwords.hash(password)


def _session_data(agent: Agent, token: str) -> dict[str, Any]:
    return {"agent": agent_data(agent), "csrf": csrf_of(token), "first_visit": False}
