"""Dead letters: events and messages that were given up, until an operator decides about them."""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Literal, cast

import sqlalchemy as sa

from kfbot.errors import ConversationChanged
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.events import storable
from kfbot.store.lanes import set_ready
from kfbot.store.notices import LANE, notify

#: An event that came in, a message that was to go out.
Kind = Literal["in", "out"]
#: They are counted up to this number, however many there are.
COUNTED = 10_000
_ID = re.compile(r"(in|out)-([0-9]{1,18})", re.ASCII)
_DEAD = {
    "in": (tables.inbox, tables.is_dead_event),
    "out": (tables.outbox, tables.is_dead_message),
}


@dataclass(frozen=True, slots=True)
class LetterId:
    """What a person calls a dead letter: in-12, out-34."""

    kind: Kind
    #: Of the row.
    number: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that nobody works on, or a message that nobody sends, any more."""

    id: LetterId
    channel: str
    conversation_id: int
    #: An event's type (MessageReceived), a message's kind (handoff); "" where it cannot be read.
    type: str
    #: When the event came in; when the message was written, or last tried anew.
    at: datetime
    attempts: int
    #: Events: how often a process died while this was the first of its lane.
    crashes: int
    error: str
    text: str
    #: A message of the bot's in a conversation that has had another owner since.
    changed_hands: bool
    #: The row's own JSON.
    payload: Any


@dataclass(frozen=True, slots=True)
class Letters:
    """A part of the list, newest first."""

    letters: tuple[DeadLetter, ...]
    #: What `list` needs to go on; () at the end.
    next: tuple[LetterId, ...]


@dataclass(frozen=True, slots=True)
class DeadCounts:
    """How many there are, each up to `COUNTED`."""

    inbox: int
    outbox: int


class DeadLetterStore:
    """Lists dead letters, gives them back to their lanes, or puts them aside for good."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def list(
        self,
        *,
        kind: Kind | None = None,
        channel: str | None = None,
        before: Collection[LetterId] = (),
        limit: int = 50,
    ) -> Letters:
        """At most `limit` dead letters, newest first.

        Args:
            before: `next` of the part before: of each kind only what is older than its letter.
        """
        last = {one.kind: one.number for one in before}

        def query(connection: sa.Connection) -> Letters:
            kinds: tuple[Kind, ...] = ("in", "out") if kind is None else (kind,)
            found = {
                one: _letters(connection, one, channel, last.get(one), limit + 1) for one in kinds
            }
            return _merged(found, last, limit)

        return await self._database.read(query)

    async def find(self, letter: LetterId) -> DeadLetter | None:
        """A dead letter; None if there is none of this id, or it is none any more."""
        table, _ = _DEAD[letter.kind]
        query = _select(letter.kind).where(table.c.id == letter.number)
        row = await self._database.read(lambda c: c.execute(query).one_or_none())
        return None if row is None else _letter(letter.kind, row)

    async def count(self) -> DeadCounts:
        """How many dead letters there are."""
        return await self._database.read(count_dead)

    async def replay(self, letter: LetterId) -> int | None:
        """Try a dead letter again, before all that waits behind it in its conversation.

        A message keeps its id, so that a platform which took it after all recognises it.

        Returns:
            Its conversation; None if there is no such row.

        Raises:
            ConversationChanged: It is not a dead letter (any more), or a message of the bot's
                whose conversation has changed hands.
        """
        return await self._change(letter, self._revive)

    async def discard(self, letter: LetterId) -> int | None:
        """Put a dead letter aside: it is never tried again.

        Returns:
            Its conversation; None if there is no such row.

        Raises:
            ConversationChanged: It is not a dead letter (any more).
        """
        return await self._change(letter, _discard)

    async def _change(
        self, letter: LetterId, change: Callable[[sa.Connection, LetterId, int], None]
    ) -> int | None:
        table, _ = _DEAD[letter.kind]
        query = sa.select(table.c.conversation_id).where(table.c.id == letter.number)
        found = await self._database.read(lambda c: c.execute(query).scalar_one_or_none())
        if found is None:
            return None
        conversation_id: int = found
        await self._database.write(
            lambda connection: change(connection, letter, conversation_id),
            lanes=(conversation_id,),
        )
        return conversation_id

    def _revive(self, connection: sa.Connection, letter: LetterId, conversation_id: int) -> None:
        now = self._clock()
        if letter.kind == "in":
            _put_back(connection, letter, crashes=0)
        else:
            _check_hands(connection, letter)
            # Its time to be given up begins anew.
            _put_back(connection, letter, retry_at=None, slot_at=None, created_at=now)
        set_ready(connection, [conversation_id], now)
        notify(connection, LANE)


def parse_letter_id(text: str) -> LetterId | None:
    """The id that a person typed; None if it has not the form of one."""
    found = _ID.fullmatch(text)
    return None if found is None else LetterId(cast(Kind, found[1]), int(found[2]))


def count_dead(connection: sa.Connection) -> DeadCounts:
    """How many dead letters there are; looks at so many rows and no more."""

    def counted(table: sa.Table, is_dead: sa.ColumnElement[bool]) -> int:
        some = sa.select(table.c.id).where(is_dead).limit(COUNTED).subquery()
        number: int = connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one()
        return number

    return DeadCounts(counted(*_DEAD["in"]), counted(*_DEAD["out"]))


def _select(kind: Kind) -> sa.Select[Any]:
    """All dead letters of a kind, for `_letter`."""
    if kind == "in":
        inbox = tables.inbox.c
        return sa.select(
            inbox.id, inbox.channel, inbox.conversation_id, inbox.payload, inbox.attempts,
            inbox.crashes, inbox.error, inbox.received_at.label("at"),
            sa.literal_column("0").label("changed_hands"),
        ).where(tables.is_dead_event)  # fmt: skip
    outbox, alias = tables.outbox.c, tables.conversation_alias.c
    return (
        sa.select(
            outbox.id, alias.channel, outbox.conversation_id, outbox.payload, outbox.attempts,
            sa.literal_column("0").label("crashes"), outbox.error, outbox.created_at.label("at"),
            _has_changed_hands.label("changed_hands"),
        )
        .join_from(
            tables.outbox, tables.conversation,
            tables.conversation.c.id == outbox.conversation_id,
        )
        .join(tables.conversation_alias, alias.conversation_id == outbox.conversation_id)
        .where(tables.is_dead_message, alias.current.is_(True))
    )  # fmt: skip


_has_changed_hands = sa.and_(
    tables.outbox.c.ownership_epoch.is_not(None),
    tables.outbox.c.ownership_epoch != tables.conversation.c.ownership_epoch,
)


def _letters(
    connection: sa.Connection, kind: Kind, channel: str | None, before: int | None, limit: int
) -> list[DeadLetter]:
    """The newest of a kind first, by the order in which they were stored."""
    table, _ = _DEAD[kind]
    query = _select(kind).order_by(table.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(table.c.id < before)
    if channel is not None:
        here = tables.inbox.c.channel if kind == "in" else tables.conversation_alias.c.channel
        # Concatenated, lest an index on channels be chosen over the small one of dead rows.
        query = query.where(here + "" == storable(channel))
    return [_letter(kind, row) for row in connection.execute(query)]


def _merged(found: dict[Kind, list[DeadLetter]], last: dict[Kind, int], limit: int) -> Letters:
    """Both kinds as one list, each in its own order, and where the next part begins."""
    merged = heapq.merge(*found.values(), key=lambda letter: letter.at, reverse=True)
    taken = tuple(islice(merged, limit))
    if sum(map(len, found.values())) <= limit:
        return Letters(taken, ())
    reached = last | {letter.id.kind: letter.id.number for letter in taken}
    return Letters(taken, tuple(LetterId(kind, number) for kind, number in reached.items()))


def _letter(kind: Kind, row: sa.Row[Any]) -> DeadLetter:
    """What can be told of a row; its payload may be one that no version reads."""
    payload = _showable(row.payload)
    fields = payload if isinstance(payload, dict) else {}
    return DeadLetter(
        id=LetterId(kind, row.id),
        channel=row.channel,
        conversation_id=row.conversation_id,
        type=str(fields.get("type" if kind == "in" else "kind", "")),
        at=row.at,
        attempts=row.attempts,
        crashes=row.crashes,
        error=row.error or "",
        text=str(fields.get("text", "")),
        changed_hands=bool(row.changed_hands),
        payload=payload,
    )


def _showable(payload: Any) -> Any:
    """JSON that UTF-8 can carry: what killed a turn may be half a character."""
    return json.loads(storable(json.dumps(payload, ensure_ascii=False)))


def _check_hands(connection: sa.Connection, letter: LetterId) -> None:
    """See that a message may still be sent.

    Raises:
        ConversationChanged: It is the bot's, and somebody else has spoken for the bot since.
    """
    outbox, conversation = tables.outbox.c, tables.conversation.c
    query = (
        sa.select(outbox.id)
        .join_from(tables.outbox, tables.conversation, conversation.id == outbox.conversation_id)
        .where(outbox.id == letter.number, tables.is_dead_message, _has_changed_hands)
    )
    if connection.execute(query).first() is not None:
        raise ConversationChanged(f"{letter}: the conversation has changed hands since: discard it")


def _put_back(connection: sa.Connection, letter: LetterId, **values: object) -> None:
    _leave_dead(connection, letter, state="new", attempts=0, error=None, **values)


def _discard(connection: sa.Connection, letter: LetterId, conversation_id: int) -> None:
    _leave_dead(connection, letter, state="discarded")


def _leave_dead(connection: sa.Connection, letter: LetterId, **values: object) -> None:
    """Change a dead row's state and more; of two who do so at once, one is too late.

    Raises:
        ConversationChanged: It is not dead.
    """
    table, is_dead = _DEAD[letter.kind]
    changed = connection.execute(
        table.update().where(table.c.id == letter.number, is_dead).values(**values)
    )
    if not changed.rowcount:
        raise ConversationChanged(f"{letter} is not a dead letter (any more)")
