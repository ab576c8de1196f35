"""AgentDesk: the contract with a place where agents work on handed-off cases.

For what works on cases once they are there. What reads the store needs no telling: the browser
desk, and `kfbot.cases.threads` for chats of agents. A help desk that is a channel's own platform
is told by messages with a note (`OutboundMessage.note`), which no failure loses.
"""

from __future__ import annotations

from typing import Protocol

from kfbot.conversation import Case


class AgentDesk(Protocol):
    """Shows cases to agents. What agents do comes back as OwnershipChanged and agent messages.

    Calls are notifications of what is already in SQL: a desk that misses one shows it at its
    next look, so a failure never stops a turn.
    """

    async def open(self, case: Case) -> None:
        """A conversation waits for an agent."""

    async def close(self, case: Case) -> None:
        """The case is over: handed back or resolved."""
