"""Calibrations in SQL, one a knowledge base; every replica is told of a new one."""

from __future__ import annotations

import logging

import sqlalchemy as sa

from kfbot.calibration import Calibration
from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.notices import knowledge_notice, notify

logger = logging.getLogger(__name__)


class CalibrationStore:
    """Keeps the calibration of each knowledge base."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self) -> dict[str, Calibration]:
        """Every calibration by its knowledge base; one that is damaged is left out, and logged.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        query = sa.select(tables.calibration)
        found = {}
        for row in await self._database.read(lambda one: one.execute(query).mappings().all()):
            name = row["knowledge_base"]
            try:
                found[name] = Calibration.read({**row, "made_at": row["made_at"].isoformat()})
            except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
                logger.error(
                    "calibration of %s cannot be used: %s",
                    name,
                    error,
                    extra={"event": "calibration_damaged"},
                )
        return found

    async def put(self, name: str, calibration: Calibration | None) -> None:
        """Keep this calibration in place of the one before; None: none.

        Raises:
            KnowledgeBaseUnavailable: The knowledge base was never loaded; nothing was changed.
            StoreUnavailable: Nothing was changed.
        """

        def operation(connection: sa.Connection) -> None:
            # Locked: two who calibrate at a time come one after the other.
            if connection.execute(known.with_for_update()).one_or_none() is None:
                raise KnowledgeBaseUnavailable(f"knowledge base {name} was never loaded")
            connection.execute(sa.delete(table).where(table.c.knowledge_base == name))
            if calibration is not None:
                values = {**calibration.as_data(), "made_at": calibration.made_at}
                connection.execute(sa.insert(table).values(knowledge_base=name, **values))
            notify(connection, knowledge_notice(name))

        table, base = tables.calibration, tables.knowledge_base
        known = sa.select(base.c.name).where(base.c.name == name)
        await self._database.write(operation)
