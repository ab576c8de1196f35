"""Customers on DingTalk: the platform tells of them through the stream that the bot opened."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, suppress
from typing import Any

from aiohttp import web

from kfbot.cli.load_driving import NotTaken, Reply
from tests.load.lines import FIRST, StandInLine
from tests.platforms import dingtalk

#: As long as the other lines wait for an acknowledgement.
_ACK_SECONDS = 30.0


class DingTalkLine(StandInLine):
    """Private chats; replies come by the webhook of the last message, or by the robot's API."""

    async def stand_in(self, stack: AsyncExitStack) -> dict[str, Any]:
        hear = self.hear
        self._acknowledged: dict[str, asyncio.Event] = {}
        acknowledged = self._acknowledged

        class Heard(dingtalk.DingTalkStandIn):
            async def _webhook(self, request: web.Request) -> web.Response:
                answer = await super()._webhook(request)
                text = (await request.json())["text"]["content"]
                hear(int(request.query["session"]), Reply(text))
                return answer

            def _note(self, what: list[Any], value: Any) -> None:
                super()._note(what, value)
                if what is self.acknowledged and value in acknowledged:
                    acknowledged[value].set()
                if what is self.sent and value[0] == "user":
                    asked = value[1]
                    hear(int(asked["userIds"][0]), Reply(json.loads(asked["msgParam"])["content"]))

        self._dingtalk = await stack.enter_async_context(Heard())
        self._section = {
            "platform": "dingtalk",
            "api_base": self._dingtalk.url,
            "client_id": dingtalk.CLIENT_ID,
            "client_secret": dingtalk.CLIENT_SECRET,
            # A robot may send 20 a second; the load is to find the limits of the bot.
            "rate_per_second": 1000.0,
        }
        return self._section

    async def say(self, chat: int, text: str, event: int) -> None:
        message = self.once(event, lambda: self._message(FIRST + chat, text))
        acknowledged = self._acknowledged.setdefault(message["msgId"], asyncio.Event())
        try:
            async with asyncio.timeout(_ACK_SECONDS):
                # Where the stream has broken it is told on the next one.
                with suppress(ConnectionError):
                    await self._dingtalk.tell(message)
                await acknowledged.wait()
        except TimeoutError:
            raise NotTaken("not acknowledged on the stream") from None
        del self._acknowledged[message["msgId"]]
        self.taken(event)

    def _message(self, number: int, text: str) -> dict[str, Any]:
        # Webhooks are answered at the address of the settings, as all that the bot calls.
        webhook = f"{self._section['api_base']}/robot/sendBySession?session={number}"
        return self._dingtalk.message(
            text,
            senderId=f"$:LWCP_v1:${number}",
            senderStaffId=str(number),
            conversationId=f"cid{number}==",
            sessionWebhook=webhook,
        )
