"""The agents' group on Telegram: a forum, with a topic for each case."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from adapters.telegram.api import BotApi, ChatMoved
from adapters.telegram.rendering import cleaned, cut
from kfbot.errors import ChannelUnauthorized, MessageRejected

#: Longest name of a topic, in characters.
NAME_LENGTH = 128
#: Calls a method of the Bot API, its first argument, with the parameters that follow.
Call = Callable[..., Awaitable[Any]]
_MENTION = re.compile(r"(?<!\w)@(?=\w)", re.ASCII)
#: Has no width, and is no part of a name.
_JOINER = "\u2060"
_TOPICS = "turn on Topics in the settings of the group"
_RIGHT = "make the bot an admin of the group who may manage topics"


async def open_topic(call: Call, channel: str, title: str, where: Mapping[str, Any]) -> str:
    """Begin a topic; returns its id.

    Raises:
        ChannelUnavailable: No answer in time, 429, 5xx.
        ChannelUnauthorized: The token is refused.
        MessageRejected: The group has no topics, or the bot may not begin any.
    """
    try:
        topic = await call("createForumTopic", **where, name=topic_name(title))
    except MessageRejected as error:
        reason = str(error).removeprefix(f"channel {channel}: ")
        raise MessageRejected(channel, f"{reason}: {_TOPICS}, and {_RIGHT}") from None
    number = topic.get("message_thread_id") if isinstance(topic, dict) else None
    if not isinstance(number, int):
        raise MessageRejected(channel, "createForumTopic: the answer names no topic")
    return str(number)


def topic_name(title: str) -> str:
    """What Telegram takes for the name of a topic."""
    return cut(" ".join(cleaned(title).split()), NAME_LENGTH) or "…"


def without_mentions(text: str) -> str:
    """The text with names that call nobody: what customers write is read in the agents' group."""
    return _MENTION.sub(f"@{_JOINER}", text)


async def change_topic(call: Call, method: str, where: Mapping[str, Any]) -> None:
    """Call a method on a topic; one that changes nothing is no fault.

    Raises:
        ChannelError: It could not be done.
    """
    if "message_thread_id" not in where:
        return
    try:
        await call(method, **where)
    except MessageRejected as error:
        # An agent closed it already.
        if "topic_not_modified" not in str(error).lower():
            raise


async def look_at(api: BotApi, channel: str, chat: str, bot_id: int) -> str:
    """Whether cases can be shown in a group, in a few words.

    Raises:
        ChannelUnavailable: Telegram did not answer.
        ChannelUnauthorized: They cannot; its text says what to do.
    """
    where = f"agents_chat {chat}"
    try:
        found = await api.call("getChat", chat_id=int(chat))
        bot = await api.call("getChatMember", chat_id=int(chat), user_id=bot_id)
    except ChatMoved as error:
        advice = f'the group has another id now: write agents_chat = "{error.chat_id}"'
        raise ChannelUnauthorized(channel, f"{where}: {advice}") from None
    except MessageRejected as error:
        reason = str(error).removeprefix(f"channel {channel}: ")
        advice = f"add the bot to the group and {_RIGHT}, or correct the id"
        raise ChannelUnauthorized(channel, f"{where}: {reason}: {advice}") from None
    if missing := list(_missing(found, bot)):
        raise ChannelUnauthorized(channel, f"{where}: {'; '.join(missing)}")
    return f"agents in “{cleaned(str(found.get('title', '')))}”"


def _missing(chat: Any, bot: Any) -> Iterator[str]:
    if not isinstance(chat, dict) or chat.get("is_forum") is not True:
        yield _TOPICS
    may = isinstance(bot, dict) and bot.get("can_manage_topics") is True
    if not may or bot.get("status") != "administrator":
        yield _RIGHT
