"""The knowledge base as the core knows it: loads sources, keeps indexes open, searches them."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Self

from kfbot.calibration import Calibration
from kfbot.confidence import signals_version
from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.knowledge_base import (
    Entry,
    EntrySource,
    KnowledgeStatus,
    LoadReport,
    Progress,
    Retrieval,
)
from kfbot.knowledge_settings import PrivateKinds
from kfbot.language import language_of
from kfbot.store.calibrations import CalibrationStore
from kfbot.store.chunks import KnowledgeStore
from knowledge.alike import group_alike, said
from knowledge.asked import Ask
from knowledge.by_hand import entry_of, pending_entry
from knowledge.calibrated import Calibrations
from knowledge.cleaning.masking import mask_texts
from knowledge.earlier import embedded
from knowledge.embedding import BatchingEmbedder, Embedder
from knowledge.freshness import fingerprint
from knowledge.intake import Intake
from knowledge.loading import parsed_folder, prepare_load
from knowledge.noting import noted
from knowledge.points import Engine, PointsMissing
from knowledge.ranking import Question
from knowledge.remembered import forget
from knowledge.reranking import Reranking
from knowledge.routing import SEARCHED
from knowledge.service import Service
from knowledge.shard import Embedded
from knowledge.status import status_of
from knowledge.vectors import Vectors, key_of

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
        reranking: Reranking | None = None,
        ask: Ask | None = None,
        fetch: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        """Prepare, without reading anything.

        Args:
            intakes: What each knowledge base is filled from, by its name.
            store: Where documents, chunks and vectors are kept.
            embedder: Closed by its owner, after this.
            data_dir: Where the indexes lie.
            cache: Where copies of remote sources lie; None: among the indexes.
            engine: Keeps the points of the indexes; closed by its owner, after this.
            reranking: Orders what is found; closed by its owner, after this.
            ask: Writes questions that chunks answer, where the intake wants them.
            fetch: Gets sources of a knowledge base ready, before they are read.
        """
        self._intakes = dict(intakes)
        self._cache = cache or data_dir / "sources"
        self._store = store
        self._embedder = embedder
        self._batching = BatchingEmbedder(embedder)
        self._key = key_of(embedder)
        self._reranking = reranking
        self._ask = ask
        self._fetch = fetch
        signals = signals_version(reranking.key if reranking else "")
        self._calibrations = Calibrations(CalibrationStore(store.database), self._key, signals)
        self._service = Service(self._intakes, store, embedder, data_dir, engine)
        self._loading = asyncio.Lock()
        self._faults: dict[str, str] = {}
        self._is_open = False
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
        async with self._service.switching:
            for name in self._intakes:
                await self._service.bring_up(name)
        await self._calibrations.refresh()
        self._is_open = True

    async def aclose(self) -> None:
        """Close the indexes. Nothing may be asked or loaded any more."""
        await self._batching.aclose()
        async with self._loading:
            await self._service.aclose()

    async def search(
        self,
        query: str,
        *,
        names: Collection[str] | None = None,
        where: Mapping[str, str] | None = None,
        limit: int = 10,
        earlier: Sequence[str] = (),
        standalone: bool = False,
    ) -> Retrieval:
        """Find passages for a question in the named knowledge bases (None: in all).

        Of many that may be asked, the few are searched that most likely hold the answer.

        Raises:
            KnowledgeBaseUnavailable: It cannot be asked now.
        """
        chosen = self._chosen(names)
        if not self._is_open:
            raise KnowledgeBaseUnavailable("the knowledge base is not open")
        if not (serving := self._in_service(chosen, language_of(query))):
            return Retrieval(query=query)
        if self._retrieval is None:
            # LlamaIndex takes seconds to import: not before somebody asks.
            self._retrieval = await asyncio.to_thread(import_module, "knowledge.retrieval")
        began = time.perf_counter()
        embed = self._batching.embed_query
        vector, before = await embedded(query, earlier, embed, standalone=standalone)
        embed_ms = (time.perf_counter() - began) * 1000
        question = Question.of(query, before.mixed_into(vector))
        began = time.perf_counter()
        likely = await self._service.guide.choose(question, serving)
        route_ms = (time.perf_counter() - began) * 1000
        self._service.require_whole(likely)
        async with self._service.shelf.borrow(likely) as indexes:
            try:
                found: Retrieval = await self._retrieval.retrieve(
                    indexes, query, vector, limit, where, before, self._reranking
                )
            except PointsMissing as error:
                self._service.miss_points(error.knowledge_base)
                raise
        return replace(
            found,
            calibrations=self._calibrations.in_force(likely),
            timings_ms={"embed": embed_ms, "route": route_ms, **found.timings_ms},
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
            reports = []
            for name in chosen:
                with noted(name, self._faults):
                    reports.append(await self._load_one(name, progress or _ignore))
            return tuple(reports)

    async def roll_back(self, name: str) -> int:
        """Put the generation before in force again, and return its number.

        Raises:
            KnowledgeBaseUnavailable: There is none, or it cannot be searched yet.
            StoreUnavailable: Nothing was changed.
        """
        self._chosen((name,))
        async with self._loading, self._store.loading(name), self._service.switching:
            generation = await self._store.roll_back(name)
            await self._service.bring_up(name)
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

    async def add_entry(self, name: str, entry: Entry, *, source: EntrySource) -> None:
        """Answer with this entry from now on, also after every load and in every process.

        Raises:
            EntryRejected: It cannot be stored like this.
            KnowledgeBaseUnavailable: There is no such knowledge base, or it cannot be changed
                now; nothing was changed.
            StoreUnavailable: Nothing was changed.
        """
        self._chosen((name,))
        policy = self._intakes[name].policy
        pending = await asyncio.to_thread(pending_entry, entry, source, policy)
        vectors = Vectors(self._embedder)
        await vectors.make([pending])
        stored = await asyncio.to_thread(vectors.rows, name, secrets.token_hex(6), pending)
        await self._store.put_entry(name, self._key, stored)
        await self._service.take_up(name)
        logger.info("entry added to %s", name, extra={"event": "entry_added"})

    async def remove_entry(self, name: str, entry_id: str) -> bool:
        """Forget an entry that was added; False where there is none of this id.

        Raises:
            KnowledgeBaseUnavailable: There is no such knowledge base.
            StoreUnavailable: Nothing was changed.
        """
        self._chosen((name,))
        if not await self._store.remove_entry(name, entry_id):
            return False
        await self._service.take_up(name)
        logger.info("entry removed from %s", name, extra={"event": "entry_removed"})
        return True

    async def added(self, name: str) -> tuple[Entry, ...]:
        """What was added by hand and approval, by id.

        Raises:
            KnowledgeBaseUnavailable: There is no such knowledge base.
            StoreUnavailable: It cannot be read.
        """
        self._chosen((name,))
        return tuple(entry_of(stored) for stored in await self._store.entries(name))

    async def masked(
        self, texts: Sequence[str], kinds: PrivateKinds | None = None
    ) -> tuple[str, ...]:
        """The texts with private data masked: of these kinds, or of every kind there is."""
        return await asyncio.to_thread(mask_texts, texts, kinds)

    async def alike(self, questions: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Group questions that mean the same, also across languages: places in `questions`.

        Raises:
            KnowledgeBaseUnavailable: They cannot be embedded now.
        """
        generic = await self._service.workshop.generic()
        # As customers' questions are: in small batches, and remembered.
        texts = list({said(question): None for question in questions})
        made = await asyncio.gather(*(self._batching.embed_query(text) for text in texts))
        vectors = dict(zip(texts, made, strict=True))
        return await asyncio.to_thread(group_alike, questions, vectors, generic)

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
        await self._service.refresh()

    async def examples(
        self,
        language: str,
        limit: int,
        *,
        names: Collection[str] | None = None,
        where: Mapping[str, str] | None = None,
    ) -> tuple[str, ...]:
        """Questions of FAQ entries in a language ("zh" or "en"), of the first few named bases."""
        async with self._service.shelf.borrow(self._chosen(names)[:SEARCHED]) as indexes:
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
        return tuple(
            [
                await status_of(name, self._store, self._calibrations, self._faults)
                for name in self._intakes
            ]
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
        self._service.require_model(names)
        return [
            name
            for name in names
            if self._service.has(name)
            and language in (self._intakes[name].languages or (language,))
        ]

    async def _load_one(self, name: str, progress: Progress) -> LoadReport:
        async with self._store.loading(name) as check:
            if self._fetch is not None:
                await self._fetch(name)
            load, report = await prepare_load(
                name, self._intakes[name], self._store, self._embedder, self._cache, progress,
                self._ask,
            )  # fmt: skip
            for line in report.warnings:
                logger.info("%s: %s", name, line, extra={"event": "questions_missing"})
            async with self._service.switching:
                await check()
                await self._store.apply(load)
                await asyncio.to_thread(forget, parsed_folder(self._cache, name))
                await self._service.bring_up(name, progress)
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


def _ignore(stage: str, done: int, total: int) -> None:
    """Report to nobody."""
