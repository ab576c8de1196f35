"""`/kb add` and `/kb remove` on the real knowledge base."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfbot.admin.entries import add, remove
from kfbot.knowledge_base import EVERYTHING, NOTHING
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.engine import Database
from kfbot.texts import command_texts
from tests.integration.test_knowledge_load import WordEmbedder, answer, opened, shop

pytestmark = pytest.mark.asyncio
#: The fixture is that of the other file.
__all__ = ["shop"]

SAYS = command_texts("en")


async def test_what_an_admin_writes_is_answered_at_once_masked_and_can_be_taken_back(
    database: Database, tmp_path: Path, shop: Path
) -> None:
    async with opened(KnowledgeStore(database), WordEmbedder(), tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        written = "What about lamps? / And bulbs?｜Call 13812345678."
        told, target = await add(knowledge, EVERYTHING, written, SAYS)
        assert "13812345678" not in told
        for question in ("What about lamps?", "And bulbs?"):
            said = await answer(knowledge, question)
            assert said.startswith("Call ")
            assert said in told
            assert "13812345678" not in said
        name, _, entry_id = target.partition("/")
        assert name == "shop"
        told, _ = await add(knowledge, EVERYTHING, "what about LAMPS | Ask us.", SAYS)
        assert told.startswith("Replaced in **shop**")
        assert await answer(knowledge, "What about lamps?") == "Ask us."
        assert (await remove(knowledge, EVERYTHING, entry_id, SAYS))[1] == target
        assert await knowledge.added("shop") == ()


async def test_a_channel_without_the_knowledge_base_adds_nothing_to_it(
    database: Database, tmp_path: Path, shop: Path
) -> None:
    async with opened(KnowledgeStore(database), WordEmbedder(), tmp_path, shop=shop) as knowledge:
        await knowledge.load()
        assert await add(knowledge, NOTHING, "Q | A", SAYS) == (SAYS.status_empty, "")
        assert await knowledge.added("shop") == ()
