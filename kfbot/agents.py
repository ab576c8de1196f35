"""Who the agents are, and which cases they may see: pure rules, no I/O."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

#: viewer: reads everything an agent does, changes nothing.
AgentRole = Literal["agent", "admin", "viewer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """Agents who look after some of the channels and knowledge bases."""

    name: str
    #: Empty: all.
    channels: tuple[str, ...] = ()
    #: Empty: all.
    knowledge_bases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A person who answers customers, or looks after those who do."""

    #: What they sign in with; conversations and cases name them by it.
    name: str
    #: What customers read.
    display_name: str
    role: AgentRole = "agent"
    #: None: there are no teams, everybody sees everything.
    teams: tuple[Team, ...] | None = None
    #: They take no cases now, though their desk is open.
    away: bool = False
    #: So many open cases are given to them at the same time.
    capacity: int = 5


#: What a login may be, for people.
LOGIN_FORM = (
    "a name has 1 to 64 letters, digits and . _ @ + -, and is not agent, bot, command or token"
)
#: Letters of any script; no "/", which the names from chats have.
_LOGIN = re.compile(r"\w[\w.@+-]{0,63}")
#: Names that stand for something else where names are written down.
_TAKEN = ("agent", "bot", "command", "token")


def login_of(typed: str) -> str | None:
    """The login that somebody typed, as it is kept; None where it can be none."""
    name = unicodedata.normalize("NFKC", typed).strip().lower()
    return name if _LOGIN.fullmatch(name) and name not in _TAKEN else None


def may_see(agent: Agent, channel: str, knowledge_base: str = "") -> bool:
    """True where a case is one of the agent's teams'.

    Args:
        knowledge_base: Where the best passage came from; "": none was found, so that the
            channel alone decides.
    """
    if agent.role == "admin" or agent.teams is None:
        return True
    return any(_looks_after(team, channel, knowledge_base) for team in agent.teams)


def _looks_after(team: Team, channel: str, knowledge_base: str) -> bool:
    is_theirs = not team.channels or channel in team.channels
    is_known = not (team.knowledge_bases and knowledge_base)
    return is_theirs and (is_known or knowledge_base in team.knowledge_bases)


def may_teach(agent: Agent, knowledge_base: str) -> bool:
    """True where the entries of a knowledge base are the agent's teams' to write."""
    if agent.role == "admin" or agent.teams is None:
        return True
    return any(
        not team.knowledge_bases or knowledge_base in team.knowledge_bases for team in agent.teams
    )
