"""What agents do at the desk beside claiming and writing, in SQL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import sqlalchemy as sa

from kfbot.store.assignment import assign
from kfbot.store.audit import record
from kfbot.store.engine import Database
from kfbot.store.notices import assigned_notice, notify, typing_notice


class CaseActionStore:
    """Gives cases away, and tells that somebody writes."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def assign(self, conversation_id: int, to: str | None, *, by: str) -> None:
        """Give the open case to an agent, or (None) back to the queue.

        Whoever has claimed it loses it: it waits for the one it was given to.

        Raises:
            ConversationChanged: No case is open, or there is no such agent who takes cases.
        """

        def operation(connection: sa.Connection) -> None:
            now = self._clock()
            assign(connection, conversation_id, to, now)
            record(connection, now, by, "case_assigned", f"conversation {conversation_id}", to=to)
            if to is not None:
                notify(connection, assigned_notice(conversation_id, by))

        await self._database.write(operation, lanes=(conversation_id,))

    async def tell_typing(self, conversation_id: int) -> None:
        """Tell whoever has the conversation open that its agent writes; nothing is stored."""
        await self._database.write(lambda c: notify(c, typing_notice(conversation_id)))
