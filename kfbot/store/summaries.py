"""What chat models say that cases are about, in SQL."""

from __future__ import annotations

import sqlalchemy as sa

from kfbot.conversation import Case, Language
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.notices import conversation_notice, notify


class SummaryStore:
    """Writes `case.summary`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, case: Case, language: Language, text: str) -> None:
        """Keep a summary; whoever has the conversation open is told.

        Raises:
            StoreUnavailable: Nothing was changed.
        """
        row = tables.case.c

        def operation(connection: sa.Connection) -> None:
            here = row.id == case.id
            kept = connection.execute(sa.select(row.summary).where(here).with_for_update())
            summary = {**kept.scalar_one(), language: text}
            connection.execute(tables.case.update().where(here).values(summary=summary))
            notify(connection, conversation_notice(case.conversation_id))

        await self._database.write(operation)
