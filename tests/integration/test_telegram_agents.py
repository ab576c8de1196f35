"""Agents who work in a Telegram forum: a topic for each case, words and buttons both ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio

from adapters.telegram import TelegramAdapter
from kfbot.conversation import State
from kfbot.messages import ConversationId
from tests.integration.conftest import DOUBTFUL, ENTRIES, Served, ServedBot
from tests.platforms.telegram import CUSTOMER, GROUP, GROUP_MINUTE, TOKEN, BotApi, Sent

pytestmark = pytest.mark.asyncio

AGENTS: dict[str, Any] = {"id": -300, "type": "supergroup", "title": "Agents", "is_forum": True}
ANA: dict[str, Any] = {"id": 31, "is_bot": False, "first_name": "Ana"}
UNNAMED: dict[str, Any] = {"id": 1087968824, "is_bot": True, "first_name": "Group"}
KEEP = "How long do I have to return an item?"
UNKNOWN = "Do you sell coffee machines?"


@pytest_asyncio.fixture
async def platform() -> AsyncIterator[BotApi]:
    async with BotApi() as opened:
        opened.joins(AGENTS)
        yield opened


def section(platform: BotApi, **settings: Any) -> dict[str, Any]:
    given = {"platform": "telegram", "token": TOKEN, "api_base": platform.url}
    return given | {"agents_chat": "-300"} | settings


@pytest.fixture
def unpaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TelegramAdapter, "seconds_between", lambda *_: 0.0)


@pytest_asyncio.fixture
async def bot(platform: BotApi, served: Served, unpaced: None) -> AsyncIterator[ServedBot]:
    async with served(sections={"shop": section(platform)}) as opened:
        yield opened


def in_topic(sent: Sent) -> dict[str, Any]:
    """Where somebody writes who writes below a message of the bot's."""
    return {"chat": AGENTS, "message_thread_id": sent.message["message_thread_id"],
            "is_topic_message": True}  # fmt: skip


async def until(platform: BotApi, chat: int, count: int = 1) -> list[Sent]:
    """So many messages of the bot in a chat."""
    await platform.until(lambda: sum(one.chat == chat for one in platform.sent) >= count)
    return [one for one in platform.sent if one.chat == chat]


async def test_a_case_is_claimed_answered_and_resolved_in_its_topic(
    platform: BotApi, bot: ServedBot
) -> None:
    await platform.says(UNKNOWN)
    [post] = await until(platform, -300)
    [(key, (name, _))] = platform.topics.items()
    assert key == (-300, post.message["message_thread_id"])
    assert "Ann" in name
    assert UNKNOWN in post.text
    assert len(post.buttons) == 3
    await platform.presses(post, next(iter(post.buttons)), sender=ANA)
    await platform.says("We sell three of them.", sender=ANA, **in_topic(post))
    said = await until(platform, 7, 2)
    assert "We sell three of them." in said[-1].text
    found = await bot.application.conversations.find(ConversationId("shop", "7"))
    assert found is not None
    assert (found.state, found.agent) == (State.AGENT, "Ana")
    await platform.says("// she seems nice", sender=ANA, **in_topic(post))
    await platform.says("lunch?", sender=ANA, chat=AGENTS)
    await platform.says("Which is the cheapest?")
    await platform.until(
        lambda: any(one.chat == -300 and "cheapest" in one.text for one in platform.sent)
    )
    await platform.presses(post, list(post.buttons)[-1], sender=ANA)
    await platform.until_called("closeForumTopic")
    assert not platform.topics[key][1]
    told = [one.text for one in await until(platform, 7, 3)]
    assert not any("nice" in text or "lunch" in text for text in told)


async def test_an_admin_who_writes_as_the_group_answers_under_its_name(
    platform: BotApi, bot: ServedBot
) -> None:
    await platform.says(UNKNOWN)
    [post] = await until(platform, -300)
    await platform.says("We do.", sender=UNNAMED, sender_chat=AGENTS, **in_topic(post))
    said = await until(platform, 7, 2)
    assert "We do." in said[-1].text
    found = await bot.application.conversations.find(ConversationId("shop", "7"))
    assert found is not None
    assert found.agent == "Agents"


async def test_in_a_group_the_answer_hangs_under_the_question_and_its_buttons_are_the_askers(
    platform: BotApi, bot: ServedBot
) -> None:
    fields: dict[str, Any] = {"chat": GROUP, "sender": UNNAMED, "sender_chat": GROUP}
    asked = await platform.says(f"@shop_bot {DOUBTFUL}", **fields)
    [offered] = await until(platform, -100)
    assert offered.message["reply_to_message"]["message_id"] == asked["message_id"]
    # A press bears the name of whoever is behind the group.
    await platform.presses(offered, KEEP, sender=CUSTOMER | {"id": 55})
    answer = (await until(platform, -100, 2))[-1]
    assert answer.text.startswith(ENTRIES[KEEP])
    assert answer.message["reply_to_message"]["message_id"] == asked["message_id"]
    await platform.presses(answer, "Helpful", sender=CUSTOMER | {"id": 55})
    assert (await until(platform, -100, 3))[-1].text == "Thank you for telling me!"


async def test_all_cases_together_stay_within_what_the_group_may_get(
    platform: BotApi, served: Served
) -> None:
    platform.limits = True
    async with served(sections={"shop": section(platform)}):
        for number in range(3):
            customer = CUSTOMER | {"id": 70 + number}
            chat = {"id": 70 + number, "type": "private", "first_name": "A"}
            await platform.says(UNKNOWN, chat=chat, sender=customer)
        async with asyncio.timeout(60):
            sent = await until(platform, -300, 3)
    assert len({one.message["message_thread_id"] for one in sent}) == 3
    gaps = [later.at - earlier.at for earlier, later in pairwise(sent)]
    assert all(gap >= 60 / GROUP_MINUTE for gap in gaps)
    # None was refused.
    assert platform.count("sendMessage") == len(platform.sent)


async def test_a_group_that_has_no_topics_stops_nothing_else(
    platform: BotApi, bot: ServedBot, caplog: pytest.LogCaptureFixture
) -> None:
    platform.manages.clear()
    await platform.says(UNKNOWN)
    [handoff] = await until(platform, 7)
    await platform.until_called("createForumTopic")
    assert handoff.text
    other = {"id": 71, "type": "private", "first_name": "B"}
    await platform.says(KEEP, chat=other, sender=CUSTOMER | {"id": 71})
    [answer] = await until(platform, 71)
    assert answer.text.startswith(ENTRIES[KEEP])
