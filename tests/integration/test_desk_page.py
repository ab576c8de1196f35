"""The desk's page in a real browser against the real server, with a customer beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from kfbot.store import tables
from tests.integration.conftest import ENTRIES, ServedBot, serving_bot
from tests.integration.desk_office import (
    EVIL,
    EVIL_QUESTION,
    PASSWORD,
    PHONE,
    Office,
    hire,
    unanswerable,
)
from tests.integration.test_chat_page import HOSTILE
from tests.integration.test_chat_page import browser as browser

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(
    browser: Browser, template_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Office]:
    folder = tmp_path_factory.mktemp("office")
    entries = ENTRIES | {EVIL_QUESTION: f"Yes. {EVIL}"}
    async with serving_bot(folder, template_database, entries=entries) as bot:
        await hire(browser, bot)
        yield Office(bot, browser)


# --- getting in ----------------------------------------------------------------------------------


async def test_the_first_visit_makes_the_admin_and_a_wrong_password_is_said(
    browser: Browser, template_database: Path, tmp_path: Path
) -> None:
    async with (
        serving_bot(tmp_path, template_database) as bot,
        Office(bot, browser).desk() as desk,
    ):
        await desk.get("setup-name").fill("lin")
        await desk.get("setup-display-name").fill("Lin")
        await desk.get("setup-password").fill(PASSWORD)
        await desk.get("setup-repeat").fill("something else")
        await desk.get("setup").click()
        await expect(desk.get("sign-in-fault")).to_have_text("The two passwords are not the same.")
        await desk.get("setup-repeat").fill(PASSWORD)
        await desk.get("setup").click()
        await expect(desk.get("queue")).to_contain_text("Nobody is waiting.")
        await desk.get("menu-open").click()
        await desk.get("sign-out").click()
        await desk.get("sign-in-name").fill("lin")
        await desk.get("sign-in-password").fill("not this one")
        await desk.get("sign-in").click()
        await expect(desk.get("sign-in-fault")).to_contain_text("wrong")
        await desk.get("sign-in-password").fill(PASSWORD)
        await desk.get("sign-in").click()
        await expect(desk.get("tab-people")).to_be_visible()
        desk.forgive_network()


# --- a whole case --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("locale", "question", "known"),
    [
        ("en-US", "Why are giraffes so tall", "When will my refund arrive?"),
        ("zh-CN", "长颈鹿为什么这样高", "运费是多少"),
    ],
)
async def test_a_case_goes_from_the_bot_to_a_person_and_back(
    office: Office, locale: str, question: str, known: str
) -> None:
    asked = unanswerable(question)
    async with office.customer(locale=locale) as chat, office.desk("anna", locale=locale) as desk:
        await chat.say(asked)
        await desk.open(asked)
        await expect(desk.get("wait").first).to_be_visible()
        await expect(desk.get("question")).to_have_text(asked)
        await desk.get("claim").click()
        await expect(chat.get("state-banner")).to_contain_text("Anna Weber")
        await desk.write("**Leaves** / 树叶")
        await expect(chat.texts.last).to_have_text("Leaves / 树叶")
        await chat.say("And the neck?")
        await desk.shows("message", "And the neck?")
        await desk.get("note-toggle").click()
        await desk.write("A biologist, it seems")
        await desk.shows("note", "A biologist, it seems")
        await desk.get("handback").click()
        await expect(chat.get("state-banner")).to_be_hidden()
        await chat.say(known)
        await desk.shows("message", ENTRIES[known].replace("**", ""))
        await expect(chat.get("chat-log")).not_to_contain_text("biologist")
        await desk.get("resolve").click()
        await expect(chat.get("state-banner")).to_be_visible()
        await expect(desk.get("claim")).to_be_visible()
        await desk.shows("message", "And the neck?")
        await desk.shows("note", "A biologist, it seems")
        await chat.page.reload()
        await expect(chat.texts.filter(has_text="Leaves")).to_have_count(1)
        await expect(chat.get("chat-log")).not_to_contain_text("biologist")


async def test_a_claim_has_one_winner_and_the_other_is_told_by_name(office: Office) -> None:
    asked = unanswerable()
    await office.waiting(asked)
    async with office.desk("anna") as anna, office.desk("omar") as omar:
        await anna.open(asked)
        await omar.open(asked)
        # Omar's page does not hear of it before his click.
        await omar.page.evaluate("dispatchEvent(new Event('pagehide'))")
        await anna.get("claim").click()
        await expect(anna.get("state")).to_have_text("With you")
        await omar.get("claim").click()
        await expect(omar.get("toast")).to_contain_text("Anna Weber was quicker.")
        await expect(omar.get("state")).to_have_text("With Anna Weber")
        await expect(omar.get("note-toggle")).to_have_attribute("aria-pressed", "true")
        await omar.write("I would have said the same")
        await anna.shows("note", "I would have said the same")
        omar.forgive_network()


async def test_a_case_is_given_to_a_colleague_who_is_told_and_seen_writing(office: Office) -> None:
    asked = unanswerable()
    await office.waiting(asked)
    async with office.desk("lin") as lin, office.desk("anna") as anna:
        await lin.open(asked)
        await lin.get("assign").click()
        await lin.get("assign-search").fill("anna")
        await lin.page.keyboard.press("Enter")
        await expect(anna.get("toast")).to_contain_text("gave you a conversation")
        await anna.get("toast").get_by_role("button").first.click()
        await anna.shows("message", asked)
        await expect(anna.item(asked).get_by_test_id("for-me")).to_be_visible()
        await anna.get("claim").click()
        await expect(lin.get("state")).to_have_text("With Anna Weber")
        await anna.field.fill("Let me see")
        await expect(lin.get("transcript")).to_contain_text("Anna Weber is writing…")


# --- nothing lost, nothing twice -----------------------------------------------------------------


async def test_what_is_written_without_a_network_is_sent_once(office: Office) -> None:
    asked = unanswerable()
    async with office.customer() as chat, office.desk("anna") as desk:
        await chat.say(asked)
        await desk.open(asked)
        await desk.get("claim").click()
        await expect(desk.get("state")).to_have_text("With you")
        await desk.page.context.set_offline(True)
        await expect(desk.get("connection")).to_contain_text("Connection lost")
        await desk.write("Written in a tunnel")
        await expect(desk.get("delivery-unsent")).to_be_visible()
        await chat.say("Are you there?")
        await desk.page.context.set_offline(False)
        await expect(desk.get("connection")).to_have_text("Connected")
        await expect(chat.texts.last).to_have_text("Written in a tunnel")
        await desk.shows("message", "Are you there?")
        await desk.shows("message", "Written in a tunnel")

        lost = asyncio.Event()

        async def lose(route: Any) -> None:
            await route.fetch()
            await route.abort()
            lost.set()

        await desk.page.route("**/reply", lose, times=1)
        await desk.write("Its receipt was lost")
        await desk.shows("message", "Its receipt was lost")
        await asyncio.wait_for(lost.wait(), 60)
        await expect(desk.get("delivery-unsent")).to_have_count(0)
        await desk.page.reload()
        await desk.shows("message", "Its receipt was lost")
        await expect(chat.texts.filter(has_text="receipt")).to_have_count(1)
        desk.forgive_network()


async def test_what_was_written_long_ago_is_not_sent_without_a_word(office: Office) -> None:
    asked = unanswerable()
    number = await office.waiting(asked)
    async with office.desk("anna") as desk:
        await desk.page.evaluate(
            """([conversation]) => localStorage.setItem("kfbot.desk.unsent.anna", JSON.stringify([
                { client_id: "old", conversation, text: "From yesterday", internal: false,
                  claim: true, written_at: Date.now() - 86_400_000 }]))""",
            [number],
        )
        await desk.page.reload()
        await desk.open(asked)
        await expect(desk.get("delivery-failed")).to_contain_text("written a while ago")
        await expect(desk.get("state")).to_have_text("Waiting")
        await desk.page.get_by_role("button", name="Try again").click()
        await desk.shows("message", "From yesterday")
        await expect(desk.get("state")).to_have_text("With you")


async def test_a_draft_outlives_a_reload_and_belongs_to_its_conversation(office: Office) -> None:
    first, second = unanswerable(), unanswerable()
    await office.waiting(first)
    await office.waiting(second)
    async with office.desk("anna") as desk:
        await desk.open(first)
        await desk.field.fill("Half a sent")
        await desk.open(second)
        await expect(desk.field).to_have_value("")
        await desk.open(first)
        await desk.page.reload()
        await expect(desk.field).to_have_value("Half a sent")


async def test_an_ended_session_asks_over_the_page_and_keeps_what_was_typed(
    office: Office,
) -> None:
    asked = unanswerable()
    number = await office.waiting(asked)
    async with office.desk("lin") as desk:
        await desk.open(asked)
        await desk.page.context.clear_cookies()
        await desk.write("Long thought about")
        again = desk.get("sign-in-again")
        await expect(again).to_be_visible()
        await expect(again.get_by_test_id("sign-in-name")).to_have_value("lin")
        await again.get_by_test_id("sign-in-password").fill(PASSWORD)
        await again.get_by_test_id("sign-in").click()
        await expect(again).to_have_count(0)
        await desk.shows("message", "Long thought about")
        await expect(desk.get("delivery-unsent")).to_have_count(0)
        await expect(desk.get("delivery-sending")).to_have_count(0)
        messages = await office.bot.application.transcripts.transcript(number)
        assert [one.text for one in messages].count("Long thought about") == 1
        desk.forgive_network()


async def test_earlier_messages_come_by_scrolling_and_new_ones_do_not_pull_away(
    office: Office,
) -> None:
    asked = unanswerable()
    number = await office.waiting(asked)
    handoff = office.bot.application.handoff
    await handoff.claim(number, "anna")
    for line in range(120):
        await handoff.reply(number, "anna", f"line {line}")
    async with office.desk("anna") as desk:
        await desk.get("view-mine").click()
        await desk.item("line 119").click()
        await expect(desk.get("message").last).to_contain_text("line 119")
        await expect(desk.get("message").last).to_be_in_viewport()
        await expect(desk.get("message").filter(has_text=asked)).to_have_count(0)
        transcript = desk.get("transcript")
        top = desk.get("message-text").first
        words = await top.inner_text()
        reading = transcript.get_by_text(words, exact=True)
        await transcript.evaluate("box => box.scrollTop = 0")
        await expect(top).to_have_text(asked)
        await expect(reading).to_be_in_viewport()
        await handoff.reply(number, "anna", "line 120")
        await expect(desk.get("new-messages")).to_be_visible()
        await desk.get("new-messages").click()
        await expect(desk.get("message").last).to_contain_text("line 120")
        await expect(desk.get("message").last).to_be_in_viewport()
        await expect(desk.get("new-messages")).to_be_hidden()


async def test_an_earlier_conversation_of_the_customer_is_read_over_the_page(
    office: Office,
) -> None:
    before, now = unanswerable(), unanswerable()
    first, second = await office.waiting(before), await office.waiting(now)
    await office.bot.application.handoff.claim(first, "lin")
    await office.bot.application.handoff.resolve(first, "lin")
    await _same_customer(office.bot, first, second)
    async with office.desk("anna") as desk:
        await desk.open(now)
        await desk.get("earlier-open").click()
        earlier = desk.get("read-only")
        await expect(earlier.get_by_test_id("message").first).to_contain_text(before)
        await expect(earlier.get_by_test_id("reply-text")).to_have_count(0)
        await desk.get("read-only-close").click()
        await expect(desk.get("question")).to_have_text(now)


async def _same_customer(bot: ServedBot, first: int, second: int) -> None:
    table = tables.conversation
    of = sa.select(table.c.customer_id).where(table.c.id == first).scalar_subquery()
    query = table.update().where(table.c.id == second).values(customer_id=of)
    await bot.database.write(lambda connection: connection.execute(query))


async def test_a_text_that_is_too_long_is_kept_and_not_sent(office: Office) -> None:
    asked = unanswerable()
    await office.waiting(asked)
    async with office.desk("anna") as desk:
        await desk.open(asked)
        await desk.field.fill("x" * 20_001)
        await expect(desk.get("composer")).to_contain_text("20001 of 20000 characters")
        await expect(desk.get("reply")).to_be_disabled()
        await desk.field.press("Control+Enter")
        await desk.shows("message", "xxxx", times=0)
        await desk.field.fill("x" * 20_000)
        await desk.field.press("Control+Enter")
        await desk.shows("message", "xxxx")
        await expect(desk.field).to_have_value("")


# --- by keyboard, and getting attention ----------------------------------------------------------


async def test_a_case_is_done_by_keyboard_alone(office: Office) -> None:
    asked = unanswerable()
    async with office.customer() as chat, office.desk("anna") as desk:
        await chat.say(asked)
        await desk.get("view-waiting").click()
        await expect(desk.item(asked)).to_be_visible()
        keyboard = desk.page.keyboard
        await desk.page.evaluate("document.activeElement.blur()")
        await keyboard.press("/")
        await keyboard.type(asked)
        await expect(desk.get("queue-item")).to_have_count(1)
        await keyboard.press("Enter")
        await expect(desk.item(asked)).to_be_focused()
        await expect(desk.get("claim")).to_be_visible()
        await keyboard.press("c")
        await expect(desk.field).to_be_focused()
        await keyboard.type("/hello")
        await expect(desk.get("canned-option")).to_have_count(1)
        await keyboard.press("Enter")
        await expect(desk.field).to_have_value(f"Good day! {EVIL}")
        await keyboard.press("Control+Enter")
        await expect(chat.texts.last).to_have_text(f"Good day! {EVIL}")
        await keyboard.press("Escape")
        await keyboard.press("n")
        await keyboard.type("done by keys")
        await keyboard.press("Control+Enter")
        await desk.shows("note", "done by keys")
        await keyboard.press("Escape")
        await keyboard.press("?")
        await expect(desk.get("keys")).to_be_visible()
        await keyboard.press("Escape")
        await keyboard.press("e")
        await expect(desk.get("state")).to_have_text("Closed")
        await keyboard.press("1")
        await expect(desk.get("view-waiting")).to_have_attribute("aria-pressed", "true")


async def test_a_new_case_is_counted_in_the_title_of_a_page_that_nobody_looks_at(
    office: Office,
) -> None:
    await office.waiting(there := unanswerable())
    async with office.desk("lin") as desk:
        # A browser under remote control says that every page has the focus.
        await desk.page.evaluate("document.hasFocus = () => false")
        # What is there when the page opens is not new.
        await expect(desk.get("connection")).to_have_text("Connected")
        await desk.open(there)
        await office.waiting(unanswerable())
        await expect(desk.page).to_have_title("(1) Agent desk")
        await desk.page.evaluate("delete document.hasFocus; dispatchEvent(new Event('focus'))")
        await expect(desk.page).to_have_title("Agent desk")


async def test_a_viewer_reads_everything_and_has_nothing_to_change_it_with(
    office: Office,
) -> None:
    asked = unanswerable()
    await office.waiting(asked)
    async with office.desk("vera") as desk:
        await desk.open(asked)
        await expect(desk.get("state")).to_have_text("Waiting")
        for name in ("claim", "assign", "handback", "resolve", "reply-text", "use-draft", "away"):
            await expect(desk.get(name).and_(desk.page.locator(":visible"))).to_have_count(0)


# --- hostile texts -------------------------------------------------------------------------------


async def test_a_hostile_text_stays_text_in_every_field(office: Office) -> None:
    async with office.customer() as chat, office.desk("omar") as desk:
        await chat.say(EVIL_QUESTION)
        await expect(chat.get("citation")).to_be_visible()
        await chat.get("ask-person").click()
        # What the bot says to it must not come behind the words by which the case is found.
        await expect(chat.get("ask-person")).to_be_disabled()
        await chat.say(HOSTILE[0])
        number = await chat.number()
        await _name_customer(office.bot, number, EVIL)
        await desk.open(HOSTILE[0])
        for text in HOSTILE[1:]:
            await chat.say(text)
            await desk.shows("message", text)
        await expect(desk.get("conversation-name")).to_have_text(EVIL)
        await desk.get("citations").first.click()
        await expect(desk.get("passage").first).to_contain_text("<img src=x onerror=alert(5)>")
        await desk.write(HOSTILE[0])
        await desk.shows("message", HOSTILE[0], times=2)
        await desk.get("note-toggle").click()
        await desk.write(HOSTILE[1])
        await desk.shows("note", HOSTILE[1])
        await desk.field.fill("")
        await desk.field.press_sequentially("/")
        await expect(desk.get("canned-option").first).to_contain_text(EVIL)
        await desk.get("assign").click()
        await expect(desk.get("assign-dialog")).to_contain_text(EVIL)
        await desk.page.keyboard.press("Escape")
        assert await _foreign_elements(desk.page) == 0


async def test_hostile_names_of_teams_and_people_stay_text(office: Office) -> None:
    async with office.desk("lin") as desk:
        await desk.get("tab-people").click()
        await expect(desk.get("people")).to_contain_text(EVIL)
        await desk.get("people-teams").click()
        await desk.get("add-team").click()
        await desk.get("team-team").fill(EVIL)
        await desk.get("form-save").click()
        await expect(desk.get("edit-team")).to_be_visible()
        await expect(desk.get("people")).to_contain_text(EVIL)
        await desk.get("delete").click()
        await desk.get("delete").click()
        await expect(desk.get("edit-team")).to_have_count(0)
        await desk.get("people-canned").click()
        await expect(desk.get("canned-row")).to_contain_text(f"Good day! {EVIL}")
        await desk.get("people-audit").click()
        await expect(desk.get("people")).to_contain_text(EVIL)
        assert await _foreign_elements(desk.page) == 0


async def _name_customer(bot: ServedBot, conversation: int, name: str) -> None:
    table = tables.customer
    of = sa.select(tables.conversation.c.customer_id).where(
        tables.conversation.c.id == conversation
    )
    query = table.update().where(table.c.id == of.scalar_subquery()).values(display_name=name)
    await bot.database.write(lambda connection: connection.execute(query))


async def _foreign_elements(page: Page) -> int:
    """What nothing of the desk's own makes."""
    return await page.locator("body :is(img, script, iframe, b, object, [onerror])").count()


# --- looks ---------------------------------------------------------------------------------------


async def test_a_phone_has_one_column_and_never_scrolls_sideways(office: Office) -> None:
    asked = unanswerable("w" * 300)
    await office.waiting(asked)
    async with office.desk("anna", **PHONE) as desk:
        assert await _overflow(desk.page) == 0
        await desk.get("view-waiting").tap()
        await desk.item(asked[:60]).tap()
        await expect(desk.get("transcript")).to_be_visible()
        await expect(desk.get("queue")).to_be_hidden()
        for name in ("claim", "reply", "reply-text", "case-toggle"):
            await expect(desk.get(name)).to_be_in_viewport(ratio=1)
        assert await _overflow(desk.page) == 0
        await desk.get("case-toggle").tap()
        await expect(desk.get("question")).to_be_in_viewport()
        assert await _overflow(desk.page) == 0
        await desk.get("case-close").tap()
        await desk.get("back").tap()
        await expect(desk.get("queue")).to_be_visible()
        await expect(desk.get("transcript")).to_be_hidden()


async def _overflow(page: Page) -> int:
    """How far the page, or a part of it, can be scrolled sideways."""
    parts = "document.scrollingElement, ...document.querySelectorAll('.transcript, .case-body')"
    widths = f"Math.max(...[{parts}].map(one => one.scrollWidth - one.clientWidth))"
    return int(await page.evaluate(widths))


@pytest.mark.parametrize(("locale", "scheme"), [("en-US", "dark"), ("zh-CN", "light")])
async def test_no_view_has_a_serious_barrier(office: Office, locale: str, scheme: str) -> None:
    asked = unanswerable()
    number = await office.waiting(asked)
    look = {"locale": locale, "color_scheme": scheme, "reduced_motion": "reduce"}
    # The policy of the page would keep axe out.
    async with office.desk(None, bypass_csp=True, **look) as desk:
        await expect(desk.get("sign-in-name")).to_be_focused()
        assert await _barriers(desk.page) == []
    async with office.desk("lin", bypass_csp=True, **look) as desk:
        await desk.open(asked)
        assert await _barriers(desk.page) == []
        await desk.get("note-toggle").click()
        await desk.write("A note")
        await desk.shows("note", "A note")
        await office.bot.application.handoff.claim(number, "lin")
        await expect(desk.get("claim")).to_have_count(0)
        assert await _barriers(desk.page) == []
        await desk.get("menu-open").click()
        assert await _barriers(desk.page) == []
        await desk.get("help").click()
        assert await _barriers(desk.page) == []
        await desk.page.keyboard.press("Escape")
        await desk.get("tab-people").click()
        for part in ("agents", "teams", "canned", "audit"):
            await desk.get(f"people-{part}").click()
            await expect(desk.page.locator(".list-head").first).to_be_visible()
            assert await _barriers(desk.page) == []


async def _barriers(page: Page) -> list[str]:
    found = await Axe().run(page)
    return [
        f"{one['id']}: {[node['html'][:120] for node in one['nodes']]}"
        for one in found.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]


async def test_reports_are_drawn_narrowed_down_and_taken_along_as_a_table(office: Office) -> None:
    await office.bot.ask(next(iter(ENTRIES)), "reported")
    await office.waiting(unanswerable())
    async with office.desk("anna") as desk:
        await desk.get("tab-reports").click()
        await expect(desk.get("tile-questions")).not_to_have_text("Questions0")
        assert await desk.page.locator(".chart rect.series-1").count() >= 1
        assert await desk.page.locator(".chart rect.series-3").count() >= 1
        async with desk.page.expect_download() as download:
            await desk.get("report-csv").click()
        assert (await download.value).suggested_filename.endswith(".csv")
        await desk.get("report-span").select_option("0")
        await desk.get("report-from").fill("2020-01-01")
        await desk.get("report-to").fill("2020-01-31")
        await expect(desk.get("report-nothing")).to_be_visible()


async def test_language_and_appearance_are_chosen_and_remembered(office: Office) -> None:
    async with office.desk("anna") as desk:
        await desk.get("menu-open").click()
        await desk.page.get_by_text("Dark").click()
        await expect(desk.page.locator("html")).to_have_attribute("data-theme", "dark")
        await desk.page.get_by_text("中文").click()
        await expect(desk.get("tab-desk")).to_have_text("工作台")
        await desk.page.reload()
        await expect(desk.page.locator("html")).to_have_attribute("lang", "zh-CN")
        await expect(desk.page.locator("html")).to_have_attribute("data-theme", "dark")
        await expect(desk.page).to_have_title("客服工作台")
