"""Proposed entries in SQL: made as cases are closed or by hand, decided once, by one person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa

from kfbot.agents import Agent
from kfbot.conversation import HistoryMessage
from kfbot.errors import Conflict
from kfbot.learning.lessons import Known, lesson
from kfbot.store import tables
from kfbot.store.audit import record
from kfbot.store.cases import find_open_case
from kfbot.store.engine import Database
from kfbot.store.events import storable
from kfbot.store.visibility import seen_by

ProposalState = Literal["open", "approved", "declined"]
#: So many of the last messages of a conversation are looked through for the lesson of its case.
READ_LENGTH = 200
#: Open proposals are counted up to so many.
COUNTED = 1000
#: Who has begun to decide a proposal has so long before others may.
_DECIDING = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a proposed entry would be."""

    question: str
    answer: str
    #: "": nobody knows where it belongs.
    knowledge_base: str
    variants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """An entry that a person has to look at first."""

    id: int
    draft: Draft
    state: ProposalState
    channel: str
    case_id: int | None
    #: The turn whose answer it corrects.
    turn_id: int | None
    conversation_id: int | None
    #: The customer's own question; "" where there is none.
    asked: str
    #: What the bot would have said, or did say in vain; "" for nothing.
    bot_said: str
    created_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    entry_id: str | None


class ProposalStore:
    """Reads and decides proposals; every query is bounded."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def page(
        self,
        agent: Agent,
        state: ProposalState,
        *,
        knowledge_base: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> tuple[Proposal, ...]:
        """What an agent may see of this state, the newest first, with ids below `before`."""
        own = tables.proposal.c
        query = _SELECT.where(own.state == state, _seen_by(agent)).order_by(own.id.desc())
        if knowledge_base is not None:
            query = query.where(own.knowledge_base == storable(knowledge_base))
        if before is not None:
            query = query.where(own.id < before)
        rows = await self._database.read(lambda c: c.execute(query.limit(limit)).all())
        return tuple(_proposal(row) for row in rows)

    async def count_open(self, agent: Agent) -> int:
        """How many wait for a decision, up to 1,000."""
        own = tables.proposal.c
        some = sa.select(own.id).where(own.state == "open", _seen_by(agent)).limit(COUNTED)
        query = sa.select(sa.func.count()).select_from(some.subquery())
        return int(await self._database.read(lambda c: c.execute(query).scalar_one()))

    async def find(self, agent: Agent, proposal_id: int) -> Proposal | None:
        """One, if the agent may see it."""
        query = _SELECT.where(tables.proposal.c.id == proposal_id, _seen_by(agent))
        row = await self._database.read(lambda c: c.execute(query).one_or_none())
        return None if row is None else _proposal(row)

    async def known(self, limit: int) -> tuple[Known, ...]:
        """The newest open and approved proposals, for comparison with what is asked."""

        def query(connection: sa.Connection) -> tuple[Known, ...]:
            own = tables.proposal.c
            found = [
                connection.execute(
                    sa.select(own.id, own.question, own.state, own.decided_at)
                    .where(own.state == state)
                    .order_by(own.id.desc())
                    .limit(limit)
                ).all()
                for state in ("open", "approved")
            ]
            return tuple(
                Known(
                    proposal_id=row.id,
                    question=row.question,
                    approved_at=row.decided_at if row.state == "approved" else None,
                )
                for rows in found
                for row in rows
            )

        return await self._database.read(query)

    async def place_of_turn(self, turn_id: int) -> tuple[str, str] | None:
        """The channel of a turn, and the knowledge base that it found most in; None without one."""
        turn, alias = tables.turn.c, tables.conversation_alias.c
        query = (
            sa.select(alias.channel, turn.knowledge_base)
            .join_from(
                tables.turn,
                tables.conversation_alias,
                sa.and_(alias.conversation_id == turn.conversation_id, alias.current.is_(True)),
            )
            .where(turn.id == turn_id)
        )
        row = await self._database.read(lambda c: c.execute(query).one_or_none())
        return None if row is None else (row.channel, row.knowledge_base)

    async def add(
        self, agent: Agent, draft: Draft, *, channel: str = "", turn_id: int | None = None
    ) -> int:
        """Store a proposal that an agent wrote; returns its id."""

        def operation(connection: sa.Connection) -> int:
            now = self._clock()
            values = {**_values(draft), "channel": channel, "turn_id": turn_id, "created_at": now}
            made: int = connection.execute(
                tables.proposal.insert().values(**values).returning(tables.proposal.c.id)
            ).scalar_one()
            record(connection, now, agent.name, "proposal_added", f"proposal {made}")
            return made

        return await self._database.write(operation)

    async def reserve(self, proposal_id: int, agent: Agent, draft: Draft | None = None) -> None:
        """Begin to decide an open proposal: for a minute nobody else can.

        Args:
            draft: What is about to become an entry, as edited: it is kept, and that the entry
                may be there by now.

        Raises:
            Conflict: It is decided, or somebody else is deciding it.
        """
        edited = {} if draft is None else {**_values(draft), "entry_id": entry_id_of(proposal_id)}

        def operation(connection: sa.Connection) -> None:
            now, own = self._clock(), tables.proposal.c
            is_free = sa.or_(
                own.decided_by.is_(None),
                own.decided_by == agent.name,
                own.decided_at < now - _DECIDING,
            )
            which = sa.and_(own.id == proposal_id, own.state == "open", is_free)
            _change(connection, which, decided_by=agent.name, decided_at=now, **edited)

        await self._database.write(operation)

    async def release(self, proposal_id: int, agent: Agent) -> None:
        """Leave a reserved proposal open: this time no entry came of it.

        One of an attempt before that broke off may be there: it keeps its id.

        Raises:
            Conflict: It was decided meanwhile.
        """
        free = {"decided_by": None, "decided_at": None}
        await self._database.write(lambda c: _change(c, _held(proposal_id, agent), **free))

    async def approve(self, proposal_id: int, agent: Agent) -> None:
        """Note that a reserved proposal became an entry.

        Raises:
            Conflict: Somebody else decided it meanwhile.
        """
        await self._decide(proposal_id, agent, "approved")

    async def decline(self, proposal_id: int, agent: Agent) -> None:
        """Note that a reserved proposal is of no use.

        Raises:
            Conflict: Somebody else decided it meanwhile.
        """
        await self._decide(proposal_id, agent, "declined")

    async def entry_removed(
        self, agent: Agent, knowledge_base: str, entry_id: str, *, was_there: bool
    ) -> bool:
        """Note that an entry was taken back; the proposal that it came from is declined.

        Args:
            was_there: False: it is gone, and may have been noted already.

        Returns:
            False where there was nothing to note.
        """

        def operation(connection: sa.Connection) -> bool:
            now, own = self._clock(), tables.proposal
            declined = connection.execute(
                own.update()
                .where(
                    own.c.id == _number_of(entry_id),
                    own.c.state == "approved",
                    own.c.knowledge_base == knowledge_base,
                )
                .values(state="declined", decided_by=agent.name, decided_at=now)
            )
            if not was_there and not declined.rowcount:
                return False
            target = f"entry {knowledge_base}/{entry_id}"
            record(connection, now, agent.name, "entry_removed", target)
            return True

        return await self._database.write(operation)

    async def _decide(self, proposal_id: int, agent: Agent, state: ProposalState) -> None:
        def operation(connection: sa.Connection) -> None:
            now = self._clock()
            _change(connection, _held(proposal_id, agent), decided_at=now, state=state)
            record(connection, now, agent.name, f"proposal_{state}", f"proposal {proposal_id}")

        await self._database.write(operation)


def propose(connection: sa.Connection, conversation_id: int, now: datetime) -> None:
    """Keep the lesson of the open case of a conversation, which is about to be closed.

    It takes part in the closing transaction, so that a lesson is neither lost nor kept twice.
    """
    case = find_open_case(connection, conversation_id)
    learnt = None if case is None else lesson(case.question, _said(connection, conversation_id))
    if case is None or learnt is None:
        return
    alias = tables.conversation_alias.c
    channel = sa.select(alias.channel).where(
        alias.conversation_id == conversation_id, alias.current.is_(True)
    )
    connection.execute(
        tables.proposal.insert().values(
            case_id=case.id,
            channel=connection.execute(channel).scalar_one(),
            knowledge_base=case.knowledge_base,
            question=learnt.question,
            answer=learnt.answer,
            created_at=now,
        )
    )


def entry_id_of(proposal_id: int) -> str:
    """The id of the entry that a proposal becomes: the same whenever it is tried again."""
    return f"approved-{proposal_id}"


def _number_of(entry_id: str) -> int:
    """The proposal that an entry came from; 0 for none."""
    number = entry_id.removeprefix("approved-")
    is_ours = number != entry_id and number.isascii() and number.isdecimal() and len(number) <= 18
    return int(number) if is_ours else 0


def _said(connection: sa.Connection, conversation_id: int) -> list[HistoryMessage]:
    """What customer and agent wrote, oldest first; of agents only what belongs to this case."""
    message, case = tables.message.c, tables.case.c
    before = sa.select(sa.func.max(case.closed_at)).where(case.conversation_id == conversation_id)
    closed_before = connection.execute(before).scalar_one()
    rows = connection.execute(
        sa.select(message.role, message.text, message.created_at)
        .where(
            message.conversation_id == conversation_id,
            message.internal.is_(False),
            message.kind != "command",
        )
        .order_by(message.id.desc())
        .limit(READ_LENGTH)
    ).all()
    return [
        HistoryMessage(row.role, row.text)
        for row in reversed(rows)
        if row.role == "customer"
        or (row.role == "agent" and (closed_before is None or row.created_at > closed_before))
    ]


_case, _turn, _own = tables.case.c, tables.turn.c, tables.proposal.c
_other = tables.turn.alias("other").c
#: Who asks for a person after an answer to the same question was answered in vain.
_in_vain = (
    sa.select(sa.func.max(_other.id))
    .where(
        _other.conversation_id == _case.conversation_id,
        _other.question == _case.question,
        _other.decision == "answer",
        _other.created_at <= _case.opened_at,
    )
    .correlate(tables.case)
    .scalar_subquery()
)
_SELECT = (
    sa.select(
        tables.proposal,
        _case.draft,
        _turn.data,
        sa.func.coalesce(_case.question, _turn.question, "").label("asked"),
        sa.func.coalesce(_case.conversation_id, _turn.conversation_id).label("conversation_id"),
    )
    .join_from(tables.proposal, tables.case, _case.id == _own.case_id, isouter=True)
    .join(tables.turn, _turn.id == sa.func.coalesce(_own.turn_id, _in_vain), isouter=True)
)


def _seen_by(agent: Agent) -> sa.ColumnElement[bool]:
    return seen_by(agent, _own.channel, _own.knowledge_base)


def _held(proposal_id: int, agent: Agent) -> sa.ColumnElement[bool]:
    return sa.and_(_own.id == proposal_id, _own.state == "open", _own.decided_by == agent.name)


def _change(connection: sa.Connection, which: sa.ColumnElement[bool], **values: Any) -> None:
    """Change the one proposal that is as it must be.

    Raises:
        Conflict: It is not (any more).
    """
    if not connection.execute(tables.proposal.update().where(which).values(**values)).rowcount:
        raise Conflict("somebody else has decided this proposal, or is about to")


def _values(draft: Draft) -> dict[str, Any]:
    return {
        "question": storable(draft.question),
        "answer": storable(draft.answer),
        "knowledge_base": storable(draft.knowledge_base),
        "variants": [storable(variant) for variant in draft.variants],
    }


def _proposal(row: sa.Row[Any]) -> Proposal:
    is_decided = row.state != "open"
    return Proposal(
        id=row.id,
        draft=Draft(
            question=row.question,
            answer=row.answer,
            knowledge_base=row.knowledge_base,
            variants=tuple(row.variants),
        ),
        state=row.state,
        channel=row.channel,
        case_id=row.case_id,
        turn_id=row.turn_id,
        conversation_id=row.conversation_id,
        asked=row.asked,
        bot_said=row.draft or (row.data or {}).get("text", ""),
        created_at=row.created_at,
        # Of an open one it says who is deciding it.
        decided_by=row.decided_by if is_decided else None,
        decided_at=row.decided_at if is_decided else None,
        entry_id=row.entry_id,
    )
