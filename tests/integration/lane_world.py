"""Two processes at work on one database; after every step the model says what must be there."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from kfbot.adapter import Capabilities
from kfbot.conversation import Conversation
from kfbot.errors import ConversationChanged
from kfbot.messages import ConversationId, InboundEvent, MessageReceived, OwnershipChanged, Sender
from kfbot.outbox import Delivered, Outbox
from kfbot.store.acceptance import Accepted
from kfbot.store.engine import Database
from kfbot.store.lanes import Lane
from kfbot.store.messages import MessageStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.work import PAGE, StoredEvent, Work
from kfbot.turn import Outcome
from tests.integration.lane_model import (
    Answer,
    Bench,
    Chat,
    Held,
    Platform,
    Process,
    Rows,
    batch_of,
    outcome_for,
)

LEASE = timedelta(seconds=30)


class World:
    """Every step is done in the database and in the model, and what it returns is compared."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.clock = bench, bench.clock
        bench.start_again()
        self.platforms = {"shop": Platform("shop"), "slow": Platform("slow", rate_per_second=0.5)}
        self.processes = [
            self._process(number, database) for number, database in enumerate(bench.databases)
        ]
        self.chats: dict[int, Chat] = {}
        self.accepted: list[InboundEvent] = []
        #: Epochs of the lane under which the platform took an outbox row.
        self.taken: dict[int, list[int]] = {}
        self._epochs: Counter[tuple[str, int]] = Counter()
        self._numbers = 0

    def _process(self, number: int, database: Database) -> Process:
        messages = MessageStore(database, self.clock)
        outcomes = OutcomeStore(database, self.clock)
        return Process(number, messages, outcomes, Outbox(messages, self.platforms, self.clock))

    # Somebody writes

    def message(self, chat: ConversationId, sender: Sender) -> MessageReceived:
        self._numbers += 1
        return MessageReceived(
            event_id=f"event-{self._numbers}", conversation=chat,
            message_id=f"message-{self._numbers}", sender=sender, sent_at=self.clock(),
            text=f"text {self._numbers}",
        )  # fmt: skip

    def ownership(self, chat: ConversationId, sender: Sender, change: Any) -> OwnershipChanged:
        self._numbers += 1
        return OwnershipChanged(
            event_id=f"event-{self._numbers}", conversation=chat, change=change, agent=sender,
            sent_at=self.clock(),
        )  # fmt: skip

    def accept(self, process: Process, events: Sequence[InboundEvent]) -> None:
        """New events, all at once."""
        store = process.messages

        async def burst() -> Sequence[Accepted]:
            return await asyncio.gather(*(store.accept(event) for event in events))

        results = self.bench.run(burst())
        assert [one.inbox_id for one in results] == sorted({one.inbox_id for one in results})
        for event, one in zip(events, results, strict=True):
            assert not one.repeated
            empty = Conversation(id=one.conversation_id, address=event.conversation)
            chat = self.chats.setdefault(one.conversation_id, Chat(empty))
            assert chat.conversation.address == event.conversation
            chat.accept(one.inbox_id, event)
            self.accepted.append(event)

    def accept_again(self, process: Process, event: InboundEvent) -> None:
        result = self.bench.run(process.messages.accept(event))
        assert result.repeated
        assert self.chats[result.conversation_id].events[result.inbox_id].event is event

    def agent_acts(self, process: Process, chat: Chat, change: Any, agent: str) -> None:
        """At the desk; what an agent says is a claim too."""
        outcomes, number = process.outcomes, chat.conversation.id
        may = chat.change("claim" if change == "says" else change, agent)
        if change == "says":
            step: Any = outcomes.agent_says(number, agent, "Hello.", pushed=True)
        else:
            notice = "" if change == "claim" else "Bye."
            step = outcomes.change_owner(number, change, agent=agent, notice=notice, pushed=True)
        if may:
            self.bench.run(step)
        else:
            with pytest.raises(ConversationChanged):
                self.bench.run(step)

    # Lanes are taken, kept and given back

    def free_for(self, process: Process) -> list[int]:
        """The lanes that are ready and nobody's, the oldest first."""
        rows = [
            row
            for row in self.bench.rows().lane
            if row.ready_at is not None
            and row.ready_at <= self.clock.now
            and row.owner in (None, process.owner)
            and row.conversation_id not in process.held
        ]
        return [row.conversation_id for row in sorted(rows, key=lambda row: row.ready_at)]

    def claim(self, processes: Sequence[Process], limit: int) -> list[Lane]:
        """Let processes claim at the same time."""

        async def one(process: Process) -> tuple[Lane, ...]:
            return await process.messages.claim(
                process.owner,
                limit=limit,
                lease_seconds=LEASE.total_seconds(),
                running=list(process.held),
            )

        async def all_at_once() -> Sequence[tuple[Lane, ...]]:
            return await asyncio.gather(*(one(process) for process in processes))

        taken = self.bench.run(all_at_once())
        until = {row.conversation_id: row.lease_until for row in self.bench.rows().lane}
        for process, lanes in zip(processes, taken, strict=True):
            for lane in lanes:
                chat = self.chats[lane.conversation_id]
                chat.owner, chat.epoch = process.owner, chat.epoch + 1
                chat.lease_until = until[lane.conversation_id]
                assert (lane.owner, lane.epoch) == (chat.owner, chat.epoch)
                assert timedelta() <= LEASE - (chat.lease_until - self.clock.now) < LEASE / 30
                process.held[lane.conversation_id] = Held(lane)
        return [lane for lanes in taken for lane in lanes]

    def renew(self, process: Process) -> None:
        lanes = [held.lane for held in process.held.values()]
        seconds = LEASE.total_seconds()
        self.bench.run(process.messages.renew(process.owner, lanes, lease_seconds=seconds))
        for lane in lanes:
            if (chat := self.chats[lane.conversation_id]).is_held(lane):
                chat.lease_until = self.clock.now + LEASE
                assert lane.is_fresh()

    def release(self, process: Process, held: Held, ready_at: Any) -> None:
        """Without a time only where nothing is left to do."""
        chat, has_work = self.chats[held.number], held.number in self.bench.rows().with_work()
        released = self.bench.run(process.messages.release(held.lane, ready_at=ready_at))
        ours = chat.is_held(held.lane)
        assert released == (ready_at is not None or (ours and not has_work))
        if released:
            chat.owner = None if ours else chat.owner
            del process.held[held.number]

    def die(self, process: Process) -> None:
        """Without a word: nothing is given back, nothing is noted."""
        sending = [held.sending for held in process.held.values() if held.sending is not None]

        async def end() -> None:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)

        self.bench.run(end())
        process.held.clear()
        process.lives += 1

    def free_lost(self, process: Process) -> None:
        now = self.clock.now
        lost = [
            chat
            for chat in self.chats.values()
            if chat.owner not in (None, process.owner)
            and chat.lease_until is not None
            and chat.lease_until < now
        ]
        assert self.bench.run(process.messages.free_lost(process.owner)) == len(lost)
        for chat in lost:
            chat.free()

    def free_all(self) -> None:
        for process in self.processes:
            self.die(process)
        lost = [chat for chat in self.chats.values() if chat.owner is not None]
        assert self.bench.run(self.processes[0].messages.free_all()) == len(lost)
        for chat in lost:
            chat.free()

    # Turns

    def look(self, process: Process, held: Held) -> Work | None:
        """Read what is to be done; None where the lane was lost: so a process learns of it."""
        chat = self.chats[held.number]
        try:
            held.work = self.bench.run(process.messages.work(held.lane))
        except ConversationChanged:
            assert not chat.is_held(held.lane)
            del process.held[held.number]
            return None
        assert chat.is_held(held.lane)
        assert held.work.conversation == chat.conversation
        waiting = [stored.event for stored in held.work.waiting or ()]
        assert waiting == [one.event for one in chat.waiting()[:PAGE]]
        return held.work

    def commit(
        self, process: Process, held: Held, batch: Sequence[StoredEvent], outcome: Outcome
    ) -> None:
        chat, held.work = self.chats[held.number], None
        commit = process.outcomes.commit(held.lane, batch, outcome, Capabilities())
        before = self.bench.rows()
        if not chat.is_held(held.lane):
            with pytest.raises(ConversationChanged):
                self.bench.run(commit)
            assert self.bench.rows() == before
            del process.held[held.number]
            return
        self.bench.run(commit)
        said = len(self.bench.rows().outbox) - len(before.outbox)
        assert said == (len(outcome.replies) if chat.finish(batch, outcome) else 0)

    def fail(self, process: Process, held: Held, inbox_id: int, *, given_up: bool) -> None:
        event = self.chats[held.number].events[inbox_id]
        event.attempts += 1
        assert self.bench.run(process.messages.failed(inbox_id, "broken")) == event.attempts
        if given_up:
            self.bench.run(process.outcomes.give_up([inbox_id]))
            # What another process did meanwhile stays done.
            event.state = "dead" if event.state == "new" else event.state

    # Messages are sent

    def send(self, process: Process, held: Held, work: Work, answer: Answer) -> None:
        """Hand the first message to its platform, unless it must not go, or not yet."""
        platform = self.platforms[work.conversation.address.channel]
        platform.answer, first, asked = answer, work.unsent[0], len(platform.asked)
        was_fresh, held.work, held.later = held.lane.is_fresh(), None, None

        async def begin() -> asyncio.Task[Delivered]:
            platform.reached.clear()
            deliver = process.outbox.deliver(held.lane, work.conversation, first)
            sending = asyncio.create_task(deliver)
            reached = asyncio.create_task(platform.reached.wait())
            await asyncio.wait({sending, reached}, return_when=asyncio.FIRST_COMPLETED)
            reached.cancel()
            return sending

        held.sending = self.bench.run(begin())
        if platform.waits(held.sending):
            assert was_fresh
            assert platform.asked[asked:] == [first.message.id]
            self._check_sent(held, first.outbox_id, taken=answer == "taken")
        else:
            assert platform.asked[asked:] == []
            self._sent(process, held)

    def _check_sent(self, held: Held, row_id: int, *, taken: bool) -> None:
        """Might this row go out, and now?"""
        rows = {row.id: row for row in self.bench.rows().outbox}
        here = [row for row in rows.values() if row.conversation_id == held.number]
        assert next(row.id for row in here if row.state == "new") == row_id
        epoch = rows[row_id].ownership_epoch
        assert epoch in (None, self.chats[held.number].conversation.ownership_epoch)
        assert rows[row_id].retry_at is None or rows[row_id].retry_at <= self.clock.now
        assert not [row.id for row in here if row.id > row_id and row.id in self.taken]
        # Again only by whoever took the lane over from a process that could not note it.
        assert all(epoch < held.lane.epoch for epoch in self.taken.get(row_id, []))
        if taken:
            self.taken.setdefault(row_id, []).append(held.lane.epoch)

    def hear(self, process: Process, held: Held) -> None:
        """The platform's answer comes in."""
        assert held.sending is not None
        self.platforms[self.chats[held.number].conversation.address.channel].tell(held.sending)
        self._sent(process, held)

    def _sent(self, process: Process, held: Held) -> None:
        chat, sending = self.chats[held.number], held.sending
        assert sending is not None
        held.sending = None

        async def end() -> BaseException | Delivered:
            [result] = await asyncio.gather(sending, return_exceptions=True)
            return result

        delivered = self.bench.run(end())
        if isinstance(delivered, BaseException):
            # Its lease is too old: it lets go of the lane without a word.
            assert isinstance(delivered, ConversationChanged)
            assert not held.lane.is_fresh()
            del process.held[held.number]
            return
        held.later = delivered.wait_until
        if delivered.released:
            assert chat.is_held(held.lane)
            chat.owner = None
            del process.held[held.number]

    def finish(self, process: Process, held: Held) -> None:
        """Do all there is to do in a lane, as far as it is due."""
        while held.number in process.held and (work := self.look(process, held)) is not None:
            if work.unsent and held.later is None:
                self.send(process, held, work, "taken")
                if held.sending is not None:
                    self.hear(process, held)
            elif work.waiting:
                batch = batch_of(work.waiting, 3)
                self.commit(process, held, batch, outcome_for(work.conversation, batch, "one"))
            else:
                self.release(process, held, held.later)

    # What must hold

    def check(self) -> Rows:
        rows = self.bench.rows()
        assert {row.id: (row.state, row.attempts, row.crashes) for row in rows.inbox} == {
            number: (event.state, event.attempts, event.crashes)
            for chat in self.chats.values()
            for number, event in chat.events.items()
        }
        for row in rows.lane:
            self._check_lane(row)
        watched = {row.conversation_id for row in rows.lane if row.ready_at is not None}
        assert rows.with_work() <= watched, "nobody will ever look at these lanes"
        for row in rows.conversation:
            assert row.ownership_epoch == self.chats[row.id].conversation.ownership_epoch
            self._rises("conversation", row.id, row.ownership_epoch)
        self._check_holders()
        return rows

    def _check_lane(self, row: sa.Row[Any]) -> None:
        chat = self.chats[row.conversation_id]
        assert (row.owner, row.epoch) == (chat.owner, chat.epoch)
        if row.owner is not None:
            assert row.lease_until == chat.lease_until
        assert row.owner is None or row.ready_at is not None
        self._rises("lane", row.conversation_id, row.epoch)

    def _rises(self, kind: str, number: int, epoch: int) -> None:
        assert epoch >= self._epochs[kind, number]
        self._epochs[kind, number] = epoch

    def _check_holders(self) -> None:
        """Two processes that both would send: the customer would get it twice, or mixed up."""
        fresh = Counter(
            number
            for process in self.processes
            for number, held in process.held.items()
            if held.lane.is_fresh()
        )
        assert all(count == 1 for count in fresh.values())
