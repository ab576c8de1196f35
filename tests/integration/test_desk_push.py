"""What open desks are told: by their own server and by others, over cuts, and how it is asked."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kfbot.agents import Agent, Team
from kfbot.changes import EVERYTHING
from kfbot.store import tables
from kfbot.store.desk import desk_stores
from kfbot.store.engine import Database
from kfbot.store.queue import Asked
from kfbot.testing import FakeKnowledgeBase
from kfbot.web.access import VISITOR_COOKIE
from tests.conftest import Clock
from tests.integration.conftest import Served, ServedBot
from tests.integration.desk_client import (
    CONVERSATIONS,
    DeskClient,
    EventStream,
    colleague,
    first_admin,
    waiting,
)
from tests.integration.stores import listening
from tests.integration.test_replicas import Replica, replica

pytestmark = pytest.mark.asyncio


async def test_a_customers_message_reaches_an_open_desk(bot: ServedBot) -> None:
    anna = await first_admin(bot)
    async with anna.events() as events:
        assert await events.next() == ("ready", {})
        number = await waiting(bot)
        assert await events.until("conversation") == {"id": number}
        assert await events.until("queue") == {}


async def test_what_the_bot_answers_alone_changes_no_list(bot: ServedBot) -> None:
    anna = await first_admin(bot)
    async with anna.events() as events:
        await events.until("ready")
        await bot.ask("When will my refund arrive?", "alone")
        number = await waiting(bot)
        heard: list[tuple[str, dict[str, Any]]] = []
        while ("conversation", {"id": number}) not in heard:
            heard.append(await events.next())
        before = heard[: heard.index(("conversation", {"id": number}))]
        assert "queue" not in [name for name, _ in before]


async def test_nothing_is_lost_or_seen_twice_over_a_cut(bot: ServedBot) -> None:
    anna = await first_admin(bot)
    number = await waiting(bot)
    path = f"{CONVERSATIONS}/{number}"
    seen: list[dict[str, Any]] = []

    async def look() -> None:
        after = seen[-1]["id"] if seen else 0
        seen.extend((await anna.get(path, params={"after": after}))["transcript"])

    for round_ in range(3):
        async with anna.events() as events:
            await events.until("ready")
            await look()
            await bot.ask(f"heard {round_}", "c-1")
            while seen[-1]["text"] != f"heard {round_}":
                await events.until("conversation")
                await look()
        await bot.ask(f"while away {round_}", "c-1")
    await look()
    texts = [message["text"] for message in seen if message["role"] == "customer"]
    said = [text for one in range(3) for text in (f"heard {one}", f"while away {one}")]
    assert texts == ["转人工", *said]


async def test_after_missed_notices_desks_look_at_everything_again(bot: ServedBot) -> None:
    anna = await first_admin(bot)
    async with anna.events() as events:
        await events.until("ready")
        bot.application.changes.announce(EVERYTHING)
        assert await events.next() == ("ready", {})


async def test_desks_end_with_the_server(served: Served) -> None:
    async with AsyncExitStack() as server:
        bot = await server.enter_async_context(served())
        anna = await first_admin(bot)
        async with anna.events() as events:
            await events.until("ready")
            await server.aclose()
            await events.ended()


async def test_an_agent_who_types_is_seen_by_the_customer_and_by_colleagues(
    bot: ServedBot,
) -> None:
    anna = await first_admin(bot)
    bo = await colleague(anna, "bo")
    async with bot.http.get(f"{bot.url}/chat") as response:
        cookie = response.headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    visitor = {"Cookie": f"{VISITOR_COOKIE}={cookie}"}
    body = {"message_id": "m-1", "text": "转人工"}
    assert (await bot.post("/chat/messages", body, headers=visitor))[0] == 202
    await bot.quiet()
    number = await bot.id_of(cookie.partition(".")[0], "web")
    await anna.act(number, "claim")
    url = f"{bot.url}/chat/events"
    async with bo.events() as events, bot.http.get(url, headers=visitor) as chat:
        page = EventStream(chat)
        assert await page.until("state") == {"state": "agent", "agent": "Anna Li"}
        await page.until("ready")
        await events.until("ready")
        # Not of who has not claimed it.
        await bo.act(number, "typing")
        await anna.act(number, "typing")
        assert await page.until("typing") == {}
        assert await events.until("typing") == {"id": number}
        await anna.reply(number, "Hello.")
        assert (await page.until("message"))["name"] == "Anna Li"


def served_by(one: Replica) -> ServedBot:
    application = one.application
    knowledge = application.knowledge
    assert isinstance(knowledge, FakeKnowledgeBase)
    folder, clock = application.settings.data_dir, application.clock
    return ServedBot(one.url, one.http, application, knowledge, one.database, folder, clock)


async def test_desks_at_different_servers_see_one_another(
    postgres_url: str, tmp_path: Path
) -> None:
    async with (
        replica(postgres_url, tmp_path / "one", FakeKnowledgeBase({})) as first,
        replica(postgres_url, tmp_path / "other", FakeKnowledgeBase({})) as second,
    ):
        one, other = served_by(first), served_by(second)
        anna = await first_admin(one)
        elsewhere = DeskClient(other)
        await elsewhere.sign_in("anna")
        async with elsewhere.events() as events:
            await events.until("ready")
            number = await waiting(one)
            assert await events.until("conversation") == {"id": number}
            answers = [await desk.act(number, "claim") for desk in (anna, elsewhere)]
            assert [status for status, _ in answers] == [200, 200]
            await anna.done("DELETE", "/desk/api/session")
            assert (await elsewhere.call("GET", CONVERSATIONS))[0] == 200
            stolen = DeskClient(one)
            stolen.token = elsewhere.token
            await elsewhere.done("DELETE", "/desk/api/session")
            assert (await stolen.call("GET", CONVERSATIONS))[0] == 401
            await events.until("signed_out")


async def test_no_question_of_the_desk_reads_a_whole_table(
    database: Database, clock: Clock
) -> None:
    stores = desk_stores(database, clock)
    heard: dict[str, Any] = {}

    def hear(connection: Any, cursor: Any, statement: str, parameters: Any, *further: Any) -> None:
        heard[statement] = parameters[0] if isinstance(parameters, list) else parameters

    team = Team(name="day", channels=("web",), knowledge_bases=("faq",))
    agent = Agent(name="anna", display_name="Anna", teams=(team,))
    await many_conversations(database, clock)
    with listening("before_cursor_execute", hear):
        for view in ("waiting", "mine", "all", "closed"):
            asked = Asked(view=view, words="a%", channel="web", limit=1)
            _, further = await stores.queue.list(agent, asked)
            await stores.queue.list(agent, Asked(view=view, after=further))
        await stores.queue.counts(agent)
        await stores.queue.find(agent, 1)
        await stores.queue.earlier(agent, 1)
        await stores.queue.standings([1, 2])
        await stores.queue.open_ids()
        for place in ({}, {"after": 1}, {"before": 2}):
            await stores.transcripts.page(1, **place)
        await stores.transcripts.message(1, 1)
        await stores.sign_ins.find("token")
        await stores.sign_ins.alive(["token"])
        await stores.audit.list(before=7)
    # Agents and teams are few and are read whole.
    few = {"agent", "team", "team_member"}
    whole = set()
    for statement, parameters in heard.items():
        if not statement.startswith("SELECT"):
            continue
        plan = await database.read(partial(planned, statement, parameters))
        scanned = [step.split()[1].strip('"') for step in plan if step.startswith("SCAN")]
        known = set(tables.metadata.tables) - few
        whole |= {(table, statement) for table in scanned if table in known or table == "m"}
    assert whole == set()


def planned(statement: str, parameters: Any, connection: sa.Connection) -> list[str]:
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
    return list(rows.scalars("detail"))


async def many_conversations(database: Database, clock: Clock) -> None:
    """Some of every state, so that no answer is empty."""
    now = clock()
    states = ["waiting", "agent", "closed", "bot"] * 3
    rows = [
        {"id": number, "state": state, "agent": "anna" if state == "agent" else None}
        for number, state in enumerate(states, 1)
    ]
    times = {"created_at": now, "updated_at": now}
    aliases = [
        {"channel": "web", "chat": f"c-{row['id']}", "conversation_id": row["id"]} for row in rows
    ]
    said = [
        {"conversation_id": row["id"], "role": "customer", "text": "a% b", "created_at": now}
        for row in rows
    ]

    def operation(connection: Any) -> None:
        connection.execute(tables.conversation.insert(), [row | times for row in rows])
        connection.execute(tables.conversation_alias.insert(), aliases)
        connection.execute(tables.message.insert(), said)

    await database.write(operation)
