"""What the desk reads and writes, in one hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from kfbot.store.agents import AgentStore
from kfbot.store.audit import AuditStore
from kfbot.store.canned import CannedStore
from kfbot.store.case_actions import CaseActionStore
from kfbot.store.desk_transcripts import DeskTranscriptStore
from kfbot.store.engine import Database
from kfbot.store.queue import QueueStore
from kfbot.store.sign_ins import SignInStore


@dataclass(frozen=True, slots=True)
class DeskStores:
    """The stores behind the desk."""

    agents: AgentStore
    sign_ins: SignInStore
    audit: AuditStore
    canned: CannedStore
    actions: CaseActionStore
    queue: QueueStore
    transcripts: DeskTranscriptStore


def desk_stores(database: Database, clock: Callable[[], datetime]) -> DeskStores:
    """All of them over one database."""
    return DeskStores(
        agents=AgentStore(database, clock),
        sign_ins=SignInStore(database, clock),
        audit=AuditStore(database, clock),
        canned=CannedStore(database, clock),
        actions=CaseActionStore(database, clock),
        queue=QueueStore(database),
        transcripts=DeskTranscriptStore(database),
    )
