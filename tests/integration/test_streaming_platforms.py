"""Answers that grow, in what Slack and Telegram are asked for and show."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from adapters.slack import SlackAdapter
from adapters.telegram.adapter import TelegramAdapter
from tests.conftest import Clock
from tests.dialogues.test_streaming import until
from tests.dialogues.writing import ANSWER, FIRST, QUESTION, HeldWriter, documents
from tests.integration.conftest import Served
from tests.integration.test_slack import opened
from tests.integration.test_telegram import section
from tests.platforms.slack import DIRECT, Slack
from tests.platforms.telegram import BotApi

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def platform() -> AsyncIterator[BotApi]:
    async with BotApi() as stand_in:
        yield stand_in


@pytest_asyncio.fixture
async def slack() -> AsyncIterator[Slack]:
    async with Slack() as stand_in:
        yield stand_in


@pytest.fixture(autouse=True)
def unpaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """As fast as the stand-ins can take it."""
    monkeypatch.setattr(TelegramAdapter, "seconds_between", lambda *_: 0.0)
    monkeypatch.setattr(SlackAdapter, "seconds_between", lambda *_: 0.0)
    for adapter in (TelegramAdapter, SlackAdapter):
        at_once = replace(adapter.capabilities, edit_interval_seconds=0)
        monkeypatch.setattr(adapter, "capabilities", at_once)


async def test_telegram_sends_the_first_text_and_edits_it_from_then_on(
    platform: BotApi, served: Served
) -> None:
    writer = HeldWriter()
    async with served(sections={"shop": section(platform)}, base=documents(), writer=writer) as bot:
        await platform.says(QUESTION)
        writer.says(FIRST)
        [sent] = await platform.until_sent(1)
        assert sent.text == FIRST
        writer.says(ANSWER)
        await platform.until_called("editMessageText")
        writer.ends(ANSWER)
        await platform.until_called("editMessageText", 2)
        await bot.quiet()
        assert sent.versions == [FIRST, ANSWER]
        assert sent.text.startswith(f"{ANSWER}\n\n[1]")
        assert len(platform.sent) == 1
        assert sent.message["reply_markup"]["inline_keyboard"]


async def test_slack_posts_the_first_text_and_updates_it_from_then_on(
    slack: Slack, served: Served, clock: Clock
) -> None:
    writer = HeldWriter()
    async with opened(served, clock, "http", slack, base=documents(), writer=writer) as shop:
        await slack.tell(slack.says(QUESTION))
        writer.says(FIRST)
        await until(lambda: shop.said() == [FIRST])
        writer.says(ANSWER)
        await until(lambda: shop.said() == [ANSWER])
        writer.ends(ANSWER)
        await shop.settle()
        [message] = slack.said(DIRECT)
        assert message["text"] == ANSWER
        assert [block["type"] for block in message["blocks"]] == ["section", "context", "actions"]
        called = [method for method, _ in slack.calls]
        assert (called.count("chat.postMessage"), called.count("chat.update")) == (1, 2)


async def test_a_telegram_that_edits_nothing_gets_the_whole_answer(
    platform: BotApi, served: Served
) -> None:
    platform.lacks = {"editMessageText"}
    writer = HeldWriter()
    async with served(sections={"shop": section(platform)}, base=documents(), writer=writer) as bot:
        await platform.says(QUESTION)
        writer.says(FIRST)
        await platform.until_sent(1)
        writer.ends(ANSWER)
        sent = await platform.until_sent(2)
        assert sent[1].text.startswith(ANSWER)
        assert bot.application.outbox.stopped == {}


async def test_a_slack_that_updates_nothing_gets_the_whole_answer(
    slack: Slack, served: Served, clock: Clock
) -> None:
    slack.unknown = {"chat.update"}
    writer = HeldWriter()
    async with opened(served, clock, "http", slack, base=documents(), writer=writer) as shop:
        await slack.tell(slack.says(QUESTION))
        writer.says(FIRST)
        await until(lambda: shop.said() == [FIRST])
        writer.ends(ANSWER)
        await until(lambda: len(shop.said()) == 2)
        assert shop.said() == [FIRST, ANSWER]
