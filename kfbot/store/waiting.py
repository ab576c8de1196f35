"""Open cases in SQL: which are due, and what is done about them, once whoever does it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa

from kfbot.conversation import State, requeue
from kfbot.errors import ConversationChanged
from kfbot.handoff.assignment import choose
from kfbot.handoff.limits import Standing, Step
from kfbot.messages import OutboundKind
from kfbot.shaping import split
from kfbot.store import tables
from kfbot.store.assignment import assign, candidates, is_there
from kfbot.store.cases import back_in_queue, case_of
from kfbot.store.conversations import (
    change_owner,
    conversation_of,
    get_conversation,
    save_conversation,
    select_conversation,
)
from kfbot.store.engine import Database
from kfbot.store.notices import CASES, conversation_notice, notify
from kfbot.store.sayings import Saying, Words, say
from kfbot.texts import small_talk

#: So many of the last messages of a conversation are looked at.
_LAST = 50
#: So many cases are given to agents in one go.
_AT_ONCE = 200
#: Advisory lock: cases are given to agents one after another, so that nobody gets too many.
_ASSIGNING = 0x6B666173


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What the customer is told about the case."""

    text: str
    #: False where the channel's side fetches messages by itself.
    pushed: bool
    text_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A case that is due, and what is needed to talk to its customer."""

    standing: Standing
    #: The customer's last words, the newest first.
    spoken: tuple[str, ...]


class WaitingStore:
    """What the background task of `kfbot.handoff.waiting` reads and writes."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def due(self, limit: int = 100) -> tuple[Found, ...]:
        """Open cases that are to be looked at now, the longest overdue first.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        return await self._database.read(lambda connection: self._due(connection, limit))

    async def before(self, standing: Standing, last_notice: int | None) -> int:
        """How many customers of the same channel have waited longer for a person.

        Args:
            last_notice: Those who have had so many notices do not wait in line any more.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        return await self._database.read(lambda c: _before(c, standing, last_notice))

    async def postpone(self, standing: Standing, until: datetime) -> None:
        """Look at a case again later, unless something happened to it meanwhile."""
        await self._database.write(lambda connection: _moved(connection, standing, until))

    async def act(
        self, standing: Standing, step: Step, announcement: Announcement | None = None
    ) -> bool:
        """Do what is due; False where somebody else did it, or the case changed meanwhile.

        Raises:
            StoreUnavailable: Nothing was done.
        """

        def operation(connection: sa.Connection) -> bool:
            now = self._clock()
            number = standing.conversation.id
            conversation = get_conversation(connection, number)
            if conversation.ownership_epoch != standing.conversation.ownership_epoch:
                return False
            told = {"notices": step.notices, "noticed_at": now} if announcement else {}
            said_at = _said_at(_said(connection, number))
            if said_at != (standing.customer_at, standing.agent_at):
                # Somebody wrote since: what was due may be so no longer.
                return False
            if not _moved(connection, standing, now, **told):
                return False
            if step.action == "requeue":
                conversation = requeue(conversation)
                save_conversation(connection, conversation, now)
                back_in_queue(connection, number, now)
            elif step.action == "hand_back":
                # By nobody: a limit did it.
                conversation = change_owner(connection, number, "hand_back", agent="", now=now)
            if announcement is not None:
                kind: OutboundKind = "handback" if step.action == "hand_back" else "message"
                parts = split(announcement.text, announcement.text_length)
                words = tuple(Words(text=part, kind=kind) for part in parts)
                saying = Saying(conversation=conversation, words=words, pushed=announcement.pushed)
                say(connection, saying, now)
            notify(connection, CASES)
            notify(connection, conversation_notice(number))
            return True

        return await self._database.write(operation, lanes=(standing.conversation.id,))

    async def pass_on(self, standing: Standing, *, automatic: bool) -> str | None:
        """Take a case from the agent who did not claim it: to the next one, or the queue.

        Where cases are given automatically and nobody else could take it, it stays with an
        agent who is there.

        Returns:
            The agent who has it now.

        Raises:
            StoreUnavailable: Nothing was changed.
        """

        def operation(connection: sa.Connection) -> str | None:
            now = self._clock()
            case, conversation = standing.case, standing.conversation
            _one_at_a_time(connection)
            if not _moved(connection, standing, now):
                return case.assigned_to
            before = case.assigned_to or ""
            chosen = None
            if automatic:
                channel = conversation.address.channel
                able = candidates(connection, now)
                chosen = choose(able, channel, case.knowledge_base, now, without=[before])
                if chosen is None and is_there(connection, before, now):
                    chosen = before
            try:
                assign(connection, conversation.id, chosen, now)
            except ConversationChanged:
                # Of an agent who may not take such cases any more: it is anybody's.
                chosen = None
                assign(connection, conversation.id, chosen, now)
            return chosen

        return await self._database.write(operation, lanes=(standing.conversation.id,))

    async def give_out(self, channels: Collection[str]) -> dict[int, str]:
        """Give the cases of these channels that wait for nobody in particular to agents.

        The longest waiting first, each to whoever is available and was given one the longest
        time ago; one transaction each.

        Returns:
            Who was given which conversation.

        Raises:
            StoreUnavailable: Some are still to be given.
        """
        waiting = await self._database.read(partial(self._assignable, channels=channels))
        given: dict[int, str] = {}
        for row in waiting:
            to = await self._database.write(partial(self._give, row=row), lanes=(row.id,))
            if to is not None:
                given[row.id] = to
        return given

    def _assignable(
        self, connection: sa.Connection, *, channels: Collection[str]
    ) -> list[sa.Row[Any]]:
        """Cases for which somebody is available, as far as can be seen without a lock."""
        now = self._clock()
        if not (able := candidates(connection, now)):
            return []
        return [
            row
            for row in connection.execute(_unassigned(channels).limit(_AT_ONCE))
            if choose(able, row.channel, row.knowledge_base, now)
        ]

    def _give(self, connection: sa.Connection, *, row: sa.Row[Any]) -> str | None:
        now = self._clock()
        _one_at_a_time(connection)
        still = connection.execute(_unassigned(None).where(tables.conversation.c.id == row.id))
        if still.first() is None:
            return None
        able = candidates(connection, now)
        if (to := choose(able, row.channel, row.knowledge_base, now)) is not None:
            assign(connection, row.id, to, now)
        return to

    def _due(self, connection: sa.Connection, limit: int) -> tuple[Found, ...]:
        now, case = self._clock(), tables.case.c
        query = (
            sa.select(tables.case)
            .where(case.closed_at.is_(None), case.due_at <= now)
            .order_by(case.due_at)
            .limit(limit)
        )
        return tuple(_found(connection, row, now) for row in connection.execute(query).all())


def _found(connection: sa.Connection, row: sa.Row[Any], now: datetime) -> Found:
    conversation = conversation_of(
        connection.execute(select_conversation(row.conversation_id)).one()
    )
    case = case_of(row)
    said = _said(connection, conversation.id)
    customer_at, agent_at = _said_at(said)
    customers = [one for one in said if one.role == "customer"]
    to = case.assigned_to
    return Found(
        standing=Standing(
            conversation=conversation,
            case=case,
            due_at=row.due_at,
            noticed_at=row.noticed_at,
            claimed_at=row.claimed_at,
            customer_at=customer_at,
            asks=bool(customers) and small_talk(customers[0].text) not in ("thanks", "goodbye"),
            agent_at=agent_at,
            is_assignee_there=to is None or is_there(connection, to, now),
        ),
        spoken=tuple(one.text for one in customers),
    )


def _said(connection: sa.Connection, conversation_id: int) -> list[sa.Row[Any]]:
    """The last words of customer and agents, the newest first."""
    message = tables.message.c
    query = (
        sa.select(message.role, message.text, message.created_at)
        .where(
            message.conversation_id == conversation_id,
            message.internal.is_(False),
            message.role.in_(("customer", "agent")),
            message.kind != "command",
        )
        .order_by(message.id.desc())
        .limit(_LAST)
    )
    return list(connection.execute(query))


def _said_at(said: list[sa.Row[Any]]) -> tuple[datetime | None, datetime | None]:
    """When the customer wrote last, and when an agent did."""
    at = {one.role: one.created_at for one in reversed(said)}
    return at.get("customer"), at.get("agent")


def _before(connection: sa.Connection, standing: Standing, last_notice: int | None) -> int:
    case, conversation, alias = (
        tables.case.c,
        tables.conversation.c,
        tables.conversation_alias.c,
    )
    query = (
        sa.select(sa.func.count())
        .select_from(tables.conversation)
        .join(tables.case, case.conversation_id == conversation.id)
        .join(tables.conversation_alias, alias.conversation_id == conversation.id)
        .where(
            conversation.state == State.WAITING.value,
            case.closed_at.is_(None),
            sa.func.coalesce(case.waiting_since, case.opened_at) < standing.since,
            alias.current,
            alias.channel == standing.conversation.address.channel,
        )
    )
    if last_notice is not None:
        query = query.where(case.notices < last_notice)
    return connection.execute(query).scalar_one()


def _unassigned(channels: Collection[str] | None) -> sa.Select[Any]:
    """Conversations that wait for nobody in particular, the longest waiting first."""
    case, conversation, alias = (
        tables.case.c,
        tables.conversation.c,
        tables.conversation_alias.c,
    )
    query = (
        sa.select(conversation.id, alias.channel, case.knowledge_base)
        .select_from(tables.conversation)
        .join(tables.case, case.conversation_id == conversation.id)
        .join(tables.conversation_alias, alias.conversation_id == conversation.id)
        .where(
            conversation.state == State.WAITING.value,
            case.closed_at.is_(None),
            case.assigned_to.is_(None),
            alias.current,
        )
        .order_by(case.opened_at)
    )
    return query if channels is None else query.where(alias.channel.in_(channels))


def _moved(
    connection: sa.Connection, standing: Standing, until: datetime, **values: object
) -> bool:
    """Look at a case again later; False where it is not as it was read."""
    case = tables.case
    moved = (
        case.update()
        .where(
            case.c.id == standing.case.id,
            case.c.closed_at.is_(None),
            case.c.due_at == standing.due_at,
        )
        .values(due_at=until, **values)
    )
    return connection.execute(moved).rowcount == 1


def _one_at_a_time(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ASSIGNING)))
