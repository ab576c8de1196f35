"""Settings → application: the one place that knows every part."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

from kfbot import opening
from kfbot.adapter import ChannelAdapter
from kfbot.answer import Answering
from kfbot.application import Application
from kfbot.cases.threads import CaseThreads
from kfbot.channels import open_channels
from kfbot.desk import AgentDesk
from kfbot.grounding.writing import Writer
from kfbot.knowledge_base import KnowledgeBase
from kfbot.outbox import Outbox
from kfbot.reloading import Reloading, plans_of
from kfbot.settings import Settings
from kfbot.store.clock import DatabaseClock
from kfbot.store.conversation_events import ConversationEventStore
from kfbot.store.dead_letters import DeadLetterStore
from kfbot.store.desk import desk_stores
from kfbot.store.engine import Database
from kfbot.store.gauges import GaugeStore
from kfbot.store.keys import KeyStore
from kfbot.store.messages import MessageStore
from kfbot.store.presence import Presence, new_owner
from kfbot.store.reports import ReportStore
from kfbot.store.token_use import TokenUse
from kfbot.store.uploads import UploadStore
from kfbot.uploads import lay_out, take_in, with_uploads
from kfbot.wiring import (
    Base,
    admin_of,
    backlog_of,
    base_of,
    event_webhooks_of,
    handoff_of,
    inbox_of,
    loads_of,
    privacy_of,
    teaching_of,
    upkeep_of,
    waiting_of,
)

logger = logging.getLogger(__name__)


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
    owner, shared = new_owner(), settings.data_dir
    async with (
        opening.open_database(settings, report) as database,
        opening.open_writer(settings, use=TokenUse(database), channels=channels) as writer,
        opening.open_knowledge(
            # The index is this process's own. The model cache is shared, and so are copies of
            # sources: or what one process has loaded would be new to another.
            _with_place(settings, place or shared),
            database,
            report,
            models=shared / "models",
            copies=shared / "sources",
            model=writer.model if writer else None,
            fetch=partial(lay_out, UploadStore(database, DatabaseClock(database)), shared),
        ) as knowledge,
        Presence(database, owner),
    ):
        clock = DatabaseClock(database)
        await clock.synchronise()
        await _take_over(database, clock, settings)
        yield wire(
            settings,
            database,
            knowledge,
            writer=writer,
            place=place,
            channels=channels,
            desks=desks,
            clock=clock,
            owner=owner,
        )


async def _take_over(database: Database, clock: DatabaseClock, settings: Settings) -> None:
    """Go on with what an earlier process left."""
    await take_in(UploadStore(database, clock), settings.data_dir, settings.knowledge)
    if database.is_sqlite and (freed := await MessageStore(database, clock).free_all()):
        # Of a process that was killed: nobody else can be working here.
        logger.warning("%d lanes taken over", freed, extra={"event": "lanes_freed"})


def _with_place(settings: Settings, place: Path) -> Settings:
    knowledge = with_uploads(settings.knowledge, settings.data_dir)
    return settings.model_copy(update={"data_dir": place, "knowledge": knowledge})


def wire(
    settings: Settings,
    database: Database,
    knowledge: KnowledgeBase,
    *,
    writer: Writer | None = None,
    place: Path | None = None,
    channels: Mapping[str, ChannelAdapter],
    desks: Sequence[AgentDesk] = (),
    clock: Callable[[], datetime] | None = None,
    owner: str | None = None,
) -> Application:
    """Connect the parts; every one of them can be another than usual.

    Args:
        writer: None: answers are quoted, no chat model writes them.
        place: Where this process keeps what is its own; None: the data folder.
        clock: None: the database's.
        owner: The name of this process among the replicas; None: a new one.
    """
    base = base_of(
        settings,
        database,
        Answering(knowledge, settings.decision.max_wrong_percent, writer, settings.slots),
        channels=channels,
        desks=desks,
        clock=clock or DatabaseClock(database),
        owner=owner or new_owner(),
    )
    application = _application(base, place or settings.data_dir)
    database.subscribe(application.changes.announce)
    database.subscribe(application.inbox.hear)
    database.subscribe(application.case_threads.hear)
    return application


def _application(base: Base, place: Path) -> Application:
    database, clock, privacy = base.database, base.clock, privacy_of(base)
    case_threads = CaseThreads(base.threads, base.channels)
    outbox = Outbox(base.messages, base.channels, clock, case_threads)
    handoff, loads = handoff_of(base), loads_of(base)
    return Application(
        settings=base.settings,
        place=place,
        answering=base.answering,
        actions=base.actions,
        channels=base.channels,
        conversations=base.conversations,
        transcripts=base.transcripts,
        inbox=inbox_of(base, outbox, admin_of(base, handoff), loads),
        backlog=backlog_of(base),
        outbox=outbox,
        handoff=handoff,
        dead_letters=DeadLetterStore(database, clock),
        gauges=GaugeStore(database, clock),
        jobs=base.jobs,
        loads=loads,
        case_threads=case_threads,
        summarising=base.summarising,
        typing=base.typing,
        waiting=waiting_of(base),
        keys=KeyStore(database),
        changes=base.changes,
        privacy=privacy,
        upkeep=upkeep_of(base, privacy),
        event_webhooks=event_webhooks_of(base),
        conversation_events=ConversationEventStore(database, clock),
        scopes=base.scopes,
        reloading=Reloading(base.answering.knowledge, plans_of(base.settings.knowledge)),
        teaching=teaching_of(base),
        reports=ReportStore(database),
        uploads=UploadStore(database, clock),
        desk=desk_stores(database, clock),
        clock=clock,
    )
