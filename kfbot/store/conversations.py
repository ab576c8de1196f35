"""Conversations, their transcript, turns and cases in SQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from kfbot.conversation import (
    Case,
    Conversation,
    HandoffReason,
    HistoryMessage,
    State,
    claim,
    hand_back,
    resolve,
)
from kfbot.errors import ConversationChanged
from kfbot.messages import ConversationId, OutboundKind, Role
from kfbot.store import tables
from kfbot.store.engine import Database

#: The bot reads so many messages back, never the whole history.
HISTORY_LENGTH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptMessage:
    """One message of a transcript, as the customer or an agent sees it."""

    id: int
    conversation_id: int
    role: Role
    sender_name: str
    kind: OutboundKind
    text: str
    internal: bool
    #: citations, buttons, decision, confidence, attachments: what there is.
    extras: dict[str, Any]
    platform_id: str | None
    event_id: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationSummary:
    """A conversation in a list: who owns it, why it waits, what was said last."""

    conversation: Conversation
    customer_name: str
    updated_at: datetime
    case: Case | None
    last_text: str


class ConversationStore:
    """Reads conversations, and changes who owns them."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def get(self, conversation_id: int) -> Conversation:
        """Load one conversation.

        Raises:
            ConversationChanged: There is none with this id.
        """
        async with self._database.reading() as connection:
            return await get_conversation(connection, conversation_id)

    async def find(self, address: ConversationId) -> Conversation | None:
        """The conversation at an address, old addresses included."""
        async with self._database.reading() as connection:
            found = await find_conversation_id(connection, address)
            return None if found is None else await get_conversation(connection, found)

    async def history(
        self, conversation_id: int, *, before: int | None = None
    ) -> tuple[HistoryMessage, ...]:
        """The last messages before the one with id `before`, oldest first."""
        message = tables.message.c
        query = (
            sa.select(message.role, message.text)
            .where(message.conversation_id == conversation_id, message.internal.is_(False))
            .order_by(message.id.desc())
            .limit(HISTORY_LENGTH)
        )
        if before is not None:
            query = query.where(message.id < before)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return tuple(HistoryMessage(row.role, row.text) for row in reversed(rows))

    async def transcript(
        self, conversation_id: int, *, after: int = 0, limit: int = 200, internal: bool = False
    ) -> tuple[TranscriptMessage, ...]:
        """Messages with an id above `after`, oldest first; at most `limit` of the newest."""
        message = tables.message.c
        query = (
            sa.select(tables.message)
            .where(message.conversation_id == conversation_id, message.id > after)
            .order_by(message.id.desc())
            .limit(limit)
        )
        if not internal:
            query = query.where(message.internal.is_(False))
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return tuple(_transcript_message(row) for row in reversed(rows))

    async def replies_to(
        self, conversation_id: int, event_ids: Sequence[str]
    ) -> tuple[TranscriptMessage, ...]:
        """What the bot said to these inbound events, oldest first."""
        message = tables.message.c
        query = (
            sa.select(tables.message)
            .where(
                message.conversation_id == conversation_id,
                message.event_id.in_(event_ids),
                message.role == "bot",
            )
            .order_by(message.id)
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return tuple(_transcript_message(row) for row in rows)

    async def turn_data(self, conversation_id: int, event_id: str) -> dict[str, Any] | None:
        """The answer data of the turn that an inbound event led to; None if there was none."""
        message, turn = tables.message.c, tables.turn.c
        query = (
            sa.select(turn.data)
            .join_from(tables.message, tables.turn, message.turn_id == turn.id)
            .where(message.conversation_id == conversation_id, message.event_id == event_id)
            .order_by(turn.id.desc())
            .limit(1)
        )
        async with self._database.reading() as connection:
            data: dict[str, Any] | None = (await connection.execute(query)).scalar_one_or_none()
        return data

    async def list(
        self, states: Sequence[State] = (State.WAITING, State.AGENT), *, limit: int = 100
    ) -> tuple[ConversationSummary, ...]:
        """Conversations in these states, the longest waiting first."""
        conversation, customer = tables.conversation.c, tables.customer.c
        query = (
            sa.select(conversation.id, conversation.updated_at, customer.display_name)
            .join_from(
                tables.conversation,
                tables.customer,
                conversation.customer_id == customer.id,
                isouter=True,
            )
            .where(conversation.state.in_([str(state) for state in states]))
            .order_by(conversation.updated_at)
            .limit(limit)
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
            return tuple(
                [
                    await _summary(connection, row.id, row.updated_at, row.display_name or "")
                    for row in rows
                ]
            )

    async def change_owner(
        self,
        conversation_id: int,
        change: Literal["claim", "hand_back", "resolve"],
        *,
        agent: str,
    ) -> Conversation:
        """Let an agent claim, hand back or resolve; it never waits for a running turn.

        Raises:
            ConversationChanged: Somebody else was first.
        """

        async def operation(connection: AsyncConnection) -> Conversation:
            return await change_owner(
                connection, conversation_id, change, agent=agent, now=self._clock()
            )

        return await self._database.write(operation)


async def change_owner(
    connection: AsyncConnection,
    conversation_id: int,
    change: Literal["claim", "hand_back", "resolve"],
    *,
    agent: str,
    now: datetime,
) -> Conversation:
    """Change the owner inside a transaction, the open case with it."""
    before = await get_conversation(connection, conversation_id)
    if change == "claim":
        after = claim(before, agent)
        if before.state is not State.WAITING and after is not before:
            await open_case(connection, after, "taken_by_agent", "", "", now)
        await _update_case(connection, conversation_id, claimed_by=agent, claimed_at=now)
    else:
        after = hand_back(before) if change == "hand_back" else resolve(before)
        await _update_case(connection, conversation_id, closed_at=now)
    await save_conversation(connection, after, now)
    return after


async def find_conversation_id(
    connection: AsyncConnection, address: ConversationId
) -> int | None:
    """The id behind an address."""
    alias = tables.conversation_alias.c
    query = sa.select(alias.conversation_id).where(
        alias.channel == address.channel,
        alias.chat == address.chat,
        alias.thread == (address.thread or ""),
        alias.member == (address.member or ""),
    )
    found: int | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def ensure_conversation(
    connection: AsyncConnection,
    address: ConversationId,
    now: datetime,
    customer_id: int | None = None,
) -> int:
    """The id behind an address, made if it is new."""
    found = await find_conversation_id(connection, address)
    if found is not None:
        return found
    created = await connection.execute(
        tables.conversation.insert().values(
            customer_id=customer_id, created_at=now, updated_at=now
        )
    )
    assert created.inserted_primary_key is not None
    conversation_id: int = created.inserted_primary_key[0]
    await add_address(connection, conversation_id, address)
    return conversation_id


async def add_address(
    connection: AsyncConnection, conversation_id: int, address: ConversationId
) -> None:
    """Give a conversation a (further) address, which is the current one from now on."""
    alias = tables.conversation_alias
    await connection.execute(
        alias.update().where(alias.c.conversation_id == conversation_id).values(current=False)
    )
    await connection.execute(
        alias.insert().values(
            channel=address.channel,
            chat=address.chat,
            thread=address.thread or "",
            member=address.member or "",
            conversation_id=conversation_id,
            current=True,
        )
    )


async def get_conversation(connection: AsyncConnection, conversation_id: int) -> Conversation:
    """Load one conversation with its current address.

    Raises:
        ConversationChanged: There is none with this id.
    """
    conversation, alias = tables.conversation.c, tables.conversation_alias.c
    query = (
        sa.select(
            conversation.id,
            conversation.state,
            conversation.ownership_epoch,
            conversation.agent,
            alias.channel,
            alias.chat,
            alias.thread,
            alias.member,
        )
        .join_from(
            tables.conversation,
            tables.conversation_alias,
            alias.conversation_id == conversation.id,
        )
        .where(conversation.id == conversation_id, alias.current.is_(True))
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise ConversationChanged(f"there is no conversation {conversation_id}")
    return Conversation(
        id=row.id,
        address=ConversationId(row.channel, row.chat, row.thread or None, row.member or None),
        state=State(row.state),
        ownership_epoch=row.ownership_epoch,
        agent=row.agent,
    )


async def save_conversation(
    connection: AsyncConnection, conversation: Conversation, now: datetime
) -> None:
    """Write state and owner."""
    table = tables.conversation
    await connection.execute(
        table.update()
        .where(table.c.id == conversation.id)
        .values(
            state=str(conversation.state),
            ownership_epoch=conversation.ownership_epoch,
            agent=conversation.agent,
            updated_at=now,
        )
    )


async def open_case(
    connection: AsyncConnection,
    conversation: Conversation,
    reason: HandoffReason,
    question: str,
    draft: str,
    now: datetime,
) -> Case:
    """Open a case for a conversation that has none open."""
    created = await connection.execute(
        tables.case.insert().values(
            conversation_id=conversation.id,
            reason=reason,
            question=question,
            draft=draft,
            opened_at=now,
        )
    )
    assert created.inserted_primary_key is not None
    return Case(
        id=created.inserted_primary_key[0],
        conversation_id=conversation.id,
        reason=reason,
        question=question,
        draft=draft,
        opened_at=now,
    )


async def find_open_case(connection: AsyncConnection, conversation_id: int) -> Case | None:
    """The open case of a conversation."""
    case = tables.case.c
    query = sa.select(tables.case).where(
        case.conversation_id == conversation_id, case.closed_at.is_(None)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    return Case(
        id=row.id,
        conversation_id=row.conversation_id,
        reason=row.reason,
        question=row.question,
        draft=row.draft,
        opened_at=row.opened_at,
        claimed_by=row.claimed_by,
    )


async def _update_case(
    connection: AsyncConnection, conversation_id: int, **values: object
) -> None:
    case = tables.case
    await connection.execute(
        case.update()
        .where(case.c.conversation_id == conversation_id, case.c.closed_at.is_(None))
        .values(**values)
    )


async def _summary(
    connection: AsyncConnection, conversation_id: int, updated_at: datetime, name: str
) -> ConversationSummary:
    message = tables.message.c
    last = await connection.execute(
        sa.select(message.text)
        .where(message.conversation_id == conversation_id, message.role == "customer")
        .order_by(message.id.desc())
        .limit(1)
    )
    return ConversationSummary(
        conversation=await get_conversation(connection, conversation_id),
        customer_name=name,
        updated_at=updated_at,
        case=await find_open_case(connection, conversation_id),
        last_text=last.scalar_one_or_none() or "",
    )


def _transcript_message(row: sa.Row[Any]) -> TranscriptMessage:
    return TranscriptMessage(
        id=row.id,
        conversation_id=row.conversation_id,
        role=row.role,
        sender_name=row.sender_name,
        kind=row.kind,
        text=row.text,
        internal=row.internal,
        extras=row.extras,
        platform_id=row.platform_id,
        event_id=row.event_id,
        created_at=row.created_at,
    )
