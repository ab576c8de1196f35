"""Cases and pairs from the bot's own records: what agents answered, what customers thought."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from kfbot.agents import Agent
from kfbot.conversation import HistoryMessage
from kfbot.knowledge_base import Passage
from kfbot.learning.lessons import is_question, one_line
from kfbot.model.tuning.examples import Pair, Source
from kfbot.model.tuning.grounded import SHOWN, Case, prove
from kfbot.model.tuning.known import Known, Mask, Shelf, key_of, searched
from kfbot.model.tuning.splitting import Splitter
from kfbot.store.engine import Database
from kfbot.store.proposals import Proposal, ProposalState, ProposalStore
from kfbot.store.unanswered import HelpfulAnswer, PressedChoice, UnansweredStore

#: Reads what all agents together may see.
_READER = Agent(name="tuning", display_name="", role="admin")
_PAGE = 200
_MOST = 50_000
_NOT_CARRIED = "agent's answer is in no document"


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """A question that the bot left to a person, or answered in vain."""

    question: str
    conversation: str
    #: The answer that did not help; "" for none.
    rejected: str = ""


@dataclass(slots=True)
class Records:
    """What is recorded, the oldest first: what comes later changes nothing before it."""

    proposals: list[Proposal] = field(default_factory=list)
    helpful: list[HelpfulAnswer] = field(default_factory=list)
    chosen: list[PressedChoice] = field(default_factory=list)
    open: list[OpenQuestion] = field(default_factory=list)


async def read_records(database: Database, now: datetime, days: int) -> Records:
    """What was recorded in the last days.

    Raises:
        StoreUnavailable: It cannot be read.
    """
    since = now - timedelta(days=days)
    store, unanswered = ProposalStore(database, lambda: now), UnansweredStore(database)
    proposals = [
        *await _proposals(store, "approved", since),
        *await _proposals(store, "open", since),
    ]
    asked = await unanswered.asked(_READER, since, limit=_MOST)
    return Records(
        proposals=sorted(proposals, key=lambda one: one.id),
        helpful=list(reversed(await unanswered.helpful(since, limit=_MOST))),
        chosen=list(reversed(await unanswered.chosen(since, limit=_MOST))),
        open=[
            OpenQuestion(
                one.question,
                _conversation(one.conversation_id),
                one.answer.text if one.answer else "",
            )
            for one in reversed(asked)
        ],
    )


async def _proposals(store: ProposalStore, state: ProposalState, since: datetime) -> list[Proposal]:
    found: list[Proposal] = []
    before: int | None = None
    while len(found) < _MOST:
        page = await store.page(_READER, state, before=before, limit=_PAGE)
        found += (one for one in page if one.created_at >= since)
        if len(page) < _PAGE or page[-1].created_at < since:
            break
        before = page[-1].id
    return found


@dataclass(slots=True)
class RecordReader:
    """Makes cases of records, by what the documents say today."""

    known: Mapping[str, Known]
    shelf: Shelf
    splitter: Splitter
    mask: Mask
    left_out: Counter[str]

    def cases(self, records: Records) -> Iterator[Case]:
        """What agents answered and customers found helpful, where the documents carry it.

        What an agent knew and no document says is left out: a model that is tuned on it learns
        to invent. Approved, it is an entry, and the documents say it.
        """
        for proposal in records.proposals:
            question, answer, rejected = self.mask(
                [_asked(proposal), proposal.draft.answer, proposal.bot_said]
            )
            entry = self.known.get(_entry_key(proposal))
            passages = (
                entry.passages if entry else self.shelf.nearest(f"{question} {answer}", SHOWN)
            )
            case = self._case(question, answer, passages, "agent", _group(proposal))
            if case is None:
                self.left_out[_NOT_CARRIED] += 1
            else:
                yield replace(case, rejected=rejected)
        for one in records.helpful:
            question, answer, *before = self.mask(
                [one.question, one.text, *(message.text for message in one.history)]
            )
            known = self.known.get(f"{one.knowledge_base}/{one.document_id}")
            passages = known.passages if known else ()
            group = _conversation(one.conversation_id)
            case = self._case(question, answer, passages, "feedback", group)
            if case is None:
                self.left_out["helpful answer is in no document any more"] += 1
                continue
            roles = (message.role for message in one.history)
            history = tuple(map(HistoryMessage, roles, before))
            yield replace(case, history=history)

    def pairs(self, records: Records) -> Iterator[Pair]:
        """Questions with what answers them: entries approved, answers liked, choices pressed."""
        for proposal in records.proposals:
            if (entry := self.known.get(_entry_key(proposal))) is not None:
                yield from self._pair(_asked(proposal), entry, "agent", _group(proposal))
        judged: list[HelpfulAnswer | PressedChoice] = [*records.helpful, *records.chosen]
        for one in judged:
            known = self.known.get(f"{one.knowledge_base}/{one.document_id}")
            if known is not None and "\n" not in one.question:
                group = _conversation(one.conversation_id)
                yield from self._pair(one.question, known, "feedback", group)

    def open_questions(self, records: Records) -> list[OpenQuestion]:
        """What is still to be answered, private data masked."""
        questions = self.mask([one.question for one in records.open])
        rejected = self.mask([one.rejected for one in records.open])
        return [
            replace(one, question=question, rejected=answer)
            for one, question, answer in zip(records.open, questions, rejected, strict=True)
        ]

    def _case(
        self,
        question: str,
        answer: str,
        passages: Sequence[Passage],
        source: Source,
        conversation: str,
    ) -> Case | None:
        said, unproven = prove(answer, passages)
        splits = {self.splitter.of_document(key_of(one.passage)) for one in said}
        if unproven or len(splits) != 1:
            return None
        return Case(
            question=question,
            source=source,
            said=said,
            document=key_of(said[0].passage),
            conversation=conversation,
        )

    def _pair(
        self, question: str, known: Known, source: Source, conversation: str
    ) -> Iterator[Pair]:
        (query,) = self.mask([question])
        # Of a long document nobody knows which of its chunks it was.
        if known.kind == "faq" or len(known.passages) == 1:
            yield Pair(
                query=query,
                positive=searched(known.passages[0]),
                kind=known.kind,
                source=source,
                document=known.key,
                conversation=conversation,
            )


def pairs_of_entries(known: Sequence[Known]) -> Iterator[Pair]:
    """The question of each FAQ entry with its variants, and each variant with the one before."""
    for entry in known:
        texts = entry.questions
        for place in range(1, len(texts)):
            for other in {0, place - 1}:
                yield Pair(
                    query=texts[place],
                    positive=texts[other],
                    source="documents",
                    document=entry.key,
                )


def cases_of_entries(known: Sequence[Known]) -> Iterator[Case]:
    """The question of each FAQ entry, and its first variant, with its answer."""
    for entry in known:
        for question in entry.questions[:2]:
            said, unproven = prove(entry.passages[0].text, entry.passages)
            if said and not unproven:
                yield Case(question=question, source="documents", said=said, document=entry.key)


def _asked(proposal: Proposal) -> str:
    """The customer's own words, where they are a question."""
    asked = proposal.asked
    return one_line(asked) if is_question(asked) else proposal.draft.question


def _entry_key(proposal: Proposal) -> str:
    return f"{proposal.draft.knowledge_base}/{proposal.entry_id or ''}"


def _group(proposal: Proposal) -> str:
    if proposal.conversation_id is None:
        return f"proposal-{proposal.id}"
    return _conversation(proposal.conversation_id)


def _conversation(number: int) -> str:
    return f"conversation-{number}"
