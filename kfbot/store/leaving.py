"""What becomes of the cases of an agent who takes none any more, in SQL."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from kfbot.conversation import State, requeue
from kfbot.store import tables
from kfbot.store.cases import back_in_queue, update_case
from kfbot.store.conversations import get_conversation, save_conversation
from kfbot.store.notices import CASES, conversation_notice, notify


def take_back_cases(connection: sa.Connection, name: str, now: datetime) -> None:
    """Put an agent's open cases back into the queue: their customers would wait for ever."""
    case, lane = tables.case.c, tables.lane.c
    theirs = sa.or_(case.claimed_by == name, case.assigned_to == name)
    open_cases = sa.select(case.conversation_id).where(case.closed_at.is_(None), theirs)
    for number in sorted(connection.execute(open_cases).scalars()):
        # What is being committed there comes first.
        locked = sa.select(lane.conversation_id).where(lane.conversation_id == number)
        connection.execute(locked.with_for_update())
        conversation = get_conversation(connection, number)
        if conversation.state is State.AGENT:
            if conversation.agent != name:
                continue
            save_conversation(connection, requeue(conversation), now)
            back_in_queue(connection, number, now)
        update_case(connection, number, assigned_to=None, assigned_at=None, due_at=now)
        notify(connection, conversation_notice(number))
    notify(connection, CASES)
