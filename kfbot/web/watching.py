"""What watches the bot from outside: `/metrics`, `/readyz`, and a count of all requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

from aiohttp import web
from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from kfbot.application import Application
from kfbot.errors import StoreUnavailable
from kfbot.observability import metrics
from kfbot.observability.vitals import Vitals
from kfbot.store.dead_letters import DeadCounts
from kfbot.web.access import Access, Refused

#: With less room SQLite soon takes nothing more …
FULL_BYTES = 64 * 1024 * 1024
#: … and with less than this somebody should look.
LOW_BYTES = 1024 * 1024 * 1024
#: A message that nothing holds back has gone long before.
STANDING_STILL_SECONDS = 300.0
#: The database is waited for so long.
STORE_SECONDS = 5.0
#: Names of methods are what the caller says.
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it should be."""

    #: Stable, for machines.
    code: str
    #: For people who may know: names, reasons, what to do.
    text: str
    #: False: customers are served all the same.
    unready: bool


class Watching:
    """Answers monitoring."""

    def __init__(self, application: Application, access: Access) -> None:
        self._application = application
        self._access = access
        self._vitals = Vitals(application)

    def routes(self) -> list[web.RouteDef]:
        """The addresses."""
        return [web.get("/metrics", self.metrics), web.get("/readyz", self.ready)]

    async def close(self, app: web.Application) -> None:
        """Break off what is being read."""
        await self._vitals.close()

    async def metrics(self, request: web.Request) -> web.Response:
        """Everything that is counted, and how things stand, as Prometheus reads it.

        Raises:
            Refused: As the API, for who has no token.
        """
        self._access.check_watching(request)
        shown = _Shown(await self._vitals.families())
        encode, kind = _encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(shown), headers={"Content-Type": kind})

    async def ready(self, request: web.Request) -> web.Response:
        """Whether customers can be served; a message that was given up is no reason against it.

        `?exclude=CODE`, also several times: a fault that says nothing about this caller's work.
        """
        excluded = request.query.getall("exclude", [])
        dead = await self._dead()
        faults = [one for one in await self._faults(dead) if one.code not in excluded]
        may_know = self._may_know(request)
        counted = asdict(dead) if dead is not None and may_know else None
        return web.json_response(
            {
                "status": "degraded" if faults else "ok",
                "codes": list(dict.fromkeys(one.code for one in faults)),
                "reasons": [one.text for one in faults] if may_know else [],
                "dead_letters": counted,
            },
            status=503 if any(one.unready for one in faults) else 200,
        )

    def _may_know(self, request: web.Request) -> bool:
        try:
            self._access.check_watching(request)
        except Refused:
            return False
        return True

    async def _dead(self) -> DeadCounts | None:
        """None: the database does not answer."""
        try:
            async with asyncio.timeout(STORE_SECONDS):
                return await self._application.dead_letters.count()
        except (StoreUnavailable, TimeoutError):
            return None

    async def _faults(self, dead: DeadCounts | None) -> list[Fault]:
        found = [
            Fault("channel_down", f"{channel}: {reason}", unready=True)
            for channel, reason in self._vitals.channels_down().items()
        ]
        if dead is None:
            found.append(Fault("store_unavailable", "the database does not answer", unready=True))
        else:
            found += await self._knowledge_faults()
            found += await self._outbox_faults()
        if fault := self._vitals.chat_model_fault():
            text = f"no chat model can be asked, answers are quoted: {fault}"
            found.append(Fault("chat_model_unavailable", text, unready=False))
        return [*found, *await self._disk_faults()]

    async def _knowledge_faults(self) -> list[Fault]:
        states = await self._vitals.knowledge() or ()
        nothing = not any(one.generation for one in states)
        missing = (one.name for one in states if not one.generation)
        return [
            *(
                Fault("knowledge_not_loaded", f"{name}: kfbot knowledge load {name}", nothing)
                for name in missing
            ),
            *(
                Fault("knowledge_load_failed", f"{one.name}: {one.fault}", unready=False)
                for one in states
                if one.fault
            ),
        ]

    async def _outbox_faults(self) -> Iterable[Fault]:
        standing = await self._vitals.standing()
        if standing is None or standing.due_since is None:
            return ()
        seconds = (standing.at - standing.due_since).total_seconds()
        if seconds < STANDING_STILL_SECONDS:
            return ()
        text = f"a message has been due for {seconds:.0f} s and was not sent: look at the log"
        return (Fault("outbox_standing_still", text, unready=False),)

    async def _disk_faults(self) -> Iterable[Fault]:
        disk = await self._vitals.disk()
        if disk is None or disk.free >= LOW_BYTES:
            return ()
        place = self._application.place
        text = f"{disk.free // 1_000_000} MB are left at {place}: make room"
        is_full = disk.free < FULL_BYTES
        return (Fault("disk_full" if is_full else "disk_low", text, unready=is_full),)


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):  # A version that is none.
        return choose_encoder("")


class _Shown(Collector):
    """What this process counted and how things stand, for an encoder."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        yield from metrics.REGISTRY.collect()
        yield from self._families


@web.middleware
async def counting(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Count every request by the pattern of its address."""
    resource = request.match_info.route.resource
    route = "unknown" if resource is None else resource.canonical
    method = request.method if request.method in _METHODS else "other"
    try:
        response = await handler(request)
    except web.HTTPException as error:
        metrics.answered_request(route, method, error.status)
        raise
    metrics.answered_request(route, method, response.status)
    return response
