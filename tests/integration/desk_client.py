"""A desk as its page is: signed in with a cookie, and told of changes by push."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.integration.conftest import ServedBot

PASSWORD = "correct horse battery"
SESSION = "/desk/api/session"
CONVERSATIONS = "/desk/api/conversations"


class DeskClient:
    """What one agent's page sends."""

    def __init__(self, bot: ServedBot) -> None:
        self.bot = bot
        self.token = ""
        self.csrf = ""
        #: Of the last answer.
        self.headers: dict[str, str] = {}

    async def call(
        self, method: str, path: str, body: Any = None, **options: Any
    ) -> tuple[int, Any]:
        """Status, and the answer's data, or its message where it failed."""
        headers = {"X-CSRF-Token": self.csrf} if self.csrf else {}
        if self.token:
            headers["Cookie"] = f"kfbot_desk={self.token}"
        options["headers"] = headers | options.pop("headers", {})
        if "data" not in options and method != "GET":
            options["json"] = {} if body is None else body
        async with self.bot.http.request(method, self.bot.url + path, **options) as response:
            answer = await response.json()
            self.headers = dict(response.headers)
            if "kfbot_desk" in response.cookies:
                self.token = response.cookies["kfbot_desk"].value
        assert answer["code"] == response.status
        return response.status, answer["data"] if response.status < 400 else answer["msg"]

    async def get(self, path: str, **options: Any) -> Any:
        """The data of what must succeed."""
        return await self.done("GET", path, **options)

    async def done(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The data of what must succeed."""
        status, data = await self.call(method, path, body, **options)
        assert status < 300, (status, data)
        return data

    async def sign_in(self, name: str, password: str = PASSWORD) -> None:
        """Begin a session."""
        data = await self.done("POST", SESSION, {"name": name, "password": password})
        self.csrf = data["csrf"]

    async def act(self, number: int, what: str, body: Any = None) -> tuple[int, Any]:
        """Do something with a conversation."""
        return await self.call("POST", f"{CONVERSATIONS}/{number}/{what}", body)

    async def reply(self, number: int, text: str, client_id: str = "1", **fields: Any) -> Any:
        """Write to the customer."""
        body = {"text": text, "client_id": client_id} | fields
        return await self.done("POST", f"{CONVERSATIONS}/{number}/reply", body)

    async def ids(self, view: str = "all", **query: Any) -> list[int]:
        """The conversations of a view."""
        data = await self.get(CONVERSATIONS, params={"view": view} | query)
        return [one["id"] for one in data["conversations"]]

    @asynccontextmanager
    async def events(self) -> AsyncIterator[EventStream]:
        """What is pushed."""
        headers = {"Cookie": f"kfbot_desk={self.token}"}
        async with self.bot.http.get(
            f"{self.bot.url}/desk/api/events",
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as response:
            assert response.status == 200
            yield EventStream(response)


class EventStream:
    """Server-sent events, one after another."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self) -> tuple[str, dict[str, Any]]:
        """The next event."""
        name = ""
        async with asyncio.timeout(60):
            async for line in self._response.content:
                text = line.decode().rstrip("\n")
                if text.startswith("event: "):
                    name = text.removeprefix("event: ")
                elif text.startswith("data: "):
                    return name, json.loads(text.removeprefix("data: "))
        raise AssertionError("the stream ended")

    async def until(self, name: str) -> dict[str, Any]:
        """The data of the next event of this name."""
        while True:
            event, data = await self.next()
            if event == name:
                return data

    async def ended(self) -> None:
        """Until the server ends it."""
        async with asyncio.timeout(60):
            await self._response.content.read()


async def first_admin(bot: ServedBot, name: str = "anna") -> DeskClient:
    """The desk of the admin whom the first visit makes."""
    desk = DeskClient(bot)
    body = {"name": name, "display_name": f"{name.title()} Li", "password": PASSWORD}
    data = await desk.done("POST", "/desk/api/setup", body)
    desk.csrf = data["csrf"]
    return desk


async def colleague(admin: DeskClient, name: str, **fields: Any) -> DeskClient:
    """The desk of an agent whom an admin adds."""
    body = {"name": name, "display_name": name.title(), "password": PASSWORD} | fields
    await admin.done("POST", "/desk/api/agents", body)
    desk = DeskClient(admin.bot)
    await desk.sign_in(name)
    return desk


async def waiting(bot: ServedBot, chat: str = "c-1", text: str = "转人工") -> int:
    """A conversation whose customer waits for an agent."""
    await bot.ask(text, chat)
    return await bot.id_of(chat)
