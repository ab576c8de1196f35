"""OpenIM end to end: its callbacks in, send_msg out, over HTTP on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import pytest_asyncio

from tests.conftest import Clock
from tests.integration.conftest import DOUBTFUL, ENTRIES, Served, ServedBot
from tests.platforms.openim import ALLOWED, BOT, SECRET, WEBHOOK_SECRET, OpenImServer

pytestmark = pytest.mark.asyncio

QUESTION = "When will my refund arrive?"
#: As a platform without marks shows it.
REFUND = "Within 2 business days."


@dataclass
class Shop:
    """A shop on an OpenIM server."""

    bot: ServedBot
    server: OpenImServer

    async def says(self, text: str, sender: str = "u1", **fields: Any) -> dict[str, Any]:
        """Let a user write; waits for what comes of it."""
        body = await self.server.says(text, sender, **fields)
        await self.bot.quiet()
        return body

    def got(self) -> list[tuple[str, str]]:
        """To whom each message went, and what it says first."""
        return [
            (sent.body["recvID"] or sent.body["groupID"], sent.text.split("\n\n[1]")[0])
            for sent in self.server.sent
        ]


@asynccontextmanager
async def opened(
    served: Served, clock: Clock, generation: Literal["new", "old"] = "new"
) -> AsyncIterator[Shop]:
    async with OpenImServer(generation) as server:
        section = {
            "platform": "openim",
            "api_base": server.url,
            "secret": SECRET,
            "bot_id": BOT,
            "webhook_secret": WEBHOOK_SECRET,
            "agents": ["staff1", BOT],
        }
        server.groups["g1"].add("staff1")
        async with served(clock=clock, sections={"shop": section}) as bot:
            server.callback_url = f"{bot.url}/webhooks/shop/{WEBHOOK_SECRET}"
            yield Shop(bot, server)


@pytest_asyncio.fixture
async def shop(served: Served, clock: Clock) -> AsyncIterator[Shop]:
    async with opened(served, clock) as opened_shop:
        yield opened_shop


@pytest.mark.parametrize("generation", ["new", "old"])
async def test_a_question_is_answered_whichever_server_calls(
    served: Served, clock: Clock, generation: Literal["new", "old"]
) -> None:
    async with opened(served, clock, generation) as shop:
        await shop.says(QUESTION)
        await shop.says("怎么开发票", "u2")
        assert shop.got() == [("u1", REFUND), ("u2", ENTRIES["怎么开发票"])]


async def test_a_message_that_comes_again_is_answered_once(shop: Shop) -> None:
    body = await shop.says(QUESTION)
    await asyncio.gather(*(shop.server.calls(body) for _ in range(5)))
    await shop.bot.quiet()
    assert shop.got() == [("u1", REFUND)]


async def test_the_bots_own_answer_that_comes_back_is_no_message(shop: Shop) -> None:
    await shop.says(QUESTION)
    before = await shop.bot.stored()
    await shop.says(REFUND, BOT, recvID="u1", msgFrom=200)
    assert await shop.bot.stored() == before


async def test_talk_between_two_users_is_left_alone(shop: Shop) -> None:
    before = await shop.bot.stored()
    await shop.says(QUESTION, recvID="u2")
    assert (shop.got(), await shop.bot.stored()) == ([], before)


async def test_callbacks_that_mean_nothing_here_let_messages_pass(shop: Shop) -> None:
    for command in ("callbackBeforeSendSingleMsgCommand", "callbackMsgModifyCommand"):
        body = shop.server.message(QUESTION, callbackCommand=command)
        assert await shop.server.calls(body) == (200, ALLOWED)
    await shop.bot.quiet()
    assert shop.got() == []


async def test_choices_are_numbered_and_chosen_by_their_number(shop: Shop, clock: Clock) -> None:
    await shop.says(DOUBTFUL)
    assert "\n1. " in shop.got()[-1][1]
    first = shop.got()[-1][1].split("\n1. ")[1].split("\n")[0]
    await shop.says("1")
    # So short a message may have a second half: it is waited for.
    clock.advance(seconds=3)
    await shop.bot.quiet()
    assert shop.got()[-1] == ("u1", ENTRIES[first])


async def test_in_a_group_the_bot_speaks_when_spoken_to(shop: Shop) -> None:
    await shop.says(QUESTION, groupID="g1")
    assert shop.got() == []
    await shop.says(f"@bot1 {QUESTION}", groupID="g1", atUserList=[BOT])
    assert shop.got() == [("g1", REFUND)]
    assert shop.server.sent[0].body["sessionType"] == 3


async def test_an_agent_in_a_group_takes_over_whom_they_answer_and_nobody_else(shop: Shop) -> None:
    at = {"groupID": "g1", "atUserList": [BOT]}
    await shop.says(f"@bot1 {QUESTION}", **at)
    await shop.says("@u1 I am looking into it.", "staff1", groupID="g1", atUserList=["u1"])
    await shop.says("@bot1 怎么开发票", **at)
    assert shop.got() == [("g1", REFUND)]
    await shop.says("@bot1 怎么开发票", "u2", **at)
    assert shop.got()[1:] == [("g1", ENTRIES["怎么开发票"])]


async def test_a_person_who_writes_with_the_bots_account_silences_the_bot(shop: Shop) -> None:
    await shop.says(QUESTION)
    await shop.says("This is Kim, I will look.", BOT, recvID="u1")
    await shop.says("怎么开发票")
    assert shop.got() == [("u1", REFUND)]
    _, listed = await shop.bot.get("/api/v1/conversations?state=agent")
    assert [one["agent"] for one in listed["data"]] == ["Shop"]


async def test_a_picture_is_kept_for_whoever_looks(shop: Shop) -> None:
    content = '{"sourcePicture": {"url": "https://files.example/a.png", "type": "image/png"}}'
    await shop.says("", contentType=102, content=content)
    await shop.says("转人工")
    conversation = await shop.bot.id_of("u1", "shop")
    _, body = await shop.bot.get(f"/api/v1/conversations/{conversation}")
    assert body["data"]["state"] == "waiting"


async def test_without_the_secret_nothing_is_stored(shop: Shop) -> None:
    before = await shop.bot.stored()
    shop.server.callback_url = f"{shop.bot.url}/webhooks/shop"
    status, body = await shop.server.calls(shop.server.message(QUESTION))
    assert (status, body["code"]) == (401, 401)
    shop.server.callback_url = f"{shop.bot.url}/webhooks/shop/wrong-secret-0123456789"
    assert (await shop.server.calls(shop.server.message(QUESTION)))[0] == 401
    assert await shop.bot.stored() == before


async def test_other_channels_have_nothing_below_their_address(
    served: Served, clock: Clock
) -> None:
    section = {
        "platform": "webhook",
        "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "reply": "response",
    }
    async with served(clock=clock, sections={"other": section}) as bot:
        for path in ("other/x", "other/x/y", "nobody/x", "web/x"):
            status, body = await bot.post(f"/webhooks/{path}")
            assert (status, body["code"]) == (404, 404)
        assert (await bot.post("/webhooks/other"))[0] == 401


# --- in place of OpenKF's bot service -------------------------------------------------------------


@pytest.mark.parametrize("query", [QUESTION, "怎么开发票", "转人工", "xyzzy", ""])
async def test_whatever_openkf_asks_it_gets_the_three_texts_that_it_reads(
    bot: ServedBot, query: str
) -> None:
    # OpenKF's client casts each of them to a string, and stops where one is missing.
    status, body = await bot.post(
        "/api/v1/ask", {"query": query}, headers={"operationID": "1", "token": ""}
    )
    assert (status, body["code"], body["msg"]) == (200, 200, "success")
    assert all(isinstance(body["data"][name], str) for name in ("text", "context", "question"))
    assert body["data"]["question"] == query
