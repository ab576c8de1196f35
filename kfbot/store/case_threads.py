"""Threads in which agents see cases: what they show so far, and what agents do there, in SQL."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from kfbot.cases.posts import CLOSED, CaseThread, Post, unopened_thread
from kfbot.conversation import State
from kfbot.errors import ConversationChanged
from kfbot.messages import ConversationId
from kfbot.shaping import split
from kfbot.store import tables
from kfbot.store.agents_chats import AgentsChat, adopt, is_unfinished
from kfbot.store.cases import case_of
from kfbot.store.conversations import (
    add_address,
    add_conversation,
    find_conversation_id,
    get_conversation,
)
from kfbot.store.engine import Database
from kfbot.store.events import storable
from kfbot.store.lanes import Lane, held
from kfbot.store.sayings import Saying, Words, say, say_all
from kfbot.store.transcripts import TranscriptMessage, transcript_message
from kfbot.store.work import StoredMessage

#: Messages that a new thread begins with, and that one post shows at most, the newest.
BEGINNING, LONGEST = 20, 100
#: Cases that are looked through at a time: those without a thread, and those with one.
NEW, OPEN = 50, 1000

_case, _thread, _alias = tables.case.c, tables.case_thread.c, tables.conversation_alias.c
_message, _inbox, _outbox = tables.message.c, tables.inbox.c, tables.outbox.c


@dataclass(frozen=True, slots=True)
class DueThread:
    """A thread that does not show everything yet, or does not exist yet."""

    case_id: int
    chat: AgentsChat


class CaseThreadStore:
    """The rows behind the threads; what one transaction finds done it does not do again."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def adopt(self, chats: Collection[AgentsChat]) -> None:
        """Nobody in these chats is a customer any more; what is with agents stays with them.

        Open cases that were shown in another chat of the same channel begin anew in this one.

        Raises:
            StoreUnavailable: Nothing was changed.
        """
        await self._database.write(lambda connection: adopt(connection, chats))

    async def due(
        self, chats: Collection[AgentsChat], conversation_ids: Collection[int] | None
    ) -> tuple[DueThread, ...]:
        """Threads with news.

        Args:
            conversation_ids: Of customers or of threads; None: look through all, or at least
                through the newest.

        Raises:
            StoreUnavailable: The database cannot be read.
        """

        def query(connection: sa.Connection) -> tuple[DueThread, ...]:
            if conversation_ids is None:
                cases = _open_cases(connection, chats)
            else:
                cases = _cases_of(connection, conversation_ids)
            candidates = {
                DueThread(case_id, chat)
                for case_id, channel in cases
                for chat in chats
                if chat.shows(channel)
            }
            ordered = sorted(candidates, key=lambda one: one.case_id)
            return tuple(
                one for one in ordered if _has_news(connection, one, _find(connection, one))
            )

        return await self._database.read(query)

    async def announce(self, due: DueThread) -> None:
        """Have a thread show its news: a message is put into its outbox, to be written when it
        goes; the thread is made where there is none. Nothing where one waits already.

        Raises:
            StoreUnavailable: Nothing was changed.
        """

        def operation(connection: sa.Connection) -> None:
            now, number = self._clock(), _find(connection, due, lock=True)
            if _has_news(connection, due, number):
                _announce(connection, number or _add_thread(connection, due, now), now)

        # Another replica may be making the same thread at this moment.
        with suppress(IntegrityError):
            await self._database.write(operation)

    async def find(self, conversation_id: int) -> CaseThread | None:
        """The case behind a thread; None where a conversation is none.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        return await self._database.read(lambda c: find_thread(c, conversation_id))

    async def unshown(self, thread: CaseThread) -> tuple[tuple[TranscriptMessage, ...], bool]:
        """What was said that a thread does not show, oldest first, and whether that is all of it.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        limit = LONGEST if thread.shown_state else BEGINNING
        query = (
            sa.select(tables.message)
            .where(_is_unshown(thread.conversation_id, thread.conversation.id))
            .where(_message.id > thread.shown_message_id)
            .order_by(_message.id.desc())
            .limit(limit + 1)
        )
        rows = await self._database.read(lambda c: c.execute(query).all())
        said = tuple(transcript_message(row) for row in reversed(rows[:limit]))
        return said, len(rows) <= limit

    async def opened(self, lane: Lane, stored: StoredMessage, address: ConversationId) -> None:
        """The platform has the thread: its messages go there from now on.

        Raises:
            ConversationChanged: Another worker has the lane.
            StoreUnavailable: Nothing was changed.
        """

        def operation(connection: sa.Connection) -> None:
            _check_held(connection, lane)
            _give_address(connection, lane.conversation_id, address)
            # To open it took the time that was kept free for the message.
            ours = tables.outbox.update().where(_outbox.id == stored.outbox_id)
            connection.execute(ours.values(slot_at=None))

        await self._database.write(operation, lanes=(lane.conversation_id,))

    async def write(
        self,
        lane: Lane,
        stored: StoredMessage,
        thread: CaseThread,
        post: Post,
        *,
        last_message_id: int,
        text_length: int,
    ) -> None:
        """Put a post in the place of the message that announced it; the thread shows it then.

        Raises:
            ConversationChanged: Another worker has the lane.
            StoreUnavailable: Nothing was changed.
        """

        def operation(connection: sa.Connection) -> None:
            _check_held(connection, lane)
            _remove(connection, stored)
            shown = tables.case_thread.update().where(_of(thread))
            connection.execute(
                shown.values(shown_message_id=last_message_id, shown_state=thread.state)
            )
            if post.text:
                _say_post(connection, lane, stored, post, text_length, self._clock())

        await self._database.write(operation, lanes=(lane.conversation_id,))


def find_thread(connection: sa.Connection, conversation_id: int) -> CaseThread | None:
    """The case behind a thread."""
    query = (
        sa.select(tables.case, _thread.shown_message_id, _thread.shown_state)
        .join_from(tables.case_thread, tables.case, _case.id == _thread.case_id)
        .where(_thread.conversation_id == conversation_id)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    customer, conversation = tables.customer.c, tables.conversation.c
    name = sa.select(customer.display_name).join_from(
        tables.conversation, tables.customer, conversation.customer_id == customer.id
    )
    named = connection.execute(name.where(conversation.id == row.conversation_id))
    return CaseThread(
        conversation_id=conversation_id,
        case=case_of(row),
        conversation=get_conversation(connection, row.conversation_id),
        customer_name=named.scalar_one_or_none() or "",
        shown_message_id=row.shown_message_id,
        shown_state=row.shown_state,
    )


def _cases_of(
    connection: sa.Connection, conversation_ids: Collection[int]
) -> list[sa.Row[int, str]]:
    """Cases of these customers, or of these threads, that are open or not shown as closed."""
    shown = sa.select(_thread.case_id).where(_thread.conversation_id.in_(conversation_ids))
    unfinished = sa.exists().where(_thread.case_id == _case.id, is_unfinished)
    query = _with_channel().where(
        sa.or_(_case.conversation_id.in_(conversation_ids), _case.id.in_(shown)),
        sa.or_(_case.closed_at.is_(None), unfinished),
    )
    return list(connection.execute(query))


def _open_cases(connection: sa.Connection, chats: Collection[AgentsChat]) -> list[sa.Row[int, str]]:
    """Cases whose threads are not at their end, and open ones that lack a thread."""
    unfinished = sa.select(_thread.case_id).where(is_unfinished)
    with_thread = unfinished.order_by(_thread.case_id.desc()).limit(OPEN)
    found = list(connection.execute(_with_channel().where(_case.id.in_(with_thread))))
    for chat in chats:
        lacks = ~sa.exists().where(_thread.case_id == _case.id, _thread.channel == chat.channel)
        new = _with_channel().where(_case.closed_at.is_(None), lacks)
        if chat.channels:
            new = new.where(_channel_of_case.in_(chat.channels))
        # In the order of the index of open cases, lest all that there ever were be read.
        found += connection.execute(new.order_by(_case.conversation_id.desc()).limit(NEW))
    return found


#: Not a join: SQLite, which keeps no statistics, would begin with all addresses there are.
_channel_of_case = (
    sa.select(_alias.channel)
    .where(_alias.conversation_id == _case.conversation_id, _alias.current.is_(True))
    .correlate(tables.case)
    .scalar_subquery()
)


def _with_channel() -> sa.Select[int, str]:
    """Cases with the channels of their customers."""
    return sa.select(_case.id, _channel_of_case)


def _find(connection: sa.Connection, due: DueThread, *, lock: bool = False) -> int | None:
    """The thread's conversation."""
    ours = sa.select(_thread.conversation_id).where(
        _thread.case_id == due.case_id, _thread.channel == due.chat.channel
    )
    found: int | None = connection.execute(
        ours.with_for_update() if lock else ours
    ).scalar_one_or_none()
    return found


def _has_news(connection: sa.Connection, due: DueThread, number: int | None) -> bool:
    """True for a case without a thread, and for a thread with news of which none is announced."""
    if number is None:
        is_open = sa.select(_case.id).where(_case.id == due.case_id, _case.closed_at.is_(None))
        return connection.execute(is_open).first() is not None
    unsent = sa.select(_outbox.id).where(_outbox.conversation_id == number, tables.is_unsent)
    if connection.execute(unsent.limit(1)).first() is not None:
        return False
    thread = find_thread(connection, number)
    if thread is None or thread.shown_state == CLOSED:
        return False
    if thread.state != thread.shown_state:
        return True
    new = sa.select(_message.id).where(
        _is_unshown(number, thread.conversation.id), _message.id > thread.shown_message_id
    )
    return connection.execute(new.limit(1)).first() is not None


def _is_unshown(thread_id: int, conversation_id: int) -> sa.ColumnElement[bool]:
    """Of a message: it is no command, and nobody wrote it in the thread itself."""
    here = sa.exists().where(
        _inbox.conversation_id == thread_id,
        _inbox.channel
        == sa.select(_thread.channel).where(_thread.conversation_id == thread_id).scalar_subquery(),
        _inbox.event_id == _message.event_id,
    )
    return sa.and_(
        _message.conversation_id == conversation_id,
        _message.kind != "command",
        sa.or_(_message.role != "agent", _message.event_id.is_(None), ~here),
    )


def _announce(connection: sa.Connection, number: int, now: datetime) -> None:
    conversation = get_conversation(connection, number)
    say(connection, Saying(conversation=conversation, words=(Words(text=""),), pushed=True), now)


def _add_thread(connection: sa.Connection, due: DueThread, now: datetime) -> int:
    place = ConversationId(due.chat.channel, due.chat.chat, unopened_thread(due.case_id))
    # It was there before, where the agents left this chat and came back.
    number = find_conversation_id(connection, place)
    if number is None:
        number = add_conversation(connection, place, now, state=State.THREAD)
    connection.execute(
        tables.case_thread.insert().values(
            case_id=due.case_id, channel=due.chat.channel, conversation_id=number
        )
    )
    return number


def _check_held(connection: sa.Connection, lane: Lane) -> None:
    """See that a lane is still ours.

    Raises:
        ConversationChanged: Another worker has it.
    """
    ours = connection.execute(held(lane).values(epoch=lane.epoch))
    if not ours.rowcount:
        raise ConversationChanged(f"another worker took conversation {lane.conversation_id}")


def _give_address(connection: sa.Connection, number: int, address: ConversationId) -> None:
    """Make an address the thread's, even if somebody wrote there before it was known."""
    alias = tables.conversation_alias
    other = find_conversation_id(connection, address)
    if other is None:
        add_address(connection, number, address)
        return
    ours = alias.c.conversation_id == number
    [before] = connection.execute(sa.select(alias.c.thread).where(ours, alias.c.current)).scalars()
    for thread, owner in ((before, other), (address.thread, number)):
        here = sa.and_(alias.c.channel == address.channel, alias.c.chat == address.chat)
        connection.execute(
            alias.update().where(here, alias.c.thread == thread).values(conversation_id=owner)
        )


def _of(thread: CaseThread) -> sa.ColumnElement[bool]:
    return _thread.conversation_id == thread.conversation_id


def _remove(connection: sa.Connection, stored: StoredMessage) -> None:
    connection.execute(tables.outbox.delete().where(_outbox.id == stored.outbox_id))
    connection.execute(tables.message.delete().where(_message.id == stored.message_id))


def _say_post(
    connection: sa.Connection,
    lane: Lane,
    stored: StoredMessage,
    post: Post,
    text_length: int,
    now: datetime,
) -> None:
    """Write a post in parts, the buttons under the last; the first goes when it was to go."""
    *first, last = split(storable(post.text), text_length)
    words = [Words(text=part) for part in first]
    words.append(Words(text=last, kind=post.kind, buttons=post.buttons))
    conversation = get_conversation(connection, lane.conversation_id)
    [ids] = say_all(
        connection, [Saying(conversation=conversation, words=tuple(words), pushed=True)], now
    )
    ours = tables.outbox.update().where(
        _outbox.conversation_id == lane.conversation_id, _outbox.message_id == ids[0]
    )
    connection.execute(ours.values(slot_at=stored.slot_at))
