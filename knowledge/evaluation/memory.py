"""What was found for a question while it was answered."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from kfbot.conversation import Turn
from kfbot.knowledge_base import KnowledgeBase, Retrieval


class Memory:
    """A knowledge base that is searched for each thing once, and remembers what it found."""

    def __init__(self, base: KnowledgeBase) -> None:
        self._base = base
        self._found: dict[tuple[str, str], Retrieval] = {}

    async def search(self, query: str, **how: Any) -> Retrieval:
        """As the knowledge base does.

        Raises:
            KnowledgeBaseUnavailable: It cannot be asked now.
        """
        key = (query, repr(how))
        if key not in self._found:
            self._found[key] = await self._base.search(query, **how)
        return self._found[key]

    # Whatever else the pipeline asks of it.
    def __getattr__(self, name: str) -> Any:
        return getattr(self._base, name)

    def behind(self, turn: Turn) -> Retrieval | None:
        """What the turn was made from, the passage that comes first in the turn before the others.

        That is another than was found first where a chat model wrote the answer from it.
        """
        held = None
        for found in reversed(self._found.values()):
            for place, one in enumerate(found.passages):
                if (one.knowledge_base, one.document_id) not in turn.ranked[:1]:
                    continue
                if place == 0:
                    return found
                others = (*found.passages[:place], *found.passages[place + 1 :])
                held = held or replace(found, passages=(one, *others))
        return held

    def answers(self, turn: Turn, gold_ids: Collection[str]) -> bool:
        """True where what comes first is one of these, or stands for one that says the same."""
        if not turn.ranked:
            return False
        found = self.behind(turn)
        same = found.passages[0].duplicates if found is not None else ()
        return any(one in gold_ids for one in (turn.ranked[0][1], *same))
