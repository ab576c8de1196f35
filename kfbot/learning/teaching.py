"""What agents teach: proposals become entries; what was asked in vain is grouped; exports."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from kfbot.agents import Agent
from kfbot.errors import Conflict, EntryRejected, KnowledgeBaseUnavailable
from kfbot.knowledge_base import Entry, KnowledgeBase
from kfbot.learning.lessons import (
    Group,
    Unanswered,
    distinct,
    grouped,
    is_question,
    meaning_key,
    one_line,
)
from kfbot.learning.training_data import Example, ExportFormat, rows, with_words, words_of
from kfbot.store.proposals import Draft, Proposal, ProposalState, ProposalStore, entry_id_of
from kfbot.store.unanswered import HelpfulAnswer, UnansweredStore

logger = logging.getLogger(__name__)

#: So many questions are looked at, the newest of a period.
ASKED = 1000
#: So many different ones are compared by meaning.
COMPARED = 600
#: Of proposals of a state so many are compared with them.
KNOWN = 100
#: Embedded at a time: a customer's question does not wait behind more.
TOGETHER = 16
#: Who asks for the groups waits about so long at most, until some of them are there.
PATIENCE_SECONDS = 6.0
#: Groupings that are remembered: agents see different channels, and look at different periods.
REMEMBERED = 8
#: Of each kind so many examples are exported, the newest.
EXPORTED = 5000
_PAGE = 200


@dataclass(frozen=True, slots=True)
class Groups:
    """Questions that want an answer, by meaning, the most asked first."""

    groups: Sequence[Group]
    #: Questions that were not compared with the others, the oldest ones: there was no time.
    left_out: int


class Teaching:
    """Decides proposals, shows what is missing, exports. For one event loop."""

    def __init__(
        self,
        knowledge: KnowledgeBase,
        proposals: ProposalStore,
        unanswered: UnansweredStore,
        clock: Callable[[], datetime],
        *,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.proposals = proposals
        self._knowledge = knowledge
        self._unanswered = unanswered
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._comparing = asyncio.Lock()
        #: The model knows these from the last comparison.
        self._embedded: set[str] = set()
        #: The questions that mean the same, by all that were compared.
        self._alike: OrderedDict[tuple[str, ...], list[list[str]]] = OrderedDict()

    async def approve(self, agent: Agent, proposal: Proposal, draft: Draft) -> None:
        """Answer customers with a proposal from now on, as it was edited.

        Where it is broken off between the entry and the note of it, the proposal is still open:
        done again it leads to the same entry.

        Raises:
            Conflict: Somebody else decided it, or is about to.
            EntryRejected: It cannot be an entry like this; it stays open.
            KnowledgeBaseUnavailable: There is no such knowledge base, or it cannot be changed
                now; the proposal stays open.
            StoreUnavailable: Do it again.
        """
        await self.proposals.reserve(proposal.id, agent, draft)
        entry = Entry(
            id=entry_id_of(proposal.id),
            question=draft.question,
            answer=draft.answer,
            variants=draft.variants,
        )
        try:
            await self._forget(proposal, unless=draft.knowledge_base)
            await self._knowledge.add_entry(draft.knowledge_base, entry, source="approved")
        except (EntryRejected, KnowledgeBaseUnavailable):
            await self.proposals.release(proposal.id, agent)
            raise
        try:
            await self.proposals.approve(proposal.id, agent)
        except Conflict:
            # Declined while the entry was made, it would answer customers all the same.
            now = await self.proposals.find(agent, proposal.id)
            if now is not None and now.state == "declined":
                await self._knowledge.remove_entry(draft.knowledge_base, entry.id)
            raise
        logger.info("proposal %d approved", proposal.id, extra={"event": "proposal_approved"})

    async def decline(self, agent: Agent, proposal: Proposal) -> None:
        """Keep a proposal from becoming an entry.

        Raises:
            Conflict: Somebody else decided it, or is about to.
            KnowledgeBaseUnavailable: Its entry was added, and cannot be taken back now.
            StoreUnavailable: Do it again.
        """
        await self.proposals.reserve(proposal.id, agent)
        await self._forget(proposal)
        await self.proposals.decline(proposal.id, agent)

    async def entries(self, knowledge_base: str) -> tuple[Entry, ...]:
        """What was added to a knowledge base by approval and by hand, by id.

        Raises:
            KnowledgeBaseUnavailable: There is no such knowledge base.
            StoreUnavailable: They cannot be read.
        """
        return await self._knowledge.added(knowledge_base)

    async def take_back(self, agent: Agent, knowledge_base: str, entry_id: str) -> bool:
        """Forget an entry that was added; False where there is none of this id.

        Raises:
            KnowledgeBaseUnavailable: It cannot be changed now; nothing was changed.
            StoreUnavailable: Do it again.
        """
        was_there = await self._knowledge.remove_entry(knowledge_base, entry_id)
        # Also where it is gone already: whoever took it back may not have come to note it.
        return await self.proposals.entry_removed(
            agent, knowledge_base, entry_id, was_there=was_there
        )

    async def groups(self, agent: Agent, days: int, channel: str | None = None) -> Groups:
        """What was asked in vain in the last days, by meaning, the most asked first.

        Raises:
            KnowledgeBaseUnavailable: Questions cannot be compared now.
            StoreUnavailable: They cannot be read.
        """
        since = self._clock() - timedelta(days=days)
        asked = await self._unanswered.asked(agent, since, channel=channel, limit=ASKED)
        if not asked:
            return Groups((), 0)
        known = await self.proposals.known(KNOWN)
        questions = distinct(one.question for one in asked)[:COMPARED]
        # What is known comes first: without it an answered question would come up again.
        everything = distinct([*(one.question for one in known), *questions])
        async with self._comparing:
            compared = await self._embed(everything)
            alike = await self._grouped(compared)
        return Groups(grouped(asked, known, alike), _left_out(asked, compared))

    async def export(self, agent: Agent, form: ExportFormat, days: int) -> AsyncIterator[bytes]:
        """What the last days taught: lines of JSON with private data masked, many at a time.

        Args:
            agent: Sees everything that is exported.

        Raises:
            StoreUnavailable: It cannot be read.
        """
        examples = await self._examples(agent, form, self._clock() - timedelta(days=days))
        for start in range(0, len(examples), _PAGE):
            some = examples[start : start + _PAGE]
            words = [words_of(example) for example in some]
            masked = iter(await self._knowledge.masked([text for one in words for text in one]))
            cleaned = [
                with_words(example, [next(masked) for _ in one])
                for example, one in zip(some, words, strict=True)
            ]
            lines = (json.dumps(row, ensure_ascii=False) for row in rows(cleaned, form))
            yield "".join(f"{line}\n" for line in lines).encode()

    async def export_entries(self) -> AsyncIterator[bytes]:
        """Everything that was added, as FAQ entries in lines of JSON.

        Raises:
            StoreUnavailable: It cannot be read.
        """
        for base in await self._knowledge.status():
            entries = await self._knowledge.added(base.name)
            lines = (json.dumps(asdict(entry), ensure_ascii=False) for entry in entries)
            yield "".join(f"{line}\n" for line in lines).encode()

    async def _forget(self, proposal: Proposal, *, unless: str = "") -> None:
        """Take back what an approval that was broken off may have added elsewhere."""
        name = proposal.draft.knowledge_base
        if proposal.entry_id is not None and name != unless:
            await self._knowledge.remove_entry(name, proposal.entry_id)

    async def _embed(self, questions: Sequence[str]) -> tuple[str, ...]:
        """The first of these questions, as many as there was time to have the model know."""
        clock, began = asyncio.get_running_loop().time, asyncio.get_running_loop().time()
        taken: list[str] = []
        has_grown = False
        for start in range(0, len(questions), TOGETHER):
            some = questions[start : start + TOGETHER]
            new = [question for question in some if question not in self._embedded]
            if new and has_grown and clock() - began >= self._patience_seconds:
                break
            if new:
                # For the vectors alone, which it remembers.
                await self._knowledge.alike(new)
                has_grown = True
            taken += some
        self._embedded = set(taken)
        return tuple(taken)

    async def _grouped(self, questions: tuple[str, ...]) -> list[list[str]]:
        """Those that mean the same, from memory where nothing has changed."""
        if (alike := self._alike.pop(questions, None)) is None:
            places = await self._knowledge.alike(questions)
            alike = [[questions[place] for place in group] for group in places]
        self._alike[questions] = alike
        while len(self._alike) > REMEMBERED:
            self._alike.popitem(last=False)
        return alike

    async def _examples(self, agent: Agent, form: ExportFormat, since: datetime) -> list[Example]:
        approved = await self._since(agent, "approved", since)
        if form != "questions":
            pending = await self._since(agent, "open", since)
            return [_of_agent(one) for one in (*approved, *pending)]
        there = await self._entry_ids({one.draft.knowledge_base for one in approved})
        helpful = await self._unanswered.helpful(since, limit=EXPORTED)
        return [
            *(
                _of_entry(one)
                for one in approved
                if (one.draft.knowledge_base, one.entry_id) in there
            ),
            *(_of_helpful(one) for one in helpful),
        ]

    async def _since(self, agent: Agent, state: ProposalState, since: datetime) -> list[Proposal]:
        """Proposals that were made since a time, the newest first."""
        found: list[Proposal] = []
        before: int | None = None
        while len(found) < EXPORTED:
            page = await self.proposals.page(agent, state, before=before, limit=_PAGE)
            found += (one for one in page if one.created_at >= since)
            if len(page) < _PAGE or page[-1].created_at < since:
                break
            before = page[-1].id
        return found

    async def _entry_ids(self, names: set[str]) -> set[tuple[str, str | None]]:
        """What is still there of what was added to these knowledge bases."""
        there: set[tuple[str, str | None]] = set()
        for name in names:
            # It may be configured no longer.
            with suppress(KnowledgeBaseUnavailable):
                there |= {(name, entry.id) for entry in await self._knowledge.added(name)}
        return there


def _left_out(asked: Sequence[Unanswered], compared: Sequence[str]) -> int:
    keys = {meaning_key(question) for question in compared}
    return sum(meaning_key(one.question) not in keys for one in asked)


def _of_agent(proposal: Proposal) -> Example:
    return Example(
        group=_group_of(proposal),
        question=proposal.draft.question,
        answer=proposal.draft.answer,
        rejected=proposal.bot_said,
    )


def _of_entry(proposal: Proposal) -> Example:
    """The customer's own words find the entry, better than the words that an agent gave it."""
    return Example(
        group=_group_of(proposal),
        question=one_line(proposal.asked)
        if is_question(proposal.asked)
        else proposal.draft.question,
        document_id=proposal.entry_id or "",
        knowledge_base=proposal.draft.knowledge_base,
    )


def _of_helpful(answer: HelpfulAnswer) -> Example:
    return Example(
        group=f"conversation-{answer.conversation_id}",
        question=answer.question,
        history=answer.history,
        document_id=answer.document_id,
        knowledge_base=answer.knowledge_base,
    )


def _group_of(proposal: Proposal) -> str:
    if proposal.conversation_id is None:
        return f"proposal-{proposal.id}"
    return f"conversation-{proposal.conversation_id}"
