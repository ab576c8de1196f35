"""What the bot could not answer, or answered in vain, and what helped: read from SQL, bounded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from kfbot.agents import Agent
from kfbot.conversation import HistoryMessage
from kfbot.learning.lessons import NO_GAP, Unanswered, Unhelpful, is_question
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.events import storable
from kfbot.store.transcripts import HISTORY_LENGTH
from kfbot.store.visibility import seen_by


@dataclass(frozen=True, slots=True, kw_only=True)
class HelpfulAnswer:
    """An answer of the bot's that a customer found helpful."""

    conversation_id: int
    #: In the customer's own words.
    question: str
    #: What was said before, oldest first.
    history: tuple[HistoryMessage, ...]
    document_id: str
    knowledge_base: str
    #: What the bot said.
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PressedChoice:
    """What a customer chose where the bot asked what was meant."""

    conversation_id: int
    #: What the bot was not sure about; of a follow-up what it was joined with, each in a line.
    question: str
    document_id: str
    knowledge_base: str


class UnansweredStore:
    """Reads handoffs and verdicts, the newest first, through the indexes on their times."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def asked(
        self, agent: Agent, since: datetime, *, channel: str | None = None, limit: int
    ) -> tuple[Unanswered, ...]:
        """The newest questions since a time that an agent may see; each once a conversation."""

        def query(connection: sa.Connection) -> tuple[Unanswered, ...]:
            cases = [_of_case(row) for row in connection.execute(_wanted(_CASES, _case))]
            presses = [_of_press(row) for row in connection.execute(_wanted(_PRESSES, _turn))]
            # One that was answered in vain says more than the handoff that followed.
            by_place = {(one.conversation_id, one.question): one for one in (*cases, *presses)}
            real = [one for one in by_place.values() if is_question(one.question)]
            return tuple(sorted(real, key=lambda one: one.at, reverse=True)[:limit])

        def _wanted(select: sa.Select[Any], where: Any) -> sa.Select[Any]:
            here = seen_by(agent, _alias.channel, where.knowledge_base)
            chosen = select.where(here).limit(limit).params(since=since)
            return chosen if channel is None else chosen.where(_alias.channel == storable(channel))

        return await self._database.read(query)

    async def helpful(self, since: datetime, *, limit: int) -> tuple[HelpfulAnswer, ...]:
        """The newest answers since a time that customers found helpful."""

        def query(connection: sa.Connection) -> tuple[HelpfulAnswer, ...]:
            rows = connection.execute(_HELPFUL.limit(limit).params(since=since)).all()
            found = [_helpful(connection, row) for row in rows if row.data.get("citations")]
            return tuple(one for one in found if one is not None)

        return await self._database.read(query)

    async def chosen(self, since: datetime, *, limit: int) -> tuple[PressedChoice, ...]:
        """The newest choices since a time that customers pressed."""
        pressed = _pressed("choice").add_columns(_button.value).limit(limit).params(since=since)
        rows = await self._database.read(lambda connection: connection.execute(pressed).all())
        return tuple(_choice(row) for row in rows)


_case, _turn, _button = tables.case.c, tables.turn.c, tables.button.c
_conversation, _alias, _message = (
    tables.conversation.c,
    tables.conversation_alias.c,
    tables.message.c,
)
_SINCE = sa.bindparam("since", type_=tables.UtcTime(timezone=True))
_is_current = sa.and_(_alias.conversation_id == _conversation.id, _alias.current.is_(True))
_CASES = (
    sa.select(
        _case.question,
        _case.knowledge_base,
        _case.conversation_id,
        _case.opened_at.label("at"),
        _conversation.customer_id,
        _alias.channel,
    )
    .join_from(tables.case, tables.conversation, _conversation.id == _case.conversation_id)
    .join(tables.conversation_alias, _is_current)
    .where(_case.opened_at >= _SINCE, _case.question != "", _case.reason.not_in(NO_GAP))
    .order_by(_case.opened_at.desc())
)


def _pressed(action: str) -> sa.Select[Any]:
    """Turns whose answers got this verdict, the newest verdict first."""
    return (
        sa.select(
            _turn.id,
            _turn.question,
            _turn.knowledge_base,
            _turn.data,
            _turn.created_at,
            _turn.conversation_id,
            _button.pressed_at.label("at"),
            _conversation.customer_id,
            _alias.channel,
        )
        .join_from(tables.button, tables.turn, _turn.id == _button.turn_id)
        .join(tables.conversation, _conversation.id == _turn.conversation_id)
        .join(tables.conversation_alias, _is_current)
        .where(_button.pressed_at >= _SINCE, _button.action == action)
        .order_by(_button.pressed_at.desc())
    )


_PRESSES, _HELPFUL = _pressed("not_helpful"), _pressed("helpful")


def _of_case(row: sa.Row[Any]) -> Unanswered:
    return Unanswered(**_common(row))


def _of_press(row: sa.Row[Any]) -> Unanswered:
    citation: dict[str, Any] = next(iter(row.data.get("citations", ())), {})
    answer = Unhelpful(
        turn_id=row.id,
        text=row.data.get("text", ""),
        document_id=citation.get("id", ""),
        title=citation.get("title", ""),
    )
    return Unanswered(**_common(row), answer=answer)


def _common(row: sa.Row[Any]) -> dict[str, Any]:
    known = row.customer_id is not None
    return {
        "question": " ".join(row.question.split()),
        "conversation_id": row.conversation_id,
        "customer": f"customer {row.customer_id}" if known else f"chat {row.conversation_id}",
        "channel": row.channel,
        "knowledge_base": row.knowledge_base,
        "at": row.at,
    }


def _helpful(connection: sa.Connection, row: sa.Row[Any]) -> HelpfulAnswer | None:
    """None where the customer did not ask in words of their own, but chose."""
    rows = connection.execute(
        sa.select(_message.role, _message.text, _message.turn_id)
        .where(
            _message.conversation_id == row.conversation_id,
            _message.internal.is_(False),
            _message.kind != "command",
            _message.created_at <= row.created_at,
        )
        .order_by(_message.id.desc())
        .limit(2 * HISTORY_LENGTH)
    ).all()
    said = list(reversed(rows))
    own = [n for n, one in enumerate(said) if one.turn_id == row.id and one.role == "customer"]
    words = " ".join(" ".join(said[place].text for place in own).split())
    # Before a follow-up stands what it was joined with, each in a line.
    if not words or words != row.question.rsplit("\n", 1)[-1]:
        return None
    before = said[: own[0]][-HISTORY_LENGTH:]
    return HelpfulAnswer(
        conversation_id=row.conversation_id,
        question=words,
        history=tuple(HistoryMessage(one.role, one.text) for one in before),
        document_id=row.data["citations"][0]["id"],
        knowledge_base=row.knowledge_base,
        text=row.data.get("text", ""),
    )


def _choice(row: sa.Row[Any]) -> PressedChoice:
    knowledge_base, _, document_id = row.value.partition("/")
    return PressedChoice(
        conversation_id=row.conversation_id,
        question=row.question,
        document_id=document_id,
        knowledge_base=knowledge_base,
    )
