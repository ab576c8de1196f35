"""`GET /desk/api/events`: tells open desks what changed; one watcher for all of them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from aiohttp import web

from kfbot.agents import Agent, may_see
from kfbot.application import Application
from kfbot.changes import EVERYTHING
from kfbot.conversation import State
from kfbot.errors import StoreUnavailable
from kfbot.store.notices import AGENTS
from kfbot.store.queue import Standing
from kfbot.web.access import Refused
from kfbot.web.desk.sessions import COOKIE, Sessions

logger = logging.getLogger(__name__)

#: A sign of life for proxies that cut silent connections.
HEARTBEAT_SECONDS = 15.0
#: Notices that come within so long after others are passed on together.
_TOGETHER_SECONDS = 0.05
#: Who is there is written down this often; `kfbot.handoff.assignment.PRESENT` is more than
#: twice as long.
_PRESENCE_SECONDS = 20.0
#: A database that cannot be asked is asked again after so long.
_AGAIN_SECONDS = 1.0
#: Desks that one agent may have open.
_MOST_DESKS = 20
_OPEN = (State.WAITING, State.AGENT)


class _Desk:
    """An open desk, and what it has not been told yet: never more than one of a kind."""

    def __init__(self, agent: Agent, token: str) -> None:
        self.agent = agent
        self.token = token
        self.fresh = asyncio.Event()
        self._events: dict[tuple[str, str], None] = {}

    def tell(self, event: str, **data: Any) -> None:
        """Have an event sent."""
        self._events[event, json.dumps(data)] = None
        self.fresh.set()

    def take(self) -> list[tuple[str, str]]:
        """What is to be sent, in order."""
        taken = list(self._events)
        self._events.clear()
        self.fresh.clear()
        return taken


class Desks:
    """The open desks of this process, and the one watcher that serves them."""

    def __init__(self, application: Application) -> None:
        self._stores = application.desk
        self._changes = application.changes
        self._open: set[_Desk] = set()
        #: The open conversations, as the desks were last told.
        self._known: dict[int, Standing] = {}

    @contextmanager
    def opened(self, agent: Agent, token: str) -> Iterator[_Desk]:
        """A desk that is told of changes while it is open.

        Raises:
            Refused: 429 where the agent has too many open.
        """
        if sum(desk.agent.name == agent.name for desk in self._open) >= _MOST_DESKS:
            raise Refused(429, f"at most {_MOST_DESKS} desks of one agent can be open")
        desk = _Desk(agent, token)
        self._open.add(desk)
        try:
            yield desk
        finally:
            self._open.discard(desk)

    async def run(self) -> None:
        """Pass on what changes, until cancelled."""
        loop = asyncio.get_running_loop()
        seen_at = loop.time()
        with self._changes.following() as heard:
            heard.add(EVERYTHING)
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(seen_at + _PRESENCE_SECONDS):
                        await heard.any.wait()
                # Also where there is never a moment without notices.
                if loop.time() >= seen_at + _PRESENCE_SECONDS:
                    seen_at = loop.time()
                    heard.add(AGENTS)
                if not await self._told(heard.take()):
                    heard.add(EVERYTHING)
                    await asyncio.sleep(_AGAIN_SECONDS)
                await asyncio.sleep(_TOGETHER_SECONDS)

    async def _told(self, notices: Sequence[str]) -> bool:
        """Pass notices on; False where that failed."""
        try:
            await self._pass_on(notices)
        except StoreUnavailable as error:
            logger.error("desks not told: %s", error, extra={"event": "store_unavailable"})
            return False
        except Exception:
            logger.exception("desks not told", extra={"event": "desks_not_told"})
            return False
        return True

    async def _pass_on(self, notices: Sequence[str]) -> None:
        missed = EVERYTHING in notices
        if missed or AGENTS in notices:
            await self._look_at_sessions()
        if missed:
            await self._start_anew()
            return
        typing = _numbers(notices, "typing")
        changed = _numbers(notices, "conversation")
        given = dict(_assignments(notices))
        standings = await self._stores.queue.standings(changed | typing)
        for number, standing in standings.items():
            if number in typing:
                self._tell_typing(standing)
            if number in changed:
                before = self._known.pop(number, None)
                if standing.state in _OPEN:
                    self._known[number] = standing
                self._tell(standing, before, given.get(number))

    def _tell_typing(self, now: Standing) -> None:
        for desk in self._open:
            if desk.agent.name != now.agent and _may_see(desk, now):
                desk.tell("typing", id=now.id)

    def _tell(self, now: Standing, before: Standing | None, by: str | None) -> None:
        is_listed = now.state in _OPEN or before is not None
        is_given = now.assigned_to is not None and (
            by is not None or before is None or before.assigned_to != now.assigned_to
        )
        for desk in self._open:
            if not _may_see(desk, now):
                continue
            desk.tell("conversation", id=now.id)
            if is_listed:
                desk.tell("queue")
            if is_given and desk.agent.name == now.assigned_to != by:
                desk.tell("assigned", id=now.id, by=by)

    async def _look_at_sessions(self) -> None:
        """End the desks whose sessions ended; the others' agents may have changed."""
        if not self._open:
            return
        desks = tuple(self._open)
        agents = await self._stores.sign_ins.alive([desk.token for desk in desks])
        for desk in desks:
            agent = agents.get(desk.token)
            if agent is None:
                desk.tell("signed_out")
            elif agent != desk.agent:
                desk.agent = agent
                desk.tell("queue")
        await self._stores.agents.seen({agent.name for agent in agents.values()})

    async def _start_anew(self) -> None:
        """Notices may have been missed: every desk looks at everything again."""
        ids = await self._stores.queue.open_ids()
        self._known = await self._stores.queue.standings(ids)
        for desk in self._open:
            desk.tell("ready")


class EventsApi:
    """The stream of one desk."""

    def __init__(self, application: Application, sessions: Sessions) -> None:
        self._agents = application.desk.agents
        self._sessions = sessions
        self.desks = Desks(application)
        #: Set when the server stops: the streams end, and pages connect again.
        self.closing = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        """The stream."""
        return [web.get("/desk/api/events", self.events, allow_head=False)]

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Tell what changes from now on; what was before the page asks for itself."""
        agent = await self._sessions.agent_of(request)
        with self.desks.opened(agent, request.cookies[COOKIE]) as desk:
            await self._agents.seen([agent.name])
            response = web.StreamResponse(
                headers={
                    "Content-Type": "text/event-stream; charset=utf-8",
                    "Cache-Control": "no-store",
                    # nginx would otherwise collect the events.
                    "X-Accel-Buffering": "no",
                }
            )
            await response.prepare(request)
            desk.tell("ready")
            with suppress(ConnectionResetError):
                await self._follow(desk, response)
        return response

    async def _follow(self, desk: _Desk, response: web.StreamResponse) -> None:
        closing = asyncio.create_task(self.closing.wait())
        try:
            while not self.closing.is_set():
                events = desk.take()
                if events:
                    await response.write(_encoded(events))
                if any(event == "signed_out" for event, _ in events):
                    return
                if not await _happens(desk.fresh, closing):
                    await response.write(b": still here\n\n")
        finally:
            closing.cancel()


def _may_see(desk: _Desk, standing: Standing) -> bool:
    return may_see(desk.agent, standing.channel, standing.knowledge_base)


async def _happens(fresh: asyncio.Event, closing: asyncio.Task[Any]) -> bool:
    """Wait for either; False where neither came for a while."""
    waiting = asyncio.create_task(fresh.wait())
    try:
        done, _ = await asyncio.wait(
            (waiting, closing), timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        waiting.cancel()
    return bool(done)


def _encoded(events: Iterable[tuple[str, str]]) -> bytes:
    return "".join(f"event: {event}\ndata: {data}\n\n" for event, data in events).encode()


def _numbers(notices: Iterable[str], kind: str) -> set[int]:
    words = (notice.split(" ") for notice in notices)
    return {int(word[1]) for word in words if word[0] == kind}


def _assignments(notices: Iterable[str]) -> Iterator[tuple[int, str]]:
    for notice in notices:
        kind, *about = notice.split(" ")
        if kind == "assigned":
            yield int(about[0]), about[1]
