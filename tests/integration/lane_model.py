"""What a lane's world is made of: processes, a platform, and what ought to be in the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, TypeVar

import sqlalchemy as sa

from kfbot.adapter import AdapterSettings, ChannelAdapter
from kfbot.conversation import Conversation, Turn, bot_may_speak, claim, hand_back, resolve
from kfbot.errors import ChannelError, ChannelUnavailable, ConversationChanged, MessageRejected
from kfbot.messages import (
    DeliveryReceipt,
    InboundEvent,
    MessageReceived,
    OutboundMessage,
    OwnershipChanged,
)
from kfbot.outbox import Delivered, Outbox
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.lanes import Lane
from kfbot.store.messages import MessageStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.work import StoredEvent, Work
from kfbot.turn import Outcome, Reply, outcome_of
from tests.conftest import Clock

Result = TypeVar("Result")
Answer = Literal["taken", "later", "rejected"]
Change = Callable[[Conversation], Conversation]

#: What an agent can do, as the rules have it.
CHANGES: dict[str, Callable[[str], Change]] = {
    "claim": lambda agent: lambda conversation: claim(conversation, agent),
    "hand_back": lambda agent: hand_back,
    "resolve": lambda agent: resolve,
}
_OWNED = {"claimed": "claim", "handed_back": "hand_back", "resolved": "resolve"}
#: Children before their parents.
_FILLED = (
    tables.conversation_event, tables.outbox, tables.inbox, tables.lane, tables.button,
    tables.message, tables.turn,
    tables.proposal, tables.case, tables.conversation_alias, tables.conversation, tables.customer,
    tables.channel,
)  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """The database at one moment."""

    inbox: list[sa.Row[Any]]
    outbox: list[sa.Row[Any]]
    lane: list[sa.Row[Any]]
    conversation: list[sa.Row[Any]]
    turn: list[sa.Row[Any]]

    def with_work(self) -> set[int]:
        """Conversations in which something is still to be done."""
        return {row.conversation_id for row in (*self.inbox, *self.outbox) if row.state == "new"}


_QUERIES = {
    name: sa.select(table).order_by(*table.primary_key)
    for name, table in tables.metadata.tables.items()
    if name in Rows.__dataclass_fields__
}


class Bench:
    """One database, seen by two processes."""

    def __init__(self, url: str) -> None:
        self.clock = Clock()
        self.is_sqlite = url.startswith("sqlite")
        first = Database(url)
        #: SQLite has one process only: both owners are in it.
        self.databases = (first, first if self.is_sqlite else Database(url))
        self._runner = asyncio.Runner()
        self._rows: Rows | None = None
        for database in dict.fromkeys(self.databases):
            self.run(database.__aenter__())

    def close(self) -> None:
        for database in dict.fromkeys(self.databases):
            self.run(database.__aexit__(None, None, None))
        self._runner.close()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        self._rows = None
        return self._runner.run(coroutine)

    def start_again(self) -> None:
        """An empty database, at the time of all tests."""

        def empty(connection: sa.Connection) -> None:
            for table in _FILLED:
                connection.execute(table.delete())

        self.clock.now = Clock().now
        self.run(self.databases[0].write(empty))

    def rows(self) -> Rows:
        """All of them, read again only after something was done."""
        if self._rows is None:
            self._rows = self.run(self.databases[0].read(_read_rows))
        return self._rows


def _read_rows(connection: sa.Connection) -> Rows:
    return Rows(**{name: list(connection.execute(query)) for name, query in _QUERIES.items()})


class Platform(ChannelAdapter):
    """Decides at once whether it takes a message; whoever sends learns it later, or never."""

    def __init__(self, channel: str, rate_per_second: float | None = None) -> None:
        super().__init__(channel, AdapterSettings(platform="fake", rate_per_second=rate_per_second))
        self.answer: Answer = "taken"
        #: Ids of messages, as they came in.
        self.asked: list[str] = []
        self.reached = asyncio.Event()
        self._gates: dict[asyncio.Task[Any], asyncio.Event] = {}

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        answer, task = self.answer, asyncio.current_task()
        assert task is not None
        self.asked.append(message.id)
        gate = self._gates[task] = asyncio.Event()
        self.reached.set()
        await gate.wait()
        errors: dict[str, ChannelError] = {
            "later": ChannelUnavailable(self.channel, "busy", retry_after_seconds=20),
            "rejected": MessageRejected(self.channel, "no"),
        }
        if answer in errors:
            raise errors[answer]
        return DeliveryReceipt((f"platform-{len(self.asked)}",))

    def waits(self, task: asyncio.Task[Any]) -> bool:
        """True where this task is not told yet."""
        return task in self._gates

    def tell(self, task: asyncio.Task[Any]) -> None:
        """Let it know."""
        self._gates.pop(task).set()


@dataclass(eq=False)
class Held:
    """A lane that a process believes to be its own."""

    lane: Lane
    #: As it was read some time ago.
    work: Work | None = None
    sending: asyncio.Task[Delivered] | None = None
    #: What is to be sent next is not due before.
    later: datetime | None = None

    @property
    def number(self) -> int:
        return self.lane.conversation_id


@dataclass(eq=False)
class Process:
    """One of two replicas; after its death the next one has another name."""

    number: int
    messages: MessageStore
    outcomes: OutcomeStore
    outbox: Outbox
    lives: int = 0
    held: dict[int, Held] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        return f"owner-{self.number}-{self.lives}"

    def thinking(self) -> list[Held]:
        """The lanes that do not wait for the platform."""
        return [held for held in self.held.values() if held.sending is None]


@dataclass(eq=False)
class Event:
    """What ought to be in an inbox row."""

    event: InboundEvent
    state: str = "new"
    attempts: int = 0
    crashes: int = 0


@dataclass(eq=False)
class Chat:
    """What ought to be in the rows of a conversation and its lane."""

    conversation: Conversation
    events: dict[int, Event] = field(default_factory=dict)
    owner: str | None = None
    epoch: int = 0
    lease_until: datetime | None = None

    def waiting(self) -> list[Event]:
        return [event for event in self.events.values() if event.state == "new"]

    def is_held(self, lane: Lane) -> bool:
        return (self.owner, self.epoch) == (lane.owner, lane.epoch)

    def free(self) -> None:
        """Its owner is gone; what it worked on first is to blame."""
        self.owner = None
        for event in self.waiting()[:1]:
            event.crashes += 1

    def accept(self, inbox_id: int, event: InboundEvent) -> None:
        """An agent's claim takes effect at once, unless another change still waits before it."""
        behind = any(isinstance(one.event, OwnershipChanged) for one in self.waiting())
        self.events[inbox_id] = Event(event)
        if (agent := claiming(event)) is not None and not behind:
            self.change("claim", agent)
            self.events[inbox_id].state = "done"

    def change(self, change: str, agent: str) -> bool:
        """Change the owner; False where another was first."""
        try:
            self.conversation = CHANGES[change](agent)(self.conversation)
        except ConversationChanged:
            return False
        return True

    def finish(self, batch: Sequence[StoredEvent], outcome: Outcome) -> bool:
        """Commit an outcome; False where the conversation changed hands meanwhile."""
        for stored in batch:
            self.events[stored.inbox_id].state = "done"
        if outcome.before.ownership_epoch != self.conversation.ownership_epoch:
            return False
        if outcome.owner_change is not None:
            self.change(*outcome.owner_change)
        else:
            self.conversation = outcome.after
        return True


def claiming(event: InboundEvent) -> str | None:
    """The agent who takes the conversation by this event."""
    if isinstance(event, MessageReceived) and event.sender.role == "agent":
        return event.sender.display_name
    if isinstance(event, OwnershipChanged) and event.change == "claimed":
        return event.agent.display_name
    return None


def batch_of(waiting: Sequence[StoredEvent], count: int) -> list[StoredEvent]:
    """The next messages of the customer, at most `count`; or what an agent did, alone."""
    batch: list[StoredEvent] = []
    for stored in waiting[:count]:
        if claiming(stored.event) is not None or isinstance(stored.event, OwnershipChanged):
            return batch or [stored]
        batch.append(stored)
    return batch


def outcome_for(conversation: Conversation, batch: Sequence[StoredEvent], kind: str) -> Outcome:
    """What a turn about these events leads to: `one` or `two` messages, `handoff`, `silent`."""
    event = batch[0].event
    nothing = Outcome(before=conversation, after=conversation)
    if isinstance(event, OwnershipChanged):
        change: Any = _OWNED[event.change]
        return replace(nothing, owner_change=(change, event.agent.display_name))
    if (agent := claiming(event)) is not None:
        return replace(nothing, owner_change=("claim", agent))
    if not bot_may_speak(conversation) or kind == "silent":
        return nothing
    decision: Any = "handoff" if kind == "handoff" else "answer"
    turn = Turn(question="q", decision=decision, confidence=1.0, text="An answer.")
    outcome = outcome_of(conversation, turn)
    further = (Reply(text="And more."),) if kind == "two" else ()
    return replace(outcome, replies=(*outcome.replies, *further))
