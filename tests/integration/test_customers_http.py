"""Customers over HTTP and by command; agents' threads and open pages when one is erased."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kfbot.messages import Attachment, ConversationId, MessageReceived, Sender
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.erasure import ERASED
from kfbot.testing import FakeAdapter
from tests.conftest import Clock
from tests.dialogues.office import UNKNOWN, opened, team
from tests.integration.conftest import Served, ServedBot
from tests.integration.stores import count
from tests.integration.test_web_chat import visit

pytestmark = pytest.mark.asyncio
CHANNEL = {"crm": {"platform": "webhook", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                   "reply": "response"}}  # fmt: skip


async def wrote(bot: ServedBot, user: str, name: str = "", text: str = "怎么开发票") -> None:
    event = MessageReceived(
        event_id=f"event of {user}",
        conversation=ConversationId("crm", f"chat of {user}"),
        message_id=f"message of {user}",
        sender=Sender(user, "customer", name),
        sent_at=bot.clock(),
        text=text,
        attachments=(Attachment(url="https://x.example/a.png", media_type="image/png"),),
    )
    accepted = await bot.application.inbox.accept(event)
    assert await bot.application.inbox.settled(accepted, timeout_seconds=60)
    await bot.quiet()


async def delete(bot: ServedBot, path: str) -> tuple[int, dict[str, Any]]:
    return await bot._request("DELETE", path)


async def test_customers_are_listed_found_shown_and_erased_over_http(served: Served) -> None:
    async with served(sections=CHANNEL) as bot:
        await wrote(bot, "user/7 ü", "Ann Lee")
        await wrote(bot, "bob", "Bob_Li")
        for query, found in (
            ({}, ["bob", "user/7 ü"]),
            ({"search": "ann l"}, ["user/7 ü"]),
            ({"search": "b_"}, ["bob"]),
            ({"search": "USER/"}, ["user/7 ü"]),
            ({"channel": "web"}, []),
            ({"conversation": "1"}, ["user/7 ü"]),
            ({"before": "2"}, ["user/7 ü"]),
            ({"limit": "1"}, ["bob"]),
        ):
            _, body = await bot.get("/api/v1/customers", params=query)
            assert [one["id"] for one in body["data"]["customers"]] == found, query
        one = "/api/v1/customers/crm/user%2F7%20%C3%BC"
        status, body = await bot.get(f"{one}/export")
        assert (status, body["data"]["customer"]["name"]) == (200, "Ann Lee")
        status, body = await delete(bot, one)
        assert (status, body["data"]["conversations"]) == (200, 1)
        assert (await delete(bot, one))[0] == 404
        status, body = await bot.get(f"{one}/export")
        assert status == 404
        assert "user/7" not in body["msg"]
        _, body = await bot.get("/api/v1/customers")
        assert [one["id"] for one in body["data"]["customers"]] == ["bob"]


@pytest.mark.parametrize(
    "path",
    ["?limit=0", "?limit=101", "?before=x", "?conversation=-1"],
)
async def test_what_cannot_be_asked_is_refused(bot: ServedBot, path: str) -> None:
    status, _ = await bot.get(f"/api/v1/customers{path}")
    assert status == 400


async def test_an_erasure_refuses_what_it_does_not_know(bot: ServedBot) -> None:
    status, body = await delete(bot, "/api/v1/customers/web/x?entries=yes")
    assert (status, body["msg"]) == (400, "entries: true or false")


async def test_backups_that_hold_the_customer_are_named(served: Served, tmp_path: Path) -> None:
    from kfbot.store.backup import back_up

    async with served(sections=CHANNEL) as bot:
        url, folder = bot.application.settings.database_url, tmp_path / "backups"
        back_up(url, folder / "before.sqlite3")
        await wrote(bot, "ann")
        back_up(url, folder / "with.sqlite3")
        (folder / "other.dump").write_bytes(b"PGDMP")
        _, body = await delete(bot, "/api/v1/customers/crm/ann")
        held = {Path(one["file"]).name: one["holds"] for one in body["data"]["backups"]}
        assert held == {"before.sqlite3": False, "other.dump": None, "with.sqlite3": True}


async def test_a_page_that_is_open_shows_what_follows_the_erasure(bot: ServedBot) -> None:
    visitor = await visit(bot)
    async with visitor.page() as stream:
        await visitor.says("怎么开发票")
        assert [one["role"] for one in await stream.messages(2)] == ["customer", "bot"]
        status, _ = await delete(bot, f"/api/v1/customers/web/{visitor.name}")
        assert status == 200
        await visitor.says("运费是多少")
        assert (await stream.messages(2))[1]["text"] == "满 99 元包邮，否则 8 元。"


async def test_the_number_of_an_erased_conversation_is_never_another_ones(
    served: Served,
) -> None:
    async with served(sections=CHANNEL) as bot:
        await wrote(bot, "ann")
        await delete(bot, "/api/v1/customers/crm/ann")
        await wrote(bot, "bob")
        assert await bot.id_of("chat of bob", "crm") == 2
        await delete(bot, "/api/v1/customers/crm/bob")
        query = sa.select(tables.conversation.c.id, tables.conversation.c.state)
        rows = await bot.database.read(lambda c: c.execute(query).all())
        assert [tuple(row) for row in rows] == [(2, ERASED)]
        await bot.application.privacy.keep_up()


async def test_what_agents_chats_were_shown_is_forgotten_too(
    database: Database, clock: Clock
) -> None:
    async with opened(database, clock, FakeAdapter(), team()) as shop:
        await shop.customer_says(UNKNOWN, sender=Sender("ann", "customer", "Xylophanna"))
        await shop.agent_says("We do sell platypusprivate machines, for a while now.")
        assert any("Xylophanna" in text for text in shop.shown())
        await shop.application.privacy.erase("shop", "ann", actor="token")
        for table in (tables.message, tables.outbox, tables.inbox, tables.case_thread):
            assert await count(database, table) == 0
        # A new case of the same agents' chat has a thread of its own.
        await shop.customer_says(UNKNOWN, chat=ConversationId("shop", "2"), sender=Sender("bob"))
        await shop.sent_out()
        assert len(shop.agents.threads) == 2


async def test_commands_show_and_erase(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import asyncio

    from kfbot.cli import run

    async with served(sections=CHANNEL) as bot:
        await wrote(bot, "ann", "Ann Lee")
        given = ["--settings", str(tmp_path / "kfbot.toml")]
        (tmp_path / "kfbot.toml").write_text('data_dir = "."\n', encoding="utf-8")
        out = tmp_path / "ann.json"

        async def kfbot(*words: str) -> tuple[int, str]:
            status = await asyncio.to_thread(run, ["customer", *words, *given])
            said = capsys.readouterr()
            return status, said.out + said.err

        assert "Ann Lee" in (await kfbot("list"))[1]
        status, said = await kfbot("export", "crm", "ann", "--out", str(out))
        assert (status, out.stat().st_mode & 0o777) == (0, 0o600), said
        assert json.loads(out.read_text(encoding="utf-8"))["customer"]["id"] == "ann"
        assert (await kfbot("export", "crm", "ann", "--out", str(out)))[0] == 1
        status, said = await kfbot("erase", "crm", "ann", "--yes")
        assert (status, "1 conversations" in said) == (0, True)
        assert "Not reached: backups outside of the data folder" in said
        status, said = await kfbot("erase", "crm", "ann", "--yes")
        assert status == 1
        assert "nothing is kept of a customer of this id on channel 'crm'" in said
