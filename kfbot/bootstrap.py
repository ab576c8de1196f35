"""Settings → application: the one place that knows every part."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from kfbot import opening
from kfbot.adapter import ChannelAdapter
from kfbot.admin.admin import Admin
from kfbot.admin.loads import ChatLoads
from kfbot.application import API_CHANNEL, Application
from kfbot.cases.summarising import Summarising
from kfbot.cases.talk import CaseTalk
from kfbot.cases.threads import CaseThreads, agents_chats
from kfbot.changes import Changes
from kfbot.channels import open_channels
from kfbot.desk import AgentDesk
from kfbot.dialogue import Dialogue
from kfbot.grounding.writing import Writer
from kfbot.handoff.escalation import Escalation
from kfbot.handoff.handoff import Handoff
from kfbot.handoff.waiting import Waiting, rules_of
from kfbot.inbox import Inbox
from kfbot.jobs import Jobs
from kfbot.knowledge_base import KnowledgeBase
from kfbot.learning.teaching import Teaching
from kfbot.manners import Manners
from kfbot.outbox import Outbox
from kfbot.permissions import scopes_of
from kfbot.reloading import Reloading, plans_of
from kfbot.settings import Settings
from kfbot.store.accounts import AccountStore
from kfbot.store.audit import AuditStore
from kfbot.store.case_threads import CaseThreadStore
from kfbot.store.clock import DatabaseClock
from kfbot.store.conversations import ConversationStore
from kfbot.store.dead_letters import DeadLetterStore
from kfbot.store.desk import desk_stores
from kfbot.store.engine import Database
from kfbot.store.feedback import FeedbackStore
from kfbot.store.growing import DraftStore
from kfbot.store.jobs import JobStore
from kfbot.store.keys import KeyStore
from kfbot.store.manners import MannersStore
from kfbot.store.messages import MessageStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.presence import Presence, new_owner
from kfbot.store.proposals import ProposalStore
from kfbot.store.reports import ReportStore
from kfbot.store.summaries import SummaryStore
from kfbot.store.token_use import TokenUse
from kfbot.store.transcripts import TranscriptStore
from kfbot.store.unanswered import UnansweredStore
from kfbot.store.waiting import WaitingStore
from kfbot.streaming import Streaming
from kfbot.typing_sign import TypingSign
from kfbot.upkeep import Upkeep

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
    owner = new_owner()
    place = place or settings.data_dir
    # The index is this process's own. The model cache is shared, and so are copies of sources: or
    # what one process has loaded would be new to another.
    here, shared = settings.model_copy(update={"data_dir": place}), settings.data_dir
    models, copies = shared / "models", shared / "sources"
    async with (
        opening.open_database(settings) as database,
        opening.open_knowledge(here, database, report, models=models, copies=copies) as knowledge,
        opening.open_writer(settings, use=TokenUse(database), channels=channels) as writer,
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
            writer=writer,
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
    clock, owner = clock or DatabaseClock(database), owner or new_owner()
    changes = Changes()
    database.subscribe(changes.announce)
    stores = _stores(database, channels, clock, owner)
    rules = rules_of(settings.handoff, channels)
    summarising = Summarising(
        writer, SummaryStore(database), stores.conversations, stores.transcripts
    )
    desks = (*desks, summarising)
    case_threads = CaseThreads(stores.threads, channels)
    outbox = Outbox(stores.messages, channels, clock, case_threads)
    scopes = scopes_of(settings.knowledge, channels)
    typing = TypingSign(channels)
    handoff = Handoff(
        conversations=stores.conversations,
        transcripts=stores.transcripts,
        outcomes=stores.outcomes,
        channels=channels,
        desks=desks,
    )
    loads = ChatLoads(
        jobs=Jobs(stores.jobs, knowledge),
        store=stores.jobs,
        conversations=stores.conversations,
        transcripts=stores.transcripts,
        outcomes=stores.outcomes,
        channels=channels,
    )
    admin = Admin(
        knowledge=knowledge,
        accounts=AccountStore(database),
        transcripts=stores.transcripts,
        audit=AuditStore(database, clock),
        channels=channels,
        scopes=scopes,
        max_wrong_percent=settings.decision.max_wrong_percent,
        hand_back=handoff.hand_back,
        clock=clock,
    )
    inbox = Inbox(
        owner=owner,
        messages=stores.messages,
        outcomes=stores.outcomes,
        dialogue=_dialogue(
            settings, database, knowledge, writer, stores, channels, admin, typing, clock
        ),
        outbox=outbox,
        streaming=_streaming(settings, database, channels, clock),
        channels=channels,
        desks=desks,
        changes=changes,
        clock=clock,
        on_load=loads.start,
    )
    database.subscribe(inbox.hear)
    database.subscribe(case_threads.hear)
    return Application(
        settings=settings,
        place=place or settings.data_dir,
        knowledge=knowledge,
        writer=writer,
        channels=channels,
        conversations=stores.conversations,
        transcripts=stores.transcripts,
        inbox=inbox,
        outbox=outbox,
        handoff=handoff,
        dead_letters=DeadLetterStore(database, clock),
        jobs=stores.jobs,
        loads=loads,
        case_threads=case_threads,
        summarising=summarising,
        typing=typing,
        waiting=Waiting(
            WaitingStore(database, clock),
            common=settings.handoff,
            rules=rules,
            channels=channels,
            desks=desks,
            changes=changes,
            clock=clock,
        ),
        keys=KeyStore(database),
        changes=changes,
        upkeep=Upkeep(
            database,
            stores.messages,
            clock,
            keep=timedelta(days=settings.database.keep_finished_days),
        ),
        scopes=scopes,
        reloading=Reloading(knowledge, plans_of(settings.knowledge)),
        teaching=Teaching(
            knowledge, ProposalStore(database, clock), UnansweredStore(database), clock
        ),
        reports=ReportStore(database),
        desk=desk_stores(database, clock),
        clock=clock,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stores:
    """What several parts write to and read from."""

    messages: MessageStore
    conversations: ConversationStore
    transcripts: TranscriptStore
    outcomes: OutcomeStore
    threads: CaseThreadStore
    jobs: JobStore


def _stores(
    database: Database,
    channels: Mapping[str, ChannelAdapter],
    clock: Callable[[], datetime],
    owner: str,
) -> _Stores:
    limited = [name for name, one in channels.items() if one.settings.messages_per_minute]
    return _Stores(
        messages=MessageStore(
            database,
            clock,
            channels=_served(channels),
            limited=limited,
            agents_chats=[(one.channel, one.chat) for one in agents_chats(channels)],
        ),
        conversations=ConversationStore(database),
        transcripts=TranscriptStore(database),
        outcomes=OutcomeStore(database, clock),
        threads=CaseThreadStore(database, clock),
        jobs=JobStore(database, clock, owner),
    )


def _dialogue(
    settings: Settings,
    database: Database,
    knowledge: KnowledgeBase,
    writer: Writer | None,
    stores: _Stores,
    channels: Mapping[str, ChannelAdapter],
    admin: Admin,
    typing: TypingSign,
    clock: Callable[[], datetime],
) -> Dialogue:
    return Dialogue(
        knowledge,
        stores.conversations,
        stores.transcripts,
        manners=Manners(MannersStore(database), channels),
        admin=admin,
        case_talk=CaseTalk(
            store=stores.threads,
            conversations=stores.conversations,
            transcripts=stores.transcripts,
            channels=channels,
            admin=admin,
            clock=clock,
        ),
        escalation=Escalation(
            common=settings.handoff,
            rules=rules_of(settings.handoff, channels),
            conversations=stores.conversations,
            feedback=FeedbackStore(database, clock),
            clock=clock,
        ),
        scopes=scopes_of(settings.knowledge, channels),
        max_wrong_percent=settings.decision.max_wrong_percent,
        writer=writer,
        slots=settings.slots,
        clock=clock,
        on_turn=typing.show,
    )


def _streaming(
    settings: Settings,
    database: Database,
    channels: Mapping[str, ChannelAdapter],
    clock: Callable[[], datetime],
) -> Streaming:
    # Who asks over HTTP gets the whole answer, and reads nothing before.
    watched = {name: one for name, one in channels.items() if name != API_CHANNEL}
    return Streaming(DraftStore(database, clock), watched, clock, settings.chat_model)


def _served(channels: Mapping[str, ChannelAdapter]) -> Collection[str] | None:
    """The channels whose conversations this process works on; None: all, also forgotten ones."""
    served = [name for name, adapter in channels.items() if not adapter.parked]
    return None if len(served) == len(channels) else served
