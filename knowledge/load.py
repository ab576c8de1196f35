"""The knowledge base as the core knows it: loads sources, keeps indexes open, searches them."""

from __future__ import annotations

import asyncio
import importlib
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import NDArray

from kfbot.calibration import Calibration
from kfbot.errors import KfbotError, KnowledgeBaseUnavailable
from kfbot.knowledge_base import KnowledgeStatus, LoadReport, Progress, Retrieval
from kfbot.language import language_of
from kfbot.store.calibrations import CalibrationStore
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.knowledge_rows import Generation
from knowledge.calibrated import Calibrations
from knowledge.earlier import embedded
from knowledge.embedding import BatchingEmbedder, Embedder
from knowledge.freshness import fingerprint
from knowledge.index import Index, Stamp
from knowledge.intake import Intake
from knowledge.loading import parsed_folder, prepare_load
from knowledge.points import Engine, PointsMissing
from knowledge.ranking import Question
from knowledge.remembered import forget
from knowledge.routing import SEARCHED, Guide
from knowledge.shard import Embedded
from knowledge.shelf import Shelf
from knowledge.vectors import key_of
from knowledge.workshop import Overtaken, Workshop

if TYPE_CHECKING:
    from types import ModuleType, TracebackType

logger = logging.getLogger(__name__)

_EMBEDDED = Embedded()


class Knowledge:
    """Every knowledge base of one company; open it before asking it.

    One process at a time loads a knowledge base. The indexes in the data folder are this
    process's own; they are derived from the store.
    """

    def __init__(
        self,
        intakes: Mapping[str, Intake],
        store: KnowledgeStore,
        embedder: Embedder,
        data_dir: Path,
        *,
        cache: Path | None = None,
        engine: Engine = _EMBEDDED,
    ) -> None:
        """Prepare, without reading anything.

        Args:
            intakes: What each knowledge base is filled from, by its name.
            store: Where documents, chunks and vectors are kept.
            embedder: Closed by its owner, after this.
            data_dir: Where the indexes lie.
            cache: Where copies of remote sources lie; None: among the indexes.
            engine: Keeps the points of the indexes; closed by its owner, after this.
        """
        self._intakes = dict(intakes)
        self._cache = cache or data_dir / "sources"
        self._store = store
        self._embedder = embedder
        self._batching = BatchingEmbedder(embedder)
        self._key = key_of(embedder)
        self._calibrations = Calibrations(CalibrationStore(store.database), self._key)
        self._workshop = Workshop(self._intakes, store, embedder, data_dir, engine)
        self._shelf = Shelf(open_index=self._workshop.open)
        descriptions = {name: intake.description for name, intake in self._intakes.items()}
        self._guide = Guide(descriptions, embedder.embed_passages)
        self._stale: set[str] = set()
        #: In service, but points of theirs were missed.
        self._incomplete: set[str] = set()
        #: What another model made, and was said to be of no use here.
        self._passed_over: dict[str, Generation] = {}
        self._loading = asyncio.Lock()
        #: Held while an index is made of what is stored, and put into service.
        self._switching = asyncio.Lock()
        self._retrieval: ModuleType | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def open(self) -> None:
        """Open the index of every knowledge base; one that is missing or damaged is made again.

        A knowledge base whose vectors come from another model stays closed until it is loaded.

        Raises:
            KnowledgeBaseUnavailable: An index could not be made.
            StoreUnavailable: The database cannot be read.
        """
        # LlamaIndex takes seconds to import: not before somebody is going to ask.
        self._retrieval = await asyncio.to_thread(importlib.import_module, "knowledge.retrieval")
        async with self._switching:
            for name in self._intakes:
                await self._bring_up(name, _ignore)
        await self._calibrations.refresh()

    async def aclose(self) -> None:
        """Close the indexes. Nothing may be asked or loaded any more."""
        await self._batching.aclose()
        async with self._loading, self._switching:
            await self._shelf.aclose()

    async def search(
        self,
        query: str,
        *,
        names: Collection[str] | None = None,
        where: Mapping[str, str] | None = None,
        limit: int = 10,
        earlier: Sequence[str] = (),
    ) -> Retrieval:
        """Find passages for a question in the named knowledge bases (None: in all).

        Of many that may be asked, the few are searched that most likely hold the answer.

        Raises:
            KnowledgeBaseUnavailable: It cannot be asked now.
        """
        chosen = self._chosen(names)
        if self._retrieval is None:
            raise KnowledgeBaseUnavailable("the knowledge base is not open")
        if not (serving := self._in_service(chosen, language_of(query))):
            return Retrieval(query=query)
        began = time.perf_counter()
        vector, before = await embedded(query, earlier, self._batching.embed_query)
        embed_ms = (time.perf_counter() - began) * 1000
        likely = await self._guide.choose(Question.of(query, before.mixed_into(vector)), serving)
        async with self._shelf.borrow(likely) as indexes:
            try:
                found: Retrieval = await self._retrieval.retrieve(
                    indexes, query, vector, limit, where, before
                )
            except PointsMissing as error:
                # The next refresh writes them again.
                self._incomplete.add(error.knowledge_base)
                raise
        return replace(
            found,
            calibrations=self._calibrations.in_force(likely),
            timings_ms={"embed": embed_ms, **found.timings_ms},
        )

    async def load(
        self, names: Collection[str] | None = None, *, progress: Progress | None = None
    ) -> tuple[LoadReport, ...]:
        """Bring the named knowledge bases (None: all) up to date with their sources.

        Questions asked meanwhile see the old state or the new one, never a mixture. Broken off,
        it leaves each knowledge base in its old state or its new one.

        Raises:
            KnowledgeBaseUnavailable: Nothing was changed, or the new state is stored and cannot
                be searched yet: loading again makes up for it.
            StoreUnavailable: Nothing was changed.
        """
        chosen = self._chosen(names)
        async with self._loading:
            return tuple([await self._load_one(name, progress or _ignore) for name in chosen])

    async def roll_back(self, name: str) -> int:
        """Put the generation before in force again, and return its number.

        Raises:
            KnowledgeBaseUnavailable: There is none, or it cannot be searched yet.
            StoreUnavailable: Nothing was changed.
        """
        self._chosen((name,))
        async with self._loading, self._store.loading(name), self._switching:
            generation = await self._store.roll_back(name)
            await self._bring_up(name, _ignore)
        event = {"event": "knowledge_rolled_back"}
        logger.info("knowledge base %s: back at generation %d", name, generation, extra=event)
        return generation

    async def calibrate(self, name: str, calibration: Calibration | None) -> None:
        """Correct what is estimated for a knowledge base like this from now on; None: not at all.

        Raises:
            KnowledgeBaseUnavailable: It was never loaded; nothing was changed.
            StoreUnavailable: Nothing was changed.
        """
        self._chosen((name,))
        await self._calibrations.put(name, calibration)

    async def fingerprint(self, name: str) -> str:
        """Differs once a file of its local sources does; files are not opened for it."""
        return await asyncio.to_thread(fingerprint, self._intakes[name].sources)

    async def refresh(self) -> None:
        """Take up what another process has loaded; until then the state before is asked.

        What cannot be taken up is logged, and stays as it is.

        Raises:
            StoreUnavailable: Nobody knows what was loaded: the database cannot be read.
        """
        await self._calibrations.refresh()
        generations = await self._store.generations()
        for name in self._intakes:
            if not self._is_news(generations.get(name)):
                continue
            try:
                async with self._switching:
                    await self._bring_up(name, _ignore)
            except KfbotError as error:
                logger.error(
                    "knowledge base %s stays as it was: %s",
                    name,
                    error,
                    extra={"event": "knowledge_not_refreshed"},
                )

    async def examples(
        self,
        language: str,
        limit: int,
        *,
        names: Collection[str] | None = None,
        where: Mapping[str, str] | None = None,
    ) -> tuple[str, ...]:
        """Questions of FAQ entries in a language ("zh" or "en"), of the first few named bases."""
        async with self._shelf.borrow(self._chosen(names)[:SEARCHED]) as indexes:
            asked = [
                question
                for index in indexes
                for question in index.questions(where or {})
                if language_of(question) == language
            ]
        return tuple(asked[:: max(len(asked) // limit, 1)][:limit])

    async def document_ids(self) -> frozenset[str]:
        """The ids of all documents and FAQ entries that are loaded, in any knowledge base.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        return frozenset([id for name in self._intakes for id in await self._store.documents(name)])

    async def status(self) -> tuple[KnowledgeStatus, ...]:
        """The state of every configured knowledge base.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        states = [await self._store.state(name) for name in self._intakes]
        return tuple(
            KnowledgeStatus(
                name=state.name,
                documents=state.documents,
                chunks=state.chunks,
                generation=state.generation,
                loaded_at=state.loaded_at,
                unreadable=state.unreadable,
                counts=state.counts,
                rolled_back=state.rolled_back,
                calibration=self._calibrations.stored(state.name),
                calibration_is_stale=self._calibrations.is_stale(state.name),
            )
            for state in states
        )

    def _chosen(self, names: Collection[str] | None) -> tuple[str, ...]:
        if names is None:
            return tuple(self._intakes)
        for name in names:
            if name not in self._intakes:
                raise KnowledgeBaseUnavailable(f"there is no knowledge base {name!r}")
        return tuple(dict.fromkeys(names))

    def _in_service(self, names: Sequence[str], language: str) -> list[str]:
        """Those that can be searched for a question in a language."""
        for name in names:
            if name in self._stale:
                raise KnowledgeBaseUnavailable(
                    f"knowledge base {name}: its vectors are another model's; load it again"
                )
        # What was never loaded has nothing to find.
        return [
            name
            for name in names
            if self._shelf.stamp(name) is not None
            and language in (self._intakes[name].languages or (language,))
        ]

    async def _load_one(self, name: str, progress: Progress) -> LoadReport:
        async with self._store.loading(name) as check:
            load, report = await prepare_load(
                name, self._intakes[name], self._store, self._embedder, self._cache, progress
            )
            async with self._switching:
                await check()
                await self._store.apply(load)
                await asyncio.to_thread(forget, parsed_folder(self._cache, name))
                await self._bring_up(name, progress)
        logger.info(
            "knowledge base %s loaded: %d added, %d changed, %d removed, %d unreadable",
            name,
            report.added,
            report.changed,
            report.removed,
            len(report.unreadable),
            extra={"event": "knowledge_loaded"},
        )
        return report

    def _is_news(self, newest: Generation | None) -> bool:
        """True where something is stored that is neither in service nor passed over."""
        # Generation 0 was never put in force: its first load was broken off.
        if newest is None or not newest.number or newest == self._passed_over.get(newest.name):
            return False
        in_service = self._shelf.stamp(newest.name)
        return in_service != self._workshop.stamp(newest) or newest.name in self._incomplete

    async def _bring_up(self, name: str, progress: Progress) -> None:
        """Have the index of what is stored open, made if need be, and put it into service."""
        while self._is_news(newest := (stored := await self._store.generations()).get(name)):
            assert newest is not None
            if newest.embedding_key != self._key:
                self._pass_over(newest)
                return
            stamp, before = self._workshop.stamp(newest), self._shelf.stamp(name)
            with suppress(Overtaken):
                # Where not all can stay open, a summary is enough to be in service.
                many = len(self._intakes) > self._shelf.limit
                summary = await self._workshop.summary(stamp) if many else None
                if summary is not None:
                    await self._switch(stamp, summary)
                else:
                    index = await self._workshop.opened_or_built(stamp, progress)
                    await self._switch(stamp, index.prepared, index)
                is_last = all(
                    one.name not in self._intakes or self._is_in_service(one)
                    for one in stored.values()
                )
                await self._workshop.settle(stamp, before, last=is_last)

    def _is_in_service(self, stored: Generation) -> bool:
        """True unless something is stored that this model's index is not made of yet."""
        in_service = self._shelf.stamp(stored.name)
        return not stored.number or (
            in_service is not None and in_service.embedding_key == stored.embedding_key
        )

    def _pass_over(self, newest: Generation) -> None:
        """Say once that we cannot ask what another model made; what is in service stays there."""
        self._passed_over[newest.name] = newest
        if self._shelf.stamp(newest.name) is not None:
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
        self._guide.put(name, summary)
        self._stale.discard(name)
        self._incomplete.discard(name)
        await self._shelf.put(stamp, self._workshop.folder(stamp), index)


def _ignore(stage: str, done: int, total: int) -> None:
    """Report to nobody."""
