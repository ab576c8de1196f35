"""Questions that chunks of documents answer: a chat model is asked for them while they are loaded.

They are stored with their chunks, so that an index is made without the model, and a chunk that
stays as it is is not asked about again. Where the model is away the load goes on without them,
and the next one makes up for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from kfbot.errors import ChatModelError, ChatModelUnavailable
from kfbot.knowledge_base import Progress
from kfbot.store.knowledge_rows import DocumentRow, StoredDocument
from knowledge.cleaning.masking import mask_texts
from knowledge.vectors import Pending, searched_text

logger = logging.getLogger(__name__)

#: Told the place of a chunk (title and heading), its text and how many: questions that it answers,
#: each once. Raises ChatModelError.
Ask = Callable[[str, str, int], Awaitable[Sequence[str]]]

#: Customers' questions wait for the same model.
_AT_ONCE = 4
#: After so many completions in a row that are none, the model is left alone.
_MOST_INVALID = 3
#: `DocumentRow.asked` where the model did not answer for some of the chunks.
_INCOMPLETE = -1


@dataclass(slots=True)
class Asking:
    """Has the chunks of one load asked about."""

    #: Questions wanted for each chunk.
    count: int
    #: None: there is no chat model; what is known already is kept.
    ask: Ask | None
    progress: Progress
    #: Chunks that wait for their questions.
    missing: int = 0
    #: Why the model was given up.
    fault: str = ""
    #: Questions of chunks, and those of chunks that fewer were asked for, by what is searched.
    _known: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _fewer: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _invalid: int = 0
    _done: int = 0
    _total: int = 0

    def is_due(self, row: DocumentRow) -> bool:
        """Whether a document has not the questions that are wanted, and can have them now."""
        if row.kind == "faq" or row.asked == self.count:
            return False
        return self.ask is not None or self.count < abs(row.asked)

    def keep(self, stored: StoredDocument) -> None:
        """Take over the questions of a stored document, for chunks that are as they were."""
        asked = stored.document.asked
        if not self.count or not asked:
            return
        known = self._fewer if 0 < asked < self.count else self._known
        for position, chunk in enumerate(stored.chunks):
            found = tuple(one.text for one in stored.questions if one.asks == position)
            if found or asked > 0:
                text = searched_text(stored.document, chunk.heading, chunk.text)
                known[text] = found[: self.count]

    def expect(self, pending: Sequence[Pending]) -> None:
        """Say what is coming, for the progress to be told. Blocks."""
        self._total = sum(len(self._unknown(one)) for one in pending)
        if self._total:
            self.progress("questions", 0, self._total)

    async def fill(self, pending: Sequence[Pending]) -> list[Pending]:
        """The documents with their questions, as far as the model answers."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def ask(text: str, one: Pending, position: int) -> None:
            async with gate:
                await self._ask_about(text, one, position)

        # Many texts are put together here: not on the event loop.
        wanted = await asyncio.to_thread(self._wanted, pending)
        await asyncio.gather(*(ask(text, one, at) for text, (one, at) in wanted.items()))
        return await asyncio.to_thread(lambda: [self._filled(one) for one in pending])

    def is_gain(self, before: Pending, filled: Pending) -> bool:
        """Whether a document that was due is to be stored anew: not for nothing, and not for less.

        Else a model that is away would make a new generation of every load.
        """
        if filled.row.asked != _INCOMPLETE:
            return True
        return before.row.asked <= 0 and filled.questions != before.questions

    def warning(self) -> str:
        """What is said once of a load that went on without questions; "": nothing is missing."""
        if not self.missing:
            return ""
        left = f"{self.missing} chunks wait for their generated questions"
        if self.ask is None:
            return f"{left}: no [chat_model] is set"
        return f"{left}: {self.fault}; the next load asks again"

    def _wanted(self, pending: Sequence[Pending]) -> dict[str, tuple[Pending, int]]:
        return {text: (one, at) for one in pending for at, text in self._unknown(one)}

    def _unknown(self, one: Pending) -> list[tuple[int, str]]:
        """Chunks that the model has to be asked about, by position."""
        if one.row.kind == "faq" or not self.count or self.ask is None:
            return []
        texts = one.texts[: len(one.chunks)]
        return [(at, text) for at, text in enumerate(texts) if text not in self._known]

    async def _ask_about(self, text: str, one: Pending, position: int) -> None:
        if self.ask is None or self._invalid >= _MOST_INVALID:
            return
        chunk = one.chunks[position]
        place = " › ".join(part for part in (one.row.title, chunk.heading) if part)
        try:
            found = await self.ask(place, chunk.text, self.count)
        except ChatModelError as error:
            self.fault = str(error)
            self._invalid += _MOST_INVALID if isinstance(error, ChatModelUnavailable) else 1
            return
        self._invalid = 0
        # A text that masking leaves as it is holds no private data.
        masked = await asyncio.to_thread(mask_texts, found)
        pairs = zip(found, masked, strict=True)
        self._known[text] = tuple(one for one, other in pairs if one == other)[: self.count]
        self._done += 1
        self.progress("questions", self._done, self._total)

    def _filled(self, one: Pending) -> Pending:
        if one.row.kind == "faq" or not self.count:
            return replace(one, row=replace(one.row, asked=0), questions=())
        texts = one.texts[: len(one.chunks)]
        self.missing += (missing := sum(text not in self._known for text in texts))
        found = (self._known.get(text, self._fewer.get(text, ())) for text in texts)
        questions = tuple((at, asked) for at, some in enumerate(found) for asked in some)
        row = replace(one.row, asked=_INCOMPLETE if missing else self.count)
        return replace(one, row=row, questions=questions)
