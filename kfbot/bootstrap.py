"""Settings → application: the one place that knows every part."""

from __future__ import annotations

import asyncio
import difflib
import importlib
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kfbot.adapter import ChannelAdapter
from kfbot.application import API_CHANNEL, Application
from kfbot.changes import Changes
from kfbot.desk import AgentDesk
from kfbot.dialogue import Dialogue
from kfbot.errors import SettingsError
from kfbot.handoff import Handoff
from kfbot.inbox import Inbox
from kfbot.knowledge_base import KnowledgeBase, Progress
from kfbot.outbox import Outbox
from kfbot.permissions import check_knowledge, scopes_of
from kfbot.reloading import Reloading, plans_of
from kfbot.settings import DatabaseSettings, KnowledgeSettings, Settings, describe
from kfbot.store.clock import DatabaseClock
from kfbot.store.conversations import ConversationStore
from kfbot.store.dead_letters import DeadLetterStore
from kfbot.store.engine import Database
from kfbot.store.jobs import JobStore
from kfbot.store.keys import KeyStore
from kfbot.store.messages import MessageStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.presence import Presence, new_owner
from kfbot.store.transcripts import TranscriptStore
from kfbot.upkeep import Upkeep

if TYPE_CHECKING:
    from knowledge.embedding import Embedder
    from knowledge.intake import Intake

logger = logging.getLogger(__name__)

#: Channels that every server has.
WEB_CHANNEL = "web"


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """The database of the settings, its schema up to date."""
    async with Database(settings.database_url) as database:
        await database.upgrade()
        yield database


@asynccontextmanager
async def open_knowledge(
    settings: Settings,
    database: Database,
    report: Callable[[str], None],
    *,
    models: Path | None = None,
    copies: Path | None = None,
) -> AsyncIterator[KnowledgeBase]:
    """The knowledge base of the settings, ready to be asked and loaded.

    Args:
        models: The model cache, instead of the one in the data folder.
        copies: Where copies of remote sources lie, instead of the data folder.
    """
    # LlamaIndex takes seconds to import; commands that talk to a server do without it.
    from kfbot.store.chunks import KnowledgeStore
    from knowledge.load import Knowledge

    embedder = await asyncio.to_thread(_embedder, settings, report, models)
    intakes = {name: _intake(section) for name, section in settings.knowledge.items()}
    store = KnowledgeStore(database)
    cache = copies or settings.data_dir / "sources"
    async with Knowledge(intakes, store, embedder, settings.data_dir, cache=cache) as knowledge:
        yield knowledge


def _intake(section: KnowledgeSettings) -> Intake:
    from knowledge.cleaning import CleaningPolicy
    from knowledge.cleaning.masking import DEFAULT
    from knowledge.intake import Intake
    from knowledge.sources.contract import Fetching

    return Intake(
        sources=section.sources,
        description=section.description,
        languages=section.languages,
        path_fields=section.fields.path,
        fetching=Fetching(allow_private=section.allow_private, max_pages=section.max_pages),
        policy=CleaningPolicy(
            repair="repair" in section.clean,
            drop_noise="noise" in section.clean,
            mask=DEFAULT if section.mask == "default" else frozenset(section.mask),
            keep=section.keep,
        ),
        merges_duplicates="duplicates" in section.clean,
    )


def _embedder(
    settings: Settings, report: Callable[[str], None], models: Path | None = None
) -> Embedder:
    from knowledge.embedding import open_embedder

    return open_embedder(
        settings.embedding.model,
        models or settings.data_dir / "models",
        api_key=settings.embedding.api_key.get_secret_value(),
        report=report,
    )


async def check_embedding(settings: Settings, report: Callable[[str], None]) -> int:
    """Open the embedding model, try it, and return the length of its vectors.

    Raises:
        KnowledgeBaseUnavailable: It is missing or does not answer.
    """
    embedder = await asyncio.to_thread(_embedder, settings, report)
    await asyncio.to_thread(embedder.embed_queries, ["?"])
    return embedder.dimensions


async def run_evaluation(
    settings: Settings,
    knowledge: Mapping[str, Sequence[str]],
    questions: Path,
    *,
    outputs: Mapping[str, Path],
    progress: Progress,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Ask questions of a throw-away knowledge base and return the report as JSON.

    Args:
        knowledge: Files and folders of each knowledge base, by its name.
        questions: JSONL.
        outputs: Where to write "predictions", "report" and "html"; each may be absent.

    Raises:
        KnowledgeBaseError: The input is bad, or the model cannot be used; nothing was written.
    """
    from knowledge import evaluation

    task = evaluation.prepare(knowledge, questions, outputs)
    with TemporaryDirectory(prefix="kfbot-evaluate-") as folder:
        throwaway = settings.model_copy(
            update={
                "data_dir": Path(folder),
                "database": DatabaseSettings(),
                "knowledge": {
                    name: KnowledgeSettings(sources=tuple(sources))
                    for name, sources in knowledge.items()
                },
            }
        )
        models = settings.data_dir / "models"
        async with (
            open_database(throwaway) as database,
            open_knowledge(throwaway, database, report, models=models) as base,
        ):
            return await evaluation.evaluate(
                task,
                base,
                max_wrong_percent=settings.decision.max_wrong_percent,
                progress=progress,
                report=report,
            )


def evaluation_rows(groups: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A table of a report's groups: a label, then one cell a group."""
    from knowledge.evaluation_report import rows_of

    return rows_of(groups)


async def inspect_sources(sources: Sequence[str], progress: Progress) -> list[dict[str, Any]]:
    """What is read from sources, chunk by chunk; see `knowledge.inspection.inspect`.

    Raises:
        KnowledgeBaseError: They cannot be read at all.
    """
    from knowledge.inspection import inspect

    with TemporaryDirectory(prefix="kfbot-inspect-") as cache:
        return await inspect(list(sources), Path(cache), progress)


@asynccontextmanager
async def build(
    settings: Settings,
    *,
    place: Path | None = None,
    report: Callable[[str], None] = lambda _: None,
    channels: Mapping[str, ChannelAdapter] | None = None,
    desks: Sequence[AgentDesk] = (),
) -> AsyncIterator[Application]:
    """The application of the settings.

    Args:
        place: The caller owns it (`places.owning`); None: the data folder.
        report: Told in one line what a slow start is busy with.
        channels: Instead of those in the settings.
    """
    channels = open_channels(settings) if channels is None else channels
    owner = new_owner()
    place = place or settings.data_dir
    # The index is this process's own. The model cache is shared, and so are copies of sources: or
    # what one process has loaded would be new to another.
    here, shared = settings.model_copy(update={"data_dir": place}), settings.data_dir
    models, copies = shared / "models", shared / "sources"
    async with (
        open_database(settings) as database,
        open_knowledge(here, database, report, models=models, copies=copies) as knowledge,
        Presence(database, owner),
    ):
        clock = DatabaseClock(database)
        await clock.synchronise()
        if database.is_sqlite and (freed := await MessageStore(database, clock).free_all()):
            # Of a process that was killed: nobody else can be working here.
            logger.warning("%d lanes taken over", freed, extra={"event": "lanes_freed"})
        yield wire(
            settings,
            database,
            knowledge,
            place=place,
            channels=channels,
            desks=desks,
            clock=clock,
            owner=owner,
        )


def wire(
    settings: Settings,
    database: Database,
    knowledge: KnowledgeBase,
    *,
    place: Path | None = None,
    channels: Mapping[str, ChannelAdapter],
    desks: Sequence[AgentDesk] = (),
    clock: Callable[[], datetime] | None = None,
    owner: str | None = None,
) -> Application:
    """Connect the parts; every one of them can be another than usual.

    Args:
        place: Where this process keeps what is its own; None: the data folder.
        clock: None: the database's.
        owner: The name of this process among the replicas; None: a new one.
    """
    clock, owner = clock or DatabaseClock(database), owner or new_owner()
    changes = Changes()
    database.subscribe(changes.announce)
    messages = MessageStore(database, clock, channels=_served(channels))
    conversations, transcripts = ConversationStore(database), TranscriptStore(database)
    outcomes = OutcomeStore(database, clock)
    outbox = Outbox(messages, channels, clock)
    scopes = scopes_of(settings.knowledge, channels)
    inbox = Inbox(
        owner=owner,
        messages=messages,
        outcomes=outcomes,
        dialogue=Dialogue(
            knowledge,
            conversations,
            transcripts,
            scopes=scopes,
            max_wrong_percent=settings.decision.max_wrong_percent,
            clock=clock,
        ),
        outbox=outbox,
        channels=channels,
        desks=desks,
        changes=changes,
        clock=clock,
    )
    database.subscribe(inbox.hear)
    handoff = Handoff(
        conversations=conversations,
        transcripts=transcripts,
        outcomes=outcomes,
        channels=channels,
        desks=desks,
    )
    return Application(
        settings=settings,
        place=place or settings.data_dir,
        knowledge=knowledge,
        channels=channels,
        conversations=conversations,
        transcripts=transcripts,
        inbox=inbox,
        outbox=outbox,
        handoff=handoff,
        dead_letters=DeadLetterStore(database, clock),
        jobs=JobStore(database, clock, owner),
        keys=KeyStore(database),
        changes=changes,
        upkeep=Upkeep(
            database,
            messages,
            clock,
            keep=timedelta(days=settings.database.keep_finished_days),
        ),
        scopes=scopes,
        reloading=Reloading(knowledge, plans_of(settings.knowledge)),
    )


def _served(channels: Mapping[str, ChannelAdapter]) -> Collection[str] | None:
    """The channels whose conversations this process works on; None: all, also forgotten ones."""
    served = [name for name, adapter in channels.items() if not adapter.parked]
    return None if len(served) == len(channels) else served


def open_channels(settings: Settings) -> dict[str, ChannelAdapter]:
    """An adapter for every configured channel, and for those that every server has.

    Raises:
        SettingsError: Names the channel and what is wrong with its section.
    """
    own: dict[str, dict[str, object]] = {
        name: {"platform": "web", **settings.channels.get(name, {})}
        for name in (WEB_CHANNEL, API_CHANNEL)
    }
    for name, section in own.items():
        if section["platform"] != "web":
            raise SettingsError(
                f"settings [channels.{name}]: the name is the server's own; take another one"
            )
    return {
        name: open_channel(name, section, settings)
        for name, section in (settings.channels | own).items()
    }


def open_channel(name: str, section: Mapping[str, object], settings: Settings) -> ChannelAdapter:
    """The adapter of one `[channels.<name>]` section.

    Raises:
        SettingsError: The platform is unknown, or its section is wrong.
    """
    where = f"settings [channels.{name}]"
    platform = section.get("platform")
    known = platforms()
    if platform is None:
        raise SettingsError(f"{where}: platform is missing: one of {', '.join(known)}")
    if platform not in known:
        near = difflib.get_close_matches(str(platform), known, n=1)
        hint = f", did you mean {near[0]}?" if near else f": one of {', '.join(known)}"
        raise SettingsError(f"{where} platform: {platform!r} is unknown{hint}")
    adapter_type = _adapter_type(str(platform))
    try:
        validated = adapter_type.settings_type.model_validate(section)
    except ValidationError as error:
        raise SettingsError(describe(error, adapter_type.settings_type, where=where)) from None
    check_knowledge(settings.knowledge, name, validated)
    return adapter_type(name, validated)


def _adapter_type(platform: str) -> type[ChannelAdapter]:
    try:
        adapter_type: type[ChannelAdapter] = importlib.import_module(f"adapters.{platform}").ADAPTER
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"platform {platform} needs {error.name}: pip install 'kfbot[{platform}]'"
        ) from None
    return adapter_type


def platforms() -> list[str]:
    """The platforms that there is an adapter file for, without importing their SDKs."""
    import adapters

    return sorted(
        file.stem
        for folder in adapters.__path__
        for file in Path(folder).glob("*.py")
        if "\nADAPTER = " in file.read_text(encoding="utf-8")
    )
