"""Who is signed in at the desk, and whose sign-ins failed, in SQL."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from kfbot.agents import Agent
from kfbot.store import tables
from kfbot.store.agents import agent_of
from kfbot.store.audit import record
from kfbot.store.engine import Database
from kfbot.store.notices import AGENTS, notify

#: A session ends when it was not used for so long, and in any case after so long.
IDLE_LIFE, WHOLE_LIFE = timedelta(hours=12), timedelta(days=7)
#: It is not written at every request that it was used.
_STEP = timedelta(minutes=10)
#: After a time without failures they are forgotten.
_MEMORY = timedelta(hours=1)
_FIRST_LOCK, _LONGEST_LOCK = timedelta(seconds=30), timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Source:
    """Where failed sign-ins are counted: a name, or an address."""

    kind: str
    value: str
    #: So many failures before it is locked.
    allowed: int

    @property
    def key(self) -> str:
        """What it is stored under."""
        named = f"{self.kind}:{self.value}"
        return hashlib.sha256(named.encode(errors="surrogatepass")).hexdigest()


def lock_after(failures: int, allowed: int) -> timedelta | None:
    """How long nobody may try after so many failures; None: again at once."""
    if failures < allowed:
        return None
    doublings = min(failures - allowed, 20)
    return min(_FIRST_LOCK * (1 << doublings), _LONGEST_LOCK)


class SignInStore:
    """Sessions by the hash of their token; failures by name and address."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def attempt(self, sources: Sequence[Source]) -> timedelta | None:
        """Count a sign-in as failed until it succeeds; how long it is locked out if it is.

        It is counted first, so that many at the same time are no more than so many after another.
        Who is locked out writes nothing, however often they try.
        """
        keys = sorted(source.key for source in sources)
        if (wait := await self._locked_for(keys)) is not None:
            return wait

        def operation(connection: sa.Connection) -> timedelta | None:
            failure, now = tables.sign_in_failure, self._clock()
            connection.execute(failure.delete().where(failure.c.last_at < now - _MEMORY))
            for key in keys:
                _ensure(connection, key, now)
            query = sa.select(failure).where(failure.c.key.in_(keys)).order_by(failure.c.key)
            rows = {row.key: row for row in connection.execute(query.with_for_update())}
            locks = [row.locked_until for row in rows.values() if row.locked_until is not None]
            locked_until: datetime = max(locks, default=now)
            if locked_until > now:
                return locked_until - now
            for source in sources:
                failures = rows[source.key].failures + 1
                lock = lock_after(failures, source.allowed)
                changed = failure.update().where(failure.c.key == source.key)
                until = None if lock is None else now + lock
                connection.execute(
                    changed.values(failures=failures, last_at=now, locked_until=until)
                )
            return None

        return await self._database.write(operation)

    async def open(self, name: str, token: str, sources: Sequence[Source]) -> bool:
        """Begin a session of an active agent, whose attempt succeeded; False if there is none.

        Args:
            sources: Of the attempt: the first is forgotten, the others have one failure less.
        """

        def operation(connection: sa.Connection) -> bool:
            now, agent = self._clock(), tables.agent.c
            query = sa.select(agent.id).where(agent.name == name, agent.active.is_(True))
            found = connection.execute(query).scalar_one_or_none()
            if found is None:
                return False
            _forgive(connection, sources)
            session = tables.agent_session
            connection.execute(session.delete().where(session.c.expires_at < now))
            row = {"token_hash": hash_of(token), "agent_id": found}
            connection.execute(
                session.insert().values(created_at=now, expires_at=now + IDLE_LIFE, **row)
            )
            record(connection, now, name, "sign_in", f"agent {name}")
            return True

        return await self._database.write(operation)

    async def forgive(self, sources: Sequence[Source]) -> None:
        """An attempt succeeded: the first source is forgotten, the others failed once less."""
        await self._database.write(lambda c: _forgive(c, sources))

    async def unlock(self, name: str) -> None:
        """Forget what failed under a name."""
        failure = tables.sign_in_failure
        key = Source("name", name, 0).key
        forgotten = failure.delete().where(failure.c.key == key)
        await self._database.write(lambda c: c.execute(forgotten).rowcount)

    async def find(self, token: str) -> Agent | None:
        """Who is signed in with this token; the session goes on for as long again."""
        agent, session = tables.agent, tables.agent_session
        query = (
            sa.select(agent, session.c.created_at.label("since"), session.c.expires_at)
            .join_from(session, agent, session.c.agent_id == agent.c.id)
            .where(session.c.token_hash == hash_of(token), agent.c.active.is_(True))
        )
        now = self._clock()

        def found(connection: sa.Connection) -> tuple[Agent, datetime] | None:
            row = connection.execute(query).one_or_none()
            if row is None or row.expires_at <= now:
                return None
            further = min(now + IDLE_LIFE, row.since + WHOLE_LIFE)
            return agent_of(connection, row), further if further - row.expires_at > _STEP else now

        result = await self._database.read(found)
        if result is not None and result[1] > now:
            await self._move_on(token, result[1])
        return None if result is None else result[0]

    async def alive(self, tokens: Sequence[str]) -> dict[str, Agent]:
        """Who is signed in with which of these tokens; to ask does not keep a session alive."""
        agent, session = tables.agent, tables.agent_session
        hashes = {hash_of(token): token for token in tokens}
        query = (
            sa.select(agent, session.c.token_hash)
            .join_from(session, agent, session.c.agent_id == agent.c.id)
            .where(
                session.c.token_hash.in_(hashes),
                session.c.expires_at > self._clock(),
                agent.c.active.is_(True),
            )
        )

        def signed_in(connection: sa.Connection) -> dict[str, Agent]:
            rows = connection.execute(query).all()
            agents = {row.id: row for row in rows}
            known = {number: agent_of(connection, row) for number, row in agents.items()}
            return {hashes[row.token_hash]: known[row.id] for row in rows}

        return await self._database.read(signed_in)

    async def close(self, token: str, name: str) -> None:
        """End one session."""

        def operation(connection: sa.Connection) -> None:
            session = tables.agent_session
            connection.execute(session.delete().where(session.c.token_hash == hash_of(token)))
            record(connection, self._clock(), name, "sign_out", f"agent {name}")
            notify(connection, AGENTS)

        await self._database.write(operation)

    async def _locked_for(self, keys: Sequence[str]) -> timedelta | None:
        failure, now = tables.sign_in_failure.c, self._clock()
        query = sa.select(failure.locked_until).where(
            failure.key.in_(keys), failure.locked_until > now
        )
        ends = await self._database.read(lambda c: c.execute(query).scalars().all())
        return max(ends) - now if ends else None

    async def _move_on(self, token: str, expires_at: datetime) -> None:
        session = tables.agent_session
        used = session.update().where(session.c.token_hash == hash_of(token))
        moved = used.values(expires_at=expires_at)
        await self._database.write(lambda c: c.execute(moved).rowcount)


def hash_of(token: str) -> str:
    """What is kept of a session's token."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def _ensure(connection: sa.Connection, key: str, now: datetime) -> None:
    from sqlalchemy.dialects import postgresql, sqlite

    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    new = dialect.insert(tables.sign_in_failure).values(key=key, failures=0, last_at=now)
    connection.execute(new.on_conflict_do_nothing())


def _forgive(connection: sa.Connection, sources: Sequence[Source]) -> None:
    failure = tables.sign_in_failure
    first, *others = (source.key for source in sources)
    connection.execute(failure.delete().where(failure.c.key == first))
    less = failure.update().where(failure.c.key.in_(others), failure.c.failures > 0)
    connection.execute(less.values(failures=failure.c.failures - 1, locked_until=None))
