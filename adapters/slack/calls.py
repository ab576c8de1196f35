"""What is asked of Slack beside sending, and the forms of its answers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from slack_sdk.web.async_client import AsyncWebClient

from adapters.slack.faults import mapped
from adapters.slack.mrkdwn import escape
from adapters.slack.people import name_in
from adapters.slack.wording import mentions
from kfbot.errors import ChannelUnauthorized, MessageRejected

logger = logging.getLogger(__name__)

#: So many replies of a thread are looked through for the bot.
REPLIES = 100


def data(answer: Any) -> Mapping[str, Any]:
    """The fields of an answer; none where it is not Slack's."""
    fields = getattr(answer, "data", None)
    return fields if isinstance(fields, Mapping) else {}


def title(chat: str, text: str) -> dict[str, Any]:
    """The message that a thread hangs on; it mentions nobody, whoever is named in it."""
    return {
        "channel": chat,
        "text": escape(text),
        "parse": "none",
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }


async def ask_name(web: AsyncWebClient, channel: str, user: str) -> str:
    """What a user is called in the workspace.

    Raises:
        ChannelError: Slack does not tell.
    """
    with mapped(channel):
        return name_in(data(await web.users_info(user=user)).get("user"))


async def is_in_thread(web: AsyncWebClient, chat: str, thread: str, bot: str) -> bool:
    """Whether the bot was mentioned in a thread or has written there."""
    answer = data(await web.conversations_replies(channel=chat, ts=thread, limit=REPLIES))
    replies = answer.get("messages")
    return any(
        reply.get("user") == bot or mentions(str(reply.get("text") or ""), bot)
        for reply in (replies if isinstance(replies, list) else ())
        if isinstance(reply, dict)
    )


async def check_agents_chat(web: AsyncWebClient, channel: str, chat: str) -> None:
    """See that the bot is where the agents are, as far as Slack tells.

    Raises:
        ChannelUnauthorized: It is not.
        ChannelUnavailable: It cannot be asked now.
    """
    reason = f"agents_chat: the bot is not in {chat}: /invite it there"
    try:
        with mapped(channel):
            found = data(await web.conversations_info(channel=chat)).get("channel")
    except MessageRejected as error:
        if "channel_not_found" in str(error):
            raise ChannelUnauthorized(channel, reason) from None
        logger.warning("agents_chat unchecked: %s", error, extra={"event": "chat_unchecked"})
        return
    if isinstance(found, Mapping) and found.get("is_member") is False:
        raise ChannelUnauthorized(channel, reason)
