"""Writes down an answer as it grows, before it is shown, for as long as the turn may show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from kfbot.conversation import Conversation
from kfbot.store import tables
from kfbot.store.drafts import close_drafts
from kfbot.store.engine import Database
from kfbot.store.events import storable
from kfbot.store.hanging import hangs_under
from kfbot.store.lanes import Lane
from kfbot.store.notices import draft_notice, notify
from kfbot.store.pacing import Pace, take_free_slot
from kfbot.store.work import StoredEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """An answer as it is about to be shown."""

    lane: Lane
    #: As it was when the turn began.
    conversation: Conversation
    events: tuple[StoredEvent, ...]
    text: str
    #: What its channel can take; None: nothing is sent, the other side reads the row.
    pace: Pace | None
    #: It is shown under the message that it answers.
    hangs: bool = False


@dataclass(frozen=True, slots=True)
class Grown:
    """Whether a text may be shown, and where."""

    #: later: not now, or no more is shown of it already; never: the turn is not ours any more,
    #: or something else has to be sent first.
    may_show: Literal["now", "later", "never"]
    #: The platform's ids of the message to edit; empty: it is the first.
    platform_ids: tuple[str, ...] = ()
    #: The customer's message that it is shown under.
    in_reply_to: str | None = None


_draft, _lane, _outbox = tables.draft.c, tables.lane.c, tables.outbox.c
_conversation = tables.conversation.c
_NEVER, _LATER = Grown("never"), Grown("later")
# Made once: to put a statement together costs more than to run it.
_STANDING = (
    sa.select(
        _lane.conversation_id,
        _lane.owner,
        _lane.epoch,
        _conversation.ownership_epoch,
        _draft.inbox_id,
        _draft.ownership_epoch.label("draft_epoch"),
        _draft.text,
        _draft.platform_ids,
        sa.exists()
        .where(_outbox.conversation_id == _lane.conversation_id, tables.is_unsent)
        .label("unsent"),
    )
    .join_from(tables.lane, tables.conversation, _lane.conversation_id == _conversation.id)
    .join(tables.draft, _draft.conversation_id == _conversation.id, isouter=True)
    .where(_lane.conversation_id.in_(sa.bindparam("conversations", expanding=True)))
)
_WRITE = {
    dialect: statement.on_conflict_do_update(
        index_elements=[_draft.conversation_id],
        set_={"text": statement.excluded.text, "updated_at": statement.excluded.updated_at},
    )
    for dialect, statement in (
        ("sqlite", sqlite_insert(tables.draft)),
        ("postgresql", postgresql_insert(tables.draft)),
    )
}


class DraftStore:
    """Writes answers down as they grow."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def grow(self, growth: Growth) -> Grown:
        """Write down what is about to be shown, if it may be; a place in the pace is taken then.

        Raises:
            StoreUnavailable: Nothing was stored; do not show it.
        """
        lanes = (growth.lane.conversation_id,)
        return await self._database.write_together(self._grow, growth, lanes=lanes)

    def _grow(self, connection: sa.Connection, growths: Sequence[Growth]) -> Sequence[Grown]:
        now = self._clock()
        asked = {"conversations": [one.lane.conversation_id for one in growths]}
        standing = {
            (row.conversation_id, row.owner, row.epoch): row
            for row in connection.execute(_STANDING, asked)
        }
        results, rows = [], []
        for one in growths:
            grown = _allowed(connection, one, standing.get(one.lane.key), now)
            results.append(grown)
            if grown.may_show == "now":
                rows.append(_row(one, grown, now))
                notify(connection, draft_notice(one.lane.conversation_id))
        if rows:
            connection.execute(_WRITE[connection.dialect.name], rows)
        return results

    async def shown(self, lane: Lane, platform_ids: Sequence[str]) -> None:
        """Write down how the platform calls the message that was sent.

        Raises:
            StoreUnavailable: Nothing was stored.
        """

        number, owner, epoch = lane.key
        # Who has the lane by now may have sent a message of its own.
        ours = sa.exists().where(
            _lane.conversation_id == number, _lane.owner == owner, _lane.epoch == epoch
        )
        named = (
            tables.draft.update()
            .where(_draft.conversation_id == number, ours)
            .values(platform_ids=[storable(one) for one in platform_ids])
        )
        await self._database.write(lambda c: c.execute(named).rowcount, lanes=(number,))


def _allowed(
    connection: sa.Connection, growth: Growth, row: sa.Row[Any] | None, now: datetime
) -> Grown:
    if row is None or row.ownership_epoch != growth.conversation.ownership_epoch:
        return _NEVER
    if growth.pace is not None and row.unsent:
        return _NEVER
    number = growth.lane.conversation_id
    of_this_turn = (growth.events[0].inbox_id, growth.conversation.ownership_epoch)
    is_first = row.inbox_id is None
    if not is_first and (row.inbox_id, row.draft_epoch) != of_this_turn:
        close_drafts(connection, [number], now)
        is_first = True
    # A process that died had come further: what is there is not taken back.
    if not is_first and len(growth.text) <= len(row.text):
        return _LATER
    ids = () if is_first else tuple(row.platform_ids)
    if growth.pace is not None and not take_free_slot(
        connection, growth.conversation.address, growth.pace, now
    ):
        return _LATER
    under = hangs_under(connection, number, growth.events) if growth.hangs and not ids else None
    return Grown("now", ids, under)


def _row(growth: Growth, grown: Grown, now: datetime) -> dict[str, Any]:
    return {
        "conversation_id": growth.lane.conversation_id,
        "ownership_epoch": growth.conversation.ownership_epoch,
        "inbox_id": growth.events[0].inbox_id,
        "text": growth.text,
        "platform_ids": list(grown.platform_ids),
        "updated_at": now,
    }
