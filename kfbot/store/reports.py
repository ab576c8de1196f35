"""Counts turns, verdicts and cases of a span of time, from SQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa

from kfbot.reports import Counted, Handled, Place, Tally
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.token_use import tokens, written

#: So many turns, verdicts and cases are counted at most, the newest.
COUNTED = 200_000
CASES = 20_000
#: Fine enough for every time zone that is in use.
_QUARTER_SECONDS = 900


class ReportStore:
    """Counts; every query is bounded."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def counted(self, since: datetime, until: datetime) -> Counted:
        """What happened from `since` on and before `until`.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        return await self._database.read(lambda connection: _counted(connection, since, until))


_turn, _case, _button = tables.turn.c, tables.case.c, tables.button.c
_alias = tables.conversation_alias.c


def _counted(connection: sa.Connection, since: datetime, until: datetime) -> Counted:
    span = {"since": since, "until": until}
    turns = connection.execute(_TURNS, span).all()
    verdicts = connection.execute(_VERDICTS, span).all()
    cases = connection.execute(_CASES, span).all()
    oldest = connection.execute(_OLDEST_COUNTED).scalar_one_or_none()
    return Counted(
        tallies=[
            *(_tally(row) for row in (*turns, *verdicts)),
            *(_tally(row, "written") for row in turns if row.written),
            *(_tally(row, "tokens") for row in turns if row.tokens),
        ],
        cases=[_handled(row) for row in cases],
        is_complete=(oldest is None or oldest < since) and len(cases) < CASES,
    )


def _quarter(at: Any) -> sa.ColumnElement[int]:
    return sa.cast(sa.extract("epoch", at), sa.BigInteger) // _QUARTER_SECONDS


# Rows have grown old in the order of their ids: no index on time is needed.
_newest = (
    sa.select(
        _turn.conversation_id,
        _turn.decision,
        _turn.knowledge_base,
        _turn.usage,
        _turn.created_at,
    )
    .order_by(_turn.id.desc())
    .limit(COUNTED)
    .subquery()
)
_OLDEST_COUNTED = sa.select(_turn.created_at).order_by(_turn.id.desc()).offset(COUNTED - 1).limit(1)
_turn_quarter = _quarter(_newest.c.created_at).label("quarter")
_TURNS = (
    sa.select(
        _turn_quarter,
        _alias.channel,
        _newest.c.knowledge_base,
        _newest.c.decision.label("what"),
        sa.func.count().label("times"),
        written(_newest.c.usage).label("written"),
        tokens(_newest.c.usage).label("tokens"),
    )
    .join_from(
        _newest,
        tables.conversation_alias,
        sa.and_(_alias.conversation_id == _newest.c.conversation_id, _alias.current),
    )
    .where(
        _newest.c.created_at >= sa.bindparam("since", type_=tables.UtcTime(timezone=True)),
        _newest.c.created_at < sa.bindparam("until", type_=tables.UtcTime(timezone=True)),
        _newest.c.decision != "silent",
    )
    .group_by(_turn_quarter, _alias.channel, _newest.c.knowledge_base, _newest.c.decision)
)
_pressed_quarter = _quarter(_button.pressed_at).label("quarter")
_VERDICTS = (
    sa.select(
        _pressed_quarter,
        _alias.channel,
        _turn.knowledge_base,
        _button.action.label("what"),
        sa.func.count().label("times"),
    )
    .join_from(tables.button, tables.turn, _turn.id == _button.turn_id)
    .join(
        tables.conversation_alias,
        sa.and_(_alias.conversation_id == _button.conversation_id, _alias.current),
    )
    .where(
        # A button expires after it was pressed: its index finds the newer ones.
        _button.expires_at >= sa.bindparam("since", type_=tables.UtcTime(timezone=True)),
        _button.pressed_at >= sa.bindparam("since", type_=tables.UtcTime(timezone=True)),
        _button.pressed_at < sa.bindparam("until", type_=tables.UtcTime(timezone=True)),
        _button.action.in_(("helpful", "not_helpful")),
    )
    .group_by(_pressed_quarter, _alias.channel, _turn.knowledge_base, _button.action)
)
_CASES = (
    sa.select(
        _case.opened_at,
        _alias.channel,
        _case.knowledge_base,
        _case.reason,
        _case.first_reply_at,
        _case.closed_at,
    )
    .join_from(
        tables.case,
        tables.conversation_alias,
        sa.and_(_alias.conversation_id == _case.conversation_id, _alias.current),
    )
    .where(
        _case.opened_at >= sa.bindparam("since", type_=tables.UtcTime(timezone=True)),
        _case.opened_at < sa.bindparam("until", type_=tables.UtcTime(timezone=True)),
    )
    .order_by(_case.opened_at.desc())
    .limit(CASES)
)


def _tally(row: Any, what: Literal["written", "tokens"] | None = None) -> Tally:
    return Tally(
        at=datetime.fromtimestamp(row.quarter * _QUARTER_SECONDS, UTC),
        place=Place(row.channel, row.knowledge_base),
        what=what or row.what,
        count=getattr(row, what) if what else row.times,
    )


def _handled(row: Any) -> Handled:
    return Handled(
        at=row.opened_at,
        place=Place(row.channel, row.knowledge_base),
        reason=row.reason,
        first_reply_at=row.first_reply_at,
        closed_at=row.closed_at,
    )
