"""Agents and their teams in SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from kfbot.agents import Agent, AgentRole, Team
from kfbot.errors import Conflict
from kfbot.store import tables
from kfbot.store.audit import record
from kfbot.store.engine import Database
from kfbot.store.leaving import take_back_cases
from kfbot.store.notices import AGENTS, notify

#: Advisory lock: changes that look at all agents are made one after another.
_LOCK = 0x6B666167


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAgent:
    """Somebody who shall be an agent."""

    name: str
    display_name: str
    role: AgentRole
    password_hash: str
    #: Names of teams.
    teams: tuple[str, ...] = ()
    capacity: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An agent, and what colleagues see of them."""

    agent: Agent
    active: bool
    #: A desk of theirs was open.
    seen_at: datetime | None
    #: Cases that they claimed or were given.
    open_cases: int


class AgentStore:
    """Reads and changes agents and teams; who changed what is recorded with the change."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def now(self) -> datetime:
        """The time of the clock that rows are written by."""
        return self._clock()

    async def has_any(self) -> bool:
        """True once there is an agent, active or not."""
        return await self._database.read(_has_any)

    async def add_first(self, new: NewAgent) -> None:
        """Add the first agent of all.

        Raises:
            Conflict: There are agents already.
        """

        def operation(connection: sa.Connection) -> None:
            _alone(connection)
            if _has_any(connection):
                raise Conflict("there are agents already: ask an admin for an account")
            self._insert(connection, new, new.name)

        await self._database.write(operation)

    async def add(self, new: NewAgent, *, by: str) -> None:
        """Add an agent.

        Raises:
            Conflict: The name is taken, or a team is unknown.
        """

        def operation(connection: sa.Connection) -> None:
            _alone(connection)
            self._insert(connection, new, by)

        await self._database.write(operation)

    async def change(
        self,
        name: str,
        values: Mapping[str, Any],
        *,
        teams: Sequence[str] | None = None,
        by: str,
        keep_session: str = "",
    ) -> bool:
        """Change columns of an agent, and their teams; False if there is none of this name.

        A new password, or being no longer active, ends the agent's sessions.

        Args:
            teams: None: as they are.
            keep_session: The hash of the one session that goes on all the same.

        Raises:
            Conflict: It is the last active admin, or a team is unknown.
        """

        def operation(connection: sa.Connection) -> bool:
            _alone(connection)
            agent = tables.agent
            found = connection.execute(sa.select(agent).where(agent.c.name == name)).one_or_none()
            if found is None:
                return False
            if values:
                connection.execute(agent.update().where(agent.c.id == found.id).values(**values))
            if teams is not None:
                _set_teams(connection, found.id, teams)
            if values.get("active") is False or values.get("role") == "viewer":
                take_back_cases(connection, name, self._clock())
            if found.role == "admin" and found.active:
                _keep_an_admin(connection)
            if "password_hash" in values or values.get("active") is False:
                end_sessions(connection, found.id, keep=keep_session)
            told = {key: value for key, value in values.items() if key != "password_hash"}
            told |= {"password": "changed"} if "password_hash" in values else {}
            told |= {"teams": list(teams)} if teams is not None else {}
            record(connection, self._clock(), by, "agent_changed", f"agent {name}", **told)
            notify(connection, AGENTS)
            return True

        return await self._database.write(operation)

    async def find(self, name: str) -> Member | None:
        """The agent of this name, active or not."""
        found = await self._database.read(lambda c: _members(c, name))
        return found[0] if found else None

    async def list(self) -> tuple[Member, ...]:
        """All agents by name, also those who are no longer active."""
        return await self._database.read(_members)

    async def password_hash(self, name: str) -> str | None:
        """The hash of an active agent's password."""
        agent = tables.agent.c
        query = sa.select(agent.password_hash).where(agent.name == name, agent.active.is_(True))
        return await self._database.read(lambda c: c.execute(query).scalar_one_or_none())

    async def shown_as(self, name: str) -> str:
        """What customers read instead of a login; the name itself where it is none."""
        agent = tables.agent.c
        query = sa.select(agent.display_name).where(agent.name == name)
        shown = await self._database.read(lambda c: c.execute(query).scalar_one_or_none())
        return shown or name

    async def seen(self, names: Iterable[str]) -> None:
        """The desks of these agents are open now."""
        agent = tables.agent
        touched = agent.update().where(agent.c.name.in_(list(names))).values(seen_at=self._clock())
        await self._database.write(lambda c: c.execute(touched).rowcount)

    async def teams(self) -> tuple[Team, ...]:
        """All teams, by name."""
        return await self._database.read(_teams)

    async def put_team(self, team: Team, *, by: str) -> None:
        """Add a team, or say anew what it looks after."""

        def operation(connection: sa.Connection) -> None:
            _alone(connection)
            table, name = tables.team, team.name
            looks_after = {
                "channels": list(team.channels),
                "knowledge_bases": list(team.knowledge_bases),
            }
            changed = table.update().where(table.c.name == name).values(**looks_after)
            if not connection.execute(changed).rowcount:
                connection.execute(table.insert().values(name=name, **looks_after))
            record(connection, self._clock(), by, "team_changed", f"team {name}", **looks_after)
            notify(connection, AGENTS)

        await self._database.write(operation)

    async def remove_team(self, name: str, *, by: str) -> bool:
        """Take a team away; False if there is none of this name.

        Its members see what their other teams see; where it was the last team of all, everybody
        sees everything again.
        """

        def operation(connection: sa.Connection) -> bool:
            _alone(connection)
            team, member = tables.team, tables.team_member
            found = connection.execute(
                sa.select(team.c.id).where(team.c.name == name)
            ).scalar_one_or_none()
            if found is None:
                return False
            connection.execute(member.delete().where(member.c.team_id == found))
            connection.execute(team.delete().where(team.c.id == found))
            record(connection, self._clock(), by, "team_removed", f"team {name}")
            notify(connection, AGENTS)
            return True

        return await self._database.write(operation)

    def _insert(self, connection: sa.Connection, new: NewAgent, by: str) -> None:
        agent, now = tables.agent, self._clock()
        if connection.execute(sa.select(agent.c.id).where(agent.c.name == new.name)).first():
            raise Conflict(f"there is an agent {new.name} already")
        created = connection.execute(
            agent.insert().values(
                name=new.name,
                display_name=new.display_name,
                password_hash=new.password_hash,
                role=new.role,
                capacity=new.capacity,
                created_at=now,
            )
        )
        assert created.inserted_primary_key is not None
        _set_teams(connection, created.inserted_primary_key[0], new.teams)
        details = {"role": new.role, "teams": list(new.teams)}
        record(connection, now, by, "agent_added", f"agent {new.name}", **details)
        notify(connection, AGENTS)


def agent_of(connection: sa.Connection, row: sa.Row[Any]) -> Agent:
    """The agent in a row of the table, with the teams."""
    [agent] = _agents_of(connection, [row])
    return agent


def end_sessions(connection: sa.Connection, agent_id: int, *, keep: str = "") -> None:
    """End the sessions of an agent, but for the one with this token hash."""
    session = tables.agent_session
    theirs = sa.and_(session.c.agent_id == agent_id, session.c.token_hash != keep)
    connection.execute(session.delete().where(theirs))


def _alone(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


def _has_any(connection: sa.Connection) -> bool:
    return connection.execute(sa.select(tables.agent.c.id).limit(1)).first() is not None


def _keep_an_admin(connection: sa.Connection) -> None:
    agent = tables.agent.c
    query = sa.select(agent.id).where(agent.role == "admin", agent.active.is_(True)).limit(1)
    if connection.execute(query).first() is None:
        raise Conflict("this is the last active admin: make another agent admin first")


def _set_teams(connection: sa.Connection, agent_id: int, names: Sequence[str]) -> None:
    team, member = tables.team.c, tables.team_member
    known = connection.execute(sa.select(team.name, team.id).where(team.name.in_(names)))
    ids = {row.name: row.id for row in known}
    if unknown := [name for name in names if name not in ids]:
        raise Conflict(f"there is no team {unknown[0][:40]}")
    connection.execute(member.delete().where(member.c.agent_id == agent_id))
    if ids:
        rows = [{"team_id": one, "agent_id": agent_id} for one in ids.values()]
        connection.execute(member.insert(), rows)


def _teams(connection: sa.Connection) -> tuple[Team, ...]:
    team = tables.team
    rows = connection.execute(sa.select(team).order_by(team.c.name))
    return tuple(
        Team(
            name=row.name, channels=tuple(row.channels), knowledge_bases=tuple(row.knowledge_bases)
        )
        for row in rows
    )


def _agents_of(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> list[Agent]:
    teams = {team.name: team for team in _teams(connection)}
    team, member = tables.team.c, tables.team_member.c
    memberships = connection.execute(
        sa.select(member.agent_id, team.name)
        .join_from(tables.team_member, tables.team, member.team_id == team.id)
        .where(member.agent_id.in_([row.id for row in rows]))
        .order_by(team.name)
    ).all()
    return [
        Agent(
            name=row.name,
            display_name=row.display_name,
            role=row.role,
            teams=tuple(teams[one.name] for one in memberships if one.agent_id == row.id)
            if teams
            else None,
            away=row.away,
            capacity=row.capacity,
        )
        for row in rows
    ]


def _members(connection: sa.Connection, name: str | None = None) -> tuple[Member, ...]:
    agent, case = tables.agent, tables.case.c
    query = sa.select(agent).order_by(agent.c.name)
    if name is not None:
        query = query.where(agent.c.name == name)
    rows = connection.execute(query).all()
    conversation = tables.conversation.c
    holder = sa.func.coalesce(conversation.agent, case.assigned_to)
    open_cases = (
        sa.select(holder, sa.func.count())
        .join_from(tables.conversation, tables.case, case.conversation_id == conversation.id)
        .where(conversation.state.in_(("waiting", "agent")), case.closed_at.is_(None))
        .group_by(holder)
    )
    counts = {row[0]: row[1] for row in connection.execute(open_cases)}
    return tuple(
        Member(
            agent=one,
            active=row.active,
            seen_at=row.seen_at,
            open_cases=counts.get(row.name, 0),
        )
        for one, row in zip(_agents_of(connection, rows), rows, strict=True)
    )
