"""An answer that is being written, as the chat page shows it in a real browser."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from tests.dialogues.writing import ANSWER, FIRST, QUESTION, HeldWriter, documents
from tests.integration.conftest import Served
from tests.integration.test_chat_page import ChatPage, browser

__all__ = ["browser"]
pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def test_the_page_shows_an_answer_grow_and_puts_the_message_in_its_place(
    browser: Browser, served: Served
) -> None:
    writer = HeldWriter()
    async with served(writer=writer, base=documents()) as bot:
        context = await browser.new_context(locale="en-US")
        page = ChatPage(await context.new_page(), bot)
        page.watch()
        await page.open()
        await page.say(QUESTION)
        writer.says(f"{FIRST} <b>not bold</b> **bold**")
        draft = page.get("draft")
        await expect(draft.locator("strong")).to_have_text("bold")
        assert await draft.locator("b").count() == 0
        assert await draft.get_attribute("aria-live") == "off"
        await expect(page.get("typing")).to_be_hidden()
        writer.says(f"{ANSWER} <b>not bold</b> **bold**")
        await expect(draft).to_contain_text("The parcel must be unopened.")
        await page.say("Thanks")
        # What is being written stays below what was said.
        await expect(page.texts.nth(1)).to_have_text("Thanks")
        await expect(page.texts.nth(2)).to_contain_text("The parcel")
        writer.ends(ANSWER)
        await expect(draft).to_have_count(0)
        await expect(page.get("citation")).to_have_count(1)
        await expect(page.get("feedback-helpful")).to_have_count(1)
        assert page.faults == []
        await context.close()


async def test_a_draft_that_comes_to_nothing_goes_away(browser: Browser, served: Served) -> None:
    writer = HeldWriter()
    async with served(writer=writer, base=documents()) as bot:
        context = await browser.new_context(locale="en-US")
        page = ChatPage(await context.new_page(), bot)
        page.watch()
        await page.open()
        await page.say(QUESTION)
        writer.says(FIRST)
        await expect(page.get("draft")).to_be_visible()
        writer.ends(None)
        await expect(page.get("draft")).to_have_count(0)
        await expect(page.texts).to_have_count(2)
        await expect(page.get("chat-log")).not_to_contain_text(FIRST)
        assert page.faults == []
        await context.close()
