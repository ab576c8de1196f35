"""Keeps the indexes in service: opened when they are asked, closed when long unused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kfbot.errors import KnowledgeBaseUnavailable
from knowledge.index import Index, Stamp, opened

logger = logging.getLogger(__name__)

#: Indexes that stay open. One of 1,000 passages holds some 3 MB and a dozen files.
OPEN_INDEXES = 32


@dataclass(slots=True, eq=False)
class _Place:
    """Where a knowledge base's index lies."""

    stamp: Stamp
    folder: Path
    index: Index | None = None
    #: Searches that go on in it.
    readers: int = 0
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)


class Shelf:
    """The index in service of each knowledge base. For one event loop."""

    def __init__(
        self,
        limit: int = OPEN_INDEXES,
        open_index: Callable[[Path, Stamp], Index] = Index.open,
        on_damage: Callable[[str], None] = lambda name: None,
    ) -> None:
        """`on_damage`: told which knowledge base went out of service, since it cannot be opened."""
        self._limit = limit
        self._open_index = open_index
        self._on_damage = on_damage
        #: By knowledge base, the one that was used last at the end.
        self._places: dict[str, _Place] = {}
        #: No longer in service, or closed for lack of use once nobody reads them.
        self._retired: list[_Place] = []

    @property
    def limit(self) -> int:
        """How many indexes stay open."""
        return self._limit

    @property
    def open_count(self) -> int:
        """How many are open."""
        places = (*self._places.values(), *self._retired)
        return sum(place.index is not None for place in places)

    def stamp(self, name: str) -> Stamp | None:
        """What the index in service was made from; None: there is none."""
        place = self._places.get(name)
        return place.stamp if place else None

    async def put(self, stamp: Stamp, folder: Path, index: Index | None = None) -> None:
        """Take an index into service; the one before is closed when nobody reads it any more.

        Args:
            index: The open index; None: it is opened when it is first asked.
        """
        before = self._places.pop(stamp.knowledge_base, None)
        self._places[stamp.knowledge_base] = _Place(stamp, folder, index)
        if before is not None:
            self._retired.append(before)
        await self._sweep()

    @asynccontextmanager
    async def borrow(self, names: Sequence[str]) -> AsyncIterator[list[Index]]:
        """The open indexes of these knowledge bases, without those that have none.

        Raises:
            KnowledgeBaseUnavailable: One is damaged; it is out of service now.
        """
        read: list[_Place] = []
        try:
            for name in names:
                if (place := self._places.get(name)) is not None:
                    place.readers += 1
                    read.append(place)
                    self._places[name] = self._places.pop(name)
            yield [await self._opened(place) for place in read]
        finally:
            for place in read:
                place.readers -= 1
            await self._sweep()

    async def aclose(self) -> None:
        """Close all indexes. Nothing may be borrowed any more."""
        self._retired += self._places.values()
        self._places = {}
        await self._sweep()

    async def _opened(self, place: _Place) -> Index:
        if place.index is None:
            async with place.opening:
                if place.index is None:
                    try:
                        place.index = await opened(self._open_index, place.folder, place.stamp)
                    except KnowledgeBaseUnavailable as error:
                        logger.error("%s", error, extra={"event": "index_damaged"})
                        self._drop(place)
                        raise
        return place.index

    def _drop(self, place: _Place) -> None:
        """Take an index out of service, unless another one is there by now."""
        name = place.stamp.knowledge_base
        if self._places.get(name) is place:
            del self._places[name]
            self._on_damage(name)

    async def _sweep(self) -> None:
        """Close what is retired and, beyond the limit, what was not used for the longest."""
        held = [place for place in self._places.values() if place.index is not None]
        idle = [place for place in held if not place.readers]
        self._retired += idle[: max(len(held) - self._limit, 0)]
        while (place := next((one for one in self._retired if not one.readers), None)) is not None:
            self._retired.remove(place)
            index, place.index = place.index, None
            if index is not None:
                await asyncio.to_thread(index.close)
