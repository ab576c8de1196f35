"""A lane: the right to work on one conversation, fenced by an epoch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kfbot.errors import ConversationChanged
from kfbot.store import tables


@dataclass(frozen=True, slots=True)
class Lane:
    """A claimed lane; valid until its lease ends or another claims it."""

    conversation_id: int
    owner: str
    epoch: int
    #: What made it ready when it was claimed; another value since then is news.
    ready_at: datetime


async def check_lane(connection: AsyncConnection, lane: Lane) -> None:
    """Fence: make sure inside a transaction that the lane is still ours.

    Raises:
        ConversationChanged: Another worker has the lane.
    """
    kept = await connection.execute(held(lane).values(epoch=lane.epoch))
    if kept.rowcount != 1:
        raise ConversationChanged(f"another worker took conversation {lane.conversation_id}")


async def set_ready(connection: AsyncConnection, conversation_id: int, now: datetime) -> None:
    """Make a conversation's lane ready, creating it if it is new."""
    dialect = connection.dialect.name
    insert = (sqlite_insert if dialect == "sqlite" else postgresql_insert)(tables.lane).values(
        conversation_id=conversation_id, ready_at=now
    )
    await connection.execute(
        insert.on_conflict_do_update(
            index_elements=[tables.lane.c.conversation_id], set_={"ready_at": now}
        )
    )


def held(lane: Lane) -> sa.Update:
    """An update of the lane's row that matches only while the lane is still ours."""
    table = tables.lane
    return table.update().where(
        table.c.conversation_id == lane.conversation_id,
        table.c.owner == lane.owner,
        table.c.epoch == lane.epoch,
    )
