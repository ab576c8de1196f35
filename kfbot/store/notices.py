"""What a transaction tells once it is committed: to this process, and to every other replica.

A notice is a short word: `lane` (there is work), `cases` (one was opened, or changed hands),
`conversation 12` (something in it changed),
`chat web/abc` (a conversation began there), `knowledge samples` (it was loaded), `agents`
(agents, teams or sessions changed), `assigned 12 anna` (anna gave its case to another agent),
`typing 12` (its agent is writing), `draft 12` (an answer in it has grown), `events` (something
happened of which other systems may be to be told).
"""

from __future__ import annotations

import sqlalchemy as sa

from kfbot.messages import ConversationId

#: The PostgreSQL channel; a payload is "<who>|<notice>".
CHANNEL = "kfbot"
#: PostgreSQL takes less than 8000 bytes; chats whose names begin alike are then told of together.
_LONGEST = 1000
LANE = "lane"
#: Agents, teams or sessions changed.
AGENTS = "agents"
#: A case was opened, given to somebody, claimed or closed.
CASES = "cases"
#: Something happened of which other systems may be to be told.
EVENTS = "events"
_KEY = "kfbot_notices"


def conversation_notice(conversation_id: int) -> str:
    """Something in this conversation changed."""
    return f"conversation {conversation_id}"


def assigned_notice(conversation_id: int, by: str) -> str:
    """An agent gave its case to another."""
    return f"assigned {conversation_id} {by}"


def typing_notice(conversation_id: int) -> str:
    """Its agent is writing."""
    return f"typing {conversation_id}"


def draft_notice(conversation_id: int) -> str:
    """An answer that is being written in this conversation has grown."""
    return f"draft {conversation_id}"


def chat_notice(address: ConversationId) -> str:
    """A conversation began at this address."""
    return f"chat {address.channel}/{address.chat}"[:_LONGEST]


def knowledge_notice(name: str) -> str:
    """A knowledge base was loaded."""
    return f"knowledge {name}"


def notify(connection: sa.Connection, notice: str) -> None:
    """Tell this once the transaction is committed; the same notice is told once."""
    connection.info.setdefault(_KEY, {})[notice] = None


def take_notices(connection: sa.Connection) -> tuple[str, ...]:
    """What was told in this transaction so far; it is forgotten."""
    return tuple(connection.info.pop(_KEY, ()))
