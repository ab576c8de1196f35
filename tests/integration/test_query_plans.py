"""How SQLite, which keeps no statistics, gets at the rows of a turn: always through an index."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kfbot.adapter import Capabilities
from kfbot.messages import ConversationId, DeliveryReceipt
from kfbot.store import tables
from kfbot.store.accounts import AccountStore
from kfbot.store.conversations import ConversationStore
from kfbot.store.engine import Database
from kfbot.store.manners import Asked, MannersStore
from kfbot.store.messages import MessageStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.transcripts import TranscriptStore
from tests.conftest import Clock
from tests.integration.stores import claimed, listening, message, outcome_in

pytestmark = pytest.mark.asyncio


async def several_turns(database: Database, clock: Clock) -> None:
    """Three customers at once write twice, are answered, and get their answers."""
    messages = MessageStore(database, clock, limited=["shop"])
    outcomes, manners = OutcomeStore(database, clock), MannersStore(database)
    conversations, transcripts = ConversationStore(database), TranscriptStore(database)
    chats = [ConversationId("shop", f"chat-{number}") for number in range(3)]
    for turn in range(2):
        await asyncio.gather(
            *(messages.accept(message(clock, 10 * turn + n, chat)) for n, chat in enumerate(chats))
        )
    lanes = await claimed(messages)
    assert len(lanes) == 3
    found = await asyncio.gather(*(messages.work(lane) for lane in lanes))
    work = [one.waiting or () for one in found]
    await asyncio.gather(
        *(
            transcripts.context(lane.conversation_id, waiting[0].event.event_id)
            for lane, waiting in zip(lanes, work, strict=True)
        )
    )
    await transcripts.context(lanes[0].conversation_id)
    asked = [Asked(chat, inbox_id=6, limit=5) for chat in chats]
    standings = await asyncio.gather(*(manners.standing(one) for one in asked))
    assert [len(one.heard) for one in standings] == [2, 2, 2]
    made = [await outcome_in(conversations, lane, "yes") for lane in lanes]
    await asyncio.gather(
        *(
            outcomes.commit(lane, waiting, outcome, Capabilities())
            for lane, waiting, outcome in zip(lanes, work, made, strict=True)
        )
    )
    unsent = [(await messages.work(lane)).unsent[0] for lane in lanes]
    freed = await asyncio.gather(
        *(
            messages.sent(lane, stored, DeliveryReceipt((f"platform-{stored.outbox_id}",)))
            for lane, stored in zip(lanes, unsent, strict=True)
        )
    )
    assert all(freed)
    accounts = AccountStore(database)
    assert await accounts.find_turn(lanes[0].conversation_id, chats[0], "platform-1") is not None
    assert await accounts.find_turn(0, ConversationId("shop", "nowhere"), None) is None
    await messages.next_ready_at("one")
    await messages.free_lost("one")


async def test_no_statement_of_a_turn_reads_a_whole_table(database: Database, clock: Clock) -> None:
    heard: dict[str, Any] = {}

    def hear(connection: Any, cursor: Any, statement: str, parameters: Any, *further: Any) -> None:
        heard[statement] = parameters[0] if isinstance(parameters, list) else parameters

    with listening("before_cursor_execute", hear):
        await several_turns(database, clock)
    reading = {
        statement: parameters
        for statement, parameters in heard.items()
        if statement.startswith(("SELECT", "UPDATE"))
    }
    assert any("(?, ?, ?), (?, ?, ?)" in statement for statement in reading), "no group"
    whole = set()
    for statement, parameters in reading.items():
        plan = await database.read(
            lambda c, s=statement, p=parameters: (
                c.exec_driver_sql(f"EXPLAIN QUERY PLAN {s}", p).scalars("detail").all()
            )
        )
        scanned = [step.split()[1] for step in plan if step.startswith("SCAN")]
        whole |= {(table, statement) for table in scanned if table in tables.metadata.tables}
    assert whole == set()
