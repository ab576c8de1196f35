"""Conversations, their addresses, owners and cases in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from kfbot.conversation import (
    Case,
    Conversation,
    State,
    claim,
    hand_back,
    resolve,
)
from kfbot.errors import ConversationChanged
from kfbot.event_webhook_settings import ConversationEvent
from kfbot.messages import ButtonAction, ConversationId
from kfbot.store import tables
from kfbot.store.cases import find_open_case, knowledge_base_of, open_case, update_case
from kfbot.store.conversation_events import record_event
from kfbot.store.drafts import close_drafts
from kfbot.store.engine import Database
from kfbot.store.notices import CASES, notify
from kfbot.store.proposals import propose

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
    pressed_at: datetime | None


class ConversationStore:
    """Reads conversations and buttons."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, conversation_id: int) -> Conversation:
        """Load one conversation.

        Raises:
            ConversationChanged: There is none with this id.
        """
        return await self._database.read(lambda c: get_conversation(c, conversation_id))

    async def find(self, address: ConversationId) -> Conversation | None:
        """The conversation at an address, old addresses included."""

        def query(connection: sa.Connection) -> Conversation | None:
            found = find_conversation_id(connection, address)
            return None if found is None else get_conversation(connection, found)

        return await self._database.read(query)

    async def open_case(self, conversation_id: int) -> Case | None:
        """The open case of a conversation."""
        return await self._database.read(lambda c: find_open_case(c, conversation_id))

    async def find_button(self, conversation_id: int, token: str) -> StoredButton | None:
        """The button behind a token, if it was shown in this conversation."""
        button = tables.button.c
        query = sa.select(
            button.action, button.value, button.label, button.expires_at, button.pressed_at
        ).where(button.token == token, button.conversation_id == conversation_id)
        row = await self._database.read(lambda c: c.execute(query).one_or_none())
        return None if row is None else StoredButton(*row)

    async def list(
        self, states: Sequence[State] = (State.WAITING, State.AGENT), *, limit: int = 100
    ) -> tuple[ConversationSummary, ...]:
        """Conversations in these states, the longest waiting first."""
        conversation = tables.conversation.c
        wanted = conversation.state.in_([str(state) for state in states])
        return await self._list(wanted, conversation.updated_at, limit)

    async def in_chat(
        self, channel: str, chat: str, *, limit: int = 100
    ) -> tuple[ConversationSummary, ...]:
        """All conversations of a chat, its threads' and members', the last changed first.

        Old addresses count as well.
        """
        conversation, alias = tables.conversation.c, tables.conversation_alias.c
        here = sa.select(alias.conversation_id).where(alias.channel == channel, alias.chat == chat)
        return await self._list(conversation.id.in_(here), conversation.updated_at.desc(), limit)

    async def _list(
        self, wanted: sa.ColumnElement[bool], order: sa.ColumnElement[Any], limit: int
    ) -> tuple[ConversationSummary, ...]:
        conversation, customer = tables.conversation.c, tables.customer.c
        query = (
            sa.select(conversation.id, conversation.updated_at, customer.display_name)
            .join_from(
                tables.conversation,
                tables.customer,
                conversation.customer_id == customer.id,
                isouter=True,
            )
            .where(wanted)
            .order_by(order)
            .limit(limit)
        )

        def summaries(connection: sa.Connection) -> tuple[ConversationSummary, ...]:
            return tuple(
                _summary(connection, row.id, row.updated_at, row.display_name or "")
                for row in connection.execute(query).all()
            )

        return await self._database.read(summaries)

    async def latest(self, channel: str, *, limit: int = 1000) -> tuple[ConversationId, ...]:
        """Where conversations of a channel take place, those with the latest messages first."""
        alias, message = tables.conversation_alias.c, tables.message.c
        last = (
            sa.select(sa.func.max(message.id))
            .where(message.conversation_id == alias.conversation_id)
            .scalar_subquery()
        )
        query: sa.Select[Any] = (
            sa.select(alias.channel, alias.chat, alias.thread, alias.member)
            .where(alias.channel == channel, alias.current.is_(True))
            # One without messages is the last; PostgreSQL would put it first.
            .order_by(sa.func.coalesce(last, 0).desc())
            .limit(limit)
        )
        return await self._database.read(
            lambda c: tuple(address_of(row) for row in c.execute(query))
        )


def change_owner(
    connection: sa.Connection,
    conversation_id: int,
    change: OwnerChange,
    *,
    agent: str,
    now: datetime,
    only_own: bool = False,
) -> Conversation:
    """Change the owner inside a transaction, the open case with it.

    Args:
        only_own: Not what another agent has.

    Raises:
        ConversationChanged: Somebody else was first.
    """
    before = get_conversation(connection, conversation_id)
    if only_own and before.agent not in (None, agent):
        raise ConversationChanged(f"conversation {conversation_id} is {before.agent}'s")
    if change == "claim":
        after = claim(before, agent)
        if before.state is not State.WAITING and after is not before:
            # As before: what one team takes from the bot is not for the others to read.
            base = knowledge_base_of(connection, conversation_id)
            open_case(connection, conversation_id, "taken_by_agent", now, knowledge_base=base)
        if after is not before:
            update_case(connection, conversation_id, claimed_by=agent, claimed_at=now, due_at=now)
            record_event(connection, conversation_id, "conversation.claimed", now, agent=agent)
    else:
        after = hand_back(before) if change == "hand_back" else resolve(before)
        is_back = change == "hand_back"
        outcome = "handed_back" if is_back else "resolved"
        propose(connection, conversation_id, now)
        update_case(connection, conversation_id, closed_at=now, closed_by=agent, outcome=outcome)
        event: ConversationEvent = (
            "conversation.handed_back" if is_back else "conversation.resolved"
        )
        record_event(connection, conversation_id, event, now, agent=agent)
    if after is not before:
        notify(connection, CASES)
        # What the customer has seen of an answer the agent is to see too, before all that follows.
        close_drafts(connection, [conversation_id], now)
    save_conversation(connection, after, now)
    return after


def find_conversation_id(connection: sa.Connection, address: ConversationId) -> int | None:
    """The id behind an address."""
    alias = tables.conversation_alias.c
    query = sa.select(alias.conversation_id).where(
        alias.channel == address.channel,
        alias.chat == address.chat,
        alias.thread == (address.thread or ""),
        alias.member == (address.member or ""),
    )
    found: int | None = connection.execute(query).scalar_one_or_none()
    return found


def add_conversation(
    connection: sa.Connection,
    address: ConversationId,
    now: datetime,
    customer_id: int | None = None,
    state: State = State.BOT,
) -> int:
    """Make the conversation of an address that has none; returns its id."""
    created = connection.execute(
        tables.conversation.insert().values(
            customer_id=customer_id, state=str(state), created_at=now, updated_at=now
        )
    )
    assert created.inserted_primary_key is not None
    conversation_id: int = created.inserted_primary_key[0]
    add_address(connection, conversation_id, address)
    return conversation_id


def address_of(row: sa.Row[Any]) -> ConversationId:
    """The address in a row with an alias's columns."""
    return ConversationId(row.channel, row.chat, row.thread or None, row.member or None)


def add_address(connection: sa.Connection, conversation_id: int, address: ConversationId) -> None:
    """Give a conversation a (further) address, which is the current one from now on."""
    alias = tables.conversation_alias
    connection.execute(
        alias.update().where(alias.c.conversation_id == conversation_id).values(current=False)
    )
    connection.execute(
        alias.insert().values(
            channel=address.channel,
            chat=address.chat,
            thread=address.thread or "",
            member=address.member or "",
            conversation_id=conversation_id,
            current=True,
        )
    )


def moved_with(
    connection: sa.Connection, conversation_id: int, address: ConversationId
) -> list[tuple[int, ConversationId]]:
    """The conversations that a move takes along, with their new addresses.

    Where a whole chat moves (neither thread nor member is named), all of its conversations do.
    """
    alias = tables.conversation_alias.c
    query = sa.select(alias.channel, alias.chat, alias.thread, alias.member, alias.conversation_id)
    [row] = connection.execute(query.where(alias.conversation_id == conversation_id, alias.current))
    moved = [(conversation_id, address)]
    if row.thread or row.member or address.thread or address.member:
        return moved
    rest = query.where(
        alias.channel == row.channel,
        alias.chat == row.chat,
        alias.conversation_id != conversation_id,
        alias.current,
    ).order_by(alias.conversation_id)
    for other in connection.execute(rest):
        place = ConversationId(
            address.channel, address.chat, other.thread or None, other.member or None
        )
        moved.append((other.conversation_id, place))
    return moved


def select_conversation(conversation_id: int) -> sa.Select[Any]:
    """A conversation's row with its current address, for `conversation_of`."""
    return select_conversations().where(tables.conversation.c.id == conversation_id)


def select_conversations() -> sa.Select[Any]:
    """All conversations with their current addresses, for `conversation_of`."""
    conversation, alias = tables.conversation.c, tables.conversation_alias.c
    return (
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
        .where(alias.current.is_(True))
    )


def conversation_of(row: sa.Row[Any]) -> Conversation:
    """The conversation of such a row."""
    return Conversation(
        id=row.id,
        address=address_of(row),
        state=State(row.state),
        ownership_epoch=row.ownership_epoch,
        agent=row.agent,
    )


def get_conversation(connection: sa.Connection, conversation_id: int) -> Conversation:
    """Load one conversation with its current address.

    Raises:
        ConversationChanged: There is none with this id.
    """
    row = connection.execute(select_conversation(conversation_id)).one_or_none()
    if row is None:
        raise ConversationChanged(f"there is no conversation {conversation_id}")
    return conversation_of(row)


def save_conversation(connection: sa.Connection, conversation: Conversation, now: datetime) -> None:
    """Write state and owner."""
    table = tables.conversation
    connection.execute(
        table.update()
        .where(table.c.id == conversation.id)
        .values(
            state=str(conversation.state),
            ownership_epoch=conversation.ownership_epoch,
            agent=conversation.agent,
            updated_at=now,
        )
    )


def _summary(
    connection: sa.Connection, conversation_id: int, updated_at: datetime, name: str
) -> ConversationSummary:
    message = tables.message.c
    last = connection.execute(
        sa.select(message.text)
        .where(
            message.conversation_id == conversation_id,
            message.role == "customer",
            message.kind != "command",
        )
        .order_by(message.id.desc())
        .limit(1)
    )
    return ConversationSummary(
        conversation=get_conversation(connection, conversation_id),
        customer_name=name,
        updated_at=updated_at,
        case=find_open_case(connection, conversation_id),
        last_text=last.scalar_one_or_none() or "",
    )
