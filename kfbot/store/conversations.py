"""Conversations, their addresses, owners and cases in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from kfbot.conversation import (
    Case,
    Conversation,
    HandoffReason,
    State,
    claim,
    hand_back,
    resolve,
)
from kfbot.errors import ConversationChanged
from kfbot.messages import ButtonAction, ConversationId
from kfbot.store import tables
from kfbot.store.engine import Database

OwnerChange = Literal["claim", "hand_back", "resolve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationSummary:
    """A conversation in a list: who owns it, why it waits, what was said last."""

    conversation: Conversation
    customer_name: str
    updated_at: datetime
    case: Case | None
    last_text: str


@dataclass(frozen=True, slots=True)
class StoredButton:
    """What a button does."""

    action: ButtonAction
    #: choice: "knowledge base/document id".
    value: str
    label: str
    expires_at: datetime


class ConversationStore:
    """Reads conversations and buttons."""

    def __init__(self, database: Database) -> None:
        self._database = database

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

    async def open_case(self, conversation_id: int) -> Case | None:
        """The open case of a conversation."""
        async with self._database.reading() as connection:
            return await find_open_case(connection, conversation_id)

    async def find_button(self, conversation_id: int, token: str) -> StoredButton | None:
        """The button behind a token, if it was shown in this conversation."""
        button = tables.button.c
        query = sa.select(button.action, button.value, button.label, button.expires_at).where(
            button.token == token, button.conversation_id == conversation_id
        )
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else StoredButton(*row)

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
    connection: AsyncConnection,
    conversation_id: int,
    change: OwnerChange,
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
        if after is not before:
            await _update_case(connection, conversation_id, claimed_by=agent, claimed_at=now)
    else:
        after = hand_back(before) if change == "hand_back" else resolve(before)
        await _update_case(connection, conversation_id, closed_at=now)
    await save_conversation(connection, after, now)
    return after


async def find_conversation_id(connection: AsyncConnection, address: ConversationId) -> int | None:
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
        tables.conversation.insert().values(customer_id=customer_id, created_at=now, updated_at=now)
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


async def _update_case(connection: AsyncConnection, conversation_id: int, **values: object) -> None:
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
