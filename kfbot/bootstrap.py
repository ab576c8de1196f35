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
from kfbot.answer import Answering
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
from kfbot.permissions import Permissions, scopes_of
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
    base = _base(
        settings,
        database,
        Answering(knowledge, settings.decision.max_wrong_percent, writer, settings.slots),
        channels=channels,
        desks=desks,
        clock=clock or DatabaseClock(database),
        owner=owner or new_owner(),
    )
    case_threads = CaseThreads(base.threads, channels)
    outbox = Outbox(base.messages, channels, base.clock, case_threads)
    handoff, loads = _handoff(base), _loads(base)
    inbox = _inbox(base, outbox, _admin(base, handoff), loads)
    database.subscribe(base.changes.announce)
    database.subscribe(inbox.hear)
    database.subscribe(case_threads.hear)
    return _application(
        base, place or settings.data_dir, inbox, outbox, handoff, loads, case_threads
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """What several parts stand on."""

    settings: Settings
    database: Database
    answering: Answering
    channels: Mapping[str, ChannelAdapter]
    desks: Sequence[AgentDesk]
    clock: Callable[[], datetime]
    owner: str
    scopes: Permissions
    typing: TypingSign
    changes: Changes
    summarising: Summarising
    messages: MessageStore
    conversations: ConversationStore
    transcripts: TranscriptStore
    outcomes: OutcomeStore
    threads: CaseThreadStore
    jobs: JobStore


def _base(
    settings: Settings,
    database: Database,
    answering: Answering,
    *,
    channels: Mapping[str, ChannelAdapter],
    desks: Sequence[AgentDesk],
    clock: Callable[[], datetime],
    owner: str,
) -> _Base:
    conversations, transcripts = ConversationStore(database), TranscriptStore(database)
    summarising = Summarising(answering.writer, SummaryStore(database), conversations, transcripts)
    return _Base(
        settings=settings,
        database=database,
        answering=answering,
        channels=channels,
        desks=(*desks, summarising),
        clock=clock,
        owner=owner,
        scopes=scopes_of(settings.knowledge, channels),
        typing=TypingSign(channels),
        changes=Changes(),
        summarising=summarising,
        messages=_messages(database, channels, clock),
        conversations=conversations,
        transcripts=transcripts,
        outcomes=OutcomeStore(database, clock),
        threads=CaseThreadStore(database, clock),
        jobs=JobStore(database, clock, owner),
    )


def _messages(
    database: Database, channels: Mapping[str, ChannelAdapter], clock: Callable[[], datetime]
) -> MessageStore:
    return MessageStore(
        database,
        clock,
        channels=_served(channels),
        limited=[name for name, one in channels.items() if one.settings.messages_per_minute],
        agents_chats=[(one.channel, one.chat) for one in agents_chats(channels)],
    )


def _application(
    base: _Base,
    place: Path,
    inbox: Inbox,
    outbox: Outbox,
    handoff: Handoff,
    loads: ChatLoads,
    case_threads: CaseThreads,
) -> Application:
    database, clock, knowledge = base.database, base.clock, base.answering.knowledge
    return Application(
        settings=base.settings,
        place=place,
        knowledge=knowledge,
        answering=base.answering,
        channels=base.channels,
        conversations=base.conversations,
        transcripts=base.transcripts,
        inbox=inbox,
        outbox=outbox,
        handoff=handoff,
        dead_letters=DeadLetterStore(database, clock),
        jobs=base.jobs,
        loads=loads,
        case_threads=case_threads,
        summarising=base.summarising,
        typing=base.typing,
        waiting=_waiting(base),
        keys=KeyStore(database),
        changes=base.changes,
        upkeep=_upkeep(base),
        scopes=base.scopes,
        reloading=Reloading(knowledge, plans_of(base.settings.knowledge)),
        teaching=_teaching(base),
        reports=ReportStore(database),
        desk=desk_stores(database, clock),
        clock=clock,
    )


def _handoff(base: _Base) -> Handoff:
    return Handoff(
        conversations=base.conversations,
        transcripts=base.transcripts,
        outcomes=base.outcomes,
        channels=base.channels,
        desks=base.desks,
    )


def _loads(base: _Base) -> ChatLoads:
    return ChatLoads(
        jobs=Jobs(base.jobs, base.answering.knowledge),
        store=base.jobs,
        conversations=base.conversations,
        transcripts=base.transcripts,
        outcomes=base.outcomes,
        channels=base.channels,
    )


def _admin(base: _Base, handoff: Handoff) -> Admin:
    return Admin(
        knowledge=base.answering.knowledge,
        accounts=AccountStore(base.database),
        transcripts=base.transcripts,
        audit=AuditStore(base.database, base.clock),
        channels=base.channels,
        scopes=base.scopes,
        max_wrong_percent=base.answering.max_wrong_percent,
        hand_back=handoff.hand_back,
        clock=base.clock,
    )


def _inbox(base: _Base, outbox: Outbox, admin: Admin, loads: ChatLoads) -> Inbox:
    return Inbox(
        owner=base.owner,
        messages=base.messages,
        outcomes=base.outcomes,
        dialogue=_dialogue(base, admin),
        outbox=outbox,
        streaming=_streaming(base),
        channels=base.channels,
        desks=base.desks,
        changes=base.changes,
        clock=base.clock,
        on_load=loads.start,
    )


def _dialogue(base: _Base, admin: Admin) -> Dialogue:
    common = base.settings.handoff
    return Dialogue(
        base.answering,
        base.conversations,
        base.transcripts,
        manners=Manners(MannersStore(base.database), base.channels),
        admin=admin,
        case_talk=CaseTalk(
            store=base.threads,
            conversations=base.conversations,
            transcripts=base.transcripts,
            channels=base.channels,
            admin=admin,
            clock=base.clock,
        ),
        escalation=Escalation(
            common=common,
            rules=rules_of(common, base.channels),
            conversations=base.conversations,
            feedback=FeedbackStore(base.database, base.clock),
            clock=base.clock,
        ),
        scopes=base.scopes,
        clock=base.clock,
        on_turn=base.typing.show,
    )


def _streaming(base: _Base) -> Streaming:
    # Who asks over HTTP gets the whole answer, and reads nothing before.
    watched = {name: one for name, one in base.channels.items() if name != API_CHANNEL}
    drafts = DraftStore(base.database, base.clock)
    return Streaming(drafts, watched, base.clock, base.settings.chat_model)


def _waiting(base: _Base) -> Waiting:
    common = base.settings.handoff
    return Waiting(
        WaitingStore(base.database, base.clock),
        common=common,
        rules=rules_of(common, base.channels),
        channels=base.channels,
        desks=base.desks,
        changes=base.changes,
        clock=base.clock,
    )


def _teaching(base: _Base) -> Teaching:
    proposals = ProposalStore(base.database, base.clock)
    unanswered = UnansweredStore(base.database)
    return Teaching(base.answering.knowledge, proposals, unanswered, base.clock)


def _upkeep(base: _Base) -> Upkeep:
    keep = timedelta(days=base.settings.database.keep_finished_days)
    return Upkeep(base.database, base.messages, base.clock, keep=keep)


def _served(channels: Mapping[str, ChannelAdapter]) -> Collection[str] | None:
    """The channels whose conversations this process works on; None: all, also forgotten ones."""
    served = [name for name, adapter in channels.items() if not adapter.parked]
    return None if len(served) == len(channels) else served
