"""What admins ask about what the bot did: one turn, and the counts of many, from SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from kfbot.knowledge_base import PassageKind
from kfbot.messages import ConversationId
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.token_use import tokens, written

#: So many turns, and cases, are counted at most, the newest.
COUNTED = 100_000
#: The last turn of a chat is looked for among so many, of all chats.
LATELY = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnAccount:
    """A turn, as far as it is stored."""

    question: str
    decision: str
    #: Probability, 0 to 1, that the best passage answers.
    confidence: float
    #: By kind of passage, then by name of the signal.
    evidence: Mapping[PassageKind, Mapping[str, float]]
    #: What a chat model took for it, and what came of it; see `kfbot.answer.written`.
    usage: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counts over some time."""

    #: By decision.
    turns: Mapping[str, int] = field(default_factory=dict)
    #: Of the answers so many were written by a chat model.
    written: int = 0
    #: Of chat models, that turns took.
    tokens: int = 0
    #: Cases that were opened, by reason.
    handoffs: Mapping[str, int] = field(default_factory=dict)
    #: Of these are not closed yet.
    open: int = 0
    #: False: there are more than are counted.
    is_complete: bool = True


class AccountStore:
    """Reads turns and counts them; every query is bounded."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_turn(
        self, conversation_id: int, address: ConversationId, platform_id: str | None
    ) -> TurnAccount | None:
        """The turn behind a message of the bot's, else the last one here, else lately in this chat.

        Args:
            platform_id: Of a message in the chat, whoever's conversation it belongs to.

        Raises:
            StoreUnavailable: The database cannot be read.
        """

        def query(connection: sa.Connection) -> TurnAccount | None:
            asked = {"channel": address.channel, "chat": address.chat, "message": platform_id}
            asked["conversation"] = conversation_id  # type: ignore[assignment]
            for turn_id in (_OF_MESSAGE, _LAST_HERE, _LAST_IN_CHAT):
                row = connection.execute(_TURN.where(_turn.id == turn_id), asked).one_or_none()
                if row is not None:
                    return _account(row)
            return None

        return await self._database.read(query)

    async def stats(self, since: datetime) -> Stats:
        """What happened since a time, on all channels.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        return await self._database.read(lambda connection: _stats(connection, since))


_turn, _case, _alias = tables.turn.c, tables.case.c, tables.conversation_alias.c
_message = tables.message.c
# Made once: to put a statement together costs more than to run it.
_TURN = sa.select(_turn.question, _turn.decision, _turn.confidence, _turn.evidence, _turn.usage)
_IN_CHAT = sa.and_(_alias.channel == sa.bindparam("channel"), _alias.chat == sa.bindparam("chat"))
_OF_MESSAGE = (
    sa.select(sa.func.max(_message.turn_id))
    .join_from(
        tables.conversation_alias,
        tables.message,
        _message.conversation_id == _alias.conversation_id,
    )
    .where(_IN_CHAT, _message.platform_id == sa.bindparam("message"), _message.role == "bot")
    .scalar_subquery()
)
_LAST_HERE = (
    sa.select(_turn.id)
    .where(_turn.conversation_id == sa.bindparam("conversation"), _turn.decision != "silent")
    .order_by(_turn.id.desc())
    .limit(1)
    .scalar_subquery()
)
_newest = tables.turn.alias("newest").c
# From the newest back: by way of its members' conversations the whole of a large group would be
# read through.
_lately = (
    sa.select(_turn.id, _turn.conversation_id)
    .where(
        _turn.decision != "silent",
        _turn.id > sa.select(sa.func.max(_newest.id) - LATELY).scalar_subquery(),
    )
    .order_by(_turn.id.desc())
    .limit(LATELY)
    .subquery("lately")
    .c
)
_LAST_IN_CHAT = (
    sa.select(_lately.id)
    .where(sa.exists().where(_alias.conversation_id == _lately.conversation_id, _IN_CHAT))
    .order_by(_lately.id.desc())
    .limit(1)
    .scalar_subquery()
)


def _account(row: sa.Row[Any, Any, Any, Any, Any]) -> TurnAccount:
    return TurnAccount(
        question=row.question,
        decision=row.decision,
        confidence=row.confidence,
        evidence=row.evidence,
        usage=row.usage,
    )


def _stats(connection: sa.Connection, since: datetime) -> Stats:
    turn = sa.select(_turn.id, _turn.decision, _turn.usage, _turn.created_at)
    newest = turn.order_by(_turn.id.desc()).limit(COUNTED).subquery()
    turns = (
        sa.select(
            newest.c.decision, sa.func.count(), written(newest.c.usage), tokens(newest.c.usage)
        )
        .where(newest.c.created_at >= since)
        .group_by(newest.c.decision)
    )
    case = sa.select(_case.reason, _case.opened_at, _case.closed_at).order_by(_case.id.desc())
    cases = case.limit(COUNTED).subquery()
    opened = (
        sa.select(cases.c.reason, sa.func.count(), sa.func.count(cases.c.closed_at))
        .where(cases.c.opened_at >= since)
        .group_by(cases.c.reason)
    )
    counted = connection.execute(turns).all()
    by_decision = {row[0]: row[1] for row in counted}
    by_reason = connection.execute(opened).all()
    return Stats(
        turns=by_decision,
        written=sum(row[2] for row in counted),
        tokens=sum(row[3] for row in counted),
        handoffs={row[0]: row[1] for row in by_reason},
        open=sum(row[1] - row[2] for row in by_reason),
        is_complete=sum(by_decision.values()) < COUNTED,
    )
