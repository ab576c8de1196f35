"""Servers, a platform and customers around one database; what happened, and what was wrong."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.cache import MODEL_CACHE
from tests.faults.checker import Fault, Verdict, check, recovery_seconds, unheard
from tests.faults.driver import Customers, Habits
from tests.faults.faq import QUESTIONS, STANDSTILL, write_faq
from tests.faults.servers import HoldingServer, Server
from tests.faults.stand_in import Platform
from tests.faults.standstill import Standstill
from tests.faults.waiting import until
from tests.platforms.webhook_receiver import Answer

SECRET = "whsec_" + base64.b64encode(b"a secret of the shop's own system").decode()
CHANNEL = "shop"
#: What is asked in a conversation that is to stand still, all at once.
HELD = (QUESTIONS[0], STANDSTILL, QUESTIONS[1], QUESTIONS[2])


@dataclass(frozen=True)
class Store:
    """A database, and how many servers share it."""

    name: str
    #: None: SQLite in the data folder.
    url: str | None = None
    replicas: int = 1


@dataclass(frozen=True)
class Plan:
    """Who plays in a scene."""

    store: Store
    #: Options of `serve_and_hold`; None: the real `kfbot serve`, with the real knowledge base.
    holding: Mapping[str, object] | None = None
    #: Conversations that go on all the time.
    busy: int = 4
    habits: Habits = field(default_factory=Habits)
    #: What the platform says now and then instead of 200, and how often.
    troubles: Sequence[Answer] = ()
    share: float = 0.0
    #: The bot waits so long for the platform.
    send_seconds: float = 10.0
    seed: int = 0


@dataclass
class Scene:
    """A bot at work."""

    servers: Sequence[Server]
    platform: Platform
    customers: Customers
    standstill: Standstill
    faults: list[Fault] = field(default_factory=list)
    _helds: int = 0

    async def hold(self, *, at_platform: bool = False, seconds: float = 30.0) -> Held:
        """Let a customer ask what stands still on its way; returns once it does."""
        place = self.platform if at_platform else self.standstill
        place.arm()
        self._helds += 1
        chat = f"held-{self._helds}"
        asking = self.customers.pour_out(chat, HELD)
        stands = await until(lambda: place.holder() != "", seconds)
        self.expect(stands, f"nothing stands still in {chat}")
        server = next(one for one in self.servers if one.name == place.holder())
        return Held(chat, server, asking)

    async def kill(self, server: Server) -> Fault:
        """Kill a server, and remember when."""
        fault = await server.kill()
        self.faults.append(fault)
        # What the dead process had asked for can be answered to nobody.
        self.platform.let_go()
        return fault

    async def replied(self, held: Held, seconds: float) -> None:
        """Wait until a conversation that stood still has all its replies."""
        done, _ = await asyncio.wait([held.asking], timeout=seconds)
        self.expect(bool(done), f"{held.chat} has no replies after {seconds:.0f} s")
        await held.asking

    async def finish(self) -> Verdict:
        """Let everything that was asked be replied to, stop all, and judge."""
        await self.customers.leave()
        statuses = [await server.stop() for server in self.servers if server.alive]
        verdict = self.verdict()
        self.expect(not any(statuses), f"exit statuses {statuses}")
        refused = [one.text for one in self.customers.questions if one.accepted_at is None]
        self.expect(not refused, f"never acknowledged: {refused}")
        return verdict

    def verdict(self) -> Verdict:
        """What went wrong so far."""
        timeouts: Counter[str] = sum((server.timeouts() for server in self.servers), Counter())
        got = unheard(self.platform.got, timeouts)
        return check(self.customers.questions, got, self.faults)

    def recoveries(self, faults: Sequence[Fault] | None = None) -> list[float]:
        """Seconds until what was under way at each fault was done.

        Where there is one server and the next fault came before that, only the next one counts.
        """
        every = self.faults if faults is None else faults
        ends = [fault.start for fault in every[1:]] if len(self.servers) == 1 else []
        ends += [math.inf] * (len(every) - len(ends))
        found = []
        for fault, end in zip(every, ends, strict=True):
            seconds = recovery_seconds(self.customers.questions, self.platform.got, fault)
            if seconds is not None and fault.start + seconds < end:
                found.append(seconds)
        return found

    def expect(self, fulfilled: bool, otherwise: str) -> None:
        """Fail, and tell what the servers said."""
        assert fulfilled, "\n".join([otherwise, self.story()])

    def story(self) -> str:
        """What a person needs who looks for the cause."""
        verdict = self.verdict()
        met = ", ".join(f"{name}: {count}" for name, count in self.customers.failures.items())
        tails = [server.tail() for server in self.servers]
        return "\n".join([str(verdict), f"the sender met {met or 'nothing'}", *tails])


@dataclass(frozen=True)
class Held:
    """A conversation that stands still in a server."""

    chat: str
    server: Server
    asking: asyncio.Task[None]


@asynccontextmanager
async def played(folder: Path, plan: Plan) -> AsyncIterator[Scene]:
    """A bot that is ready, with its customers talking; nothing of it is left at the end."""
    standstill = Standstill(folder / "standstill")
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(
            Platform(SECRET, troubles=plan.troubles, share=plan.share, seed=plan.seed)
        )
        servers = []
        for name in "abcdefgh"[: plan.store.replicas]:
            server = _server(name, folder, plan, platform)
            stack.push_async_callback(server.close)
            servers.append(server)
            # One after the other: the first one makes the tables.
            await server.start()
        urls = [f"{server.url}/webhooks/{CHANNEL}" for server in servers]
        customers = await stack.enter_async_context(
            Customers(platform, urls, SECRET, habits=plan.habits, seed=plan.seed)
        )
        customers.come(plan.busy)
        yield Scene(servers, platform, customers, standstill)


def _server(name: str, folder: Path, plan: Plan, platform: Platform) -> Server:
    """A server with settings and a data folder of its own."""
    own = folder / name
    (own / "var").mkdir(parents=True)
    (own / "docs").mkdir()
    write_faq(own / "docs" / "faq.jsonl")
    if plan.holding is None:
        MODEL_CACHE.mkdir(exist_ok=True)
        (own / "var" / "models").symlink_to(MODEL_CACHE.resolve())
        server = Server(name, own)
    else:
        options = {"standstills": folder / "standstill"} | dict(plan.holding)
        server = HoldingServer(name, own, options)
    write_settings(own / "kfbot.toml", server.port, plan, platform.callback_url(name))
    return server


def write_settings(file: Path, port: int, plan: Plan, callback_url: str) -> None:
    """Write the settings file of a server."""
    lines = [
        'data_dir = "var"',
        "[web]",
        f"port = {port}",
        "[knowledge.shop]",
        'sources = ["docs"]',
        f"[channels.{CHANNEL}]",
        'platform = "webhook"',
        f"secret = {json.dumps(SECRET)}",
        f"callback_url = {json.dumps(callback_url)}",
        f"timeout_seconds = {plan.send_seconds}",
    ]
    if plan.store.url is not None:
        lines += ["[database]", f"url = {json.dumps(plan.store.url)}"]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
