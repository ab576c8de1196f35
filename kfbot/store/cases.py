"""Cases in SQL: each handoff, from its opening to handback or resolution."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from kfbot.conversation import Case, HandoffReason, Turn
from kfbot.messages import Citation
from kfbot.store import tables
from kfbot.store.conversation_events import record_event
from kfbot.store.notices import CASES, notify


def open_case(
    connection: sa.Connection,
    conversation_id: int,
    reason: HandoffReason,
    now: datetime,
    *,
    question: str = "",
    draft: str = "",
    knowledge_base: str = "",
    turn: Turn | None = None,
) -> Case:
    """Open a case for a conversation that has none open.

    Args:
        turn: What the bot made of the question.
    """
    opened = tables.case.insert().values(
        conversation_id=conversation_id,
        reason=reason,
        question=question,
        draft=draft,
        knowledge_base=knowledge_base,
        passages=[passage_row(*seen) for seen in turn.seen] if turn else [],
        confidence=turn.confidence if turn else None,
        opened_at=now,
        due_at=now,
    )
    case = case_of(connection.execute(opened.returning(tables.case)).one())
    notify(connection, CASES)
    _tell_opened(connection, case)
    return case


def _tell_opened(connection: sa.Connection, case: Case) -> None:
    # Of what an agent takes by itself is told that it was claimed.
    if case.reason == "taken_by_agent":
        return
    names = ("id", "reason", "question", "knowledge_base", "confidence")
    record_event(
        connection,
        case.conversation_id,
        "conversation.handed_off",
        case.opened_at,
        case={name: getattr(case, name) for name in names},
    )


def passage_row(knowledge_base: str, passage: Citation) -> dict[str, Any]:
    """A passage as it is kept with a case."""
    return {
        "title": passage.title,
        "heading": passage.heading,
        "url": passage.url,
        "quote": passage.quote,
        "score": passage.score,
        "knowledge_base": knowledge_base,
    }


def find_open_case(connection: sa.Connection, conversation_id: int) -> Case | None:
    """The open case of a conversation."""
    case = tables.case.c
    query = sa.select(tables.case).where(
        case.conversation_id == conversation_id, case.closed_at.is_(None)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else case_of(row)


def knowledge_base_of(connection: sa.Connection, conversation_id: int) -> str:
    """What says which teams see a conversation: the knowledge base of its last case, else of its
    last turn; "" for none.
    """
    for one in (tables.case.c, tables.turn.c):
        here = sa.select(one.knowledge_base).where(one.conversation_id == conversation_id)
        last = connection.execute(here.order_by(one.id.desc()).limit(1)).scalar_one_or_none()
        if last is not None:
            return str(last)
    return ""


def update_case(connection: sa.Connection, conversation_id: int, **values: object) -> None:
    """Change columns of the open case of a conversation, if it has one."""
    case = tables.case
    connection.execute(
        case.update()
        .where(case.c.conversation_id == conversation_id, case.c.closed_at.is_(None))
        .values(**values)
    )


def back_in_queue(connection: sa.Connection, conversation_id: int, now: datetime) -> None:
    """Nobody has the open case of a conversation any more; the customer waits anew."""
    update_case(
        connection,
        conversation_id,
        claimed_by=None,
        claimed_at=None,
        waiting_since=now,
        notices=0,
        noticed_at=None,
    )


def note_reply(connection: sa.Connection, conversation_id: int, now: datetime) -> None:
    """An agent wrote to the customer."""
    first = sa.func.coalesce(tables.case.c.first_reply_at, now)
    update_case(connection, conversation_id, first_reply_at=first, last_reply_at=now)


def case_of(row: sa.Row[Any]) -> Case:
    """The case in a row of its table."""
    return Case(
        id=row.id,
        conversation_id=row.conversation_id,
        reason=row.reason,
        question=row.question,
        draft=row.draft,
        knowledge_base=row.knowledge_base,
        passages=tuple(row.passages),
        confidence=row.confidence,
        opened_at=row.opened_at,
        assigned_to=row.assigned_to,
        assigned_at=row.assigned_at,
        claimed_by=row.claimed_by,
        waiting_since=row.waiting_since,
        notices=row.notices,
        first_reply_at=row.first_reply_at,
        closed_at=row.closed_at,
        outcome=row.outcome,
        summary=row.summary,
    )
