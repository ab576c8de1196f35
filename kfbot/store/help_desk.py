"""Follows a help desk, on whose platform agents work: who has a conversation is for it to say."""

from __future__ import annotations

from collections.abc import Container
from contextlib import suppress
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from kfbot.conversation import Conversation, State
from kfbot.errors import ConversationChanged
from kfbot.language import language_of
from kfbot.markup import plain
from kfbot.messages import MessageReceived, Sender
from kfbot.store import tables
from kfbot.store.conversations import change_owner, get_conversation
from kfbot.store.sayings import Saying, Words, say
from kfbot.texts import thread_texts

#: Kinds of messages by which a help desk is told that people have a conversation, or have no more.
_STARTS = frozenset({"handoff"})
_ENDS = frozenset({"handback", "resolved"})


def follow(connection: sa.Connection, conversation_id: int, owner: Sender, now: datetime) -> None:
    """Have the conversation where the help desk says that it is.

    What it was not told of yet, a handoff or its end, is not undone by what it says before.
    """
    conversation = get_conversation(connection, conversation_id)
    agent = owner.display_name or owner.id
    # Another agent may have it, which is as good; or it may be a thread, which is nobody's.
    with suppress(ConversationChanged):
        if owner.role == "agent":
            if not _is_untold(connection, conversation, _ENDS):
                change_owner(connection, conversation_id, "claim", agent=agent, now=now)
        elif conversation.state in (State.WAITING, State.AGENT) and not _is_untold(
            connection, conversation, _STARTS
        ):
            change_owner(connection, conversation_id, "hand_back", agent=agent, now=now)


def tell_taken(
    connection: sa.Connection, conversation_id: int, event: MessageReceived, now: datetime
) -> None:
    """Have the help desk told that an agent has what it takes for the bot's: they wrote there."""
    if event.owner is None or event.owner.role != "bot":
        return
    conversation = get_conversation(connection, conversation_id)
    says = thread_texts(language_of(event.text))
    note = says.claimed.format(agent=plain(conversation.agent or ""))
    words = Words(text="", kind="handoff", note=note)
    saying = Saying(conversation=conversation, words=(words,), internal=True, pushed=True)
    say(connection, saying, now)


def _is_untold(
    connection: sa.Connection, conversation: Conversation, kinds: Container[str]
) -> bool:
    """True while a change of the owner is on its way to the platform."""
    outbox = tables.outbox.c
    payloads = sa.select(outbox.payload).where(
        outbox.conversation_id == conversation.id,
        outbox.ownership_epoch == conversation.ownership_epoch,
        tables.is_unsent,
    )
    return any(_changes_owner(payload, kinds) for payload in connection.execute(payloads).scalars())


def _changes_owner(payload: Any, kinds: Container[str]) -> bool:
    if not isinstance(payload, dict) or payload.get("kind") not in kinds:
        return False
    # Only with a note does a handoff ask for a person.
    return payload["kind"] != "handoff" or bool(payload.get("note"))
