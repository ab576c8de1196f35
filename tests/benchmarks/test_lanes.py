"""What the durable lanes carry, how fast, and what they cost: one table at the end.

Only ratios taken in one run are asserted. Messages go through the wired application with an
answerer that takes no time; "one commit each" is the same code with groups of one.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from kfbot.store.engine import Database
from tests.benchmarks.lanes import (
    Bot,
    accept_rate,
    chats,
    latencies_alone,
    latencies_under,
    running,
    throughput,
)
from tests.benchmarks.stored import LONG, fill
from tests.postgres import new_database, postgres_server

pytestmark = [pytest.mark.asyncio, pytest.mark.benchmark]

CONVERSATIONS = 200
#: In each of the rounds: 20 of a conversation together.
MESSAGES, ROUNDS = 5, 4
#: As many as any of the tests wants.
DATABASES = 6
SIZES = (1_000, int(os.environ.get("KFBOT_TEST_STORED_TURNS", "1000000")))
REPOSITORY = Path(__file__).parents[2]


class Results:
    """A cell for each database in every row, in the order of the first cell."""

    def __init__(self) -> None:
        self._cells: dict[str, dict[str, str]] = {}

    def add(self, row: str, url: str, cell: str) -> None:
        """Fill a cell of the column of the database of `url`."""
        column = sa.make_url(url).get_backend_name()
        self._cells.setdefault(row, {})[column] = cell
        print(f"{column}: {row}: {cell}")

    def lines(self) -> Iterator[str]:
        """As Markdown."""
        yield "| | SQLite | PostgreSQL |"
        yield "|---|---|---|"
        for row, cells in self._cells.items():
            yield f"| {row} | {cells.get('sqlite', '')} | {cells.get('postgresql', '')} |"


@pytest.fixture(scope="module")
def results(measured: list[str]) -> Iterator[Results]:
    table, load = Results(), os.getloadavg()[0]
    yield table
    measured += table.lines()
    measured.append(f"{os.cpu_count()} cores, of which others used {load:.1f} at the start")


@pytest.fixture(scope="module")
def disk_server() -> Iterator[str]:
    """A PostgreSQL that waits for a disk; the one that other tests share may be in memory."""
    with TemporaryDirectory(prefix="kfbot-") as folder, postgres_server(Path(folder)) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def urls(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Databases of a kind, each of its own and empty."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            # Not kept as a test's own folder would be: it has gigabytes.
            folder = stack.enter_context(TemporaryDirectory(prefix="kfbot-"))
            yield [f"sqlite:///{folder}/{number}.sqlite3" for number in range(DATABASES)]
        else:
            server = request.getfixturevalue("disk_server")
            yield [stack.enter_context(new_database(server)) for _ in range(DATABASES)]


@asynccontextmanager
async def bot_on(url: str, *, works: bool = True, **options: Any) -> AsyncIterator[Bot]:
    """An application on a database that may be empty; if it works it has done so before."""
    async with Database(url) as database:
        await database.upgrade()
    async with running(url, works=works, **options) as bot:
        if works:
            await throughput(bot, chats(4), 2)
        yield bot


async def test_messages_that_share_commits_go_2_5_times_as_fast_as_with_one_commit_each(
    urls: list[str], results: Results
) -> None:
    kind = urls[0]
    async with Database(kind) as database:
        results.add("Durability", kind, await _durability(database))
    pipelines = (
        ("Accepting alone", accept_rate, {"works": False}),
        ("Accepted and answered, replies fetched", throughput, {"pulls_replies": True}),
        ("Accepted, answered and sent", throughput, {}),
    )
    ratios = []
    for name, measure, options in pipelines:
        async with (
            bot_on(urls.pop(), **options) as grouped,
            bot_on(urls.pop(), group_size=1, **options) as single,
        ):
            rates: tuple[list[float], list[float]] = ([], [])
            for place, bot in _alternating((grouped, single), ROUNDS):
                rates[place].append(await measure(bot, chats(CONVERSATIONS), MESSAGES))
            if measure is throughput and not options:
                grouped.check_answers()
                single.check_answers()
        shared, each = map(statistics.median, rates)
        ratios.append(shared / each)
        results.add(
            f"{name} (≥ 2.5 ×)", kind, f"{shared:,.0f}/s = {shared / each:.1f} × {each:,.0f}/s"
        )
    assert min(ratios) >= 2.5


async def test_every_message_is_answered_in_order_at_half_load(
    urls: list[str], results: Results
) -> None:
    url = urls[0]
    commit, read = await _bare_ms(url, urls[1])
    async with bot_on(url) as bot:
        per_second = await throughput(bot, chats(CONVERSATIONS), MESSAGES)
        alone = await latencies_alone(bot, chats(CONVERSATIONS), 200)
        loaded = await latencies_under(bot, chats(CONVERSATIONS), 1_000, per_second=per_second / 2)
        bot.check_answers()
    results.add("Bare commit + bare read", url, f"{commit:.2f} + {read:.2f} ms")
    for name, spent in (("Idle", alone), ("At half load", loaded)):
        p50, p99 = statistics.median(spent), statistics.quantiles(spent, n=100)[98]
        cell = f"p50 {p50:.1f} ms = {p50 / (commit + read):.1f} × bare, p99 {p99:.1f} ms"
        results.add(f"{name}: accepted → sent", url, cell)


async def test_a_million_stored_turns_slow_nothing_down(urls: list[str], results: Results) -> None:
    rates: tuple[list[float], list[float]] = ([], [])
    waits: tuple[list[float], list[float]] = ([], [])
    async with AsyncExitStack() as stack:
        bots = []
        for url, size in zip(urls, SIZES, strict=False):
            async with Database(url) as database:
                await database.upgrade()
            await fill(url, size)
            bots.append(await stack.enter_async_context(bot_on(url)))
        for place, bot in _alternating(bots, 5):
            rates[place].append(await throughput(bot, chats(LONG), 20))
            spent = await latencies_alone(bot, chats(LONG), 20)
            waits[place].append(statistics.median(spent))
    small, large = (statistics.median(taken) for taken in rates)
    early, late = (statistics.median(taken) for taken in waits)
    names = " → ".join(f"{size:,}" for size in SIZES)
    results.add(
        f"{names} stored turns, sent (≤ 1.3 ×)", urls[0],
        f"{small:,.0f} → {large:,.0f}/s: {small / large:.2f} × the time",
    )  # fmt: skip
    results.add(
        f"{names} stored turns, idle (≤ 1.3 ×)", urls[0],
        f"{early:.1f} → {late:.1f} ms: {late / early:.2f} ×",
    )  # fmt: skip
    assert small / large <= 1.3
    assert late / early <= 1.3


@pytest.mark.parametrize("urls", ["postgresql"], indirect=True)
async def test_several_processes_answer_every_message_once_and_in_order(
    urls: list[str], results: Results
) -> None:
    rates = []
    for url, count in zip(urls, (1, 2, 4), strict=False):
        async with bot_on(url, works=False) as bot, replicas(url, count) as sent_by:
            await throughput(bot, chats(CONVERSATIONS), 1)
            rates.append(await throughput(bot, chats(CONVERSATIONS), MESSAGES))
        bot.check_answers(sorted(chain(*sent_by), key=lambda message: message[2]))
        shares = " + ".join(f"{len(one):,}" for one in sent_by)
        results.add(
            f"{count} process{'es' if count > 1 else ''} behind one feed", url,
            f"{rates[-1]:,.0f}/s = {rates[-1] / rates[0]:.2f} × one; they sent {shares}",
        )  # fmt: skip


async def test_an_idle_bot_uses_at_most_one_percent_of_a_core(
    urls: list[str], results: Results
) -> None:
    seconds = 10.0
    async with bot_on(urls[0]) as bot:
        server = await _server_of(bot.database)
        # The start is over.
        await asyncio.sleep(2)
        own, others = time.process_time(), _cpu_seconds(server)
        began = time.perf_counter()
        await asyncio.sleep(seconds)
        spent = time.perf_counter() - began
        bot_share = (time.process_time() - own) / spent
        server_share = (_cpu_seconds(server) - others) / spent
    cell = f"{bot_share:.2%}" + (f" + server {server_share:.2%}" if server else "")
    results.add("CPU while idle (≤ 1 %)", urls[0], cell)
    assert bot_share + server_share <= 0.01


def _alternating(bots: Sequence[Bot], rounds: int) -> Iterator[tuple[int, Bot]]:
    """Each bot once a round, the first one last in every other round: load comes and goes."""
    for number in range(rounds):
        turn = list(enumerate(bots))
        yield from reversed(turn) if number % 2 else turn


@asynccontextmanager
async def replicas(url: str, count: int) -> AsyncIterator[list[list[tuple[str, str, float]]]]:
    """Processes that work on a database; at the end the list holds what each of them sent."""
    sent: list[list[tuple[str, str, float]]] = []
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.benchmarks.replica", url, cwd=REPOSITORY,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**26,
        )
        for _ in range(count)
    ]  # fmt: skip
    try:
        for child in children:
            assert child.stdout is not None
            assert await child.stdout.readline() == b"ready\n"
        yield sent
        for child in children:
            said, _ = await asyncio.wait_for(child.communicate(b""), 60)
            sent += [[(chat, asked, at) for chat, asked, at in json.loads(said)]]
    finally:
        for child in children:
            if child.returncode is None:
                child.kill()
                await child.wait()


async def _durability(database: Database) -> str:
    """How safe a commit is here: as it ships, or the benchmark would flatter."""

    def shown(connection: sa.Connection) -> str:
        if connection.dialect.name == "sqlite":
            names = {"journal_mode": "wal", "synchronous": "2"}
            found = {
                name: str(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
                for name in names
            }
        else:
            names = {"fsync": "on", "synchronous_commit": "on"}
            found = {
                name: str(connection.exec_driver_sql(f"SHOW {name}").scalar_one()) for name in names
            }
        assert found == names
        return ", ".join(f"{name}={value}" for name, value in found.items())

    return (await database.write(shown)).replace("synchronous=2", "synchronous=FULL")


async def _bare_ms(url: str, empty_url: str) -> tuple[float, float]:
    """Medians of what one insert with its commit, and one read, take a bare driver."""
    if sa.make_url(url).get_backend_name() == "sqlite":
        return await asyncio.to_thread(_bare_sqlite_ms, str(sa.make_url(empty_url).database))
    return await _bare_postgres_ms(empty_url)


def _bare_sqlite_ms(file: str) -> tuple[float, float]:
    commits, reads = [], []
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE bare (id INTEGER PRIMARY KEY, text TEXT)")
        for number in range(300):
            began = time.perf_counter()
            connection.execute("INSERT INTO bare (text) VALUES (?)", ("x" * 500,))
            commits.append((time.perf_counter() - began) * 1000)
            began = time.perf_counter()
            connection.execute("SELECT text FROM bare WHERE id = ?", (number + 1,)).fetchone()
            reads.append((time.perf_counter() - began) * 1000)
    return statistics.median(commits), statistics.median(reads)


async def _bare_postgres_ms(url: str) -> tuple[float, float]:
    import asyncpg

    commits, reads = [], []
    connection = await asyncpg.connect(url.replace("+asyncpg", "", 1))
    try:
        await connection.execute("CREATE TABLE bare (id serial PRIMARY KEY, text text)")
        for number in range(300):
            began = time.perf_counter()
            await connection.execute("INSERT INTO bare (text) VALUES ($1)", "x" * 500)
            commits.append((time.perf_counter() - began) * 1000)
            began = time.perf_counter()
            await connection.fetchrow("SELECT text FROM bare WHERE id = $1", number + 1)
            reads.append((time.perf_counter() - began) * 1000)
    finally:
        await connection.close()
    return statistics.median(commits), statistics.median(reads)


async def _server_of(database: Database) -> psutil.Process | None:
    """The main process of the database's server, where it is one of this machine."""
    if database.is_sqlite:
        return None
    number = await database.read(lambda c: c.execute(sa.func.pg_backend_pid()).scalar_one())
    try:
        return psutil.Process(number).parent()
    except psutil.NoSuchProcess:
        return None


def _cpu_seconds(server: psutil.Process | None) -> float:
    """What all processes of a server have used, ended ones included."""
    if server is None:
        return 0.0
    main = server.cpu_times()
    running = [child.cpu_times() for child in server.children()]
    return sum(times.user + times.system for times in (main, *running)) + (
        main.children_user + main.children_system
    )
