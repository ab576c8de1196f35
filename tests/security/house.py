"""A bot with a customer and agents of every role, and the requests of `routes.py` to it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from kfbot.store import tables
from tests.integration.conftest import Served, ServedBot
from tests.integration.desk_client import DeskClient, colleague, first_admin, waiting
from tests.security.routes import DESK, Row, Who

TOKEN = "t-the-operators-own"
METRICS_TOKEN = "t-the-monitors-own"
#: What a customer wrote: nobody who is refused may read it anywhere.
PLANTED = "my parcel to 7 Elm Street is lost"
#: What a look itself writes down: failed guesses, and when a session was last used.
_NOTED = {
    "sign_in_failure": None,
    "agent_session": "used_at",
    "agent": "seen_at",
    # When the bot itself looks at a waiting case again.
    "case": "due_at",
}


@dataclass
class House:
    """A bot with a customer, agents of every role, and what each of them would send."""

    bot: ServedBot
    desks: dict[Who, DeskClient]
    cookie: str
    number: int

    def url(self, row: Row) -> str:
        """An address of the row that is there."""
        name = "desk.js" if row.path.startswith("/desk") else "chat.js"
        names: dict[str, Any] = {
            "channel": "crm",
            "path": "below",
            "kb": "fake",
            "knowledge_base": "fake",
            "name": name if "static" in row.path else "anna",
            "id": self.number,
        }
        return self.bot.url + row.path.format(**names)

    async def send(
        self, row: Row, headers: dict[str, str] | None = None, **options: Any
    ) -> tuple[int, str]:
        """Status and text of the answer to the row's request; of a stream its beginning."""
        sent = {"Content-Type": row.takes} if row.body is not None else {}
        if row.body is not None and "data" not in options:
            options["data"] = row.body if isinstance(row.body, bytes) else json.dumps(row.body)
        method = options.pop("method", "POST" if row.method == "*" else row.method)
        async with self.bot.http.request(
            method,
            options.pop("url", self.url(row)),
            headers=sent | (headers or {}),
            allow_redirects=False,
            **options,
        ) as answer:
            assert not [name for name in answer.headers if name.startswith("Access-Control-")]
            if row.is_stream and answer.status == 200:
                return answer.status, (await answer.content.readany()).decode()
            return answer.status, await answer.text()

    def rightful(self, row: Row) -> dict[str, str]:
        """The headers of somebody who may."""
        if row.who in DESK:
            return self.of_desk(row.who)
        return {
            Who.TOKEN: {"Authorization": f"Bearer {TOKEN}"},
            Who.METRICS: {"Authorization": f"Bearer {METRICS_TOKEN}"},
            Who.VISITOR: {"Cookie": self.cookie},
        }.get(row.who, {})

    def of_desk(self, who: Who) -> dict[str, str]:
        """The headers of an agent's page."""
        desk = self.desks[who]
        return {"Cookie": f"kfbot_desk={desk.token}", "X-CSRF-Token": desk.csrf}

    async def state(self) -> dict[str, list[str]]:
        """Every row of every table, but for what a look itself writes down."""
        return await self.bot.database.read(
            lambda connection: {
                table.name: sorted(map(repr, connection.execute(sa.select(*_kept(table)))))
                for table in tables.metadata.sorted_tables
                if _NOTED.get(table.name, "") is not None
            }
        )


def _kept(table: sa.Table) -> list[sa.Column[Any]]:
    return [column for column in table.c if column.name != _NOTED.get(table.name)]


@asynccontextmanager
async def house(served: Served, **options: Any) -> AsyncIterator[House]:
    """See `House`."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    crm = {"platform": "webhook", "secret": secret, "reply": "response"}
    web_settings = {"tokens": [TOKEN], "metrics_token": METRICS_TOKEN}
    async with served(web=web_settings, sections={"crm": crm}, **options) as bot:
        anna = await first_admin(bot)
        desks = {
            Who.ADMIN: anna,
            Who.AGENT: await colleague(anna, "bo"),
            Who.VIEWER: await colleague(anna, "vi", role="viewer"),
        }
        bot.http.headers["Authorization"] = f"Bearer {TOKEN}"
        number = await waiting(bot, text=f"转人工 {PLANTED}")
        del bot.http.headers["Authorization"]
        async with bot.http.get(f"{bot.url}/chat") as page:
            cookie = page.headers["Set-Cookie"].partition(";")[0]
        await bot.quiet()
        yield House(bot, desks, cookie, number)
