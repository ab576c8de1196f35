"""The agents' group on Telegram: topics for cases, and what the bot has to be allowed there."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.telegram import TelegramAdapter
from kfbot.errors import ChannelUnauthorized, ChannelUnavailable, MessageRejected
from kfbot.messages import ConversationId
from tests.platforms.telegram import FORUM, GROUP, BotApi
from tests.platforms.telegram_texts import Fault
from tests.unit.adapters.test_telegram_sending import adapter, listened, made, message, platform

pytestmark = pytest.mark.asyncio
#: The fixtures are those of the other file.
__all__ = ["adapter", "platform"]

AGENTS = FORUM | {"id": -300, "title": "Agents"}


async def test_a_case_gets_a_topic_that_is_closed_in_the_end(
    platform: BotApi, adapter: TelegramAdapter
) -> None:
    platform.joins(AGENTS)
    thread = await adapter.open_thread("-300", "#7 Ann:\n" + "x" * 200)
    [(key, (name, is_open))] = platform.topics.items()
    assert key == (-300, int(thread))
    assert (name[:9], len(name), is_open) == ("#7 Ann: x", 128, True)
    topic = ConversationId("shop", "-300", thread=thread)
    await adapter.send(message(conversation=topic))
    assert platform.sent[0].message["message_thread_id"] == int(thread)
    await adapter.rename_thread(topic, "#7 resolved")
    await adapter.close_thread(topic)
    # An agent may have closed it before.
    await adapter.close_thread(topic)
    assert platform.topics[key] == ("#7 resolved", False)
    with pytest.raises(MessageRejected):
        await adapter.close_thread(ConversationId("shop", "-300", thread="999"))


async def test_what_customers_write_calls_no_agent(platform: BotApi) -> None:
    platform.joins(AGENTS)
    text = "> @anna_k mail a@b.example, 请@anna_k"
    async with made(platform, agents_chat="-300") as adapter:
        await adapter.send(message(text, conversation=ConversationId("shop", "-300", thread=None)))
        await adapter.send(message(text))
    shown = [sent.message["text"] for sent in platform.sent]
    assert "@\u2060anna_k mail a@b.example, 请@\u2060anna_k" in shown[0]
    assert "@anna_k" in shown[1]


@pytest.mark.parametrize(("chat", "advice"), [(GROUP, "turn on Topics"), (AGENTS, "make the bot")])
async def test_a_group_that_can_have_no_topics_is_refused_with_what_to_do(
    platform: BotApi, adapter: TelegramAdapter, chat: dict[str, Any], advice: str
) -> None:
    platform.joins(chat, manages_topics=False)
    with pytest.raises(MessageRejected, match=advice):
        await adapter.open_thread(str(chat["id"]), "#7")


async def test_a_platform_that_asks_for_patience_for_a_topic_is_asked_later(
    platform: BotApi, adapter: TelegramAdapter
) -> None:
    platform.joins(AGENTS)
    fault = Fault(429, "Too Many Requests: retry after 7", retry_after=7)
    platform.faults["createForumTopic"] = [fault]
    with pytest.raises(ChannelUnavailable) as raised:
        await adapter.open_thread("-300", "#7")
    assert raised.value.retry_after_seconds == 7


async def test_a_group_of_agents_that_moved_is_found_and_asked_for_once(
    platform: BotApi,
) -> None:
    platform.joins(AGENTS)
    platform.moved = {-5: -300}
    async with made(platform, agents_chat="-5") as adapter:
        thread = await adapter.open_thread("-5", "#7")
        topic: dict[str, Any] = {"message_thread_id": int(thread), "is_topic_message": True}
        platform.updates.clear()
        await platform.says("sent today", chat=AGENTS, **topic)
        [event] = await listened(adapter, 1)
        assert event.conversation == ConversationId("shop", "-5", thread=thread)
        await adapter.send(message(conversation=event.conversation))
    asked = [given["chat_id"] for _, given in platform.calls if "chat_id" in given]
    assert asked == ["-5", *["-300"] * 3]


async def test_a_group_of_agents_that_moved_before_the_start_is_recognised(
    platform: BotApi,
) -> None:
    platform.joins(AGENTS)
    platform.moved = {-5: -300}
    platform.updates.clear()
    topic: dict[str, Any] = {"message_thread_id": 9, "is_topic_message": True}
    await platform.says("sent today", chat=AGENTS, **topic)
    async with made(platform, agents_chat="-5") as adapter:
        [event] = await listened(adapter, 1)
    assert event.conversation == ConversationId("shop", "-5", thread="9")


async def test_a_server_that_does_not_know_where_the_agents_are_is_listened_to(
    platform: BotApi,
) -> None:
    platform.lacks = {"getChat"}
    async with made(platform, agents_chat="-300") as adapter:
        assert len(await listened(adapter, 3)) == 3


async def test_check_says_what_the_agents_chat_still_needs(platform: BotApi) -> None:
    async def said(chat: int) -> str:
        async with made(platform, agents_chat=str(chat)) as adapter:
            return await adapter.check()

    platform.joins(AGENTS)
    assert (await said(-300)).endswith("; agents in “Agents”")
    platform.joins(GROUP, manages_topics=False)
    platform.moved = {-5: -300}
    for chat, advice in {
        -100: r"agents_chat -100: turn on Topics .*; make the bot an admin",
        -999: r"agents_chat -999: .*not found: add the bot",
        -5: r'write agents_chat = "-300"',
    }.items():
        with pytest.raises(ChannelUnauthorized, match=advice):
            await said(chat)


async def test_all_topics_of_a_group_share_its_twenty_a_minute(adapter: TelegramAdapter) -> None:
    topics = [ConversationId("shop", "-300", thread=number) for number in ("4", "5")]
    assert [adapter.seconds_between(topic) for topic in topics] == [3.1, 3.1]
