"""What a chat model does for agents at the desk: summaries and suggested replies, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kfbot.grounding.writing import Writer
from kfbot.store import tables
from kfbot.testing import FakeChatModel
from tests.integration.conftest import ENTRIES, Served
from tests.integration.desk_client import CONVERSATIONS, DeskClient, colleague, first_admin

pytestmark = pytest.mark.asyncio

ASKED = "My bank has nothing of the giraffe refund, order 4711."
TRUE, INVENTED = "The customer's bank has nothing.", "The customer wants a discount."
REFUND = "When will my refund arrive?"


@asynccontextmanager
async def office(served: Served, *completions: str, model: bool = True) -> AsyncIterator[Any]:
    """The admin's desk, the model, and a conversation that waits."""
    talker = FakeChatModel(list(completions))
    async with served(writer=Writer(talker) if model else None) as bot:
        anna = await first_admin(bot)
        await bot.ask("Do you sell giraffes by the metre?", "c-1")
        await bot.ask(ASKED, "c-1")
        yield anna, talker, await bot.id_of("c-1")


async def summary_of(desk: DeskClient, number: int, language: str = "en") -> Any:
    shown = await desk.get(f"{CONVERSATIONS}/{number}", params={"language": language})
    return shown["summary"]


async def written_summary(desk: DeskClient, number: int, language: str = "en") -> str:
    """The model's, once it is there."""
    async with asyncio.timeout(60):
        async with desk.events() as events:
            while (summary := await summary_of(desk, number, language))["by"] != "model":
                await events.next()
    return str(summary["text"])


async def test_the_first_look_has_a_summary_made_which_is_kept_by_language(served: Served) -> None:
    async with office(served, f"{TRUE} {INVENTED}", f"{TRUE}") as (anna, model, number):
        assert await written_summary(anna, number) == TRUE
        assert await written_summary(anna, number) == TRUE
        assert len(model.prompts) == 1
        assert await written_summary(anna, number, "zh") == TRUE
        assert ["摘要" in prompt[0].text for prompt in model.prompts] == [False, True]
        # Nobody's language: nothing is read or made.
        assert (await anna.get(f"{CONVERSATIONS}/{number}"))["summary"] is None


async def test_without_a_model_the_customers_questions_are_the_summary(served: Served) -> None:
    async with office(served, model=False) as (anna, _, number):
        summary = await summary_of(anna, number)
        assert (summary["by"], summary["text"]) == ("customer", "")
        assert summary["questions"] == ["Do you sell giraffes by the metre?", ASKED]


async def test_a_model_that_is_gone_is_not_asked_again_at_every_look(served: Served) -> None:
    async with office(served) as (anna, model, number):
        summary = await summary_of(anna, number)
        while not model.prompts:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0)
        for _ in range(3):
            assert (await summary_of(anna, number))["by"] == summary["by"] == "customer"
        assert len(model.prompts) == 1


async def test_a_viewer_has_nothing_made(served: Served) -> None:
    async with office(served, TRUE) as (anna, model, number):
        vera = await colleague(anna, "vera", role="viewer")
        assert (await summary_of(vera, number))["by"] == "customer"
        assert (await vera.act(number, "suggest"))[0] == 403
        assert model.prompts == []


async def test_a_reply_is_suggested_and_neither_stored_nor_sent(served: Served) -> None:
    async with office(served, model=False) as (anna, _, number):
        await anna.bot.ask(REFUND, "c-1")
        before = await anna.bot.count(tables.message)
        status, suggestion = await anna.act(number, "suggest")
        assert status == 200
        assert (suggestion["text"], suggestion["by"]) == (ENTRIES[REFUND], "passage")
        assert [one["title"] for one in suggestion["sources"]] == [REFUND]
        assert await anna.bot.count(tables.message) == before


async def test_where_nothing_fits_that_is_said(served: Served) -> None:
    async with office(served, model=False) as (anna, _, number):
        anna.bot.knowledge.entries = {}
        _, suggestion = await anna.act(number, "suggest")
        assert suggestion == {"text": "", "by": "nobody", "sources": []}


async def test_only_who_may_reply_gets_a_suggestion(served: Served) -> None:
    async with office(served, model=False) as (anna, _, number):
        bo = await colleague(anna, "bo")
        await bo.act(number, "claim")
        assert (await bo.act(number, "suggest"))[0] == 200
        assert (await anna.act(number, "suggest"))[0] == 409
        team = {"channels": ["web"], "knowledge_bases": []}
        await anna.done("PUT", "/desk/api/teams/others", team)
        cy = await colleague(anna, "cy", teams=["others"])
        assert (await cy.act(number, "suggest"))[0] == 404
        status, _ = await bo.call(
            "POST", f"{CONVERSATIONS}/{number}/suggest", headers={"X-CSRF-Token": "guessed"}
        )
        assert status == 403
        status, _ = await bo.call(
            "POST", f"{CONVERSATIONS}/{number}/suggest", headers={"Origin": "https://evil.example"}
        )
        assert status == 403
