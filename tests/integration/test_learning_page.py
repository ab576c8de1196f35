"""The desk's learning tab in a real browser against the real server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, expect

from tests.integration.conftest import serving_bot
from tests.integration.desk_office import EVIL, PHONE, DeskPage, Office, hire, unanswerable
from tests.integration.test_chat_page import browser as browser

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(
    browser: Browser, template_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Office]:
    folder = tmp_path_factory.mktemp("learning")
    async with serving_bot(folder, template_database) as bot:
        await hire(browser, bot)
        yield Office(bot, browser)


async def taught(office: Office, question: str, answer: str) -> None:
    """An agent answers a customer's question and resolves the case."""
    number, handoff = await office.waiting(question), office.bot.application.handoff
    await handoff.claim(number, "anna")
    await handoff.reply(number, "anna", "Hello, one moment please")
    await handoff.reply(number, "anna", answer)
    await handoff.resolve(number, "anna")


async def learning(desk: DeskPage) -> None:
    await desk.get("tab-learning").click()
    await expect(desk.get("learning")).to_be_visible()


@pytest.mark.parametrize(
    ("locale", "question"), [("en-US", "Do zebras ship"), ("zh-CN", "斑马可以寄送吗")]
)
async def test_a_proposal_is_edited_and_approved_by_keys_and_answers_the_next_customer(
    office: Office, locale: str, question: str
) -> None:
    asked = unanswerable(question)
    await taught(office, asked, f"Yes. {EVIL}")
    async with office.desk("anna", locale=locale) as desk, office.customer() as chat:
        await expect(desk.get("learning-badge")).to_contain_text("1")
        await learning(desk)
        card = desk.get("proposal")
        await expect(card).to_be_focused()
        await expect(card.get_by_test_id("question")).to_have_value(asked)
        await desk.page.keyboard.press("Enter")
        await expect(card.get_by_test_id("answer")).to_have_value(f"Yes. {EVIL}")
        await desk.page.keyboard.press("Control+End")
        await desk.page.keyboard.type(" In a box.")
        await desk.get("tab-desk").click()
        await learning(desk)
        await expect(card).to_be_focused()
        await desk.page.keyboard.press("Enter")
        await desk.page.keyboard.press("Control+Enter")
        await expect(desk.get("toast")).to_be_visible()
        await expect(card).to_have_count(0)
        await expect(desk.get("learning-badge")).to_be_hidden()
        await chat.say(asked)
        await expect(chat.texts.last).to_contain_text("In a box.")
        await desk.get("learning-entries").click()
        entry = desk.get("entry").filter(has_text=asked)
        await expect(entry).to_contain_text(EVIL)
        await entry.get_by_test_id("take-back").click()
        await entry.get_by_test_id("take-back").click()
        await expect(entry).to_have_count(0)


async def test_a_proposal_that_a_colleague_declined_cannot_be_approved(office: Office) -> None:
    asked = unanswerable()
    await taught(office, asked, "They eat leaves.")
    async with office.desk("anna") as anna, office.desk("lin") as lin:
        await learning(anna)
        await learning(lin)
        await expect(anna.get("proposal")).to_be_focused()
        await lin.get("decline").click()
        await expect(lin.get("proposal")).to_have_count(0)
        await anna.get("approve").click()
        await expect(anna.get("proposal")).to_contain_text("Somebody else has decided this one.")
        anna.forgive_network()
        await lin.get("filter-state").select_option("declined")
        declined = lin.get("proposal").filter(has_text="Declined: lin")
        await expect(declined.first.get_by_test_id("question")).to_have_value(asked)


async def test_what_several_asked_in_vain_is_answered_from_the_list(office: Office) -> None:
    asked = unanswerable("How deep is the pond")
    for _ in range(3):
        await office.waiting(asked)
    async with office.desk("omar") as desk:
        await learning(desk)
        await desk.get("learning-unanswered").click()
        group = desk.get("group").filter(has_text=asked)
        await expect(group.get_by_test_id("people")).to_have_text("3 people asked")
        await group.get_by_test_id("write-answer").click()
        await group.get_by_test_id("publish").click()
        await expect(group).to_contain_text("Question and answer are both needed.")
        await group.get_by_test_id("answer").fill("Two metres.")
        await group.get_by_test_id("publish").click()
        await expect(group).to_have_count(0)
    assert (await office.bot.ask(asked, "pond"))["text"] == "Two metres."


async def test_viewers_read_and_have_nothing_to_press(office: Office) -> None:
    await taught(office, unanswerable(), "They eat leaves.")
    async with office.desk("vera") as desk:
        await learning(desk)
        await expect(desk.get("proposal").first.get_by_test_id("answer")).not_to_be_editable()
        for name in ("approve", "decline", "learning-export"):
            await expect(desk.get(name)).to_have_count(0)


async def test_admins_download_what_was_taught(office: Office) -> None:
    await taught(office, unanswerable(), "They eat leaves.")
    async with office.desk("lin") as desk:
        await learning(desk)
        await desk.get("learning-export").click()
        async with desk.page.expect_download() as download:
            await desk.get("export-sft").click()
        file = await (await download.value).path()
        lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert all(len(line["messages"]) == 3 for line in lines)
    assert lines


@pytest.mark.parametrize("settings", [{}, {"color_scheme": "dark"}, {"locale": "zh-CN"} | PHONE])
async def test_axe_finds_no_serious_fault_and_nothing_is_wider_than_the_page(
    office: Office, settings: dict[str, object]
) -> None:
    await taught(office, unanswerable(), "They eat leaves.")
    await office.waiting(unanswerable("How deep is the lake"))
    # The policy of the page would keep axe out.
    async with office.desk("lin", bypass_csp=True, **settings) as desk:
        await learning(desk)
        for part in ("proposals", "unanswered", "entries", "export"):
            await desk.get(f"learning-{part}").click()
            await expect(desk.page.locator(".learning-body:not([aria-busy])")).to_be_visible()
            if part == "unanswered":
                await desk.get("write-answer").first.click()
            found = await Axe().run(desk.page)
            serious = [
                one["id"]
                for one in found.response["violations"]
                if one["impact"] in ("serious", "critical")
            ]
            assert serious == [], (part, serious)
            wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert await desk.page.evaluate(wide) <= 0
