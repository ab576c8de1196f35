"""A customer on a real Matrix homeserver, with a room for each conversation."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

from kfbot.cli.load_driving import Reply
from tests.load.lines import StandInLine
from tests.platforms.synapse import Person, Synapse

#: Of a sync: messages, more than ever come between two of them.
_WANTED = json.dumps(
    {
        "presence": {"types": []},
        "account_data": {"types": []},
        "room": {
            "ephemeral": {"types": []},
            "state": {"types": []},
            "timeline": {"types": ["m.room.message"], "limit": 100},
        },
    }
)


class MatrixLine(StandInLine):
    """Rooms of two, to which the bot is invited by what is said there first."""

    #: That the homeserver has a message says nothing about the bot.
    acknowledges = False

    def __init__(self, name: str, homeserver: Synapse) -> None:
        super().__init__(name)
        self._homeserver = homeserver
        self._rooms: dict[int, str] = {}
        self._chats: dict[str, int] = {}

    async def stand_in(self, stack: AsyncExitStack) -> dict[str, Any]:
        self._bot, token = await asyncio.to_thread(self._homeserver.register, "bot")
        person = await asyncio.to_thread(Person, self._homeserver, "ann")
        self._person = await stack.enter_async_context(person)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        stack.callback(group.create_task(self._follow()).cancel)
        return {"platform": "matrix", "homeserver": self._homeserver.url, "access_token": token}

    async def say(self, chat: int, text: str, event: int) -> None:
        if chat not in self._rooms:
            room = await self._person.opens(self._bot, is_direct=True)
            self._rooms[chat], self._chats[room] = room, chat
        path = f"/rooms/{quote(self._rooms[chat])}/send/m.room.message/event-{event}"
        await self._person.call("PUT", path, {"msgtype": "m.text", "body": text})

    async def _follow(self) -> None:
        """Hear what the bot says, until cancelled."""
        asked: dict[str, str] = {}
        while True:
            news = await self._person.call("GET", "/sync", filter=_WANTED, timeout="30000", **asked)
            asked = {"since": news["next_batch"]}
            for room, entry in news.get("rooms", {}).get("join", {}).items():
                assert not entry["timeline"]["limited"], "a reply may have been left out"
                for event in entry["timeline"]["events"]:
                    if event["sender"] == self._bot:
                        # A repeat of what the homeserver has would be no second event.
                        reply = Reply(event["content"]["body"], event["event_id"])
                        self.on_reply(self._chats[room], reply)
