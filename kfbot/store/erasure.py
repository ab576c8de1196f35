"""Removes whole conversations with everything that hangs on them, in bounded transactions.

The first one takes the conversation away from everybody: it has no address and no lane any more,
so that a turn that is running cannot commit, and what the customer writes next is a new
conversation. Its rows go after that, batch by batch. Whatever breaks off in between, the state
says so: `erased_halfway` finds it, and `remove_rest` goes on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from kfbot.errors import ConversationChanged
from kfbot.store import tables
from kfbot.store.engine import Database, Operation
from kfbot.store.notices import CASES, conversation_notice, notify
from kfbot.store.purge import BATCH, PAUSE_SECONDS

#: The state of a conversation whose rows are being removed, and of one of which a bare number is
#: left. Nobody loads them: they have no address.
ERASING, ERASED = "erasing", "erased"

_conversation, _lane = tables.conversation.c, tables.lane.c
_alias, _pause = tables.conversation_alias.c, tables.pause.c
_message, _turn, _case = tables.message.c, tables.turn.c, tables.case.c
_inbox, _outbox = tables.inbox.c, tables.outbox.c
_event, _delivery = tables.conversation_event.c, tables.event_delivery.c
_proposal, _thread = tables.proposal.c, tables.case_thread.c


def refuse_erased(connection: sa.Connection, numbers: Collection[int]) -> None:
    """See that none of these conversations, whose lanes are locked, was erased meanwhile.

    Raises:
        ConversationChanged: One was, after its address had been read.
    """
    # SQLite has one writer: what it has read holds until it commits.
    if connection.dialect.name != "postgresql":
        return
    gone = sa.select(_conversation.id).where(
        _conversation.id.in_(set(numbers)), _conversation.state.in_((ERASING, ERASED))
    )
    if connection.execute(gone.limit(1)).first() is not None:
        raise ConversationChanged("the conversation was erased at this moment")


def take_away(connection: sa.Connection, number: int, now: datetime) -> None:
    """Take a conversation, whose lane is locked, away from everybody, and its case threads too."""
    threads = sa.select(_thread.conversation_id).join(tables.case, _case.id == _thread.case_id)
    of_cases = connection.execute(threads.where(_case.conversation_id == number)).scalars().all()
    for one in (number, *of_cases):
        _take_away(connection, one, now)
    # Who looks for threads with news finds none of a case that nobody can load any more.
    cases = sa.select(_case.id).where(_case.conversation_id == number)
    connection.execute(tables.case_thread.delete().where(_thread.case_id.in_(cases)))
    notify(connection, CASES)


def _take_away(connection: sa.Connection, number: int, now: datetime) -> None:
    ours = tables.conversation.update().where(_conversation.id == number)
    connection.execute(ours.values(state=ERASING, agent=None, updated_at=now))
    places = connection.execute(
        tables.conversation_alias.delete()
        .where(_alias.conversation_id == number)
        .returning(_alias.channel, _alias.chat)
    ).all()
    for place in set(places):
        _forget_pause(connection, *place)
    is_open = sa.and_(_case.conversation_id == number, _case.closed_at.is_(None))
    connection.execute(tables.case.update().where(is_open).values(closed_at=now))
    waiting = sa.and_(_inbox.conversation_id == number, tables.is_waiting)
    connection.execute(tables.inbox.update().where(waiting).values(state="done"))
    unsent = sa.and_(_outbox.conversation_id == number, tables.is_unsent)
    connection.execute(tables.outbox.update().where(unsent).values(state="cancelled"))
    connection.execute(tables.draft.delete().where(tables.draft.c.conversation_id == number))
    # No more deliveries are made of what happened; those that are being made are seen next.
    new = sa.and_(_event.conversation_id == number, _event.state == "new")
    connection.execute(tables.conversation_event.update().where(new).values(state="told"))
    connection.execute(tables.lane.delete().where(_lane.conversation_id == number))
    notify(connection, conversation_notice(number))


def _forget_pause(connection: sa.Connection, channel: str, chat: str) -> None:
    """Forget that the bot is to be silent in a chat in which no conversation is left."""
    others = sa.exists().where(_alias.channel == channel, _alias.chat == chat)
    gone = tables.pause.delete().where(_pause.channel == channel, _pause.chat == chat, ~others)
    connection.execute(gone)


async def erased_halfway(database: Database, among: Collection[int] | None = None) -> list[int]:
    """Conversations that were taken away and are still there, the oldest first; at most a batch.

    Args:
        among: Only of these.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    query = sa.select(_conversation.id).where(_conversation.state == ERASING)
    if among is not None:
        query = query.where(_conversation.id.in_(among))
    query = query.order_by(_conversation.id).limit(BATCH)
    return list(await database.read(lambda c: c.execute(query).scalars().all()))


async def remove_rest(
    database: Database, numbers: Sequence[int], *, pause_seconds: float = PAUSE_SECONDS
) -> Counter[str]:
    """Remove conversations that were taken away, with all that hangs on them.

    Threads of their cases were taken away with them: they are conversations too, which
    `erased_halfway` finds.

    Returns:
        How many rows went, by table.

    Raises:
        StoreUnavailable: Some may be left; again goes on there.
    """
    removed: Counter[str] = Counter()
    for table, statement in _removals(numbers):
        removed[table] += await _in_batches(database, statement, pause_seconds)
    removed["conversation"] += await database.write(lambda c: _remove_bare(c, numbers))
    return removed


def _remove_bare(connection: sa.Connection, numbers: Sequence[int]) -> int:
    """Remove conversations to which nothing belongs any more; returns how many there were."""
    bare = tables.conversation.update().where(
        _conversation.id.in_(numbers), _conversation.state == ERASING
    )
    found = connection.execute(bare.values(state=ERASED, customer_id=None)).rowcount
    gone = tables.conversation.delete().where(_conversation.state == ERASED)
    if connection.dialect.name == "sqlite":
        # It gives the number of the newest row, once that is gone, to the next one: a turn that
        # still runs would take another customer's lane for its own.
        gone = gone.where(
            _conversation.id < sa.select(sa.func.max(_conversation.id)).scalar_subquery()
        )
    connection.execute(gone)
    return found


async def _in_batches(database: Database, statement: Operation[int], pause_seconds: float) -> int:
    """Run a statement until it finds less than a batch; returns how many rows it found."""
    total = 0
    while True:
        found = await database.write(statement)
        total += found
        if found < BATCH:
            return total
        await asyncio.sleep(pause_seconds)


def _removals(numbers: Sequence[int]) -> Iterator[tuple[str, Operation[int]]]:
    """What removes a batch of each kind of row, in the order in which they hang on each other."""
    uids = sa.select(_event.uid).where(_event.conversation_id.in_(numbers))
    events = sa.select(_inbox.id).where(_inbox.conversation_id.in_(numbers))
    cases = sa.select(_case.id).where(_case.conversation_id.in_(numbers))
    turns = sa.select(_turn.id).where(_turn.conversation_id.in_(numbers))
    learnt = sa.or_(_proposal.case_id.in_(cases), _proposal.turn_id.in_(turns))
    yield "event_delivery", _removing(tables.event_delivery, _delivery.event_uid.in_(uids))
    yield "heard", _removing(tables.heard, tables.heard.c.inbox_id.in_(events))
    of_them: Sequence[sa.Table] = (
        tables.conversation_event, tables.inbox, tables.outbox, tables.button,
        tables.action_memory, tables.job_asker, tables.case_thread,
    )  # fmt: skip
    for table in of_them:
        yield table.name, _removing(table, table.c.conversation_id.in_(numbers))
    yield "proposal", _removing(tables.proposal, sa.and_(learnt, _proposal.state != "approved"))
    # What a person approved is the company's own knowledge; where it came from is forgotten.
    kept = tables.proposal.update().where(learnt).values(case_id=None, turn_id=None)
    yield "proposal_link", lambda connection: connection.execute(kept).rowcount
    for table in (tables.message, tables.case, tables.turn):
        yield table.name, _removing(table, table.c.conversation_id.in_(numbers))


def _removing(table: sa.Table, which: sa.ColumnElement[bool]) -> Operation[int]:
    key: sa.Column[Any] = next(iter(table.primary_key.columns))
    some = sa.select(key).where(which).limit(BATCH)
    removal = table.delete().where(key.in_(some), which)
    return lambda connection: connection.execute(removal).rowcount
