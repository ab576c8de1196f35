"""What agents see of all conversations: lists, counts, search, a customer's earlier matters."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from kfbot.agents import Agent, may_see
from kfbot.conversation import Case, State
from kfbot.messages import Role
from kfbot.store import tables
from kfbot.store.cases import case_of
from kfbot.store.engine import Database
from kfbot.store.visibility import seen_by

View = Literal["waiting", "mine", "all", "closed"]
#: So many conversations are looked at for one answer; the rest is found from its cursor on.
WINDOW = 500
#: Earlier matters of a customer that are shown.
_EARLIER = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A conversation in a list of the desk."""

    id: int
    channel: str
    state: State
    #: The login of the agent who has it.
    agent: str | None
    agent_name: str | None
    customer: str
    updated_at: datetime
    last_text: str
    last_role: Role | None
    #: The open case, else the last one.
    case: Case | None
    #: Where the best passage came from; "": none was found.
    knowledge_base: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """After which conversation a list goes on."""

    at: datetime
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which conversations are asked for."""

    view: View
    #: Words of a customer's name, a question or a message; "": all.
    words: str = ""
    channel: str = ""
    after: Cursor | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Standing:
    """Who may see a conversation and whose it is: all that pushes have to know."""

    id: int
    channel: str
    knowledge_base: str
    state: State
    agent: str | None
    assigned_to: str | None


class QueueStore:
    """Reads what an agent may see; every query is bounded."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, agent: Agent, asked: Asked) -> tuple[tuple[Listed, ...], Cursor | None]:
        """Conversations of a view, and where to go on.

        The longest waiting comes first in "waiting", else what changed last. A page may hold
        fewer than asked for, or none, and still lead on: words are looked for in so many
        conversations at a time.
        """

        if asked.words:
            # It takes its time, and others must not wait for it.
            return await self._database.read(lambda c: _found(c, agent, asked))
        return await self._database.read_together(_pages, (agent, asked))

    async def counts(self, agent: Agent) -> dict[str, int]:
        """How many conversations wait, are the agent's, and are open at all."""
        waiting, mine = _conversation.state == "waiting", _is_mine(agent)
        counted = (sa.func.count(sa.case((one, 1))) for one in (waiting, mine))
        theirs = seen_by(agent, _alias.channel, sa.func.coalesce(_case.knowledge_base, ""))
        query = _open(*counted, sa.func.count()).where(theirs)
        row = await self._database.read(lambda c: c.execute(query).one())
        return {"waiting": row[0], "mine": row[1], "all": row[2]}

    async def find(self, agent: Agent, conversation_id: int) -> Listed | None:
        """One conversation, if the agent may see it."""

        def query(connection: sa.Connection) -> Listed | None:
            found = _listed(connection, [conversation_id])
            return found[0] if found else None

        one = await self._database.read(query)
        return one if one and may_see(agent, one.channel, one.knowledge_base) else None

    async def earlier(self, agent: Agent, conversation_id: int) -> tuple[tuple[Case, str], ...]:
        """Closed cases of the conversation and of the customer's others, newest first, with
        their channels; those that the agent may see.
        """
        this = tables.conversation.alias().c
        customer = sa.select(this.customer_id).where(this.id == conversation_id).scalar_subquery()
        others = sa.select(_conversation.id).where(_conversation.customer_id == customer)
        cases = (
            sa.select(tables.case, _alias.channel)
            .join_from(
                tables.case,
                tables.conversation_alias,
                sa.and_(_alias.conversation_id == _case.conversation_id, _alias.current.is_(True)),
            )
            .where(
                _case.closed_at.is_not(None),
                sa.or_(_case.conversation_id == conversation_id, _case.conversation_id.in_(others)),
                seen_by(agent, _alias.channel, sa.func.coalesce(_case.knowledge_base, "")),
            )
            .order_by(_case.id.desc())
            .limit(_EARLIER)
        )
        rows = await self._database.read(lambda c: c.execute(cases).all())
        return tuple((case_of(row), row.channel) for row in rows)

    async def standings(self, ids: Collection[int]) -> dict[int, Standing]:
        """Whose these conversations are and who may see them."""

        def query(connection: sa.Connection) -> dict[int, Standing]:
            rows = connection.execute(_STANDINGS, {"ids": list(ids)}).all()
            return {row.id: _standing(row) for row in rows}

        return await self._database.read(query) if ids else {}

    async def open_ids(self) -> tuple[int, ...]:
        """The conversations that wait for an agent or have one."""
        query = sa.select(_conversation.id).where(_conversation.state.in_(_OPEN))
        return await self._database.read(lambda c: tuple(c.execute(query).scalars()))


#: A page, and where to go on.
_Found = tuple[tuple[Listed, ...], Cursor | None]
_conversation, _alias = tables.conversation.c, tables.conversation_alias.c
_case, _customer, _agent = tables.case.c, tables.customer.c, tables.agent.c
_turn, _message = tables.turn.c, tables.message.c
_OPEN = ("waiting", "agent")
_STATES: dict[View, tuple[str, ...]] = {
    "waiting": ("waiting",),
    "mine": _OPEN,
    "all": _OPEN,
    "closed": ("closed",),
}
_current = sa.and_(_alias.conversation_id == _conversation.id, _alias.current.is_(True))
#: Agents talk there, about the cases of others.
_is_thread = _conversation.state == "thread"
_earlier_case = tables.case.alias("earlier_case").c
_last_case = _case.id == (
    sa.select(_earlier_case.id)
    .where(_earlier_case.conversation_id == _conversation.id)
    .order_by(_earlier_case.id.desc())
    .limit(1)
    .scalar_subquery()
)
_last_turn_base = (
    sa.select(_turn.knowledge_base)
    .where(_turn.conversation_id == _conversation.id)
    .order_by(_turn.id.desc())
    .limit(1)
    .scalar_subquery()
)
_base = sa.func.coalesce(_case.knowledge_base, _last_turn_base, "").label("base")
_m = tables.message.alias("m").c
_last_message = _message.id == (
    sa.select(_m.id)
    .where(_m.conversation_id == _conversation.id, _m.internal.is_(False), _m.kind != "command")
    .order_by(_m.id.desc())
    .limit(1)
    .scalar_subquery()
)
#: Conversations with customers, with their address and their last case.
_FROM = (
    tables.conversation.join(tables.conversation_alias, _current)
    .outerjoin(tables.case, _last_case)
    .outerjoin(tables.customer, _customer.id == _conversation.customer_id)
)
_LISTED = (
    sa.select(
        tables.case,
        _conversation.id.label("number"),
        _conversation.state,
        _conversation.agent,
        _conversation.updated_at,
        _agent.display_name.label("agent_name"),
        _alias.channel,
        _customer.display_name.label("customer"),
        _message.text.label("last_text"),
        _message.role.label("last_role"),
        _base,
    )
    .select_from(
        _FROM.outerjoin(tables.agent, _agent.name == _conversation.agent).outerjoin(
            tables.message, _last_message
        )
    )
    .where(_conversation.id.in_(sa.bindparam("ids", expanding=True)), ~_is_thread)
)
_STANDINGS = (
    sa.select(
        _conversation.id,
        _conversation.state,
        _conversation.agent,
        _alias.channel,
        _case.assigned_to,
        _case.closed_at,
        _base,
    )
    .select_from(_FROM)
    .where(_conversation.id.in_(sa.bindparam("ids", expanding=True)), ~_is_thread)
)


def _open(*columns: Any) -> sa.Select[Any]:
    """Of the conversations that wait or have an agent."""
    case = sa.and_(_case.conversation_id == _conversation.id, _case.closed_at.is_(None))
    return (
        sa.select(*columns)
        .select_from(
            tables.conversation.join(tables.conversation_alias, _current).outerjoin(
                tables.case, case
            )
        )
        .where(_conversation.state.in_(_OPEN), ~_is_thread)
    )


def _is_mine(agent: Agent) -> sa.ColumnElement[bool]:
    return sa.or_(
        _conversation.agent == agent.name,
        sa.and_(_conversation.agent.is_(None), _case.assigned_to == agent.name),
    )


def _pages(connection: sa.Connection, items: Sequence[tuple[Agent, Asked]]) -> list[_Found]:
    """Every change has all open desks ask at once, most of them for the same."""
    found: dict[Any, _Found] = {}
    keys = []
    for agent, asked in items:
        teams = None if _sees_all(agent) else agent.teams
        keys.append((agent.name if asked.view == "mine" else "", teams, asked))
        if keys[-1] not in found:
            found[keys[-1]] = _found(connection, agent, asked)
    return [found[key] for key in keys]


def _found(connection: sa.Connection, agent: Agent, asked: Asked) -> _Found:
    """One page, and where to go on."""
    is_whole = _sees_all(agent) and not asked.words and not asked.channel
    size = asked.limit + 1 if is_whole else WINDOW
    window = _window(connection, agent, asked, size)
    places = {row.id: Cursor(row.at, row.id) for row in window}
    ids = list(places)
    page = ids[: asked.limit] if is_whole else _page(connection, agent, asked, ids)
    last = None
    if len(page) == asked.limit and page[-1] != ids[-1]:
        last = places[page[-1]]
    elif len(window) == WINDOW:
        last = places[ids[-1]]
    return _listed(connection, page), last


def _sees_all(agent: Agent) -> bool:
    return agent.role == "admin" or agent.teams is None


def _window(connection: sa.Connection, agent: Agent, asked: Asked, size: int) -> list[sa.Row[Any]]:
    """The next conversations in the order of the view, whoever may see them."""
    if asked.view == "waiting":
        since = (_case.waiting_since, _case.opened_at, _conversation.updated_at)
        at = sa.func.coalesce(*since).label("at")
        query = _open(_conversation.id, at).where(_conversation.state == "waiting")
        return _rows(connection, query, at, asked.after, size, newest_first=False)
    # Who looks for words finds what the bot answered alone, too.
    states = _STATES[asked.view] + (("bot",) if asked.view == "closed" and asked.words else ())
    found: list[sa.Row[Any]] = []
    for state in states:
        at = _conversation.updated_at.label("at")
        everybodys: sa.Select[Any] = sa.select(_conversation.id, at)
        theirs = _open(_conversation.id, at).where(_is_mine(agent))
        of_view = theirs if asked.view == "mine" else everybodys
        of_state = of_view.where(_conversation.state == state)
        found += _rows(connection, of_state, at, asked.after, size, newest_first=True)
    return sorted(found, key=lambda row: (row.at, row.id), reverse=True)[:size]


def _rows(
    connection: sa.Connection,
    query: sa.Select[Any],
    at: sa.Label[datetime],
    after: Cursor | None,
    size: int,
    *,
    newest_first: bool,
) -> list[sa.Row[Any]]:
    order, number = at.element, _conversation.id
    if after is not None:
        beyond = order < after.at if newest_first else order > after.at
        level = number < after.id if newest_first else number > after.id
        query = query.where(sa.or_(beyond, sa.and_(order == after.at, level)))
    ordered = (order.desc(), number.desc()) if newest_first else (order, number)
    return list(connection.execute(query.order_by(*ordered).limit(size)))


def _page(
    connection: sa.Connection, agent: Agent, asked: Asked, window: Sequence[int]
) -> list[int]:
    """The first of these conversations that were asked for and that the agent may see."""
    page: list[int] = []
    step = 2 * asked.limit
    for start in range(0, len(window), step):
        ids = window[start : start + step]
        found = set(connection.execute(_matching(agent, asked, ids)).scalars())
        page += [number for number in ids if number in found]
        if len(page) >= asked.limit:
            return page[: asked.limit]
    return page


def _matching(agent: Agent, asked: Asked, ids: Sequence[int]) -> sa.Select[Any]:
    query = (
        sa.select(_conversation.id)
        .select_from(_FROM)
        .where(
            _conversation.id.in_(ids), ~_is_thread, seen_by(agent, _alias.channel, _base.element)
        )
    )
    if asked.channel:
        query = query.where(_alias.channel == asked.channel)
    if asked.words:
        said = sa.exists().where(
            _m.conversation_id == _conversation.id,
            _m.text.icontains(asked.words, autoescape=True),
        )
        places = (_customer.display_name, _case.question)
        named = (place.icontains(asked.words, autoescape=True) for place in places)
        query = query.where(sa.or_(*named, said))
    return query


def _listed(connection: sa.Connection, ids: Sequence[int]) -> tuple[Listed, ...]:
    if not ids:
        return ()
    rows = {row.number: row for row in connection.execute(_LISTED, {"ids": list(ids)})}
    return tuple(_listed_of(rows[number]) for number in ids if number in rows)


def _listed_of(row: sa.Row[Any]) -> Listed:
    return Listed(
        id=row.number,
        channel=row.channel,
        state=State(row.state),
        agent=row.agent,
        agent_name=row.agent_name or row.agent,
        customer=row.customer or "",
        updated_at=row.updated_at,
        last_text=row.last_text or "",
        last_role=row.last_role,
        case=None if row.id is None else case_of(row),
        knowledge_base=row.base,
    )


def _standing(row: sa.Row[*tuple[Any, ...]]) -> Standing:
    return Standing(
        id=row.id,
        channel=row.channel,
        knowledge_base=row.base,
        state=State(row.state),
        agent=row.agent,
        assigned_to=None if row.closed_at is not None else row.assigned_to,
    )
