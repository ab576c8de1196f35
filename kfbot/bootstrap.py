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
from kfbot.admin import Admin
from kfbot.application import API_CHANNEL, Application
from kfbot.changes import Changes
from kfbot.chat_loads import ChatLoads
from kfbot.desk import AgentDesk
from kfbot.dialogue import Dialogue
from kfbot.errors import SettingsError
from kfbot.handoff import Handoff
from kfbot.inbox import Inbox
from kfbot.jobs import Jobs
from kfbot.knowledge_base import KnowledgeBase, Progress
from kfbot.manners import Manners
from kfbot.outbox import Outbox
from kfbot.permissions import check_knowledge, scopes_of
from kfbot.reloading import Reloading, plans_of
from kfbot.settings import QdrantSettings, Settings, describe
from kfbot.store.accounts import AccountStore
from kfbot.store.clock import DatabaseClock
from kfbot.store.conversations import ConversationStore
from kfbot.store.dead_letters import DeadLetterStore
from kfbot.store.engine import Database
from kfbot.store.jobs import JobStore
from kfbot.store.keys import KeyStore
from kfbot.store.manners import MannersStore
from kfbot.store.messages import MessageStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.presence import Presence, new_owner
from kfbot.store.reports import ReportStore
from kfbot.store.transcripts import TranscriptStore
from kfbot.typing_sign import TypingSign
from kfbot.upkeep import Upkeep

if TYPE_CHECKING:
    from knowledge.embedding import Embedder

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
    from knowledge.intake import intake_of
    from knowledge.load import Knowledge
    from knowledge.qdrant_points import open_engine

    embedder = await asyncio.to_thread(_embedder, settings, report, models)
    intakes = {name: intake_of(section) for name, section in settings.knowledge.items()}
    store = KnowledgeStore(database)
    cache = copies or settings.data_dir / "sources"
    async with (
        open_engine(settings.qdrant) as engine,
        Knowledge(
            intakes, store, embedder, settings.data_dir, cache=cache, engine=engine
        ) as knowledge,
    ):
        yield knowledge


async def check_qdrant(section: QdrantSettings) -> str:
    """The state of the Qdrant server of the settings, in one line.

    Raises:
        KnowledgeBaseUnavailable: It cannot be used.
        SettingsError: What talks to it is not installed.
    """
    from knowledge.qdrant_points import look_at

    return await look_at(section)


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
    limited = [name for name, one in channels.items() if one.settings.messages_per_minute]
    messages = MessageStore(database, clock, channels=_served(channels), limited=limited)
    conversations, transcripts = ConversationStore(database), TranscriptStore(database)
    outcomes = OutcomeStore(database, clock)
    outbox = Outbox(messages, channels, clock)
    scopes = scopes_of(settings.knowledge, channels)
    jobs, typing = JobStore(database, clock, owner), TypingSign(channels)
    handoff = Handoff(
        conversations=conversations,
        transcripts=transcripts,
        outcomes=outcomes,
        channels=channels,
        desks=desks,
    )
    loads = ChatLoads(
        jobs=Jobs(jobs, knowledge),
        store=jobs,
        conversations=conversations,
        transcripts=transcripts,
        outcomes=outcomes,
        channels=channels,
    )
    inbox = Inbox(
        owner=owner,
        messages=messages,
        outcomes=outcomes,
        dialogue=Dialogue(
            knowledge,
            conversations,
            transcripts,
            manners=Manners(MannersStore(database), channels),
            admin=Admin(
                knowledge=knowledge,
                accounts=AccountStore(database),
                transcripts=transcripts,
                channels=channels,
                scopes=scopes,
                max_wrong_percent=settings.decision.max_wrong_percent,
                hand_back=handoff.hand_back,
                clock=clock,
            ),
            scopes=scopes,
            max_wrong_percent=settings.decision.max_wrong_percent,
            clock=clock,
            on_turn=typing.show,
        ),
        outbox=outbox,
        channels=channels,
        desks=desks,
        changes=changes,
        clock=clock,
        on_load=loads.start,
    )
    database.subscribe(inbox.hear)
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
        jobs=jobs,
        loads=loads,
        typing=typing,
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
        reports=ReportStore(database),
        clock=clock,
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

    files = [
        file
        for folder in adapters.__path__
        for pattern in ("*.py", "*/__init__.py")
        for file in Path(folder).glob(pattern)
        if "\nADAPTER = " in file.read_text(encoding="utf-8")
    ]
    return sorted(file.parent.name if file.stem == "__init__" else file.stem for file in files)
