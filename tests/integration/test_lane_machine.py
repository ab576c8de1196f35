"""Whatever happens to lanes, in whatever order: nothing is lost, nothing is sent twice or late."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kfbot.messages import ConversationId, Sender
from tests.integration.lane_model import Bench, Chat, Held, Process, batch_of, outcome_for
from tests.integration.lane_world import LEASE, World

CHATS = (
    ConversationId("shop", "one"),
    ConversationId("shop", "two"),
    # Its channel has a rate.
    ConversationId("slow", "three"),
)
KINDS = ("one", "two", "one", "two", "handoff", "silent")
ANSWERS: Any = ("taken", "taken", "later", "rejected")


class Play:
    """Customers, agents, a platform, the clock and two processes do what the dice say."""

    def __init__(self, bench: Bench) -> None:
        self.world = World(bench)

    def _process(self, dice: Random) -> Process:
        return dice.choice(self.world.processes)

    def _held(
        self, dice: Random, is_wanted: Callable[[Held], object]
    ) -> Iterator[tuple[Process, Held]]:
        """One of the lanes that a process has and that are like this, if there is one."""
        found = [
            (process, held)
            for process in self.world.processes
            for held in process.held.values()
            if is_wanted(held)
        ]
        if found:
            yield dice.choice(found)

    # Customers and agents

    def customer_writes(self, dice: Random) -> None:
        chat, customer = dice.choice(CHATS), Sender("customer")
        events = [self.world.message(chat, customer) for _ in range(dice.randint(1, 4))]
        self.world.accept(self._process(dice), events)

    def platform_repeats_an_event(self, dice: Random) -> None:
        if self.world.accepted:
            self.world.accept_again(self._process(dice), dice.choice(self.world.accepted))

    def agent_acts_in_the_channel(self, dice: Random) -> None:
        chat, name = dice.choice(CHATS), dice.choice(["ann", "bob"])
        change = dice.choice([None, "claimed", "handed_back", "resolved"])
        agent = Sender(name, "agent", name)
        if change is None:
            self.world.accept(self._process(dice), [self.world.message(chat, agent)])
        else:
            self.world.accept(self._process(dice), [self.world.ownership(chat, agent, change)])

    def agent_acts_at_the_desk(self, dice: Random) -> None:
        if self.world.chats:
            self._act(dice, dice.choice(list(self.world.chats.values())))

    def agent_acts_in_the_middle_of_a_turn(self, dice: Random) -> None:
        self._begin_anew(dice)
        for one, held in self._held(dice, lambda held: held.work and held.work.waiting):
            self._act(dice, self.world.chats[held.number])
            self._end_turn(dice, one, held)

    def _begin_anew(self, dice: Random) -> Process:
        """A customer writes, and a process looks at all that it can get."""
        self.customer_writes(dice)
        one = self._process(dice)
        self.world.claim([one], 3)
        for held in one.thinking():
            self.world.look(one, held)
        return one

    def _act(self, dice: Random, chat: Chat) -> None:
        change = dice.choice(["says", "claim", "hand_back", "hand_back", "resolve"])
        self.world.agent_acts(self._process(dice), chat, change, dice.choice(["ann", "bob"]))

    # Processes at work

    def a_process_claims(self, dice: Random) -> None:
        one, limit = self._process(dice), dice.randint(1, 3)
        free = self.world.free_for(one)
        taken = self.world.claim([one], limit)
        assert {lane.conversation_id for lane in taken} == set(free[:limit])

    def both_processes_claim_at_once(self, dice: Random) -> None:
        both = self.world.processes
        free = {number for one in both for number in self.world.free_for(one)}
        taken = [lane.conversation_id for lane in self.world.claim(both, dice.randint(1, 3))]
        assert len(taken) == len(set(taken))
        assert set(taken) <= free

    def a_process_renews_its_leases(self, dice: Random) -> None:
        self.world.renew(self._process(dice))

    def a_process_goes_on(self, dice: Random) -> None:
        """It reads what is to be done, and does the first of it, or only begins to send it."""
        for one, held in self._held(dice, lambda held: held.sending is None):
            if (work := self.world.look(one, held)) is None:
                return
            if work.unsent and held.later is None:
                self.world.send(one, held, work, dice.choice(ANSWERS))
            elif work.waiting:
                batch = batch_of(work.waiting, dice.randint(1, 3))
                outcome = outcome_for(work.conversation, batch, dice.choice(KINDS))
                self.world.commit(one, held, batch, outcome)
            else:
                self.world.release(one, held, held.later)

    def a_process_begins_a_turn(self, dice: Random) -> None:
        for one, held in self._held(dice, lambda held: held.sending is None):
            self.world.look(one, held)

    def a_turn_ends(self, dice: Random) -> None:
        """Much may have happened since it began."""
        for one, held in self._held(dice, lambda held: held.work and held.work.waiting):
            self._end_turn(dice, one, held)

    def _end_turn(self, dice: Random, one: Process, held: Held) -> None:
        if held.work is None or not held.work.waiting:
            return
        batch = batch_of(held.work.waiting, dice.randint(1, 3))
        if (kind := dice.choice([*KINDS, "fails", "is given up"])) in KINDS:
            outcome = outcome_for(held.work.conversation, batch, kind)
            self.world.commit(one, held, batch, outcome)
        else:
            self.world.fail(one, held, batch[0].inbox_id, given_up=kind == "is given up")

    def the_platform_answers(self, dice: Random) -> None:
        for one, held in self._held(dice, lambda held: held.sending is not None):
            self.world.hear(one, held)

    def a_lane_is_given_back(self, dice: Random) -> None:
        for one, held in self._held(dice, lambda held: held.sending is None):
            pause = dice.choice([None, 0, 2, 300])
            ready_at = None if pause is None else self.world.clock() + timedelta(seconds=pause)
            self.world.release(one, held, ready_at)

    # Time goes on, and processes die

    def time_passes(self, dice: Random) -> None:
        self.world.clock.advance(seconds=dice.choice([0.001, 1, 9, 23, 31, 700]))

    def a_process_dies(self, dice: Random) -> None:
        self.world.die(self._process(dice))

    def everything_dies_and_starts_again(self, dice: Random) -> None:
        if self.world.bench.is_sqlite:
            self.world.free_all()

    def a_process_loses_track_of_a_lane(self, dice: Random) -> None:
        """The database was gone when it was to be given back: it claims it once more."""
        for one, held in self._held(dice, lambda held: held.sending is None):
            del one.held[held.number]

    def a_process_frees_what_others_left(self, dice: Random) -> None:
        self.world.free_lost(self._process(dice))

    def a_process_replaces_one_that_stalls(self, dice: Random) -> None:
        """In the middle of a turn or of sending, with which it will go on some time."""
        stalled = self._begin_anew(dice)
        if dice.choice([True, True, False]):
            for held in stalled.thinking():
                self._end_turn(dice, stalled, held)
            for held in stalled.thinking():
                self._begin_to_send(dice, stalled, held)
        self.world.clock.advance(seconds=LEASE.total_seconds() + 1)
        [other] = [one for one in self.world.processes if one is not stalled]
        self.world.renew(other)
        self.world.free_lost(other)
        self.world.claim([other], 3)
        for held in other.thinking():
            self.world.finish(other, held)

    def _begin_to_send(self, dice: Random, one: Process, held: Held) -> None:
        work = self.world.look(one, held)
        if work is not None and work.unsent and held.later is None:
            self.world.send(one, held, work, dice.choice(ANSWERS))

    def end(self) -> None:
        """Whatever happened: who comes last gets everything done."""
        world, last = self.world, self.world.processes[0]
        for process in world.processes:
            world.die(process)
        for _ in range(100):
            world.clock.advance(seconds=700)
            world.free_lost(last)
            while world.claim([last], 3):
                for held in last.thinking():
                    world.finish(last, held)
            if world.bench.run(last.messages.next_ready_at(last.owner)) is None:
                break
        rows = world.check()
        assert rows.with_work() == set()
        assert {row.state for row in rows.inbox} <= {"done", "dead"}
        for row in rows.outbox:
            assert row.state in ("sent", "cancelled", "dead")
            assert row.state != "sent" or world.taken[row.id]


#: What may happen, and how often it does.
STEPS = {
    Play.customer_writes: 4,
    Play.platform_repeats_an_event: 1,
    Play.agent_acts_in_the_channel: 1,
    Play.agent_acts_at_the_desk: 1,
    Play.agent_acts_in_the_middle_of_a_turn: 2,
    Play.a_process_claims: 2,
    Play.both_processes_claim_at_once: 1,
    Play.a_process_renews_its_leases: 1,
    Play.a_process_goes_on: 8,
    Play.a_process_begins_a_turn: 2,
    Play.a_turn_ends: 2,
    Play.the_platform_answers: 3,
    Play.a_lane_is_given_back: 1,
    Play.time_passes: 2,
    Play.a_process_dies: 1,
    Play.everything_dies_and_starts_again: 1,
    Play.a_process_loses_track_of_a_lane: 1,
    Play.a_process_frees_what_others_left: 1,
    Play.a_process_replaces_one_that_stalls: 3,
}


NAMES = st.sampled_from([step.__name__ for step, times in STEPS.items() for _ in range(times)])


@contextmanager
def bench_on(url: str) -> Iterator[Bench]:
    bench = Bench(url)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("lanes", "messages"):
            # Leases grow old by the clock of the test.
            name = f"kfbot.store.{module}.elapsed_seconds"
            patch.setattr(name, lambda: bench.clock.now.timestamp())
        # The platform answers when a step says so.
        patch.setattr("kfbot.outbox.SEND_TIMEOUT_SECONDS", None)
        try:
            yield bench
        finally:
            bench.close()


def play(url: str, examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.tuples(NAMES, st.integers(0, 2**32)), min_size=30, max_size=60))
    def plays(script: list[tuple[str, int]]) -> None:
        scene = Play(bench)
        for name, number in script:
            getattr(scene, name)(Random(number))
            scene.world.check()
        scene.end()

    with bench_on(url) as bench:
        plays()


def test_on_sqlite_nothing_is_lost_and_nothing_is_sent_twice_or_late(
    template_database: Path,
) -> None:
    # Thousands of commits wait for a disk four times as long as for everything else.
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        file = Path(folder, "kfbot.sqlite3")
        shutil.copy(template_database, file)
        play(f"sqlite:///{file}", 60)


def test_on_postgresql_nothing_is_lost_and_nothing_is_sent_twice_or_late(
    postgres_url: str,
) -> None:
    play(postgres_url, 12)
