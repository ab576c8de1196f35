"""Gives cases to agents, in SQL; whoever is given one is decided and written in one transaction."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

import sqlalchemy as sa

from kfbot.agents import may_see
from kfbot.conversation import Conversation, State, requeue
from kfbot.errors import ConversationChanged
from kfbot.handoff.assignment import PRESENT, Candidate
from kfbot.store import tables
from kfbot.store.agents import agent_of
from kfbot.store.cases import back_in_queue, find_open_case, update_case
from kfbot.store.conversations import get_conversation, save_conversation
from kfbot.store.notices import CASES, conversation_notice, notify

#: A case that comes back so soon is the same matter: the agent who resolved it knows it.
SAME_MATTER = timedelta(hours=72)


def assign(
    connection: sa.Connection, conversation_id: int, to: str | None, now: datetime
) -> Conversation:
    """Give the open case of a conversation to an agent, or (None) back to the queue.

    An agent who has the conversation loses it: it waits again, for the one it was given to, or
    for anybody. Others may claim it all the same. Run it with the conversation among `lanes`.

    Raises:
        ConversationChanged: No case is open, or there is no such agent who may take it.
    """
    conversation = get_conversation(connection, conversation_id)
    case = find_open_case(connection, conversation_id)
    if case is None or conversation.state not in (State.WAITING, State.AGENT):
        raise ConversationChanged(f"conversation {conversation_id} has no open case")
    if to is not None:
        channel = conversation.address.channel
        _note_assignment(connection, to, channel, case.knowledge_base, now)
    if conversation.state is State.AGENT:
        if conversation.agent == to:
            return conversation
        conversation = requeue(conversation)
        save_conversation(connection, conversation, now)
        back_in_queue(connection, conversation_id, now)
    update_case(
        connection,
        conversation_id,
        assigned_to=to,
        assigned_at=None if to is None else now,
        due_at=now,
    )
    notify(connection, CASES)
    notify(connection, conversation_notice(conversation_id))
    return conversation


def candidates(connection: sa.Connection, now: datetime) -> list[Candidate]:
    """The agents whose desks are open and who have room, with the number of their open cases."""
    agent = tables.agent.c
    query = sa.select(tables.agent).where(
        agent.active, sa.not_(agent.away), agent.role != "viewer", agent.seen_at >= now - PRESENT
    )
    rows = connection.execute(query).all()
    loads = _loads(connection) if rows else {}
    return [
        Candidate(
            agent=agent_of(connection, row),
            seen_at=row.seen_at,
            assigned_at=row.assigned_at,
            open_cases=loads.get(row.name, 0),
        )
        for row in rows
        if loads.get(row.name, 0) < row.capacity
    ]


def is_there(connection: sa.Connection, name: str, now: datetime) -> bool:
    """True where an agent's desk is open and they take cases."""
    agent = tables.agent.c
    query = sa.select(agent.id).where(
        agent.name == name, agent.active, sa.not_(agent.away), agent.seen_at >= now - PRESENT
    )
    return connection.execute(query).first() is not None


def assign_to_last(connection: sa.Connection, conversation_id: int, now: datetime) -> None:
    """Give a new case to the agent who resolved the one before a short while ago.

    Only to one who is at the desk and has room; else it waits for anybody.
    """
    case = tables.case.c
    query = (
        sa.select(case.claimed_by, case.outcome, case.closed_at)
        .where(case.conversation_id == conversation_id, case.closed_at.is_not(None))
        .order_by(case.id.desc())
        .limit(1)
    )
    last = connection.execute(query).first()
    if last is None or last.outcome != "resolved" or now - last.closed_at > SAME_MATTER:
        return
    if any(one.agent.name == last.claimed_by for one in candidates(connection, now)):
        with suppress(ConversationChanged):
            assign(connection, conversation_id, last.claimed_by, now)


def _note_assignment(
    connection: sa.Connection, name: str, channel: str, knowledge_base: str, now: datetime
) -> None:
    agent = tables.agent
    query = sa.select(agent).where(agent.c.name == name, agent.c.active, agent.c.role != "viewer")
    row = connection.execute(query).one_or_none()
    if row is None:
        raise ConversationChanged(f"there is no agent {name} who takes cases")
    if not may_see(agent_of(connection, row), channel, knowledge_base):
        raise ConversationChanged(f"no team of {name}'s looks after such cases")
    connection.execute(agent.update().where(agent.c.id == row.id).values(assigned_at=now))


def _loads(connection: sa.Connection) -> dict[str, int]:
    """How many open cases each agent has claimed, or was given."""
    case = tables.case.c
    whose = sa.func.coalesce(case.claimed_by, case.assigned_to)
    query = (
        sa.select(whose, sa.func.count())
        .where(case.closed_at.is_(None), whose.is_not(None))
        .group_by(whose)
    )
    return {row[0]: row[1] for row in connection.execute(query)}
