"""Opens the index of a generation, and makes it of what is stored where it cannot be opened."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.knowledge_base import Progress
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.knowledge_rows import Generation, StoredDocument, load_of
from knowledge.by_hand import overridden, with_variants
from knowledge.embedding import Embedder
from knowledge.extension import extend, find_change
from knowledge.geometry import generic_means
from knowledge.index import (
    Base,
    Index,
    Stamp,
    folder_of,
    opened,
    read_base,
    read_prepared,
    remove_old,
)
from knowledge.index_build import build
from knowledge.intake import Intake
from knowledge.loading import duplicates_among
from knowledge.points import Engine, EngineAway, PointsMissing
from knowledge.routing import SUMMARY

logger = logging.getLogger(__name__)


class Overtaken(KnowledgeBaseUnavailable):
    """Another process stored a load while an index was made of the one before."""


class Workshop:
    """The indexes of one process. They are derived from the store."""

    def __init__(
        self,
        intakes: Mapping[str, Intake],
        store: KnowledgeStore,
        embedder: Embedder,
        data_dir: Path,
        engine: Engine,
    ) -> None:
        self._intakes = intakes
        self._store = store
        self._embedder = embedder
        self._data_dir = data_dir
        self._engine = engine
        self._generic: NDArray[np.float32] | None = None

    def stamp(self, generation: Generation) -> Stamp:
        """What the index of a generation is made from."""
        return Stamp(
            knowledge_base=generation.name,
            generation=generation.number,
            revision=generation.revision,
            embedding_key=generation.embedding_key,
            dimensions=self._embedder.dimensions,
            merges_duplicates=self._intakes[generation.name].merges_duplicates,
            engine=self._engine.name,
        )

    def folder(self, stamp: Stamp) -> Path:
        """Where an index lies."""
        return folder_of(self._data_dir, stamp.knowledge_base) / stamp.folder_name

    def open(self, folder: Path, stamp: Stamp) -> Index:
        """Open an index as it is. Blocks.

        Raises:
            KnowledgeBaseUnavailable: It must be built again.
        """
        return Index.open(folder, stamp, self._engine)

    async def summary(self, stamp: Stamp) -> Mapping[str, NDArray[Any]] | None:
        """What routing needs of an index that is whole, without opening it; None: there is none."""
        folder = self.folder(stamp)
        try:
            summary = await asyncio.to_thread(read_prepared, folder, stamp, SUMMARY)
            base = await asyncio.to_thread(read_base, folder)
        except KnowledgeBaseUnavailable:
            return None
        return summary if await self._is_there(base) else None

    async def opened_or_built(
        self, stamp: Stamp, before: Stamp | None, progress: Progress
    ) -> Index:
        """The open index, made of what is stored if need be.

        Args:
            before: The index in service: it is extended where entries by hand make all the
                difference.

        Raises:
            KnowledgeBaseUnavailable: It could not be made.
            Overtaken: What is stored is no longer what the stamp says.
            StoreUnavailable: The database cannot be read.
        """
        if (index := await self._opened(stamp)) is not None:
            return index
        if await self._extended(stamp, before) and (index := await self._opened(stamp)) is not None:
            return index
        progress("indexing", 0, 1)
        made = await self._build(stamp)
        progress("indexing", 1, 1)
        return await opened(self.open, made, stamp)

    async def settle(self, stamp: Stamp, before: Stamp | None, *, last: bool) -> None:
        """Drop what is no longer needed once an index is in service; see `Engine.settle`."""
        folder = folder_of(self._data_dir, stamp.knowledge_base)
        await asyncio.to_thread(remove_old, folder, stamp)
        built = await asyncio.to_thread(self._built, stamp)
        previous = await asyncio.to_thread(self._built, before) if before else None
        await self._engine.settle(built, previous, last=last)

    async def generic(self) -> NDArray[np.float32]:
        """See `generic_means`.

        Raises:
            KnowledgeBaseUnavailable: The model does not answer.
        """
        if self._generic is None:
            self._generic = await asyncio.to_thread(generic_means, self._embedder)
        return self._generic

    async def _opened(self, stamp: Stamp) -> Index | None:
        """The index if it is whole."""
        try:
            index = await opened(self.open, self.folder(stamp), stamp)
        except KnowledgeBaseUnavailable as error:
            logger.info("index is made: %s", error, extra={"event": "index_build"})
            return None
        is_there = False
        try:
            is_there = await self._is_there(index.base)
        finally:
            if not is_there:
                await asyncio.to_thread(index.close)
        return index if is_there else None

    async def _is_there(self, base: Base) -> bool:
        """Whether an engine has all points; of one that is away it is taken for granted.

        Customers get a person until it answers.
        """
        try:
            await self._engine.check(base.stamp, base.points)
        except PointsMissing as error:
            logger.warning("index is built: %s", error, extra={"event": "index_build"})
            return False
        except EngineAway as error:
            name = base.stamp.knowledge_base
            logger.error(
                "knowledge base %s cannot answer yet: %s", name, error,
                extra={"event": "knowledge_away"},
            )  # fmt: skip
        return True

    def _built(self, stamp: Stamp) -> Stamp:
        """What the points of an index bear: it may have been extended since it was built."""
        try:
            return read_base(self.folder(stamp)).stamp
        except KnowledgeBaseUnavailable:
            return stamp

    async def _extended(self, stamp: Stamp, before: Stamp | None) -> bool:
        """Make an index of the one in service; False where it has to be built anew."""
        if before is None or not _is_same_load(before, stamp):
            return False
        name, source = stamp.knowledge_base, self.folder(before)
        try:
            change = await find_change(self._store, source, name)
            if change is None:
                return False
            await self._check_newest(stamp)
            await asyncio.to_thread(extend, source, self.folder(stamp), stamp, change)
        except (OSError, KnowledgeBaseUnavailable) as error:
            if isinstance(error, Overtaken):
                raise
            logger.warning("index is built: %s", error, extra={"event": "index_build"})
            return False
        return True

    async def _check_newest(self, stamp: Stamp) -> None:
        """Raise Overtaken where what is stored is no longer what the stamp says."""
        newest = (await self._store.generations())[stamp.knowledge_base]
        if self.stamp(newest) != stamp:
            raise Overtaken(f"knowledge base {newest.name} was changed again meanwhile")

    async def _build(self, stamp: Stamp) -> Path:
        generic = await self.generic()
        rows = (await self._store.documents(stamp.knowledge_base)).values()
        overrides = await asyncio.to_thread(overridden, rows)
        duplicates: Mapping[str, str] = {}
        if stamp.merges_duplicates:
            rest = [row for row in rows if row.document_id not in overrides]
            duplicates = await asyncio.to_thread(duplicates_among, rest)
        folder = folder_of(self._data_dir, stamp.knowledge_base)
        documents = with_variants(self._documents_of(stamp), overrides)
        order = self._engine.order
        return await build(documents, stamp, folder, generic, duplicates, order)

    async def _documents_of(self, stamp: Stamp) -> AsyncIterator[StoredDocument]:
        """The documents of this very generation.

        Raises:
            Overtaken: They may be of a later one, perhaps with another model's vectors.
        """
        async for document in self._store.chunks(stamp.knowledge_base):
            yield document
        await self._check_newest(stamp)


def _is_same_load(before: Stamp, stamp: Stamp) -> bool:
    """True where entries by hand make all the difference.

    The number of a generation does not tell: after going back the next load has it again.
    """
    is_other = before.revision != stamp.revision
    same = replace(before, revision=stamp.revision) == stamp
    return is_other and same and load_of(before.revision) == load_of(stamp.revision)
