"""To whom a waiting case is given: pure rules, no I/O.

At the desk, by hand: `kfbot.store.case_actions`. Inside another transaction:
`kfbot.store.assignment.assign(connection, conversation_id, NAME or None, now)`; None puts the
case back into the queue. Both take it from an agent who has it: then it is a transfer, and the
colleague claims it as usual.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kfbot.agents import Agent, may_see

#: A desk that is open was heard of within so long.
PRESENT = timedelta(seconds=45)
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An agent, and what speaks for giving them the next case."""

    agent: Agent
    #: A desk of theirs was open; None: never.
    seen_at: datetime | None
    #: A case was given to them last; None: never.
    assigned_at: datetime | None
    #: How many open cases they have claimed or were given.
    open_cases: int


def is_available(candidate: Candidate, now: datetime) -> bool:
    """True for an agent at the desk who takes cases and has room for one more."""
    agent, seen_at = candidate.agent, candidate.seen_at
    return (
        agent.role != "viewer"
        and not agent.away
        and seen_at is not None
        and now - seen_at <= PRESENT
        and candidate.open_cases < agent.capacity
    )


def choose(
    candidates: Iterable[Candidate],
    channel: str,
    knowledge_base: str,
    now: datetime,
    *,
    without: Collection[str] = (),
) -> str | None:
    """The agent to whom a case is given; None: nobody is available for it.

    Those whose teams name the case's knowledge base come first; among equals the one who was
    given a case the longest time ago.

    Args:
        knowledge_base: Where the best passage came from; "": none was found.
        without: Names of agents who had their chance.
    """
    able = [
        one
        for one in candidates
        if one.agent.name not in without
        and is_available(one, now)
        and may_see(one.agent, channel, knowledge_base)
    ]
    if not able:
        return None
    best = min(
        able,
        key=lambda one: (
            not _is_skilled(one.agent, channel, knowledge_base),
            one.assigned_at or _NEVER,
            one.agent.name,
        ),
    )
    return best.agent.name


def _is_skilled(agent: Agent, channel: str, knowledge_base: str) -> bool:
    return any(
        knowledge_base in team.knowledge_bases and (not team.channels or channel in team.channels)
        for team in agent.teams or ()
    )
