"""What chat models say that cases are about, in SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import sqlalchemy as sa

from kfbot.conversation import Case, Language, bot_may_speak
from kfbot.store import tables
from kfbot.store.conversations import get_conversation
from kfbot.store.engine import Database
from kfbot.store.notices import conversation_notice, notify
from kfbot.store.sayings import Saying, Words, say


class SummaryStore:
    """Writes `case.summary`."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def languages(self, case: Case) -> frozenset[Language]:
        """In which languages a case is summed up by now.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        query = sa.select(tables.case.c.summary).where(tables.case.c.id == case.id)
        return frozenset(await self._database.read(lambda c: c.execute(query).scalar_one()))

    async def save(
        self, case: Case, language: Language, text: str, *, read: Mapping[int, str], note: str = ""
    ) -> bool:
        """Keep a summary; whoever has the conversation open is told.

        Args:
            read: What it was made of: texts of messages, by id.
            note: Sent to the help desk that the conversation is on with the first summary of a
                case, as long as that is open.

        Returns:
            False where something of what was read was edited or erased since: nothing is kept.

        Raises:
            StoreUnavailable: Nothing was changed.
        """
        row = tables.case.c

        def operation(connection: sa.Connection) -> bool:
            if not _stands(connection, read):
                return False
            here = row.id == case.id
            kept = connection.execute(sa.select(row.summary).where(here).with_for_update())
            known = kept.scalar_one()
            summary = {**known, language: text}
            connection.execute(tables.case.update().where(here).values(summary=summary))
            notify(connection, conversation_notice(case.conversation_id))
            if note and text and not known:
                self._tell(connection, case.conversation_id, note)
            return True

        return await self._database.write(operation, lanes=(case.conversation_id,))

    def _tell(self, connection: sa.Connection, conversation_id: int, note: str) -> None:
        conversation = get_conversation(connection, conversation_id)
        if bot_may_speak(conversation):
            return
        words = (Words(text="", note=note),)
        saying = Saying(conversation=conversation, words=words, internal=True, pushed=True)
        say(connection, saying, self._clock())


def _stands(connection: sa.Connection, read: Mapping[int, str]) -> bool:
    """True where messages say what they said."""
    message = tables.message.c
    query = sa.select(message.id, message.text).where(message.id.in_(read))
    return {row.id: row.text for row in connection.execute(query)} == read
