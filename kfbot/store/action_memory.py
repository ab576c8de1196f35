"""What an action has of a customer between two messages, in SQL."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from kfbot.actions.memory import Memory, Remembered, memory_of
from kfbot.conversation import Conversation
from kfbot.store import tables
from kfbot.store.engine import Database

logger = logging.getLogger(__name__)

_memory = tables.action_memory.c
# Made once: to put a statement together costs more than to run it.
_HERE = sa.and_(
    _memory.conversation_id == sa.bindparam("conversation"),
    _memory.customer == sa.bindparam("customer_id"),
)
_FIND = sa.select(_memory.data, _memory.ownership_epoch, _memory.expires_at).where(_HERE)
_FORGET = tables.action_memory.delete().where(_HERE)


class ActionMemory:
    """Reads what was remembered."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def find(self, conversation: Conversation, customer: str) -> Memory:
        """What is remembered of a customer; empty where another has owned the conversation since.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        asked = {"conversation": conversation.id, "customer_id": customer}
        row = await self._database.read(lambda c: c.execute(_FIND, asked).one_or_none())
        if row is None or row.ownership_epoch != conversation.ownership_epoch:
            return Memory()
        if row.expires_at <= self._clock():
            return Memory()
        try:
            return memory_of(row.data)
        except (TypeError, AttributeError):
            logger.warning("action memory unreadable", extra={"event": "row_unreadable"})
            return Memory()


def remember(
    connection: sa.Connection, conversation: Conversation, left: Remembered, now: datetime
) -> None:
    """Write what a turn leaves, bound to the owner of now; nothing is kept of what is empty."""
    if left.memory.is_empty:
        asked = {"conversation": conversation.id, "customer_id": left.customer}
        connection.execute(_FORGET, asked)
        return
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    values = {
        "ownership_epoch": conversation.ownership_epoch,
        "data": left.memory.as_data(),
        "expires_at": now + timedelta(minutes=left.memory.expires_minutes),
    }
    new = dialect.insert(tables.action_memory).values(
        conversation_id=conversation.id, customer=left.customer, **values
    )
    # Two members of a group may begin at the same time, but each has a row of their own.
    connection.execute(
        new.on_conflict_do_update(index_elements=["conversation_id", "customer"], set_=values)
    )
