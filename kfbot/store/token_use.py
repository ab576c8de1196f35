"""What chat models took and wrote, in SQL: by day and channel, which replicas share; by turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from kfbot.store import tables
from kfbot.store.engine import Database

#: A UTC day, a channel, a number of tokens.
_Spent = tuple[date, str, int]
_use = tables.token_use.c


def written(usage: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
    """How many of some turns have an answer in a chat model's words, by their `usage`."""
    return sa.func.sum(sa.case((usage["outcome"].as_string() == "written", 1), else_=0))


def tokens(usage: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
    """Tokens of prompts and completions that some turns took, by their `usage`."""
    counts = [usage[name].as_integer() for name in ("prompt_tokens", "completion_tokens")]
    return sa.func.sum(sum((sa.func.coalesce(one, 0) for one in counts), sa.literal(0)))


class TokenUse:
    """Counts tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def spent(self, day: date) -> dict[str, int]:
        """The tokens of a UTC day by channel; one that took none is absent.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        query = sa.select(_use.channel, _use.tokens).where(_use.day == day)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return {row.channel: row.tokens for row in rows}

    async def add(self, day: date, channel: str, tokens: int) -> None:
        """Count tokens.

        Raises:
            StoreUnavailable: They were not counted.
        """
        await self._database.write_together(_add, (day, channel, tokens))


def _add(connection: sa.Connection, given: Sequence[_Spent]) -> list[None]:
    sums: Counter[tuple[date, str]] = Counter()
    for day, channel, tokens in given:
        sums[day, channel] += tokens
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    # In one order everywhere: replicas must not wait for each other in a circle.
    for (day, channel), tokens in sorted(sums.items()):
        new = dialect.insert(tables.token_use).values(day=day, channel=channel, tokens=tokens)
        connection.execute(
            new.on_conflict_do_update(
                index_elements=["day", "channel"],
                set_={"tokens": _use.tokens + new.excluded.tokens},
            )
        )
    return [None] * len(given)
