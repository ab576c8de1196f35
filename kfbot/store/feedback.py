"""What customers thought of the bot's answers, in SQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from kfbot.store import tables
from kfbot.store.conversation_events import record_event
from kfbot.store.engine import Database

#: So many of the bot's last messages are looked at.
_LAST = 10


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the customer made of one answer."""

    #: The button that says that it did not help.
    token: str
    not_helpful: bool


class FeedbackStore:
    """Reads what says that the bot, or an agent, did not help."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def verdicts(self, conversation_id: int) -> tuple[Verdict, ...]:
        """On the bot's last answers that could be judged, the newest first.

        Raises:
            StoreUnavailable: The database cannot be read.
        """

        def query(connection: sa.Connection) -> tuple[Verdict, ...]:
            tokens = _tokens(connection, conversation_id)
            button = tables.button.c
            pressed = sa.select(button.token).where(
                button.token.in_(tokens), button.pressed_at.is_not(None)
            )
            bad = set(connection.execute(pressed).scalars())
            return tuple(Verdict(token, token in bad) for token in tokens)

        return await self._database.read(query)

    async def was_resolved(self, conversation_id: int, within: timedelta) -> bool:
        """True where an agent resolved the last case of a conversation not longer ago than that.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        case = tables.case.c
        query = (
            sa.select(case.outcome, case.closed_at)
            .where(case.conversation_id == conversation_id)
            .order_by(case.id.desc())
            .limit(1)
        )
        row = await self._database.read(lambda connection: connection.execute(query).first())
        if row is None or row.outcome != "resolved" or row.closed_at is None:
            return False
        is_recent: bool = self._clock() - row.closed_at <= within
        return is_recent


def press(connection: sa.Connection, conversation_id: int, token: str, now: datetime) -> None:
    """Note that a button was pressed; of a verdict other systems are told."""
    button, turn = tables.button.c, tables.turn.c
    change = tables.button.update().where(button.token == token).values(pressed_at=now)
    row = connection.execute(change.returning(button.action, button.turn_id)).one_or_none()
    if row is None or row.action not in ("helpful", "not_helpful"):
        return
    asked = sa.select(turn.question).where(turn.id == row.turn_id)
    record_event(
        connection,
        conversation_id,
        "feedback.given",
        now,
        helpful=row.action == "helpful",
        question=connection.execute(asked).scalar_one_or_none() or "",
    )


def _tokens(connection: sa.Connection, conversation_id: int) -> list[str]:
    message = tables.message.c
    query = (
        sa.select(message.extras)
        .where(message.conversation_id == conversation_id, message.role == "bot")
        .order_by(message.id.desc())
        .limit(_LAST)
    )
    return [
        button["token"]
        for extras in connection.execute(query).scalars()
        for button in extras.get("buttons", ())
        if button["action"] == "not_helpful"
    ]
