"""Nothing gets slower with history: what is done every day reads no table from end to end."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Awaitable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kfbot.adapter import Capabilities
from kfbot.conversation import Conversation, Turn
from kfbot.errors import ChannelUnavailable, MessageRejected
from kfbot.messages import (
    ConversationId,
    ConversationMoved,
    DeliveryReceipt,
    MessageDeleted,
    MessageEdited,
    OwnershipChanged,
    Sender,
)
from kfbot.store import tables
from kfbot.store.conversations import ConversationStore
from kfbot.store.dead_letters import DeadLetterStore
from kfbot.store.engine import Database
from kfbot.store.messages import MessageStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.purge import purge
from kfbot.store.transcripts import TranscriptStore
from kfbot.testing import FakeAdapter
from kfbot.turn import outcome_of
from tests.conftest import Clock
from tests.dialogues.conftest import CHAT, Stage, staged
from tests.integration.stores import listening, message, statements

pytestmark = pytest.mark.asyncio
REFUND = "When will my refund arrive?"
RETURN = "How do I return an item?"
DOUBTFUL = "How long do I have to keep a broken item?"
ANN = Sender("7", "agent", "ann")
#: A turn and its answer, from the event's acceptance to the message's having been sent.
MOST_STATEMENTS = 30

#: They grow as long as the bot runs.
GROWING = {
    "inbox", "outbox", "message", "turn", "conversation", "conversation_alias", "lane", "case",
    "button", "customer",
}  # fmt: skip
#: Of these only what is still to be done or to be decided is in an index: a scan reads no more.
OPEN = {
    index.name
    for table in tables.metadata.tables.values()
    for index in table.indexes
    if index.dialect_options["sqlite"]["where"] is not None
}
_SCAN = re.compile(r"SCAN (?P<table>\w+)(?: USING (?:COVERING )?INDEX (?P<index>\w+))?")
#: One end of a table, in an order that an index has: it takes as many rows as it gives, since
#: no condition leaves any out on the way and (see `scans`) none has to be sorted first.
_END = re.compile(r"SELECT (?!.*\bWHERE\b).+ FROM \w+ ORDER BY .+ LIMIT \?")


@pytest.fixture
def database_url(tmp_path: Path, template_database: Path) -> str:
    file = tmp_path / "kfbot.sqlite3"
    file.write_bytes(template_database.read_bytes())
    return f"sqlite:///{file}"


@contextmanager
def executed() -> Iterator[dict[str, Any]]:
    """Every statement that is executed meanwhile, with the parameters of one time."""
    heard: dict[str, Any] = {}

    def hear(
        connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        heard[statement] = parameters[0] if many else parameters

    with listening("before_cursor_execute", hear):
        yield heard


def scans(file: sqlite3.Connection, statement: str, parameters: Any) -> list[str]:
    """The steps of a statement's plan that read all rows of a growing table."""
    if not re.match(r"(SELECT|INSERT|UPDATE|DELETE|WITH)\b", statement):
        return []
    plan = [str(row[3]) for row in file.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    is_sorted = "USE TEMP B-TREE FOR ORDER BY" in plan
    if _END.match(" ".join(statement.split())) and not is_sorted:
        return []
    return [step for step in plan if _reads_all(step)]


def _reads_all(step: str) -> bool:
    if "AUTOMATIC" in step:
        # An index made for this statement, from all rows.
        return True
    scan = _SCAN.match(step)
    return scan is not None and scan["table"] in GROWING and scan["index"] not in OPEN


async def later(stage: Stage, **by: float) -> None:
    stage.clock.advance(**by)
    stage.application.inbox.wake()
    await stage.sent_out()


async def a_long_day(stage: Stage, database: Database) -> None:
    """Everything that customers, agents, platforms and operators do."""
    messages = MessageStore(database, stage.clock)
    asked = stage.message(REFUND)
    accepted = await stage.accept(asked)
    await stage.settle(accepted)
    await stage.accept(asked)
    await _edit(stage, asked.message_id)
    await stage.customer_says(DOUBTFUL)
    await stage.customer_presses("How long do I have to return an item?")
    await stage.customer_presses("Helpful")
    await _call_an_agent(stage, database, accepted.conversation_id)
    await _fail(stage)
    await _read(stage, database, accepted.conversation_id, asked.event_id)
    await messages.free_lost("other")
    await messages.free_all()
    await messages.hasten()
    await _decide_about_dead_letters(database, stage.clock)
    await purge(database, stage.clock(), timedelta(days=30), pause_seconds=0)


async def _edit(stage: Stage, message_id: str) -> None:
    def edit(kind: Any, **fields: Any) -> Any:
        return kind(
            event_id=f"edit-{next(stage.numbers)}", conversation=CHAT, sent_at=stage.clock(),
            **fields,
        )  # fmt: skip

    customer = Sender("customer-1")
    for event in (
        edit(MessageEdited, message_id=message_id, sender=customer, text=RETURN),
        edit(MessageDeleted, message_id=message_id),
        edit(ConversationMoved, moved_to=ConversationId("shop", "chat-1", thread="moved")),
    ):
        await stage.settle(await stage.accept(event))


async def _call_an_agent(stage: Stage, database: Database, number: int) -> None:
    await stage.customer_says("转人工")
    await ConversationStore(database).list()
    handoff = stage.application.handoff
    await handoff.claim(number, "ann")
    await handoff.reply(number, "ann", "Hello.")
    await handoff.reply(number, "ann", "Difficult.", internal=True)
    await handoff.hand_back(number, "ann")
    await handoff.resolve(number, "ann")
    await stage.customer_says("Ann again.", sender=ANN)
    back = OwnershipChanged(
        event_id="back", conversation=CHAT, change="handed_back", agent=ANN, sent_at=stage.clock()
    )
    await stage.settle(await stage.accept(back))


async def _fail(stage: Stage) -> None:
    stage.channel.failures = [ChannelUnavailable("shop", "busy")]
    await stage.customer_says(REFUND)
    stage.channel.failures = [MessageRejected("shop", "no")]
    stage.channel.capabilities = replace(stage.channel.capabilities, rate_per_second=1)
    for number in range(3):
        await stage.customer_says(REFUND, chat=ConversationId("shop", f"other-{number}"))
    await later(stage, minutes=11)
    search, stage.knowledge.search = stage.knowledge.search, None  # type: ignore[assignment, method-assign]
    await stage.accept(stage.message(REFUND))
    for _ in range(4):
        await later(stage, minutes=1)
    stage.knowledge.search = search  # type: ignore[method-assign]


async def _read(stage: Stage, database: Database, number: int, event_id: str) -> None:
    transcripts = TranscriptStore(database)
    await transcripts.transcript(number, after=2, limit=3)
    await transcripts.transcript(number, internal=True)
    await transcripts.replies_to(number, [event_id])
    await transcripts.said_around(number, event_id)
    await transcripts.turn_data(number, event_id)
    conversations = ConversationStore(database)
    assert await conversations.find(CHAT) is not None
    await conversations.open_case(number)
    await conversations.find_button(number, "token")


async def _decide_about_dead_letters(database: Database, clock: Clock) -> None:
    letters = DeadLetterStore(database, clock)
    [letter] = (await letters.list()).letters
    await letters.list(kind="in", channel="shop", before=[letter.id])
    await letters.count()
    await letters.find(letter.id)
    await letters.replay(letter.id)


async def test_no_statement_reads_a_growing_table_from_end_to_end(
    database: Database, database_url: str, clock: Clock
) -> None:
    channel = FakeAdapter(capabilities=Capabilities(buttons=True))
    with executed() as heard:
        async with staged(database, clock, channel) as stage:
            await a_long_day(stage, database)
    assert len(heard) > 60
    with closing(sqlite3.connect(str(sa.make_url(database_url).database))) as file:
        found = {
            statement: steps
            for statement, parameters in heard.items()
            if (steps := scans(file, statement, parameters))
        }
    assert found == {}


@pytest.mark.parametrize(
    ("statement", "reads_all"),
    [
        ("SELECT message.id FROM message WHERE message.text = ?", True),
        ("SELECT inbox.id FROM inbox WHERE inbox.state = ?", True),
        ("SELECT inbox.id FROM inbox WHERE inbox.state = 'new'", False),
        ("SELECT inbox.id FROM inbox ORDER BY inbox.id DESC LIMIT ?", False),
        ("SELECT inbox.id FROM inbox ORDER BY inbox.error LIMIT ?", True),
        ("SELECT inbox.id FROM inbox WHERE inbox.error = '' ORDER BY inbox.id LIMIT ?", True),
        ("SELECT turn.id FROM turn JOIN message ON message.text = turn.question", True),
        ("UPDATE lane SET owner = ?", True),
        ("SELECT turn.id FROM turn WHERE turn.conversation_id = ?", False),
    ],
)
async def test_a_plan_that_reads_all_rows_is_told_from_one_that_does_not(
    database_url: str, statement: str, reads_all: bool
) -> None:
    with closing(sqlite3.connect(str(sa.make_url(database_url).database))) as file:
        parameters = [1] * statement.count("?")
        assert bool(scans(file, statement, parameters)) is reads_all


async def test_a_plain_turn_takes_few_statements(database: Database, clock: Clock) -> None:
    async with staged(database, clock, FakeAdapter()) as stage:
        await stage.customer_says(RETURN)
        with statements() as heard:
            accepted = await stage.accept(stage.message(REFUND))
            assert await stage.application.inbox.settled(accepted, timeout_seconds=60)
            await stage.sent_out()
        assert len(stage.channel.sent) == 2
    # What is due is asked for by this test too.
    work = [one for one in heard if not one.startswith(("BEGIN", "SELECT min(lane.ready_at)"))]
    print(f"a plain turn: {len(work)} statements")
    assert len(work) <= MOST_STATEMENTS


# The same work beside a short and a long history


class Cost:
    """Counts the steps of SQLite's machine: unlike time, they are the same in every run."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}
        self._steps = 0

    def connected(self, connection: sqlite3.Connection, record: Any) -> None:
        connection.set_progress_handler(self._count, 1)

    def _count(self) -> int:
        self._steps += 1
        return 0

    async def __call__(self, name: str, work: Awaitable[Any]) -> Any:
        self._steps = 0
        result = await work
        self.of[name] = self._steps
        return result


def fill(database_url: str, conversations: int, length: int) -> None:
    """Finished conversations, of which the first is `length` times as long as the others."""
    at = "2026-01-01 00:00:00.000000"
    with closing(sqlite3.connect(str(sa.make_url(database_url).database))) as file, file:
        for number in range(1, conversations + 1):
            file.execute(
                "INSERT INTO customer VALUES (?, 'shop', ?, '', ?)",
                (number, f"customer-{number}", at),
            )
            file.execute(
                "INSERT INTO conversation VALUES (?, ?, 0, NULL, ?, ?, ?, NULL)",
                (
                    number,
                    "waiting" if number % (conversations // 5) == 0 else "bot",
                    number,
                    at,
                    at,
                ),
            )
            file.execute(
                "INSERT INTO conversation_alias VALUES ('shop', ?, '', '', ?, 1)",
                (f"chat-{number}", number),
            )
            file.execute("INSERT INTO lane VALUES (?, NULL, NULL, NULL, 1)", (number,))
            for turn in range(length if number == 1 else 1):
                _fill_turn(file, number, turn, at)


def _fill_turn(file: sqlite3.Connection, number: int, turn: int, at: str) -> None:
    event = f"old-{number}-{turn}"
    data = json.dumps({"choices": []})
    row = file.execute(
        "INSERT INTO turn (conversation_id, ownership_epoch, question, decision, confidence, data,"
        " evidence, timings_ms, created_at) VALUES (?, 0, 'q', 'answer', 1, ?, '{}', '{}', ?)",
        (number, data, at),
    ).lastrowid
    for role in ("customer", "bot"):
        said = file.execute(
            "INSERT INTO message (conversation_id, role, sender_name, kind, text, internal, extras,"
            " platform_id, event_id, turn_id, created_at)"
            " VALUES (?, ?, '', 'message', 't', 0, '{}', ?, ?, ?, ?)",
            (number, role, f"{role}-{event}", event, row, at),
        ).lastrowid
    file.execute(
        "INSERT INTO inbox (channel, event_id, conversation_id, payload, state, attempts,"
        " received_at) VALUES ('shop', ?, ?, '{}', 'done', 0, ?)",
        (event, number, at),
    )
    file.execute(
        "INSERT INTO outbox (conversation_id, message_id, idempotency_key, payload,"
        " ownership_epoch, state, attempts, created_at) VALUES (?, ?, ?, '{}', 0, 'sent', 0, ?)",
        (number, said, event, at),
    )
    file.execute(
        "INSERT INTO button (token, conversation_id, turn_id, action, value, label, expires_at)"
        " VALUES (?, ?, ?, 'helpful', '', '', '2027-01-01 00:00:00.000000')",
        (event, number, row),
    )


async def cost_of_a_turn(database_url: str, clock: Clock) -> dict[str, int]:
    """What every step takes in the first of the conversations."""
    cost, here = Cost(), ConversationId("shop", "chat-1")
    with listening("connect", cost.connected):
        async with Database(database_url) as database:
            messages = MessageStore(database, clock)
            outcomes = OutcomeStore(database, clock)
            transcripts = TranscriptStore(database)
            event = message(clock, 1, here)
            await cost("accept", messages.accept(event))
            await cost("accept again", messages.accept(event))
            await cost("accept of a stranger", messages.accept(
                message(clock, 2, ConversationId("shop", "new"), sender=Sender("new"))
            ))  # fmt: skip
            await cost("next", messages.next_ready_at("one"))
            lanes = await cost("claim", messages.claim("one", limit=9, lease_seconds=30))
            [lane] = [lane for lane in lanes if lane.conversation_id == 1]
            await cost("renew", messages.renew("one", lanes, lease_seconds=30))
            work = await cost("work", messages.work(lane))
            await cost("context", transcripts.context(1, event.event_id))
            conversation: Conversation = work.conversation
            turn = Turn(question="q", decision="handoff", confidence=1.0, text="A person.")
            outcome = outcome_of(conversation, turn)
            commit = outcomes.commit(lane, work.waiting, outcome, Capabilities())
            await cost("commit", commit)
            [unsent] = (await cost("work again", messages.work(lane))).unsent
            await cost("sent", messages.sent(lane, unsent, DeliveryReceipt(("platform-1",))))
            await cost("free lost", messages.free_lost("two"))
            await cost("free all", messages.free_all())
            await cost("desk", ConversationStore(database).list(limit=3))
            await cost("agent", outcomes.agent_says(1, "ann", "Hello.", pushed=True))
            await cost("transcript", transcripts.transcript(1, limit=50))
            await cost("said around", transcripts.said_around(1, event.event_id))
            await cost("turn data", transcripts.turn_data(1, event.event_id))
            asked = transcripts.answered_question(1, event.message_id)
            await cost("answered question", asked)
            edit = MessageEdited(
                event_id="edit", conversation=here, message_id=event.message_id,
                sender=event.sender, sent_at=clock(), text="changed",
            )  # fmt: skip
            await cost("edit", messages.accept(edit))
            await cost("dead letters", DeadLetterStore(database, clock).list())
    return cost.of


async def test_ten_times_the_history_costs_no_more(
    database_url: str, tmp_path: Path, clock: Clock
) -> None:
    short = str(sa.make_url(database_url).database)
    longer = f"sqlite:///{shutil.copy(short, tmp_path / 'longer.sqlite3')}"
    fill(database_url, conversations=50, length=100)
    fill(longer, conversations=500, length=1000)
    before = await cost_of_a_turn(database_url, clock)
    after = await cost_of_a_turn(longer, clock)
    print("steps of SQLite:", after)
    grown = {name: steps for name, steps in after.items() if steps > before[name] + 50}
    assert grown == {}
