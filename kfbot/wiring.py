"""The parts that several others stand on, and how each is made of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kfbot.actions.conduct import Actions
from kfbot.adapter import ChannelAdapter
from kfbot.admin.admin import Admin
from kfbot.admin.loads import ChatLoads
from kfbot.answer import Answering
from kfbot.application import API_CHANNEL
from kfbot.cases.summarising import Summarising
from kfbot.cases.talk import CaseTalk
from kfbot.cases.threads import agents_chats
from kfbot.changes import Changes
from kfbot.desk import AgentDesk
from kfbot.dialogue import Dialogue
from kfbot.event_webhooks import EventWebhooks
from kfbot.handoff.escalation import Escalation
from kfbot.handoff.handoff import Handoff
from kfbot.handoff.waiting import Waiting, rules_of
from kfbot.inbox import Inbox
from kfbot.jobs import Jobs
from kfbot.learning.teaching import Teaching
from kfbot.manners import Manners
from kfbot.outbox import Outbox
from kfbot.overload.backlog import Backlog
from kfbot.permissions import Permissions, scopes_of
from kfbot.privacy import Privacy
from kfbot.settings import Settings
from kfbot.store.accounts import AccountStore
from kfbot.store.action_memory import ActionMemory
from kfbot.store.audit import AuditStore
from kfbot.store.backlog import BacklogStore
from kfbot.store.case_threads import CaseThreadStore
from kfbot.store.consent import Notice
from kfbot.store.conversation_events import ConversationEventStore
from kfbot.store.conversations import ConversationStore
from kfbot.store.engine import Database
from kfbot.store.feedback import FeedbackStore
from kfbot.store.growing import DraftStore
from kfbot.store.jobs import JobStore
from kfbot.store.manners import MannersStore
from kfbot.store.messages import MessageStore
from kfbot.store.outcomes import OutcomeStore
from kfbot.store.proposals import ProposalStore
from kfbot.store.summaries import SummaryStore
from kfbot.store.transcripts import TranscriptStore
from kfbot.store.unanswered import UnansweredStore
from kfbot.store.waiting import WaitingStore
from kfbot.streaming import Streaming
from kfbot.typing_sign import TypingSign
from kfbot.upkeep import Upkeep


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
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
    escalation: Escalation
    actions: Actions


def base_of(
    settings: Settings,
    database: Database,
    answering: Answering,
    *,
    channels: Mapping[str, ChannelAdapter],
    desks: Sequence[AgentDesk],
    clock: Callable[[], datetime],
    owner: str,
) -> Base:
    """What the other parts of an application are made of."""
    conversations, transcripts = ConversationStore(database), TranscriptStore(database)
    summaries = SummaryStore(database, clock)
    summarising = _summarising(answering, summaries, conversations, transcripts, channels)
    escalation = _escalation(settings, database, conversations, channels, clock)
    return Base(
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
        outcomes=OutcomeStore(database, clock, notices_of(channels)),
        threads=CaseThreadStore(database, clock),
        jobs=JobStore(database, clock, owner),
        escalation=escalation,
        actions=_actions(settings, database, answering, escalation, clock),
    )


def _summarising(
    answering: Answering,
    summaries: SummaryStore,
    conversations: ConversationStore,
    transcripts: TranscriptStore,
    channels: Mapping[str, ChannelAdapter],
) -> Summarising:
    return Summarising(
        answering.writer,
        summaries,
        conversations,
        transcripts,
        help_desks=[name for name, one in channels.items() if one.capabilities.help_desk],
        slots=answering.slots,
    )


def _actions(
    settings: Settings,
    database: Database,
    answering: Answering,
    escalation: Escalation,
    clock: Callable[[], datetime],
) -> Actions:
    return Actions(
        settings.actions,
        settings.slots,
        ActionMemory(database, clock),
        escalation,
        clock,
        model=answering.writer.model if answering.writer else None,
    )


def _escalation(
    settings: Settings,
    database: Database,
    conversations: ConversationStore,
    channels: Mapping[str, ChannelAdapter],
    clock: Callable[[], datetime],
) -> Escalation:
    return Escalation(
        common=settings.handoff,
        rules=rules_of(settings.handoff, channels),
        conversations=conversations,
        feedback=FeedbackStore(database, clock),
        clock=clock,
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


def handoff_of(base: Base) -> Handoff:
    """What agents can do with a conversation."""
    return Handoff(
        conversations=base.conversations,
        transcripts=base.transcripts,
        outcomes=base.outcomes,
        channels=base.channels,
        desks=base.desks,
    )


def loads_of(base: Base) -> ChatLoads:
    """Loads that are asked for in a chat."""
    return ChatLoads(
        jobs=Jobs(base.jobs, base.answering.knowledge),
        store=base.jobs,
        conversations=base.conversations,
        transcripts=base.transcripts,
        outcomes=base.outcomes,
        channels=base.channels,
    )


def admin_of(base: Base, handoff: Handoff) -> Admin:
    """The commands of admins."""
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


def inbox_of(base: Base, outbox: Outbox, admin: Admin, loads: ChatLoads) -> Inbox:
    """The work on what comes in, and all that it leads to."""
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


def _dialogue(base: Base, admin: Admin) -> Dialogue:
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
        escalation=base.escalation,
        actions=base.actions,
        scopes=base.scopes,
        clock=base.clock,
        on_turn=base.typing.show,
    )


def _streaming(base: Base) -> Streaming:
    # Who asks over HTTP gets the whole answer, and reads nothing before.
    watched = {name: one for name, one in base.channels.items() if name != API_CHANNEL}
    drafts = DraftStore(base.database, base.clock)
    return Streaming(drafts, watched, base.clock, base.settings.chat_model)


def backlog_of(base: Base) -> Backlog:
    """Who is let in while much waits."""
    store = BacklogStore(base.database, base.clock, _served(base.channels))
    return Backlog(store, base.settings.overload)


def waiting_of(base: Base) -> Waiting:
    """What is done while customers wait for a person."""
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


def teaching_of(base: Base) -> Teaching:
    """What the bot learns from agents."""
    proposals = ProposalStore(base.database, base.clock)
    unanswered = UnansweredStore(base.database)
    return Teaching(base.answering.knowledge, proposals, unanswered, base.clock)


def event_webhooks_of(base: Base) -> EventWebhooks:
    """What tells other systems of conversations."""
    store = ConversationEventStore(base.database, base.clock)
    return EventWebhooks(base.settings.event_webhooks, store, base.changes, base.clock)


def upkeep_of(base: Base, privacy: Privacy) -> Upkeep:
    """What a server does beside its work."""
    keep = timedelta(days=base.settings.database.keep_finished_days)
    return Upkeep(base.database, base.messages, base.clock, keep=keep, privacy=privacy)


def privacy_of(base: Base) -> Privacy:
    """What is kept of customers."""
    days = {name: one.settings.keep_conversations_days for name, one in base.channels.items()}
    return Privacy(
        base.database,
        base.answering.knowledge,
        base.clock,
        settings=base.settings,
        keep_days={name: number for name, number in days.items() if number is not None},
    )


def notices_of(channels: Mapping[str, ChannelAdapter]) -> dict[str, Notice]:
    """What customers are told before their first answer, by channel."""
    told = {
        name: Notice(en=one.settings.consent_en, zh=one.settings.consent_zh)
        for name, one in channels.items()
    }
    return {name: notice for name, notice in told.items() if notice.en or notice.zh}


def _served(channels: Mapping[str, ChannelAdapter]) -> Collection[str] | None:
    """The channels whose conversations this process works on; None: all, also forgotten ones."""
    served = [name for name, adapter in channels.items() if not adapter.parked]
    return None if len(served) == len(channels) else served
