"""A fake for each contract: deterministic, remembers calls; for our tests and for yours."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kfbot import confidence
from kfbot.adapter import AdapterSettings, Capabilities, ChannelAdapter
from kfbot.calibration import Calibration, Signal
from kfbot.chat_model import ChatMessage, Usage
from kfbot.conversation import Case
from kfbot.errors import ChannelError, ChatModelUnavailable, KnowledgeBaseUnavailable
from kfbot.knowledge_base import (
    Entry,
    EntrySource,
    KnowledgeStatus,
    LoadReport,
    Passage,
    PassageKind,
    Progress,
    Retrieval,
)
from kfbot.knowledge_settings import PrivateKinds
from kfbot.language import language_of
from kfbot.messages import ConversationId, DeliveryReceipt, InboundEvent, OutboundMessage


class FakeAdapter(ChannelAdapter):
    """A channel in memory: `say` is what customers do, `sent` what they get."""

    def __init__(
        self,
        channel: str = "shop",
        settings: AdapterSettings | None = None,
        *,
        capabilities: Capabilities | None = None,
    ) -> None:
        super().__init__(channel, settings or AdapterSettings(platform="fake"))
        self.capabilities = capabilities or Capabilities()
        self.sent: list[OutboundMessage] = []
        #: Raised by the next calls of `send`, one each.
        self.failures: list[ChannelError] = []
        #: What messages were changed to, by the platform's id.
        self.edited: list[tuple[str, OutboundMessage]] = []
        #: Raised by the next calls of `edit`, one each.
        self.edit_failures: list[ChannelError] = []
        #: Threads that were begun: chat and title.
        self.threads: list[tuple[str, str]] = []
        #: Raised by the next calls of `open_thread`, one each.
        self.thread_failures: list[ChannelError] = []
        #: Titles that threads got later on, and threads that were closed.
        self.renamed: list[tuple[ConversationId, str]] = []
        self.closed: list[ConversationId] = []
        self._said: asyncio.Queue[InboundEvent] = asyncio.Queue()

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        if self.failures:
            raise self.failures.pop(0)
        self.sent.append(message)
        return DeliveryReceipt((f"fake-{len(self.sent)}",))

    async def edit(self, receipt: DeliveryReceipt, message: OutboundMessage) -> None:
        if self.edit_failures:
            raise self.edit_failures.pop(0)
        self.edited.append((receipt.platform_ids[0], message))

    async def open_thread(self, chat: str, title: str) -> str:
        if self.thread_failures:
            raise self.thread_failures.pop(0)
        self.threads.append((chat, title))
        return f"thread-{len(self.threads)}"

    async def rename_thread(self, conversation: ConversationId, title: str) -> None:
        self.renamed.append((conversation, title))

    async def close_thread(self, conversation: ConversationId) -> None:
        self.closed.append(conversation)

    def say(self, event: InboundEvent) -> None:
        """Let `listen` yield an event."""
        self._said.put_nowait(event)

    async def listen(self) -> AsyncIterator[InboundEvent]:
        while True:
            yield await self._said.get()


@dataclass
class FakeKnowledgeBase:
    """Knows a few entries (question → answer) and is as sure as their words overlap."""

    entries: Mapping[str, str]
    #: What its passages are: of documents a chat model makes answers.
    kind: PassageKind = "faq"
    #: Entries that are documents in any case.
    documents: Collection[str] = ()
    #: Set to make every search fail.
    broken: bool = False
    searched: list[str] = field(default_factory=list)
    #: What was said before a question, and searched for with it.
    leaned_on: list[str] = field(default_factory=list)
    #: How often it was told to look for what others loaded.
    refreshed: int = 0
    calibration: Calibration | None = None
    by_hand: dict[str, Entry] = field(default_factory=dict)

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
        if self.broken:
            raise KnowledgeBaseUnavailable("the fake is broken")
        self.searched.append(query)
        taken = () if standalone else earlier
        self.leaned_on += taken
        asked = [query, *(f"{before} {query}" for before in taken)]
        ranked = sorted(
            (
                (max(_overlap(one, question) for one in asked), question)
                for question in self.entries
            ),
            key=lambda scored: -scored[0],
        )[:limit]
        best = ranked[0][0] if ranked else 0.0
        wanted = "answer" if best >= 0.75 else "clarify" if best >= 0.5 else "handoff"
        passages = tuple(self._passage(question, score) for score, question in ranked)
        return Retrieval(
            query=query,
            passages=passages,
            evidence={kind: evidence_for(wanted, kind) for kind in {one.kind for one in passages}},
            calibrations={"fake": self.calibration} if self.calibration else {},
        )

    async def load(
        self, names: Collection[str] | None = None, *, progress: Progress | None = None
    ) -> tuple[LoadReport, ...]:
        if progress is not None:
            progress("reading", 1, 1)
        return (LoadReport(knowledge_base="fake", unchanged=len(self.entries)),)

    async def roll_back(self, name: str) -> int:
        raise KnowledgeBaseUnavailable("the fake has one generation")

    async def calibrate(self, name: str, calibration: Calibration | None) -> None:
        if name != "fake":
            raise KnowledgeBaseUnavailable(f"there is no knowledge base {name}")
        self.calibration = calibration

    async def add_entry(self, name: str, entry: Entry, *, source: EntrySource) -> None:
        if name != "fake":
            raise KnowledgeBaseUnavailable(f"there is no knowledge base {name}")
        self.by_hand[entry.id] = entry
        self.entries = {**self.entries, entry.question: entry.answer}

    async def remove_entry(self, name: str, entry_id: str) -> bool:
        entry = self.by_hand.pop(entry_id, None)
        if entry is not None:
            kept = {one: said for one, said in self.entries.items() if one != entry.question}
            self.entries = kept
        return entry is not None

    async def added(self, name: str) -> tuple[Entry, ...]:
        return tuple(self.by_hand[entry_id] for entry_id in sorted(self.by_hand))

    async def alike(self, questions: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        groups: dict[frozenset[str], list[int]] = {}
        for place, question in enumerate(questions):
            groups.setdefault(frozenset(question.lower().split()), []).append(place)
        return tuple(sorted((tuple(group) for group in groups.values()), key=len, reverse=True))

    async def masked(
        self, texts: Sequence[str], kinds: PrivateKinds | None = None
    ) -> tuple[str, ...]:
        return tuple(re.sub(r"\d{11}", "[mobile]", text) for text in texts)

    async def fingerprint(self, name: str) -> str:
        return str(sorted(self.entries.items()))

    async def refresh(self) -> None:
        self.refreshed += 1

    async def examples(
        self,
        language: str,
        limit: int,
        *,
        names: Collection[str] | None = None,
        where: Mapping[str, str] | None = None,
    ) -> tuple[str, ...]:
        return tuple(entry for entry in self.entries if language_of(entry) == language)[:limit]

    async def document_ids(self) -> frozenset[str]:
        return frozenset(f"entry-{number}" for number in range(len(self.entries)))

    async def status(self) -> tuple[KnowledgeStatus, ...]:
        count = len(self.entries)
        return (
            KnowledgeStatus(
                name="fake",
                documents=count,
                chunks=count,
                generation=1,
                loaded_at=None,
                calibration=self.calibration,
            ),
        )

    def _passage(self, question: str, score: float) -> Passage:
        number = list(self.entries).index(question)
        return Passage(
            knowledge_base="fake",
            document_id=f"entry-{number}",
            chunk_id=f"chunk-{number}",
            kind="document" if question in self.documents else self.kind,
            title=question,
            text=self.entries[question],
            question=question,
            score=score,
        )


@dataclass
class FakeDesk:
    """A desk that remembers what it was told."""

    opened: list[Case] = field(default_factory=list)
    closed: list[Case] = field(default_factory=list)

    async def open(self, case: Case) -> None:
        self.opened.append(case)

    async def close(self, case: Case) -> None:
        self.closed.append(case)


@dataclass
class FakeChatModel:
    """Completes every prompt with the next of its texts, word by word."""

    completions: list[str]
    prompts: list[Sequence[ChatMessage]] = field(default_factory=list)
    context_tokens: int = 8192
    fault: str = ""
    closed: bool = False

    async def complete(
        self,
        prompt: Sequence[ChatMessage],
        *,
        max_tokens: int,
        usage: Usage,
        channel: str = "",
        timeout_seconds: float | None = None,
    ) -> AsyncIterator[str]:
        self.prompts.append(prompt)
        usage.model, usage.requests = "fake", usage.requests + 1
        if not self.completions:
            raise ChatModelUnavailable("the fake has nothing left to say")
        for piece in re.findall(r"\S+\s*", self.completions.pop(0))[:max_tokens]:
            usage.completion_tokens += 1
            yield piece

    async def aclose(self) -> None:
        self.closed = True


def evidence_for(decision: str, kind: PassageKind = "faq") -> dict[str, float]:
    """Evidence that makes the bot answer, clarify or hand off, whatever the fitted numbers."""
    signals: dict[str, Signal] = {}
    any_ = replace(_ANY, kind=kind)
    for part in _parts(confidence.model(kind, "first")):
        signals |= part.signals
    for strength in range(30, -31, -1):
        evidence = {
            name: signal.mean + strength / 10 * math.copysign(signal.scale, signal.weight)
            for name, signal in signals.items()
        } | {"foreign": 0.0}
        found = Retrieval(query="", passages=(any_, replace(any_, question="other")))
        if confidence.assess(replace(found, evidence={kind: evidence}), 5.0).decision == decision:
            return evidence
    raise ValueError(f"no evidence leads to {decision}")


def _parts(model: confidence.Model) -> tuple[confidence.Logistic, ...]:
    return (model.match, model.gate) if model.gate is not None else (model.match,)


_ANY = Passage(
    knowledge_base="fake", document_id="any", chunk_id="any", kind="faq",
    title="", text="", question="any", score=0.0,
)  # fmt: skip


def _overlap(query: str, question: str) -> float:
    """Share of the longer text's words (Chinese: characters) that both have."""
    one, other = (set(re.findall(r"[a-z0-9]+|[㐀-鿿]", text.lower())) for text in (query, question))
    return len(one & other) / max(len(one), len(other), 1)
