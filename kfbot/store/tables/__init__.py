"""All tables, for SQLite and PostgreSQL alike. Times are aware UTC; `migrations/` follows."""

from __future__ import annotations

from kfbot.store.tables.columns import UtcTime, metadata
from kfbot.store.tables.conversations import (
    button,
    case,
    conversation,
    conversation_alias,
    customer,
    message,
    turn,
)
from kfbot.store.tables.delivery import (
    channel,
    heard,
    inbox,
    is_dead_event,
    is_dead_message,
    is_unsent,
    is_waiting,
    job,
    job_asker,
    lane,
    outbox,
    pause,
    secret,
)
from kfbot.store.tables.desk import (
    agent,
    agent_session,
    audit,
    canned_answer,
    case_thread,
    proposal,
    team,
    team_member,
)
from kfbot.store.tables.knowledge import (
    calibration,
    knowledge_base,
    knowledge_chunk,
    knowledge_document,
    knowledge_file,
)

__all__ = [
    "UtcTime",
    "agent",
    "agent_session",
    "audit",
    "button",
    "calibration",
    "canned_answer",
    "case",
    "case_thread",
    "channel",
    "conversation",
    "conversation_alias",
    "customer",
    "heard",
    "inbox",
    "is_dead_event",
    "is_dead_message",
    "is_unsent",
    "is_waiting",
    "job",
    "job_asker",
    "knowledge_base",
    "knowledge_chunk",
    "knowledge_document",
    "knowledge_file",
    "lane",
    "message",
    "metadata",
    "outbox",
    "pause",
    "proposal",
    "secret",
    "team",
    "team_member",
    "turn",
]
