"""The web chat's push of an answer that is being written."""

from __future__ import annotations

import asyncio

import pytest

from kfbot.store import tables
from tests.dialogues.writing import ANSWER, FIRST, QUESTION, HeldWriter, documents
from tests.integration.conftest import Served
from tests.integration.test_web_chat import visit

pytestmark = pytest.mark.asyncio


async def test_every_open_page_sees_the_answer_grow_and_then_the_message(served: Served) -> None:
    writer = HeldWriter()
    async with served(writer=writer, base=documents()) as bot:
        visitor = await visit(bot)
        async with visitor.page() as page:
            await page.until("ready")
            await visitor.says(QUESTION)
            writer.says(FIRST)
            assert (await page.until("draft"))[-1].data == {"text": FIRST}
            async with visitor.page() as late:
                begun = await late.until("ready")
                [draft] = [event.data for event in begun if event.name == "draft"]
                assert draft == {"text": FIRST}
                writer.says(ANSWER)
                assert (await late.until("draft"))[-1].data == {"text": ANSWER}
            assert (await page.until("draft"))[-1].data == {"text": ANSWER}
            writer.ends(ANSWER)
            last = (await page.until("message"))[-1].data
            assert (last["text"], len(last["citations"])) == (ANSWER, 1)
        assert await bot.count(tables.draft) == 0


async def test_a_draft_that_becomes_a_handoff_is_gone_for_who_comes_later(served: Served) -> None:
    writer = HeldWriter()
    async with served(writer=writer, base=documents()) as bot:
        visitor = await visit(bot)
        async with visitor.page() as page:
            await page.until("ready")
            await visitor.says(QUESTION)
            writer.says(FIRST)
            await page.until("draft")
            writer.ends(None)
            assert (await page.until("message"))[-1].data["kind"] == "handoff"
        async with visitor.page() as late:
            events = await late.until("ready")
        texts = [event.data["text"] for event in events if event.name in ("message", "draft")]
        assert FIRST not in texts
        assert len(texts) == 2


async def test_an_agent_who_claims_leaves_the_page_what_it_showed_as_a_message(
    served: Served,
) -> None:
    writer = HeldWriter()
    async with served(writer=writer, base=documents()) as bot:
        visitor = await visit(bot)
        async with visitor.page() as page:
            await page.until("ready")
            await visitor.says(QUESTION)
            writer.says(FIRST)
            await page.until("draft")
            await bot.application.handoff.claim(await visitor.id(), "Ana")
            assert (await page.until("message"))[-1].data["text"] == FIRST
            writer.says(ANSWER)
            writer.ends(ANSWER)
            await bot.quiet()
        async with visitor.page() as late:
            events = await late.until("ready")
        said = [event.data["text"] for event in events if event.name == "message"]
        assert said == [QUESTION, FIRST]


async def test_an_answer_that_is_asked_for_over_http_is_not_shown_before_it_is_whole(
    served: Served,
) -> None:
    writer = HeldWriter()
    async with served(writer=writer, base=documents()) as bot:
        visitor = await visit(bot)
        writer.ends(ANSWER)
        async with visitor.page() as page:
            await page.until("ready")
            await visitor.says(QUESTION)
            await page.until("message")
        asking = asyncio.create_task(bot.application.ask_in("terminal-1", QUESTION))
        writer.says(FIRST)
        writer.ends(ANSWER)
        answer = await asking
        assert answer is not None
        assert (answer["text"], writer.watched) == (ANSWER, [True, False])
