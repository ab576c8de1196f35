"""Customers on QQ, through a OneBot implementation that posts and is called over HTTP."""

from __future__ import annotations

import json
import time
from contextlib import AsyncExitStack
from typing import Any

from kfbot.cli.load_driving import Reply
from tests.load.lines import FIRST, StandInLine
from tests.platforms import onebot

TOKEN, SECRET = "not-a-real-token", "not-a-real-secret"


class OneBotLine(StandInLine):
    """Private chats, by signed posts."""

    async def stand_in(self, stack: AsyncExitStack) -> dict[str, Any]:
        hear = self.hear

        class Heard(onebot.OneBotStandIn):
            def _done(self, action: str, params: dict[str, Any]) -> dict[str, Any]:
                done = super()._done(action, params)
                if action == "send_private_msg":
                    said = params["message"]
                    words = [one["data"]["text"] for one in said if one["type"] == "text"]
                    hear(params["user_id"], Reply("".join(words)))
                return done

        standing = await stack.enter_async_context(Heard())
        return {
            "platform": "onebot",
            "access_token": TOKEN,
            "secret": SECRET,
            "api_base": standing.api_base,
            # QQ's limit of one account; here it is everybody's.
            "rate_per_second": 1000.0,
        }

    async def say(self, chat: int, text: str, event: int) -> None:
        def make() -> Any:
            message_id = FIRST + event
            told = onebot.private(onebot.text(text), message_id=message_id, user=FIRST + chat)
            return told | {"time": int(time.time())}

        body = json.dumps(self.once(event, make), ensure_ascii=False).encode()
        await self.post(body, onebot.signed(body, SECRET))
        self.taken(event)
