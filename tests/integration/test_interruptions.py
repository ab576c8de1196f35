"""The bot under load when it is stopped, frozen or locked out, and when its platform says later."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.checker import Fault, came_early
from tests.faults.driver import Habits
from tests.faults.faq import ENTRIES, STANDSTILL
from tests.faults.scene import Held, Plan, Scene, Store, played
from tests.faults.servers import Server
from tests.faults.stand_in import BROKEN, BUSY, SILENT
from tests.faults.table import Row
from tests.faults.waiting import until

pytest_plugins = ("tests.faults.fixtures",)
pytestmark = pytest.mark.slow

LEASE_SECONDS = 2.0
#: Much longer than any takeover.
TAKEOVER_SECONDS = 30.0
FREEZES = 3
FROZEN = {
    "in-commit": "SIGSTOP in an open transaction",
    "begun": "SIGSTOP between commit and send",
}
STOPS = 4
TROUBLES = 20
MESSAGES = 300


@pytest.mark.asyncio
async def test_events_delivered_again_under_load_are_answered_once_and_in_order(
    store: Store, tmp_path: Path, fault_table: list[Row]
) -> None:
    habits = Habits(pause_seconds=0.02, again=0.2, at_once=0.2)
    async with played(tmp_path, Plan(store, holding={}, busy=8, habits=habits)) as scene:
        got = scene.platform.got
        flows = await until(lambda: len(got) >= MESSAGES, 120)
        scene.expect(flows, "the bot is far too slow")
        verdict = await scene.finish()
        again = scene.customers.redeliveries
        fault_table.append(Row("event delivered again", store.name, again, verdict))
        scene.expect(verdict.faultless, "something went wrong")
        scene.expect(not verdict.repeated, "a message came twice")
        servers = {server.name for server in scene.servers}
        scene.expect({one.via for one in got} == servers, "one of the replicas did nothing")


@pytest.mark.asyncio
async def test_a_process_told_to_stop_under_load_ends_in_time_and_leaves_nothing_undone(
    store: Store, tmp_path: Path, fault_table: list[Row]
) -> None:
    stops: list[Fault] = []
    async with played(tmp_path, Plan(store, holding={"think-seconds": 0.1})) as scene:
        for number in range(STOPS):
            server = scene.servers[number % len(scene.servers)]
            await busy_again(scene)
            start = time.monotonic()
            # This fails if it takes longer than ten seconds.
            assert await server.stop() == 0, scene.story()
            stops.append(Fault(start, time.monotonic()))
            await server.start()
        verdict = await scene.finish()
        recoveries = scene.recoveries(stops)
        fault_table.append(Row("SIGTERM", store.name, STOPS, verdict, recoveries))
        scene.expect(verdict.faultless, "something went wrong")
        scene.expect(not verdict.repeated, "a message came twice, and nothing had been cut off")


async def busy_again(scene: Scene) -> None:
    """Wait until messages come again."""
    due = len(scene.platform.got) + 10
    flows = await until(lambda: len(scene.platform.got) >= due, TAKEOVER_SECONDS)
    scene.expect(flows, "the bot does not answer any more")


@pytest.mark.asyncio
async def test_a_replica_frozen_past_its_lease_does_not_speak_for_what_others_took_over(
    replicas: Store, tmp_path: Path, fault_table: list[Row]
) -> None:
    holding = {"lease-seconds": LEASE_SECONDS, "think-seconds": 0.2}
    habits = Habits(timeout_seconds=1.0)
    async with played(tmp_path, Plan(replicas, holding=holding, habits=habits)) as scene:
        for number in range(FREEZES):
            await busy_again(scene)
            await freeze(scene, scene.servers[number % 2])
        verdict = await scene.finish()
        fault_table.append(
            Row("SIGSTOP past the lease", replicas.name, FREEZES, verdict, scene.recoveries())
        )
        scene.expect(verdict.faultless, "something went wrong")
        # Between the last look at the lease and the request, a message can still slip out.
        scene.expect(len(verdict.unexplained) <= FREEZES, "a message came twice for no reason")


async def freeze(scene: Scene, server: Server) -> None:
    """Stop a process until another one has done all that was under way, then let it go on."""
    start = time.monotonic()
    server.signal(signal.SIGSTOP)
    questions, got = scene.customers.questions, scene.platform.got

    def taken_over() -> bool:
        replied = {(one.chat, one.text) for one in got if one.end != "refused"}
        under_way = (one for one in questions if one.asked_at <= start)
        past = time.monotonic() - start > 2 * LEASE_SECONDS
        return past and all((one.chat, one.reply) in replied for one in under_way)

    done = await until(taken_over, TAKEOVER_SECONDS)
    server.signal(signal.SIGCONT)
    scene.faults.append(Fault(start, time.monotonic() + 1.0))
    scene.expect(done, f"{server.name} was frozen, and nobody took over")
    await server.ready()


@pytest.mark.parametrize("place", FROZEN)
@pytest.mark.asyncio
async def test_what_a_frozen_replica_was_about_to_do_another_one_does_alone(
    replicas: Store, place: str, tmp_path: Path, fault_table: list[Row]
) -> None:
    holding = {"point": place, "lease-seconds": LEASE_SECONDS}
    plan = Plan(replicas, holding=holding, habits=Habits(timeout_seconds=1.0), busy=2)
    async with played(tmp_path, plan) as scene:
        for _ in range(FREEZES):
            await freeze_where_it_stands(scene)
        # The end of a server shows that it has nothing more to say.
        verdict = await scene.finish()
        row = Row(FROZEN[place], replicas.name, FREEZES, verdict, scene.recoveries())
        fault_table.append(row)
        scene.expect(verdict.faultless, "something went wrong")
        again = [line for line in verdict.repeated if line.endswith(ENTRIES[STANDSTILL])]
        scene.expect(not again, f"{len(again)} of {FREEZES} messages were sent by both replicas")


async def freeze_where_it_stands(scene: Scene) -> None:
    """Stop the process that holds a message until another one has sent it."""
    held = await scene.hold()
    start = time.monotonic()
    held.server.signal(signal.SIGSTOP)
    scene.standstill.let_go()
    sent = await sent_by_another(scene, held)
    held.server.signal(signal.SIGCONT)
    scene.faults.append(Fault(start, time.monotonic() + 1.0))
    scene.expect(sent, f"{held.server.name} was frozen, and nobody took over")
    await held.server.ready()
    await scene.replied(held, TAKEOVER_SECONDS)


async def sent_by_another(scene: Scene, held: Held) -> bool:
    """Wait until the marked message was sent, although its first sender is frozen."""
    marked = (held.chat, ENTRIES[STANDSTILL])
    got = scene.platform.got
    return await until(lambda: marked in {(one.chat, one.text) for one in got}, TAKEOVER_SECONDS)


@pytest.mark.asyncio
async def test_a_platform_that_is_busy_broken_or_silent_gets_each_message_in_order(
    store: Store, tmp_path: Path, fault_table: list[Row]
) -> None:
    troubles = (BUSY, BROKEN, SILENT)
    plan = Plan(store, holding={}, busy=10, troubles=troubles, share=0.15, send_seconds=0.5)
    async with played(tmp_path, plan) as scene:
        got = scene.platform.got
        enough = await until(lambda: sum(one.end != "taken" for one in got) >= TROUBLES, 60)
        scene.expect(enough, "the platform was hardly asked")
        verdict = await scene.finish()
        made = sum(one.end != "taken" for one in got)
        fault_table.append(Row("platform: 429, 500 or silence", store.name, made, verdict))
        scene.expect(verdict.faultless, "something went wrong")
        scene.expect(not verdict.unexplained, "a message came twice for no reason")
        early = came_early(got)
        scene.expect(not early, f"came again before the time that was asked for: {early}")


@pytest.mark.asyncio
async def test_a_second_server_in_the_same_data_folder_is_refused_in_one_line(
    tmp_path: Path,
) -> None:
    async with played(tmp_path, Plan(Store("sqlite"), holding={}, busy=1)) as scene:
        status, said = await asyncio.to_thread(serve, tmp_path / "a" / "kfbot.toml")
        assert status == 1
        assert said == (
            f"kfbot: another kfbot is working in {tmp_path / 'a' / 'var'}:"
            " stop it, or set another data_dir\n"
        )
        verdict = await scene.finish()
        scene.expect(verdict.faultless, "the first server suffered from the second")


def test_a_database_file_locked_by_another_process_is_named_in_one_line(tmp_path: Path) -> None:
    settings = tmp_path / "kfbot.toml"
    settings.write_text('data_dir = "var"\n[web]\nport = 0\n', encoding="utf-8")
    (tmp_path / "var").mkdir()
    with closing(sqlite3.connect(tmp_path / "var" / "kfbot.sqlite3")) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("BEGIN EXCLUSIVE")
        status, said = serve(settings)
    assert (status, said) == (1, "kfbot: database: database is locked\n")


def serve(settings: Path) -> tuple[int, str]:
    """Run the real command, which has to end by itself; its exit status and what it prints."""
    result = subprocess.run(
        [sys.executable, "-m", "kfbot", "serve", "--settings", str(settings)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return result.returncode, result.stdout + result.stderr
