"""Which rows an agent's teams look after, as a condition in SQL."""

from __future__ import annotations

import sqlalchemy as sa

from kfbot.agents import Agent


def seen_by(
    agent: Agent, channel: sa.ColumnElement[str], knowledge_base: sa.ColumnElement[str]
) -> sa.ColumnElement[bool]:
    """As `kfbot.agents.may_see`; where one of the columns is "", the other decides."""
    if agent.role == "admin" or agent.teams is None:
        return sa.true()
    theirs = [
        sa.and_(_among(channel, team.channels), _among(knowledge_base, team.knowledge_bases))
        for team in agent.teams
    ]
    return sa.or_(sa.false(), *theirs)


def _among(column: sa.ColumnElement[str], names: tuple[str, ...]) -> sa.ColumnElement[bool]:
    """Empty names: all."""
    return column.in_(["", *names]) if names else sa.true()
