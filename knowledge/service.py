"""Which index of each knowledge base is asked: the newest that is stored, made where need be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from kfbot.errors import KfbotError, KnowledgeBaseUnavailable
from kfbot.knowledge_base import Progress
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.knowledge_rows import Generation
from knowledge.embedding import Embedder
from knowledge.index import Index, Stamp
from knowledge.intake import Intake
from knowledge.points import Engine
from knowledge.routing import Guide
from knowledge.shelf import Shelf
from knowledge.vectors import key_of
from knowledge.workshop import Overtaken, Workshop

logger = logging.getLogger(__name__)


class Service:
    """The indexes in service of one process, and what is missing of them."""

    def __init__(
        self,
        intakes: Mapping[str, Intake],
        store: KnowledgeStore,
        embedder: Embedder,
        data_dir: Path,
        engine: Engine,
    ) -> None:
        """Prepare, without reading anything; see `Knowledge`."""
        self._intakes = intakes
        self._store = store
        self._key = key_of(embedder)
        self.workshop = Workshop(intakes, store, embedder, data_dir, engine)
        self.shelf = Shelf(open_index=self.workshop.open, on_damage=self._mend)
        descriptions = {name: intake.description for name, intake in intakes.items()}
        self.guide = Guide(descriptions, embedder.embed_passages)
        #: Held while an index is made of what is stored, and put into service.
        self.switching = asyncio.Lock()
        #: What another model made, and nothing is in service of.
        self._stale: set[str] = set()
        #: Damaged where they lie, and made again at this moment.
        self._damaged: set[str] = set()
        #: In service, but points of theirs were missed.
        self._incomplete: set[str] = set()
        #: What another model made, and was said to be of no use here.
        self._passed_over: dict[str, Generation] = {}
        self._mending: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Close the indexes."""
        for task in self._mending:
            task.cancel()
        await asyncio.gather(*self._mending, return_exceptions=True)
        async with self.switching:
            await self.shelf.aclose()

    def require_model(self, names: Sequence[str]) -> None:
        """Make sure that the vectors of these knowledge bases are this model's.

        Raises:
            KnowledgeBaseUnavailable: They are another's, and nothing is in service.
        """
        for name in names:
            if name in self._stale:
                raise KnowledgeBaseUnavailable(
                    f"knowledge base {name}: its vectors are another model's; load it again"
                )

    def require_whole(self, names: Sequence[str]) -> None:
        """Make sure that none of these is being made again.

        Raises:
            KnowledgeBaseUnavailable: One was found damaged, and is in service again soon.
        """
        for name in names:
            if name in self._damaged:
                raise KnowledgeBaseUnavailable(
                    f"knowledge base {name}: its index was damaged and is made again"
                )

    def has(self, name: str) -> bool:
        """False for what was never loaded: it has nothing to find."""
        return self.shelf.stamp(name) is not None or name in self._damaged

    def miss_points(self, name: str) -> None:
        """Points of the index in service are gone: the next refresh writes them again."""
        self._incomplete.add(name)

    async def refresh(self) -> None:
        """Take up what another process has stored; what cannot be is logged, and stays.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        generations = await self._store.generations()
        for name in self._intakes:
            if self._is_news(generations.get(name)):
                await self.take_up(name)

    async def take_up(self, name: str) -> None:
        """Put what is stored into service; where that fails it is logged, and tried again."""
        try:
            async with self.switching:
                await self.bring_up(name)
        except KfbotError as error:
            logger.error(
                "knowledge base %s stays as it was: %s",
                name,
                error,
                extra={"event": "knowledge_not_refreshed"},
            )

    async def bring_up(self, name: str, progress: Progress | None = None) -> None:
        """Have the index of what is stored open, made if need be, and put it into service.

        `switching` is held by the caller.

        Raises:
            KnowledgeBaseUnavailable: It could not be made.
            StoreUnavailable: The database cannot be read.
        """
        while self._is_news(newest := (stored := await self._store.generations()).get(name)):
            assert newest is not None
            if newest.embedding_key != self._key:
                self._pass_over(newest)
                return
            stamp, before = self.workshop.stamp(newest), self.shelf.stamp(name)
            with suppress(Overtaken):
                # Where not all can stay open, a summary is enough to be in service.
                many = len(self._intakes) > self.shelf.limit
                summary = await self.workshop.summary(stamp) if many else None
                if summary is not None:
                    await self._switch(stamp, summary)
                else:
                    index = await self.workshop.opened_or_built(stamp, before, progress or _ignore)
                    await self._switch(stamp, index.prepared, index)
                is_last = all(
                    one.name not in self._intakes or self._is_in_service(one)
                    for one in stored.values()
                )
                await self.workshop.settle(stamp, before, last=is_last)

    def _is_news(self, newest: Generation | None) -> bool:
        """True where something is stored that is neither in service nor passed over."""
        # Generation 0 was never put in force: its first load was broken off.
        if newest is None or not newest.number or newest == self._passed_over.get(newest.name):
            return False
        in_service = self.shelf.stamp(newest.name)
        return in_service != self.workshop.stamp(newest) or newest.name in self._incomplete

    def _is_in_service(self, stored: Generation) -> bool:
        """True unless something is stored that this model's index is not made of yet."""
        in_service = self.shelf.stamp(stored.name)
        return not stored.number or (
            in_service is not None and in_service.embedding_key == stored.embedding_key
        )

    def _pass_over(self, newest: Generation) -> None:
        """Say once that we cannot ask what another model made; what is in service stays there."""
        self._passed_over[newest.name] = newest
        if self.shelf.stamp(newest.name) is not None:
            remedy = "the state before stays in service; start again with that model"
        else:
            remedy = "load it again"
            self._stale.add(newest.name)
        logger.warning(
            "knowledge base %s was embedded by another model: %s",
            newest.name,
            remedy,
            extra={"event": "knowledge_stale"},
        )

    async def _switch(
        self, stamp: Stamp, summary: Mapping[str, NDArray[Any]], index: Index | None = None
    ) -> None:
        """Ask every question of this index from here on; it need not be open yet."""
        name = stamp.knowledge_base
        self.guide.put(name, summary)
        self._stale.discard(name)
        self._incomplete.discard(name)
        self._damaged.discard(name)
        await self.shelf.put(stamp, self.workshop.folder(stamp), index)

    def _mend(self, name: str) -> None:
        """Make an index again that was found damaged; customers get a person until then."""
        self._damaged.add(name)
        task = asyncio.create_task(self.take_up(name))
        self._mending.add(task)
        task.add_done_callback(self._mending.discard)


def _ignore(stage: str, done: int, total: int) -> None:
    """Report to nobody."""
