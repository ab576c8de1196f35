"""Summaries and suggested replies on the desk's page, in a real browser, zh and en."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from kfbot.grounding.writing import Writer
from kfbot.testing import FakeChatModel, FakeKnowledgeBase
from tests.dialogues.writing import DOCUMENTS, documents
from tests.integration.conftest import ENTRIES, serving_bot
from tests.integration.desk_office import EVIL, Office, hire, unanswerable
from tests.integration.test_chat_page import browser as browser

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

REFUND = "When will my refund arrive?"


@asynccontextmanager
async def staffed(
    browser: Browser,
    template: Path,
    folder: Path,
    *completions: str,
    model: bool = True,
    base: FakeKnowledgeBase | None = None,
) -> AsyncIterator[Office]:
    writer = Writer(FakeChatModel(list(completions))) if model else None
    async with serving_bot(folder, template, writer=writer, base=base) as bot:
        await hire(browser, bot)
        yield Office(bot, browser)


async def test_reports_tell_what_the_model_wrote_where_one_was_asked(
    browser: Browser, template_database: Path, tmp_path: Path
) -> None:
    [asked, said] = next(iter(DOCUMENTS.items()))
    told = f"{said.partition('. ')[0]}. [1]"
    async with staffed(browser, template_database, tmp_path, told, base=documents()) as office:
        async with office.desk("anna") as desk:
            await desk.get("tab-reports").click()
            await expect(desk.get("report-nothing")).to_be_visible()
            assert await desk.get("tile-written").count() == 0
        await office.bot.ask(asked, "chat-written")
        async with office.desk("anna") as desk:
            await desk.get("tab-reports").click()
            await expect(desk.get("tile-written")).to_contain_text("100%of 1 answers")


async def ask_twice(office: Office, first: str, second: str) -> None:
    """A customer who waits, and asks once more."""
    await office.bot.ask(first, "chat-twice")
    await office.bot.ask(second, "chat-twice")


@pytest.mark.parametrize(
    ("locale", "asked", "told", "shown"),
    [
        ("en-US", "My bank has nothing.", "The customer's bank has nothing.", "written by"),
        ("zh-CN", "我的银行没有收到钱。", "客户的银行没有收到钱。", "聊天模型撰写"),
    ],
)
async def test_a_summary_of_the_model_stands_above_the_transcript(
    browser: Browser,
    template_database: Path,
    tmp_path: Path,
    locale: str,
    asked: str,
    told: str,
    shown: str,
) -> None:
    async with staffed(browser, template_database, tmp_path, told) as office:
        await ask_twice(office, unanswerable(), asked)
        async with office.desk("anna", locale=locale) as desk:
            await desk.open(asked)
            await expect(desk.get("summary-text")).to_have_text(told)
            await expect(desk.get("summary")).to_contain_text(shown)


async def test_without_a_model_the_customers_words_stand_there_and_are_text(
    browser: Browser, template_database: Path, tmp_path: Path
) -> None:
    first = unanswerable(f"Giraffes {EVIL}")
    async with staffed(browser, template_database, tmp_path, model=False) as office:
        await ask_twice(office, first, "And how tall are lions?")
        async with office.desk("anna") as desk:
            await desk.open("And how tall are lions?")
            questions = desk.get("summary-questions").get_by_role("listitem")
            await expect(questions).to_have_text([first, "And how tall are lions?"])
            await expect(desk.get("summary")).to_contain_text("What the customer asked so far")
            await desk.get("summary").locator("summary").click()
            await expect(questions.first).to_be_hidden()
            await desk.page.reload()
            await expect(desk.get("summary")).to_be_visible()
            await expect(questions.first).to_be_hidden()


@pytest.mark.parametrize(
    ("locale", "button", "asked", "told"),
    [
        ("en-US", "Suggest a reply", REFUND, "Quoted from the knowledge base:"),
        ("zh-CN", "生成回复建议", "运费是多少", "摘自知识库："),
    ],
)
async def test_a_suggested_reply_fills_the_field_and_is_sent_by_the_agent_alone(
    browser: Browser,
    template_database: Path,
    tmp_path: Path,
    locale: str,
    button: str,
    asked: str,
    told: str,
) -> None:
    async with staffed(browser, template_database, tmp_path, model=False) as office:
        await ask_twice(office, unanswerable(), asked)
        async with office.desk("anna", locale=locale) as desk:
            await desk.open(asked)
            await expect(desk.get("suggest")).to_have_text(button)
            await desk.get("suggest").click()
            await expect(desk.field).to_have_value(ENTRIES[asked])
            await expect(desk.get("suggested")).to_contain_text(told)
            await expect(desk.get("suggested").get_by_role("listitem")).to_have_text([asked])
            await desk.shows("message", ENTRIES[asked].replace("**", ""), times=0)
            await desk.get("note-toggle").click()
            await expect(desk.get("suggest")).to_be_hidden()
            await desk.get("reply-toggle").click()
            await desk.get("reply").click()
            await desk.shows("message", ENTRIES[asked].replace("**", ""))
            await expect(desk.get("suggested")).to_be_empty()


async def test_where_nothing_is_found_the_agent_is_told(
    browser: Browser, template_database: Path, tmp_path: Path
) -> None:
    asked = unanswerable()
    async with staffed(browser, template_database, tmp_path, model=False) as office:
        await office.waiting(asked)
        office.bot.knowledge.entries = {}
        async with office.desk("anna") as desk:
            await desk.open(asked)
            await desk.get("suggest").click()
            await expect(desk.get("suggested")).to_have_text(
                "The knowledge base has nothing on this."
            )
            await expect(desk.field).to_have_value("")
