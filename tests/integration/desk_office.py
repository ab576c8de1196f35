"""An office at work: the bot, its agents at their desks in a real browser, and customers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from playwright.async_api import Browser, BrowserContext, Locator, Page, expect

from tests.integration.conftest import ServedBot
from tests.integration.test_chat_page import ChatPage

PASSWORD = "a quiet winter morning"
EVIL = "<img src=x onerror=alert(9)><b>evil</b>"
EVIL_QUESTION = "Do you deliver <img src=x onerror=alert(5)> elephants?"
PEOPLE = {
    "lin": ("林晓", "admin"),
    "anna": ("Anna Weber", "agent"),
    "omar": (f"Omar {EVIL}", "agent"),
    "vera": ("Vera Viewer", "viewer"),
}
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
#: The browser says by itself that a request failed.
NETWORK = re.compile(r"Failed to load resource|ERR_INTERNET_DISCONNECTED|ERR_FAILED")
_numbers = count(1)


def unanswerable(words: str = "Why are giraffes so tall") -> str:
    """A question that nobody asked before and no document answers."""
    return f"{words} #{next(_numbers)}"


@dataclass
class DeskPage:
    """An agent at the desk, and what must never happen there."""

    page: Page
    bot: ServedBot
    #: Errors in the console, dialogs, requests to other origins.
    faults: list[str] = field(default_factory=list)

    def get(self, name: str) -> Locator:
        return self.page.get_by_test_id(name)

    def item(self, text: str) -> Locator:
        return self.get("queue-item").filter(has_text=text)

    @property
    def field(self) -> Locator:
        return self.get("reply-text")

    async def open(self, text: str, view: str = "waiting") -> None:
        """Open the conversation whose last words these are."""
        await self.get(f"view-{view}").click()
        await self.item(text).click()
        await expect(self.get("message").filter(has_text=text).first).to_be_visible()

    async def write(self, text: str) -> None:
        await self.field.fill(text)
        await self.field.press("Control+Enter")

    async def shows(self, name: str, text: str, times: int = 1) -> None:
        await expect(self.get(name).filter(has_text=text)).to_have_count(times)

    def watch(self) -> None:
        """Write down what must never happen."""

        async def asked(dialog: Any) -> None:
            self.faults.append(f"dialog {dialog.message}")
            await dialog.dismiss()

        def requested(request: Any) -> None:
            if not request.url.startswith((self.bot.url, "data:")):
                self.faults.append(f"request to {request.url}")

        def wrote(message: Any) -> None:
            if message.type in ("error", "warning"):
                self.faults.append(f"console: {message.text}")

        self.page.on("dialog", asked)
        self.page.on("request", requested)
        self.page.on("console", wrote)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))

    def forgive_network(self) -> None:
        """What a cut line or a refusal makes the browser say is no fault of the page."""
        self.faults = [fault for fault in self.faults if not NETWORK.search(fault)]


@dataclass
class Office:
    """The running bot with its agents."""

    bot: ServedBot
    browser: Browser
    cookies: dict[str, Any] = field(default_factory=dict)

    @asynccontextmanager
    async def desk(self, name: str | None = None, **settings: Any) -> AsyncIterator[DeskPage]:
        """The desk of an agent who is signed in; None: of nobody."""
        context = await self.browser.new_context(**{"locale": "en-US"} | settings)
        context.set_default_timeout(60_000)
        try:
            if name is not None:
                await self._sign_in(context, name)
            desk = DeskPage(await context.new_page(), self.bot)
            desk.watch()
            await desk.page.goto(f"{self.bot.url}/desk")
            if name is not None:
                await expect(desk.get("queue")).to_be_visible()
            yield desk
            assert desk.faults == []
        finally:
            await context.close()

    async def _sign_in(self, context: BrowserContext, name: str) -> None:
        if name not in self.cookies:
            data = {"name": name, "password": PASSWORD}
            answer = await context.request.post(f"{self.bot.url}/desk/api/session", data=data)
            assert answer.ok, await answer.text()
            self.cookies[name] = await context.cookies()
        await context.add_cookies(self.cookies[name])

    @asynccontextmanager
    async def customer(self, **settings: Any) -> AsyncIterator[ChatPage]:
        """A new visitor at the chat page."""
        context = await self.browser.new_context(**{"locale": "en-US"} | settings)
        context.set_default_timeout(60_000)
        try:
            chat = ChatPage(await context.new_page(), self.bot)
            await chat.open()
            yield chat
        finally:
            await context.close()

    async def waiting(self, question: str) -> int:
        """A customer without a page asks what leads to a case; gives the conversation's id."""
        chat = f"chat-{next(_numbers)}"
        await self.bot.ask(question, chat)
        return await self.bot.id_of(chat)


async def hire(browser: Browser, bot: ServedBot) -> None:
    """Set the desk up, with everybody in PEOPLE and a canned answer."""
    context = await browser.new_context()
    api = f"{bot.url}/desk/api"
    (first, (shown, _)), *others = PEOPLE.items()
    data = {"name": first, "display_name": shown, "password": PASSWORD}
    answer = await context.request.post(f"{api}/setup", data=data)
    assert answer.ok, await answer.text()
    headers = {"X-CSRF-Token": (await answer.json())["data"]["csrf"]}
    for name, (display_name, role) in others:
        data = {"name": name, "display_name": display_name, "role": role, "password": PASSWORD}
        answer = await context.request.post(f"{api}/agents", data=data, headers=headers)
        assert answer.ok, await answer.text()
    canned = {"title": f"hello {EVIL}", "text": f"Good day! {EVIL}"}
    answer = await context.request.post(f"{api}/canned", data=canned, headers=headers)
    assert answer.ok, await answer.text()
    await context.close()
