"""A writer whose answers grow when the test says so, and documents for it to write from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kfbot.grounding.writing import OnText, Writer, Written
from kfbot.knowledge_base import Passage
from kfbot.testing import FakeChatModel, FakeKnowledgeBase

DOCUMENTS = {
    "How long do I have to return an item?": "You have 15 days. The parcel must be unopened.",
    "When will my refund arrive?": "It arrives within 2 business days. A card takes longer.",
}
QUESTION, ANSWER = next(iter(DOCUMENTS.items()))
FIRST = ANSWER.partition(". ")[0] + "."


def documents() -> FakeKnowledgeBase:
    """A knowledge base whose entries are put into words by a writer."""
    return FakeKnowledgeBase(DOCUMENTS, kind="document")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldWriter(Writer):
    """Waits for what to write: `says` a text that has grown, then `ends`."""

    model: FakeChatModel = field(default_factory=lambda: FakeChatModel([]))
    #: Told one by one: a text so far; how it ends is a tuple.
    held: asyncio.Queue[str | tuple[Any]] = field(default_factory=asyncio.Queue)
    #: Questions that are being answered or were.
    asked: list[str] = field(default_factory=list)
    #: Whether somebody wanted to be told of each as it grew.
    watched: list[bool] = field(default_factory=list)

    async def write(
        self, question: str, passages: Sequence[Passage], **given: Any
    ) -> Written | None:
        self.asked.append(question)
        on_text: OnText | None = given.get("on_text")
        self.watched.append(on_text is not None)
        while isinstance(told := await self.held.get(), str):
            if on_text is not None:
                await on_text(told)
        [end] = told
        if isinstance(end, Exception):
            raise end
        return None if end is None else Written(text=end, passages=tuple(passages[:1]))

    def says(self, text: str) -> None:
        """The answer has grown to this."""
        self.held.put_nowait(text)

    def ends(self, how: str | Exception | None) -> None:
        """With this text; None: the passages do not answer."""
        self.held.put_nowait((how,))
