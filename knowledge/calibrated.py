"""The calibrations in force, as this process knows them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

from kfbot.calibration import Calibration
from kfbot.store.calibrations import CalibrationStore

logger = logging.getLogger(__name__)


class Calibrations:
    """What is stored, but for what was measured with another model or other signals."""

    def __init__(self, store: CalibrationStore, embedding_key: str, signals: str) -> None:
        """Prepare, without reading anything.

        Args:
            signals: Those in use, as `confidence.signals_version` says.
        """
        self._store = store
        self._embedding_key = embedding_key
        self._signals = signals
        #: Who reads first is done first: or an older state would come after a newer one.
        self._reading = asyncio.Lock()
        self._stored: Mapping[str, Calibration] = {}
        #: What was said to be of no use any more.
        self._told: dict[str, Calibration] = {}

    async def refresh(self) -> None:
        """Take up what is stored.

        Raises:
            StoreUnavailable: The database cannot be read; what was known stays.
        """
        async with self._reading:
            self._stored = await self._store.find()
        for name, one in self._stored.items():
            if not self._holds(one) and self._told.get(name) != one:
                self._told[name] = one
                logger.warning(
                    "calibration of %s was made with another model, another reranker or other"
                    " signals and is not used: run kfbot calibrate %s",
                    name,
                    name,
                    extra={"event": "calibration_stale"},
                )

    async def put(self, name: str, calibration: Calibration | None) -> None:
        """Store a calibration and use it from here on; None: none any more.

        Raises:
            KnowledgeBaseUnavailable: The knowledge base was never loaded; nothing was changed.
            StoreUnavailable: Nothing was changed.
        """
        await self._store.put(name, calibration)
        await self.refresh()

    def stored(self, name: str) -> Calibration | None:
        """What is stored of a knowledge base, also if it is of no use any more."""
        return self._stored.get(name)

    def is_stale(self, name: str) -> bool:
        """True: something is stored, and of no use any more."""
        return name in self._stored and not self._holds(self._stored[name])

    def in_force(self, names: Iterable[str]) -> dict[str, Calibration]:
        """What holds for these knowledge bases, where there is something."""
        found = {name: self._stored[name] for name in names if name in self._stored}
        return {name: one for name, one in found.items() if self._holds(one)}

    def _holds(self, one: Calibration) -> bool:
        return one.holds_for(self._embedding_key, self._signals)
