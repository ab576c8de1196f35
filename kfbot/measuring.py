"""Settings → a bot of its own to measure, beside the one that serves: `evaluate`, `calibrate`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from kfbot.answer import Answering
from kfbot.errors import KnowledgeBaseError, SettingsError, StoreUnavailable
from kfbot.knowledge_base import KnowledgeBase, Progress
from kfbot.knowledge_models import open_embedding, open_reranking
from kfbot.knowledge_settings import KnowledgeSettings
from kfbot.opening import open_database, open_knowledge, open_writer
from kfbot.settings import DatabaseSettings, QdrantSettings, Settings
from kfbot.store.calibrations import CalibrationStore
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.engine import Database
from kfbot.store.schema import find_schema

if TYPE_CHECKING:
    from knowledge.calibration.run import Bench
    from knowledge.evaluation.tables import Table

Report = Callable[[str], None]


async def run_evaluation(
    settings: Settings,
    knowledge: Mapping[str, Sequence[str]],
    questions: Path,
    *,
    outputs: Mapping[str, Path],
    require: Sequence[str] = (),
    earlier: Path | None = None,
    calibrate: bool = False,
    progress: Progress,
    report: Report,
) -> dict[str, Any]:
    """Ask questions of a throw-away knowledge base and return the report as JSON.

    See `knowledge.evaluation.prepare` for the other arguments.

    Args:
        calibrate: First calibrate each knowledge base, from questions made of it.

    Raises:
        KnowledgeBaseError: The input is bad, or the embedding model cannot be used; nothing was
            written.
        SettingsError: The chat model cannot be used like this.
    """
    from knowledge import evaluation

    task = evaluation.prepare(knowledge, questions, outputs, require=require, earlier=earlier)
    with TemporaryDirectory(prefix="kfbot-evaluate-") as folder:
        throwaway = _apart(settings, Path(folder), knowledge)
        models = settings.data_dir / "models"
        async with (
            open_database(throwaway) as database,
            open_knowledge(throwaway, database, report, models=models) as base,
            # What is spent here counts for no budget: customers' answers have theirs.
            open_writer(settings) as writer,
        ):
            calibrating = partial(calibrate_loaded, settings, database, base, progress, report)
            return await evaluation.evaluate(
                task,
                Answering(base, settings.decision.max_wrong_percent, writer, settings.slots),
                stored=KnowledgeStore(database).chunks,
                calibrate=calibrating if calibrate else None,
                progress=progress,
                report=report,
            )


def evaluation_tables(report: Mapping[str, Any]) -> list[Table]:
    """What the terminal shows of an evaluation's report."""
    from knowledge.evaluation.tables import tables_of

    return tables_of(report)


async def run_calibration(
    settings: Settings,
    names: Sequence[str],
    questions: Path | None,
    *,
    files: Mapping[str, Sequence[str]],
    out_of_scope_percent: float | None = None,
    replaces_labelled: bool = False,
    progress: Progress,
    report: Report,
) -> list[dict[str, Any]]:
    """Measure how far estimates are off; nothing is changed, and no lock is needed.

    Args:
        names: Of these knowledge bases; none named: of all.
        questions: An operator's, as for `evaluate`; None: they are made of the knowledge bases.
        files: Files and folders to measure instead of what is loaded, by the name of a
            knowledge base.
        out_of_scope_percent: So many of 100 customers' questions are out of scope; None: as
            many as is usual, or as there are among the operator's.
        replaces_labelled: See `Bench`.

    Raises:
        KnowledgeBaseError: The input is bad, or a knowledge base cannot be asked.
        SettingsError: There is no knowledge base of such a name.
        StoreUnavailable: The database cannot be read.
    """
    from knowledge.calibration.run import calibrate
    from knowledge.evaluation.questions import read_questions

    asked = None if questions is None else await asyncio.to_thread(read_questions, questions)
    known = tuple(files or settings.knowledge)
    for name in names:
        if name not in known:
            raise SettingsError(f"there is no knowledge base {name}, only {', '.join(known)}")
    opening = _bench_of(settings, files, asked is not None, progress, report)
    async with opening as bench:
        bench = replace(
            bench,
            out_of_scope=None if out_of_scope_percent is None else out_of_scope_percent / 100,
            replaces_labelled=replaces_labelled,
        )
        measured = await calibrate(bench, names or known, asked, progress)
    return [one.as_data() for one in measured]


async def calibrate_loaded(
    settings: Settings,
    database: Database,
    base: KnowledgeBase,
    progress: Progress,
    report: Report,
) -> None:
    """Calibrate every knowledge base that is loaded, from questions made of it.

    Raises:
        KnowledgeBaseUnavailable: One of them cannot be asked.
        StoreUnavailable: The database cannot be used.
    """
    from knowledge.calibration.run import calibrate

    names = [state.name for state in await base.status()]
    async with _bench(settings, database, base, report) as bench:
        measured = await calibrate(bench, names, None, progress)
    for one in measured:
        for note in one.notes:
            report(f"{one.knowledge_base}: {note}")
        if one.calibration is not None:
            await base.calibrate(one.knowledge_base, one.calibration)


@asynccontextmanager
async def _bench_of(
    settings: Settings,
    files: Mapping[str, Sequence[str]],
    asks: bool,
    progress: Progress,
    report: Report,
) -> AsyncIterator[Bench]:
    """A bench over files, or over what is loaded; with a knowledge base if one is asked."""
    with TemporaryDirectory(prefix="kfbot-calibrate-") as folder:
        apart = _apart(settings, Path(folder), files)
        if not files:
            await check_schema(apart)
        async with Database(apart.database_url) as database, AsyncExitStack() as stack:
            base = None
            if files:
                await database.upgrade()
            if files or asks:
                models = settings.data_dir / "models"
                opening = open_knowledge(apart, database, report, models=models)
                base = await stack.enter_async_context(opening)
                await _load(base, files, progress, report)
            yield await stack.enter_async_context(_bench(settings, database, base, report))


@asynccontextmanager
async def _bench(
    settings: Settings, database: Database, base: KnowledgeBase | None, report: Report
) -> AsyncIterator[Bench]:
    """What is measured as it is, with the models of the settings."""
    from kfbot.confidence import signals_version
    from knowledge.calibration.run import Bench
    from knowledge.vectors import key_of

    embedder = await open_embedding(settings, report)
    store = KnowledgeStore(database)
    stored = await CalibrationStore(database).find()
    async with open_reranking(settings.reranker, report) as reranking:
        signals = signals_version(reranking.key if reranking else "")
        key = key_of(embedder)
        yield Bench(
            base=base,
            embedder=embedder,
            reranking=reranking,
            generations=await store.generations(),
            stored=store.chunks,
            in_force={name: one for name, one in stored.items() if one.holds_for(key, signals)},
            out_of_scope=None,
            replaces_labelled=False,
            now=datetime.now(UTC),
        )


def _apart(settings: Settings, folder: Path, files: Mapping[str, Sequence[str]]) -> Settings:
    """The settings of a bot that keeps its indexes, and of files everything, in a folder."""
    changed: dict[str, Any] = {"data_dir": folder, "qdrant": QdrantSettings()}
    if files:
        changed["database"] = DatabaseSettings()
        changed["knowledge"] = {
            name: KnowledgeSettings(sources=tuple(sources)) for name, sources in files.items()
        }
    else:
        changed["database"] = DatabaseSettings(url=SecretStr(settings.database_url))
    return settings.model_copy(update=changed)


async def check_schema(settings: Settings) -> None:
    """Make sure that the database can be read as it is; nothing is changed.

    Raises:
        StoreUnavailable: It is new, or another version's.
    """
    state = (await find_schema(settings.database_url)).state
    if state == "new":
        raise StoreUnavailable("nothing is loaded yet: kfbot knowledge load")
    if state == "behind":
        raise StoreUnavailable("the schema is out of date: kfbot db upgrade")
    if state == "newer":
        raise StoreUnavailable("a newer kfbot made the database: use that one")


async def _load(
    base: KnowledgeBase, files: Mapping[str, Sequence[str]], progress: Progress, report: Report
) -> None:
    for name, paths in files.items():
        for path in paths:
            if "://" not in path and not await asyncio.to_thread(Path(path).exists):
                raise KnowledgeBaseError(f"knowledge {path} does not exist")
        (done,) = await base.load([name], progress=progress)
        for line in done.unreadable:
            report(f"left out of {name}: {line}")
        if not done.added:
            raise KnowledgeBaseError(f"knowledge {name}: holds nothing that can be read")
