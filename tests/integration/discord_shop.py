"""What tests of Discord do most: open the adapter on the stand-in, post signed interactions."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from adapters.discord import DiscordAdapter
from adapters.discord.settings import DiscordSettings
from adapters.discord.tokens import InteractionTokens
from kfbot.adapter import WebhookRequest
from kfbot.messages import ConversationId, OutboundMessage
from tests.integration.conftest import Served, ServedBot
from tests.platforms.discord import DiscordStandIn
from tests.platforms.discord_forms import ANN, CHANNEL, DIRECT, TOKEN
from tests.platforms.discord_interactions import KEY, posted

QUESTION, ANSWER = "When will my refund arrive?", "Within **2 business days**."
#: Settings of a bot that opens no connection.
BY_HTTP = {"mode": "interactions", "public_key": KEY.verify_key.encode().hex()}


def section(platform: DiscordStandIn, **given: Any) -> dict[str, Any]:
    """A channel's settings."""
    return {"platform": "discord", "token": TOKEN, "api_base": platform.api_base, **given}


@asynccontextmanager
async def adapter(platform: DiscordStandIn, **given: Any) -> AsyncIterator[DiscordAdapter]:
    """The adapter alone, with these settings."""
    settings = DiscordSettings.model_validate(section(platform, **given))
    async with DiscordAdapter("discord", settings) as opened:
        yield opened


@asynccontextmanager
async def discord_py(
    script: str, platform: DiscordStandIn
) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """A bot of discord.py that takes the stand-in for Discord; yields what waits for its next line.

    Args:
        script: Has the blanks {api}, {gateway} and {token}.
    """
    theirs = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "utf8", "-W", "ignore", "-c",
        script.format(api=platform.api_base, gateway=platform.gateway, token=TOKEN),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert theirs.stdout is not None
    lines = theirs.stdout

    async def heard() -> str:
        async with asyncio.timeout(60):
            return (await lines.readline()).decode().strip()

    try:
        yield heard
    finally:
        with suppress(ProcessLookupError):
            theirs.kill()
        await theirs.wait()


@asynccontextmanager
async def shop_by_http(
    served: Served, *, closed: str = ""
) -> AsyncIterator[tuple[DiscordStandIn, ServedBot]]:
    """A whole bot that is posted interactions, and may not write into the channel `closed`."""
    async with (
        DiscordStandIn(closed={closed}) as platform,
        served(sections={"discord": section(platform, **BY_HTTP)}) as bot,
    ):
        await platform.until(platform.interactions.commands, 1)
        yield platform, bot


async def post(
    platform: DiscordStandIn, bot: ServedBot, data: dict[str, Any]
) -> tuple[int, dict[str, Any]]:
    """Post an interaction as Discord does, and show what it is answered."""
    status, body = await bot.post("/webhooks/discord", **posted(data))
    if status == 200 and body["type"] == 4:
        platform.interactions.shown(body)
    return status, body


def request_of(data: dict[str, Any]) -> WebhookRequest:
    """An interaction as the adapter gets it."""
    sent = posted(data)
    return WebhookRequest(method="POST", query={}, headers=sent["headers"], body=sent["data"])


def hello(chat: str = DIRECT, **given: Any) -> OutboundMessage:
    """A message of the bot's."""
    place = given.pop("place", ConversationId("discord", chat))
    return OutboundMessage(**({"conversation": place, "id": "msg_1", "text": "hello"} | given))


def answer_to_command(platform: DiscordStandIn, **given: Any) -> OutboundMessage:
    """The bot's answer to a command in a channel."""
    asked = InteractionTokens(TOKEN).message_id(
        platform.interactions.ask(QUESTION, channel=CHANNEL)
    )
    place = ConversationId("discord", CHANNEL, member=ANN)
    return hello(**({"place": place, "in_reply_to": asked} | given))
