"""Customers on Discord: `/ask` as signed requests, answered in the channel or by its token."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import Any

from aiohttp import web

from kfbot.cli.load_driving import Reply
from tests.load.lines import FIRST, StandInLine
from tests.platforms import discord
from tests.platforms.discord_forms import TOKEN, member, user
from tests.platforms.discord_interactions import Interactions, signed


class DiscordLine(StandInLine):
    """Members of a server, each in a channel of their own."""

    async def stand_in(self, stack: AsyncExitStack) -> dict[str, Any]:
        hear = self.hear

        class HeardByToken(Interactions):
            async def _follow_up(self, request: web.Request) -> web.Response:
                response = await super()._follow_up(request)
                number, _, _ = request.match_info["token"].partition("/")
                hear(int(number), Reply((await request.json())["content"]))
                return response

        class Heard(discord.DiscordStandIn):
            interactions_type = HeardByToken

            async def _create(self, request: web.Request) -> web.Response:
                response = await super()._create(request)
                body = await request.json()
                reply = Reply(body["content"], body["nonce"])
                hear(int(request.match_info["channel"]), reply)
                return response

        self._discord = await stack.enter_async_context(Heard())
        return {
            "platform": "discord",
            "token": TOKEN,
            "mode": "interactions",
            "public_key": self._discord.interactions.public_key,
            "api_base": self._discord.api_base,
            "rate_per_second": 1000.0,
        }

    async def say(self, chat: int, text: str, event: int) -> None:
        number = str(FIRST + chat)
        if chat % 2:
            # Here the bot may not write: it answers by the command's token.
            self._discord.closed.add(number)
        interactions = self._discord.interactions

        def make() -> Any:
            asker = member(permissions="0") | {"user": user(number, "ann")}
            token = f"{number}/{event}"
            return interactions.ask(text, channel=number, token=token, member=asker)

        told = self.once(event, make)
        body = json.dumps(told).encode()
        interactions.shown(json.loads(await self.post(body, signed(body))), told["token"])
        self.taken(event)
