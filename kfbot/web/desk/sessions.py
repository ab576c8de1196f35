"""Who is signed in at the desk: cookies, locks, and what a request may do."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence

from aiohttp import web

from kfbot.agents import Agent, login_of
from kfbot.passwords import Passwords
from kfbot.store.agents import AgentStore
from kfbot.store.sign_ins import WHOLE_LIFE, SignInStore, Source
from kfbot.web.access import Refused, came_through_proxy, check_same_machine, check_same_origin
from kfbot.web.neighbours import is_a_service
from kfbot.web.senders import Proxies

COOKIE = "kfbot_desk"
CSRF_HEADER = "X-CSRF-Token"
_READING = ("GET", "HEAD")
#: Failed sign-ins before a name, and an address, behind which there may be a whole office, is
#: locked.
_FAILURES_OF_NAME, _FAILURES_OF_ADDRESS = 5, 30
_WRONG = "name or password is wrong"


class LockedOut(Refused):
    """Too many sign-ins failed."""

    def __init__(self, seconds: int) -> None:
        super().__init__(429, f"too many failed sign-ins: try again in {seconds} s")
        self.seconds = seconds


class Sessions:
    """Opens and ends sessions, and tells who sends a request."""

    def __init__(
        self, agents: AgentStore, sign_ins: SignInStore, trusted_proxies: Sequence[str]
    ) -> None:
        self._agents = agents
        self._sign_ins = sign_ins
        self._proxies = Proxies(trusted_proxies)
        self.passwords = Passwords()

    async def agent_of(self, request: web.Request) -> Agent:
        """Who is signed in.

        Raises:
            Refused: 401 without a session; 403, unless something is only read, without the
                session's CSRF token or from a page of another origin; 415 for a body that is
                not JSON.
            StoreUnavailable: Nobody can tell.
        """
        token = request.cookies.get(COOKIE, "")
        agent = await self._sign_ins.find(token) if token else None
        if agent is None:
            raise Refused(401, "sign in first")
        if request.method not in _READING:
            check_sender(request)
            given = request.headers.get(CSRF_HEADER, "").encode(errors="surrogateescape")
            if not hmac.compare_digest(given, csrf_of(token).encode()):
                raise Refused(403, f"the header {CSRF_HEADER} is missing or of another session")
        return agent

    async def change_of(self, request: web.Request) -> Agent:
        """Who is signed in, if they may change something.

        Raises:
            Refused: As `agent_of`; 403 for viewers.
        """
        agent = await self.agent_of(request)
        if agent.role == "viewer":
            raise Refused(403, "viewers change nothing")
        return agent

    async def admin_of(self, request: web.Request) -> Agent:
        """Who is signed in, if they are an admin.

        Raises:
            Refused: As `agent_of`; 403 for all but admins.
        """
        agent = await self.agent_of(request)
        if agent.role != "admin":
            raise Refused(403, "only admins may do this")
        return agent

    async def is_first_visit(self, request: web.Request) -> bool:
        """True where there are no agents and somebody on this machine asks, not a service.

        A proxy that passes everything on as if it were its own is found out by its account.
        """
        if came_through_proxy(request):
            return False
        try:
            check_same_machine(request)
        except Refused:
            return False
        return not await self._agents.has_any() and not _is_of_a_service(request)

    async def sign_in(self, request: web.Request, name: str, password: str) -> tuple[Agent, str]:
        """Begin a session; returns its agent and its token.

        Raises:
            Refused: 401 wrong, with the same text and time for names that nobody has.
            LockedOut: Too many failed.
        """
        check_sender(request)
        login = login_of(name)
        sources = self._sources(request, login or name)
        await self._attempt(sources)
        kept = await self._agents.password_hash(login) if login else None
        if not await self.passwords.matches(kept, password) or login is None:
            raise Refused(401, _WRONG)
        # A new token at every sign-in: whatever the browser came with is worth nothing.
        token = secrets.token_urlsafe(32)
        if not await self._sign_ins.open(login, token, sources):
            raise Refused(401, _WRONG)
        agent = await self._sign_ins.find(token)
        if agent is None:
            raise Refused(401, _WRONG)
        return agent, token

    async def check_password(self, request: web.Request, agent: Agent, password: str) -> None:
        """Have an agent who is signed in prove it.

        Raises:
            Refused: 403 wrong.
            LockedOut: Too many failed.
        """
        sources = self._sources(request, agent.name)
        await self._attempt(sources)
        if not await self.passwords.matches(await self._agents.password_hash(agent.name), password):
            raise Refused(403, "the old password is wrong")
        await self._sign_ins.forgive(sources)

    async def sign_out(self, request: web.Request, agent: Agent) -> None:
        """End the session of a request."""
        await self._sign_ins.close(request.cookies[COOKIE], agent.name)

    def _sources(self, request: web.Request, name: str) -> tuple[Source, Source]:
        return (
            Source("name", name, _FAILURES_OF_NAME),
            Source("address", self._proxies.sender_of(request), _FAILURES_OF_ADDRESS),
        )

    async def _attempt(self, sources: Sequence[Source]) -> None:
        if (wait := await self._sign_ins.attempt(sources)) is not None:
            raise LockedOut(max(1, round(wait.total_seconds())))


def check_sender(request: web.Request) -> None:
    """Refuse what a page of another site can send.

    Raises:
        Refused: 403 another origin, 415 a body that is not JSON.
    """
    check_same_origin(request)
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Refused(403, "requests from pages of another origin are refused")
    if request.can_read_body and request.content_type != "application/json":
        raise Refused(415, "send Content-Type: application/json")


def csrf_of(token: str) -> str:
    """The CSRF token of a session: who knows it knows nothing of the session's own."""
    return hashlib.sha256(b"csrf:" + token.encode(errors="surrogateescape")).hexdigest()


def set_cookie(request: web.Request, response: web.StreamResponse, token: str) -> None:
    """Give the browser the token of its session."""
    response.set_cookie(
        COOKIE,
        token,
        max_age=round(WHOLE_LIFE.total_seconds()),
        path="/desk",
        httponly=True,
        samesite="Strict",
        secure=_is_https(request),
    )


def forget_cookie(response: web.StreamResponse) -> None:
    """Have the browser forget its session."""
    response.del_cookie(COOKIE, path="/desk", httponly=True, samesite="Strict")


def _is_of_a_service(request: web.Request) -> bool:
    ends = [request.get_extra_info(name) for name in ("peername", "sockname")]
    return None not in ends and is_a_service(ends[0][:2], ends[1][:2])


def _is_https(request: web.Request) -> bool:
    scheme = request.headers.get("X-Forwarded-Proto", request.scheme).split(",")[0]
    return scheme.strip().lower() == "https"
