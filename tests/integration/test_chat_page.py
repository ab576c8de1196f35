"""The chat page in a real browser against the real server."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa
from aiohttp import web
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Locator, Page, async_playwright, expect

from kfbot.store import tables
from tests.integration.conftest import DOUBTFUL, ENTRIES, Served, ServedBot

# One browser, and so one event loop, for all tests of this file.
pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

QUESTION = "When will my refund arrive?"
REFUND = "Within 2 business days."
FREIGHT = "运费是多少"
HOSTILE = (
    "<img src=x onerror=alert(1)><script>alert(2)</script>",
    "[a](javascript:alert(1)) <javascript:alert(2)> [b](JaVaScRiPt:alert(3))"
    " [c](data:text/html,<script>alert(4)</script>) [d](//evil.example/x)",
    "![i](https://evil.example/x.png) <iframe src=https://evil.example></iframe>",
    "&lt;img src=x onerror=alert(1)&gt; `<b onclick=alert(2)>`",
)
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def _chromium() -> str | None:
    """The browser of this machine, else the one that playwright has downloaded."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    if (found := next(filter(None, map(shutil.which, names)), None)) is not None:
        return found
    cache = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH", Path.home() / ".cache/ms-playwright"))
    return max(map(str, cache.glob("chromium-*/chrome-*/chrome")), default=None)


CHROMIUM = _chromium()
MISSING = "THE CHAT PAGE IS NOT TESTED: there is no Chromium (apt-get install chromium)"
# The whole file at once: one line, not one a test.
if CHROMIUM is None and os.environ.get("CI") != "true":
    pytest.skip(MISSING, allow_module_level=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    assert CHROMIUM is not None, MISSING
    expect.set_options(timeout=60_000)
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope="module")
async def bot(served: Served) -> AsyncIterator[ServedBot]:
    async with served() as opened:
        yield opened


@dataclass
class ChatPage:
    """A reader at the page, and what must never happen there."""

    page: Page
    bot: ServedBot
    #: Errors in the console, dialogs, requests to other origins.
    faults: list[str] = field(default_factory=list)

    def get(self, name: str) -> Locator:
        return self.page.get_by_test_id(name)

    @property
    def texts(self) -> Locator:
        return self.get("message-text")

    @property
    def composer(self) -> Locator:
        return self.get("composer")

    async def open(self, query: str = "") -> None:
        await self.page.goto(f"{self.bot.url}/chat{query}")
        await expect(self.page.locator("#app")).not_to_have_class(re.compile("loading"))

    async def say(self, text: str) -> None:
        await self.composer.fill(text)
        await self.composer.press("Enter")

    async def sees(self, *texts: str) -> None:
        """The conversation is these messages and no other."""
        await expect(self.texts).to_have_text(list(texts))

    async def number(self) -> int:
        """The id of the conversation."""
        newest = sa.select(sa.func.max(tables.conversation.c.id))
        return int(await self.bot.database.read(lambda c: c.execute(newest).scalar_one()))

    def watch(self) -> None:
        """Write down what must never happen."""

        def requested(request: Any) -> None:
            if not request.url.startswith((self.bot.url, "data:")):
                self.faults.append(f"request to {request.url}")

        async def asked(dialog: Any) -> None:
            self.faults.append(f"dialog {dialog.message}")
            await dialog.dismiss()

        def wrote(message: Any) -> None:
            if message.type in ("error", "warning"):
                self.faults.append(f"console: {message.text}")

        self.page.on("request", requested)
        self.page.on("dialog", asked)
        self.page.on("console", wrote)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))


Opens = Callable[..., AbstractAsyncContextManager[ChatPage]]


@pytest.fixture
def opens(browser: Browser, bot: ServedBot) -> Opens:
    """Opens the page as a new visitor, with settings of the browser."""

    @asynccontextmanager
    async def opened(query: str = "", **settings: Any) -> AsyncIterator[ChatPage]:
        context = await browser.new_context(**{"locale": "en-US"} | settings)
        context.set_default_timeout(60_000)
        try:
            chat = ChatPage(await context.new_page(), bot)
            chat.watch()
            await chat.open(query)
            yield chat
            assert chat.faults == []
        finally:
            await context.close()

    return opened


@pytest_asyncio.fixture(loop_scope="module")
async def chat(opens: Opens) -> AsyncIterator[ChatPage]:
    """The page of an English reader."""
    async with opens() as opened:
        yield opened


# --- asking --------------------------------------------------------------------------------------


async def test_a_question_is_answered_with_its_source(chat: ChatPage) -> None:
    await expect(chat.get("example").first).to_be_visible()
    await chat.say(QUESTION)
    await chat.sees(QUESTION, REFUND)
    await expect(chat.texts.last.locator("strong")).to_have_text("2 business days")
    await chat.get("citation").click()
    source = chat.page.locator(".source")
    await expect(source).to_be_visible()
    await expect(source).to_contain_text(QUESTION)
    await expect(chat.get("example").first).to_be_hidden()
    await expect(chat.get("typing")).to_be_hidden()


async def test_a_chinese_reader_gets_a_chinese_page_and_answer(opens: Opens) -> None:
    async with opens(locale="zh-CN") as chat:
        await expect(chat.page).to_have_title("在线客服")
        await expect(chat.page.locator("html")).to_have_attribute("lang", "zh-CN")
        await expect(chat.get("example").first).to_have_text(FREIGHT)
        await chat.say(FREIGHT)
        await chat.sees(FREIGHT, ENTRIES[FREIGHT])
        await expect(chat.get("citation")).to_contain_text(FREIGHT)
        await expect(chat.get("feedback-helpful")).to_have_text("有帮助")


async def test_an_example_is_asked_by_a_click(chat: ChatPage) -> None:
    example = chat.get("example").last
    question = await example.inner_text()
    await example.click()
    await chat.sees(question, REFUND)


async def test_a_choice_is_clicked_and_answered(chat: ChatPage) -> None:
    await chat.say(DOUBTFUL)
    choice = chat.get("choice").first
    label = await choice.inner_text()
    offer = "Which of these do you mean?"
    await chat.sees(DOUBTFUL, offer)
    await choice.click()
    await chat.sees(DOUBTFUL, offer, label, ENTRIES[label])
    await expect(choice).to_be_disabled()
    await chat.page.reload()
    await chat.sees(DOUBTFUL, offer, label, ENTRIES[label])
    await expect(chat.get("choice").first).to_be_disabled()


async def test_feedback_is_given_once(chat: ChatPage) -> None:
    await chat.say(QUESTION)
    await chat.get("feedback-helpful").click()
    await chat.sees(QUESTION, REFUND, "Thank you for telling me!")
    await expect(chat.get("feedback-not-helpful")).to_be_hidden()
    await expect(chat.get("feedback-helpful")).to_have_attribute("aria-pressed", "true")


# --- a person ------------------------------------------------------------------------------------


async def test_a_person_takes_over_and_gives_back_without_a_reload(chat: ChatPage) -> None:
    await chat.get("ask-person").click()
    banner = chat.get("state-banner")
    await expect(banner).to_have_text("A person is coming. You can keep writing.")
    await expect(chat.get("ask-person")).to_be_disabled()
    handoff, number = chat.bot.application.handoff, await chat.number()
    await handoff.claim(number, "Ann <b>")
    await expect(banner).to_have_text("You are talking to Ann <b>.")
    await handoff.reply(number, "Ann <b>", "Ann here, how can I help?")
    await expect(chat.texts.last).to_have_text("Ann here, how can I help?")
    await expect(chat.get("message").last).to_have_attribute("data-role", "agent")
    await chat.say("Thank you, Ann.")
    await expect(chat.page.locator(".delivery")).to_have_count(0)
    await chat.bot.quiet()
    await handoff.hand_back(number, "Ann <b>")
    await expect(banner).to_be_hidden()
    await expect(chat.get("message").last).to_have_attribute("data-kind", "handback")
    await handoff.resolve(number, "Ann <b>")
    await expect(banner).to_contain_text("has ended")
    await chat.say(QUESTION)
    await expect(chat.texts.last).to_have_text(REFUND)
    await expect(banner).to_be_hidden()


# --- nothing lost, nothing twice -----------------------------------------------------------------


async def test_a_reload_keeps_the_history_and_shows_nothing_twice(chat: ChatPage) -> None:
    await chat.say(QUESTION)
    await chat.sees(QUESTION, REFUND)
    await chat.say(FREIGHT)
    said = (QUESTION, REFUND, FREIGHT, ENTRIES[FREIGHT])
    await chat.sees(*said)
    for _ in range(2):
        await chat.page.reload()
        await chat.sees(*said)
    await chat.say("hello?")
    await expect(chat.texts).to_have_count(6)


async def test_two_tabs_of_a_visitor_show_the_same(chat: ChatPage) -> None:
    other = ChatPage(await chat.page.context.new_page(), chat.bot)
    await other.open()
    await chat.say(QUESTION)
    await chat.sees(QUESTION, REFUND)
    await other.sees(QUESTION, REFUND)
    await other.say(FREIGHT)
    for tab in (chat, other):
        await tab.sees(QUESTION, REFUND, FREIGHT, ENTRIES[FREIGHT])


async def test_what_is_written_offline_is_sent_once_when_online(chat: ChatPage) -> None:
    await chat.say(QUESTION)
    await chat.sees(QUESTION, REFUND)
    await chat.page.context.set_offline(True)
    await chat.say(FREIGHT)
    await expect(chat.get("retry")).to_be_visible()
    await chat.page.context.set_offline(False)
    await chat.sees(QUESTION, REFUND, FREIGHT, ENTRIES[FREIGHT])
    await expect(chat.get("retry")).to_have_count(0)
    await expect(chat.get("connection")).to_be_hidden()
    await chat.page.reload()
    await chat.sees(QUESTION, REFUND, FREIGHT, ENTRIES[FREIGHT])
    offline = [fault for fault in chat.faults if "ERR_INTERNET_DISCONNECTED" in fault]
    assert chat.faults == offline
    chat.faults.clear()


async def test_a_message_whose_acknowledgement_is_lost_is_not_shown_twice(chat: ChatPage) -> None:
    async def lose(route: Any) -> None:
        await route.fetch()
        await route.abort()

    await chat.page.route("**/chat/messages", lose)
    await chat.say(QUESTION)
    await chat.sees(QUESTION, REFUND)
    await chat.page.unroute("**/chat/messages")
    await expect(chat.get("retry")).to_have_count(0)
    await chat.page.reload()
    await chat.sees(QUESTION, REFUND)
    chat.faults.clear()  # The console tells of the lost answer.


async def test_what_the_server_could_not_store_is_sent_again_by_a_click(chat: ChatPage) -> None:
    async def refuse(route: Any) -> None:
        await route.fulfill(status=503, json={"code": 503, "msg": "later", "data": None})

    await chat.page.route("**/chat/messages", refuse)
    await chat.say(QUESTION)
    await expect(chat.get("retry")).to_be_visible()
    await chat.page.reload()
    await expect(chat.get("retry")).to_be_visible()
    await chat.page.unroute("**/chat/messages")
    await chat.get("retry").click()
    await chat.sees(QUESTION, REFUND)
    chat.faults.clear()  # The console tells of the 503.


async def test_the_page_goes_on_after_a_restart_of_the_server(
    browser: Browser, served: Served
) -> None:
    async with await browser.new_context(locale="en-US") as context:
        async with served() as first:
            chat = ChatPage(await context.new_page(), first)
            await chat.open()
            await chat.say(QUESTION)
            await chat.sees(QUESTION, REFUND)
            port = int(first.url.rpartition(":")[2])
        await expect(chat.get("connection")).to_be_visible()
        async with served(port=port):
            await expect(chat.get("connection")).to_be_hidden(timeout=60_000)
            await chat.say(FREIGHT)
            await chat.sees(QUESTION, REFUND, FREIGHT, ENTRIES[FREIGHT])
            await context.close()


async def test_what_is_written_before_the_script_comes_is_kept(chat: ChatPage) -> None:
    comes = asyncio.Event()

    async def slow(route: Any) -> None:
        await comes.wait()
        await route.continue_()

    await chat.page.route("**/chat.js", slow)
    await chat.page.reload(wait_until="commit")
    await chat.composer.fill(QUESTION)
    comes.set()
    await expect(chat.get("example").first).to_be_visible()
    await expect(chat.composer).to_have_value(QUESTION)
    await chat.get("send").click()
    await chat.sees(QUESTION, REFUND)


# --- keyboard and input method -------------------------------------------------------------------


async def test_enter_that_ends_an_input_methods_choice_does_not_send(chat: ChatPage) -> None:
    await expect(chat.composer).to_be_focused()
    devtools = await chat.page.context.new_cdp_session(chat.page)
    composition = {"text": "运费", "selectionStart": 2, "selectionEnd": 2}
    await devtools.send("Input.imeSetComposition", composition)
    enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
    await devtools.send("Input.dispatchKeyEvent", {"type": "rawKeyDown"} | enter)
    await devtools.send("Input.dispatchKeyEvent", {"type": "keyUp"} | enter)
    await expect(chat.composer).to_have_value("运费")
    await devtools.send("Input.insertText", {"text": "运费是多少"})
    await expect(chat.composer).to_have_value("运费是多少")
    # Safari ends the composition first and marks the key by its code alone.
    await chat.composer.evaluate(
        "field => field.dispatchEvent(new KeyboardEvent('keydown',"
        " {key: 'Enter', keyCode: 229, bubbles: true, cancelable: true}))"
    )
    await expect(chat.get("message")).to_have_count(0)
    await chat.page.keyboard.press("Enter")
    await chat.sees(FREIGHT, ENTRIES[FREIGHT])


async def test_everything_can_be_done_by_keyboard(chat: ChatPage) -> None:
    keyboard = chat.page.keyboard
    await expect(chat.composer).to_be_focused()
    await keyboard.type("one")
    await keyboard.press("Shift+Enter")
    await keyboard.type("two?")
    await expect(chat.composer).to_have_value("one\ntwo?")
    await chat.composer.fill(DOUBTFUL)
    await keyboard.press("Enter")
    await expect(chat.get("choice").first).to_be_visible()
    await _tab_to(chat.get("choice").first)
    await keyboard.press("Enter")
    await expect(chat.get("citation")).to_be_visible()
    await expect(chat.composer).to_be_focused()
    await _tab_to(chat.get("citation"))
    await keyboard.press("Space")
    await expect(chat.page.locator(".source")).to_be_visible()
    await _tab_to(chat.get("ask-person"))
    await keyboard.press("Enter")
    await expect(chat.get("state-banner")).to_be_visible()


async def _tab_to(wanted: Locator) -> None:
    """Go back by keyboard until an element has the focus, which can be seen."""
    for _ in range(20):
        await wanted.page.keyboard.press("Shift+Tab")
        if await wanted.evaluate("element => element === document.activeElement"):
            await expect(wanted).not_to_have_css("outline-style", "none")
            return
    raise AssertionError("it cannot be reached by keyboard")


# --- hostile texts -------------------------------------------------------------------------------


async def test_a_hostile_text_is_shown_as_text_whoever_wrote_it(chat: ChatPage) -> None:
    await chat.get("ask-person").click()
    await expect(chat.get("message")).to_have_count(2)
    for number, text in enumerate(HOSTILE, start=2):
        await chat.say(text)
        await expect(chat.texts.nth(number)).to_have_text(text)
    number = await chat.number()
    for text in HOSTILE:
        await chat.bot.application.handoff.reply(number, "<b>Eve</b>", text)
    await expect(chat.get("message")).to_have_count(2 + 2 * len(HOSTILE))
    await expect(chat.get("state-banner")).to_have_text("You are talking to <b>Eve</b>.")
    await chat.page.reload()
    await expect(chat.get("message")).to_have_count(2 + 2 * len(HOSTILE))
    assert await chat.page.locator("#chat-log :is(img, script, iframe, b)").count() == 0
    safe = "[...document.links].every(a => /^(https?|mailto):/.test(a.href) && a.target == '_blank'"
    assert await chat.page.evaluate(f"{safe} && a.rel.includes('noopener'))")


async def test_a_very_long_word_breaks_and_a_very_long_text_is_shown(opens: Opens) -> None:
    async with opens(viewport={"width": 390, "height": 844}) as chat:
        await chat.say("w" * 3000)
        await expect(chat.get("message")).to_have_count(2)
        number = await chat.number()
        await chat.bot.application.handoff.reply(number, "Ann", "[" * 9_000 + "*a " * 3_000)
        await expect(chat.get("message")).to_have_count(3)
        assert await _overflow(chat.page) == 0


# --- looks ---------------------------------------------------------------------------------------


async def _overflow(page: Page) -> int:
    """How far the page, or its conversation, can be scrolled sideways."""
    overflow = await page.evaluate(
        "Math.max(...[document.scrollingElement, document.querySelector('#scroller')]"
        ".map(one => one.scrollWidth - one.clientWidth))"
    )
    return int(overflow)


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
async def test_a_phone_never_scrolls_sideways(opens: Opens, locale: str) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    async with opens(locale=locale, **phone) as chat:
        assert await _overflow(chat.page) == 0
        await chat.say(QUESTION)
        await chat.get("citation").tap()
        await chat.say(DOUBTFUL)
        await expect(chat.get("choice").first).to_be_visible()
        await chat.get("choice").last.tap()
        await expect(chat.get("state-banner")).to_be_visible()
        assert await _overflow(chat.page) == 0
        for name in ("composer", "send", "ask-person"):
            await expect(chat.get(name)).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize(("locale", "scheme"), [("en-US", "light"), ("zh-CN", "dark")])
async def test_the_page_has_no_serious_barrier(opens: Opens, locale: str, scheme: str) -> None:
    # The policy of the page would keep axe out.
    async with opens(
        locale=locale, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce"
    ) as chat:
        assert await _barriers(chat.page) == []
        await chat.say(QUESTION)
        await chat.get("citation").click()
        await chat.say(DOUBTFUL)
        await expect(chat.get("choice").first).to_be_visible()
        assert await _barriers(chat.page) == []
        await chat.get("ask-person").click()
        await expect(chat.get("state-banner")).to_be_visible()
        words = "`code` [a](https://a.example)"
        await chat.bot.application.handoff.reply(await chat.number(), "Ann", words)
        await expect(chat.get("message").last).to_have_attribute("data-role", "agent")
        assert await _barriers(chat.page) == []


async def _barriers(page: Page) -> list[str]:
    found = await Axe().run(page)
    return [
        f"{one['id']}: {[node['html'][:120] for node in one['nodes']]}"
        for one in found.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]


# --- on other pages ------------------------------------------------------------------------------


async def test_the_policy_keeps_foreign_scripts_out(chat: ChatPage) -> None:
    await chat.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'),"
        " {textContent: 'window.foreign = true'}))"
    )
    assert await chat.page.evaluate("window.foreign") is None
    assert any("Content Security Policy" in fault for fault in chat.faults)
    chat.faults.clear()


@asynccontextmanager
async def _shop(bot: ServedBot) -> AsyncIterator[str]:
    """A page of the shop at another origin, stricter than most."""

    async def page(request: web.Request) -> web.Response:
        text = (
            "<!doctype html><html lang=en><title>Shop</title><main><h1>Shop</h1></main>"
            f"<script src={bot.url}/widget.js async></script></html>"
        )
        policy = f"default-src 'none'; script-src {bot.url}; frame-src {bot.url}"
        headers = {"Content-Security-Policy": policy}
        return web.Response(text=text, content_type="text/html", headers=headers)

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_the_widget_opens_the_chat_on_a_page_of_the_shop(
    browser: Browser, bot: ServedBot
) -> None:
    async with _shop(bot) as address, await browser.new_context(locale="en-US") as context:
        page = await context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        await page.goto(address)
        launcher = page.get_by_test_id("launcher")
        await expect(launcher).to_have_attribute("aria-label", "Open chat")
        assert len(page.frames) == 1
        await launcher.click()
        inside = page.frame_locator("iframe")
        await inside.get_by_test_id("example").last.click()
        said = inside.get_by_test_id("message-text")
        await expect(said).to_have_text([QUESTION, REFUND])
        await inside.get_by_test_id("composer").press("Escape")
        await expect(launcher).to_have_attribute("aria-expanded", "false")
        await expect(launcher).to_be_focused()
        await launcher.click()
        await expect(said).to_have_text([QUESTION, REFUND])
        assert faults == []


async def test_an_erased_conversation_leaves_the_page_and_the_next_one_is_shown(
    chat: ChatPage,
) -> None:
    await chat.open()
    await chat.say(QUESTION)
    await chat.sees(QUESTION, REFUND)
    [name] = await chat.bot.database.read(
        lambda c: c.execute(sa.select(tables.conversation_alias.c.chat)).scalars().all()
    )
    await chat.bot.application.privacy.erase("web", name, actor="command")
    await expect(chat.texts).to_have_count(0)
    await expect(chat.page.locator("#app")).not_to_have_class(re.compile("loading"))
    await chat.say(FREIGHT)
    await chat.sees(FREIGHT, ENTRIES[FREIGHT])


async def test_a_page_that_is_offline_during_an_erasure_shows_what_comes_after_it(
    chat: ChatPage,
) -> None:
    await chat.say(QUESTION)
    await chat.sees(QUESTION, REFUND)
    other = ChatPage(await chat.page.context.new_page(), chat.bot)
    await other.open()
    [name] = await chat.bot.database.read(
        lambda c: c.execute(sa.select(tables.conversation_alias.c.chat)).scalars().all()
    )
    # As for a page in the browser's back-forward memory: it has no stream, and comes back.
    await chat.page.evaluate("window.dispatchEvent(new Event('pagehide'))")
    await chat.bot.application.privacy.erase("web", name, actor="command")
    await expect(other.texts).to_have_count(0)
    await other.say(FREIGHT)
    await other.sees(FREIGHT, ENTRIES[FREIGHT])
    await expect(chat.texts).to_have_text([QUESTION, REFUND])
    await chat.page.evaluate("window.dispatchEvent(new Event('online'))")
    await chat.sees(FREIGHT, ENTRIES[FREIGHT])
