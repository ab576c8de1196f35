"""A long run: everybody asks on every channel while one thing after the other goes wrong."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from kfbot.cli.load_lines import WebhookLine
from tests.faults.checker import Fault, Verdict, check
from tests.faults.databases import Neighboured, Postgres, SqliteFile
from tests.faults.everybody import Agent, Everybody
from tests.faults.sampling import (
    Growth,
    Sample,
    growth,
    in_ms,
    of_process,
    plot,
    write_csv,
)
from tests.load.lines import StandInLine
from tests.load.scene import Loaded, loaded

#: Of what the bot sends to the platforms, so much meets trouble at bad times.
TROUBLED_SHARE = 0.05


@dataclass(frozen=True)
class Course:
    """How long, how many, and how fast."""

    seconds: float
    conversations: int
    #: Between two questions of a customer, on average.
    pause_seconds: float
    patience_seconds: float = 180.0
    #: The database is another program's for so long; on SQLite the bot waits 5 s for it.
    locked_seconds: float = 8.0


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    verdict: Verdict
    #: None: the last process was seen too little.
    growth: Growth | None
    samples: Sequence[Sample]
    #: When which faults were injected, in seconds from the start.
    marks: dict[str, list[float]]
    #: Channels on which nobody was answered.
    silent: frozenset[str]
    agent_rounds: int
    agent_faults: Sequence[str]
    exit_status: int
    #: Rows of the database's largest tables.
    rows: dict[str, int]
    #: What customers' platforms met instead of an acknowledgement.
    failures: dict[str, int]
    #: Requests to platforms that arrived, and whose answers the bot did not hear.
    unheard: int
    tail: str

    def __str__(self) -> str:
        injected = ", ".join(f"{kind}: {len(times)}" for kind, times in self.marks.items())
        last = self.samples[-1]
        per_turn = last.database_mb * 1024 / max(self.verdict.questions, 1)
        lines = [
            str(self.verdict),
            f"injected: {injected}",
            f"agent: {self.agent_rounds} rounds, {len(self.agent_faults)} faults",
            *self.agent_faults[:5],
            f"not acknowledged at first: {self.failures}; not heard by the bot: {self.unheard}",
            f"at the end: RSS {last.rss_mb:.0f} MB, {last.files} files, {last.threads} threads",
            f"growth after warm-up: {self.growth}",
            f"database {last.database_mb:.1f} MB, {per_turn:.1f} kB a question: {self.rows}",
        ]
        return "\n".join(lines)


@dataclass
class _Run:
    scene: Loaded
    database: Neighboured
    everybody: Everybody
    agent: Agent
    course: Course
    started: float = field(default_factory=time.monotonic)
    samples: list[Sample] = field(default_factory=list)
    marks: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    kills: list[Fault] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(0))

    def passed(self) -> float:
        return time.monotonic() - self.started

    async def go_wrong(self) -> None:
        """One fault after the other, each at least once, until it is time."""
        while True:
            for fault in (self.trouble, self.reload, self.help, self.kill, self.lock):
                await fault()
                pause = self.chance.uniform(0.5, 1.0) * self.course.seconds / 40
                await asyncio.sleep(pause)
            if self.passed() > self.course.seconds:
                return

    async def kill(self) -> None:
        if self.marks["kill -9"] and self.passed() > self.course.seconds / 2:
            # A process must get old for its growth to be seen.
            return
        self.marks["kill -9"].append(self.passed())
        self.kills.append(await self.scene.server.kill())
        await self.scene.server.start()

    async def trouble(self) -> None:
        """Platforms that answer 500, 429, slowly or not at all."""
        self.marks["platforms in trouble"].append(self.passed())
        for flaky in self.scene.flakies:
            flaky.share = TROUBLED_SHARE
        await asyncio.sleep(self.course.seconds / 20)
        for flaky in self.scene.flakies:
            flaky.share = 0.0

    async def lock(self) -> None:
        """Another program keeps the database for itself."""
        self.marks["database locked"].append(self.passed())
        await self.database.lock(self.course.locked_seconds)

    async def reload(self) -> None:
        """Load the knowledge again, with one more entry."""
        self.marks["reload"].append(self.passed())
        number = len(self.marks["reload"])
        row = {"id": f"new-{number}", "question": f"Is there a shop on Mars, street {number}?"}
        with (self.scene.folder / "docs" / "faq.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row | {"answer": f"No, not in street {number}."}) + "\n")
        url = f"{self.scene.server.url}/api/v1/knowledge/reload"
        async with aiohttp.ClientSession() as http, http.post(url, json={}) as response:
            assert response.status == 202, await response.text()

    async def help(self) -> None:
        """An agent takes over."""
        self.marks["agent"].append(self.passed())
        await self.agent.take_part()

    async def look(self) -> None:
        """Take samples, as a person would look at a dashboard."""
        while True:
            await asyncio.sleep(max(self.course.seconds / 240, 0.5))
            await self.sample()

    async def sample(self) -> None:
        database_mb = round(await self.database.megabytes(), 2)
        everybody, pid = self.everybody, self.scene.server.pid
        rss, files, threads = of_process(pid, self.scene.server.port)
        acks, answers = everybody.acks, everybody.answers
        everybody.acks, everybody.answers = [], []
        self.samples.append(
            Sample(
                at_seconds=round(self.passed(), 1), pid=pid, rss_mb=round(rss, 1),
                files=files, threads=threads,
                database_mb=database_mb, asked=len(everybody.questions),
                ack_p50=in_ms(acks, 50), ack_p99=in_ms(acks, 99),
                answer_p50=in_ms(answers, 50), answer_p99=in_ms(answers, 99),
            )
        )  # fmt: skip


async def long_run(
    folder: Path,
    course: Course,
    *,
    further: Sequence[StandInLine] = (),
    database_url: str | None = None,
    out: Path | None = None,
) -> Outcome:
    """Run, and judge.

    Args:
        further: Lines beside those that every run has.
        database_url: Of an empty PostgreSQL database; None: a SQLite file.
        out: A folder that takes soak.csv and soak.png.
    """
    async with loaded(folder, flaky=True, further=further, database_url=database_url) as scene:
        lines = scene.lines
        webhook = next(line for line in lines if isinstance(line, WebhookLine))
        everybody = Everybody(
            lines, pause_seconds=course.pause_seconds, patience=course.patience_seconds
        )
        agent = Agent(everybody, webhook, webhook.chat_name("{}"), scene.server.url)
        database = SqliteFile(scene.database) if database_url is None else Postgres(database_url)
        run = _Run(scene, database, everybody, agent, course)
        for line in lines:
            await line.open()
        try:
            await _for_a_while(run)
            outcome = await _judged(run)
        finally:
            for line in lines:
                await line.close()
    if out is not None:
        await asyncio.to_thread(_keep, out, run)
    return outcome


def _keep(out: Path, run: _Run) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "soak.csv", run.samples)
    plot(out / "soak.png", run.samples, run.marks)


async def _for_a_while(run: _Run) -> None:
    """Let everybody ask and everything go wrong, until it is time."""
    run.everybody.come(run.course.conversations)
    looking, wrong = asyncio.create_task(run.look()), asyncio.create_task(run.go_wrong())
    await asyncio.wait([looking, wrong], return_when=asyncio.FIRST_COMPLETED)
    # Either ends by itself only where it fails, or when it is time.
    for task in (looking, wrong):
        if task.done():
            task.result()
    await run.everybody.leave()
    looking.cancel()
    await run.sample()


async def _judged(run: _Run) -> Outcome:
    scene, everybody = run.scene, run.everybody
    status = await scene.server.stop()
    rows = sorted((await run.database.rows()).items(), key=lambda one: -one[1])
    return Outcome(
        verdict=check(everybody.questions, everybody.got, run.kills),
        growth=growth(run.samples),
        samples=run.samples,
        marks=dict(run.marks),
        silent=frozenset(line.name for line in scene.lines)
        - {one.chat.rpartition("-")[0] for one in everybody.got},
        agent_rounds=run.agent.rounds,
        agent_faults=run.agent.faults,
        exit_status=status,
        rows=dict(rows[:8]),
        failures=dict(everybody.failures),
        # Where all stood still for a while, only the bot knows that it gave up waiting.
        unheard=sum(flaky.unheard for flaky in scene.flakies) + scene.server.timeouts().total(),
        tail=scene.server.tail(),
    )
