"""Keys that all replicas must have alike."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from kfbot.store import tables
from kfbot.store.engine import Database


class KeyStore:
    """Keeps keys by name; whoever comes first says what a key is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def settle(self, name: str, proposal: str) -> str:
        """The key of this name for all replicas: the proposal where there is none yet.

        Raises:
            StoreUnavailable: The database cannot be used.
        """

        def operation(connection: sa.Connection) -> str:
            dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
            new = dialect.insert(table).values(name=name, value=proposal)
            connection.execute(new.on_conflict_do_nothing())
            kept: str = connection.execute(query).scalar_one()
            return kept

        table = tables.secret
        query = sa.select(table.c.value).where(table.c.name == name)
        return await self._database.write(operation)
