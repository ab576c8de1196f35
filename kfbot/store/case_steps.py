"""What agents do to cases from their threads, in SQL."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

import sqlalchemy as sa

from kfbot.conversation import Conversation
from kfbot.errors import ConversationChanged
from kfbot.messages import InboundEvent, MessageReceived, Sender
from kfbot.shaping import split
from kfbot.store import tables
from kfbot.store.audit import record
from kfbot.store.case_threads import find_thread
from kfbot.store.cases import note_reply
from kfbot.store.conversations import OwnerChange, change_owner, get_conversation
from kfbot.store.events import storable
from kfbot.store.notices import conversation_notice, notify
from kfbot.store.sayings import Saying, Words, say
from kfbot.turn import CaseStep

#: By change of owner, as the record of deeds has it.
_DEEDS = {
    "claim": "case_claimed",
    "hand_back": "case_handed_back",
    "resolve": "case_resolved",
}


def claim_case(
    connection: sa.Connection, conversation_id: int, event: MessageReceived, now: datetime
) -> None:
    """An agent wrote to the customer in a thread: the bot is silent from now on.

    Nothing where another agent was first, the case is closed, or the thread is of no case.
    """
    thread = find_thread(connection, conversation_id)
    if thread is None or thread.case.closed_at is not None:
        return
    _lock(connection, thread.conversation.id)
    conversation = get_conversation(connection, thread.conversation.id)
    with suppress(ConversationChanged):
        _change_owner(connection, conversation, "claim", event.sender, event, now)


def take_step(connection: sa.Connection, step: CaseStep, event: InboundEvent, now: datetime) -> str:
    """Do what an agent did in a thread by an event; returns what to say there if it cannot be done.

    The event's id tells their words from those that the thread does not show yet.
    """
    closed = sa.select(tables.case.c.closed_at).where(tables.case.c.id == step.case_id)
    if connection.execute(closed).scalar_one() is not None:
        return step.closed
    conversation = get_conversation(connection, step.conversation_id)
    if step.change is not None:
        owner = _owner(conversation, step.agent)
        if step.change == "claim" and conversation.agent not in (None, owner):
            return step.taken.format(agent=conversation.agent)
        try:
            conversation = _change_owner(
                connection, conversation, step.change, step.agent, event, now
            )
        except ConversationChanged:
            return step.closed
    _say_step(connection, step, conversation, event.event_id, now)
    return ""


def _change_owner(
    connection: sa.Connection,
    before: Conversation,
    change: OwnerChange,
    agent: Sender,
    event: InboundEvent,
    now: datetime,
) -> Conversation:
    """Change the owner and, where that is one, write it down.

    Raises:
        ConversationChanged: Somebody else was first.
    """
    owner = _owner(before, agent)
    after = change_owner(connection, before.id, change, agent=owner, now=now)
    if after != before:
        notify(connection, conversation_notice(before.id))
        actor = f"{event.conversation.channel}/{agent.id}"
        record(connection, now, actor, _DEEDS[change], f"conversation {before.id}")
    return after


def _owner(conversation: Conversation, agent: Sender) -> str:
    """What an agent is called as an owner: as they took it, where the name was not known then."""
    known = (agent.display_name, agent.id)
    if conversation.agent in known and conversation.agent:
        return conversation.agent
    return agent.display_name or agent.id


def _say_step(
    connection: sa.Connection,
    step: CaseStep,
    conversation: Conversation,
    event_id: str,
    now: datetime,
) -> None:
    """Write the agent's words, or the notice of the change; nothing for a claim alone."""
    if step.text:
        whole, limit = storable(step.text), step.text_length
        parts = split(whole, limit) if step.change and limit is not None else (whole,)
        if step.change:
            note_reply(connection, conversation.id, now)
        name = step.agent.display_name or step.agent.id
        saying = Saying(
            conversation=conversation,
            sender=Sender(step.agent.id, "agent", name),
            words=tuple(Words(text=part) for part in parts),
            internal=step.change is None,
            pushed=step.pushed and step.change is not None,
            events=(event_id,),
        )
        say(connection, saying, now)
    elif step.notice:
        words = Words(text=step.notice, kind="resolved" if step.change == "resolve" else "handback")
        say(connection, Saying(conversation=conversation, words=(words,), pushed=step.pushed), now)


def _lock(connection: sa.Connection, conversation_id: int) -> None:
    """Wait for what is being committed in a conversation, which a change of owner must follow."""
    lane = tables.lane.c
    connection.execute(
        sa.select(lane.conversation_id)
        .where(lane.conversation_id == conversation_id)
        .with_for_update()
    )
