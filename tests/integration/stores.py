"""What tests of the store do most: write events, take lanes, finish them, look at the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from kfbot.adapter import Capabilities
from kfbot.conversation import Turn
from kfbot.messages import ConversationId, MessageReceived, Sender
from kfbot.store import tables
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.conversations import ConversationStore
from kfbot.store.engine import Database, Operation
from kfbot.store.knowledge_rows import Load, StoredDocument
from kfbot.store.lanes import Lane
from kfbot.store.messages import MessageStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.work import StoredMessage, Work
from kfbot.turn import Outcome, Reply
from knowledge.embedding import Embedder
from knowledge.vectors import key_of
from tests.conftest import Clock

CHAT = ConversationId("shop", "chat-1")


def message(
    clock: Clock, number: int, chat: ConversationId = CHAT, **fields: Any
) -> MessageReceived:
    """What a customer writes; the number tells it from others."""
    values: dict[str, Any] = {
        "event_id": f"event-{number}",
        "conversation": chat,
        "message_id": f"message-{number}",
        "sender": Sender("customer-1"),
        "sent_at": clock(),
        "text": f"text {number}",
    }
    return MessageReceived(**values | fields)


async def claimed(
    messages: MessageStore, owner: str = "one", *, limit: int = 9
) -> tuple[Lane, ...]:
    """Take what is ready."""
    return await messages.claim(owner, limit=limit, lease_seconds=30)


async def answered(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    lane: Lane,
    *texts: str,
) -> Work:
    """Finish what waits in a lane with replies of the bot; returns what is to be done then."""
    waiting = (await messages.work(lane)).waiting or ()
    await outcomes.commit(
        lane, waiting, await outcome_in(conversations, lane, *texts), Capabilities()
    )
    return await messages.work(lane)


async def outcome_in(conversations: ConversationStore, lane: Lane, *texts: str) -> Outcome:
    """A turn of the bot's in the conversation as it is now."""
    before = await conversations.get(lane.conversation_id)
    turn = Turn(question="q", decision="answer", confidence=1.0, text=" ".join(texts))
    replies = tuple(Reply(text=text) for text in texts)
    return Outcome(before=before, after=before, turn=turn, replies=replies)


async def replied(
    messages: MessageStore,
    outcomes: OutcomeStore,
    conversations: ConversationStore,
    clock: Clock,
    *texts: str,
) -> tuple[Lane, Work]:
    """A lane in which the bot has these replies to send, and nothing else to do."""
    await messages.accept(message(clock, 1))
    [lane] = await claimed(messages)
    return lane, await answered(messages, outcomes, conversations, lane, *texts)


async def unsent(messages: MessageStore, lane: Lane) -> tuple[StoredMessage, ...]:
    """What a lane has to send."""
    return (await messages.work(lane)).unsent


async def count(database: Database, table: sa.Table) -> int:
    """How many rows a table has."""
    query = sa.select(sa.func.count()).select_from(table)
    return int(await database.read(lambda c: c.execute(query).scalar_one()))


async def states(database: Database, table: sa.Table) -> list[str]:
    """The states of a table's rows, the oldest first."""
    query = sa.select(table.c.state).order_by(table.c.id)
    return list(await database.read(lambda c: c.execute(query).scalars()))


def adding(name: str) -> Operation[None]:
    """Writes a row whose name must be its own."""

    def operation(connection: sa.Connection) -> None:
        connection.execute(tables.knowledge_base.insert().values(name=name))

    return operation


async def names(database: Database) -> list[str]:
    """Of all such rows."""
    query = sa.select(tables.knowledge_base.c.name).order_by(tables.knowledge_base.c.name)
    return list(await database.read(lambda c: c.execute(query).scalars()))


@contextmanager
def listening(event: str, listener: Callable[..., None]) -> Iterator[None]:
    """Hear what all engines do."""
    sa.event.listen(sa.Engine, event, listener)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, event, listener)


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements that are executed meanwhile; one that is executed for many rows is one."""
    heard: list[str] = []

    def hear(connection: Any, cursor: Any, statement: str, *further: Any) -> None:
        heard.append(statement)

    with listening("before_cursor_execute", hear):
        yield heard


async def put_in_force(
    store: KnowledgeStore, name: str, embedder: Embedder, documents: Sequence[StoredDocument]
) -> None:
    """Load documents as another process does."""
    key = key_of(embedder)
    await store.stage(name, key, documents)
    await store.apply(
        Load(
            knowledge_base=name,
            embedding_key=key,
            loaded_at=datetime.now(UTC),
            written=[one.document.document_id for one in documents],
        )
    )
