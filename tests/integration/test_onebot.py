"""OneBot over its WebSocket and over HTTP, with the whole bot behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from adapters.onebot import OneBotAdapter
from adapters.onebot.settings import OneBotSettings
from kfbot.errors import ChannelUnauthorized, ChannelUnavailable, MessageRejected
from kfbot.messages import ConversationId, InboundEvent, MessageReceived, OutboundMessage
from kfbot.store.acceptance import Accepted
from tests.integration.conftest import Served, ServedBot
from tests.platforms.onebot import (
    CUSTOMER,
    GROUP,
    ME,
    OneBotStandIn,
    at,
    grouped,
    heartbeat,
    private,
    reply,
    text,
)

pytestmark = pytest.mark.asyncio
TOKEN, SECRET = "not-a-real-token", "not-a-real-secret"
QUESTION, ANSWER = "When will my refund arrive?", "Within 2 business days."


@asynccontextmanager
async def shop(served: Served, **given: Any) -> AsyncIterator[tuple[ServedBot, OneBotStandIn]]:
    """A bot, and an implementation that can reach it."""
    async with OneBotStandIn(token=TOKEN, secret=SECRET) as platform:
        section = {"platform": "onebot", "access_token": TOKEN, **given}
        if section.get("secret"):
            section["api_base"] = platform.api_base
        async with served(sections={"qq": section}) as bot:
            platform.url = f"{bot.url}/webhooks/qq"
            yield bot, platform


def said(call: tuple[str, dict[str, Any]]) -> str:
    """The words that a call sends."""
    return "".join(one["data"]["text"] for one in call[1]["message"] if one["type"] == "text")


def hello() -> OutboundMessage:
    place = ConversationId("qq", "private:7")
    return OutboundMessage(conversation=place, id="msg_1", text="hello")


async def test_a_private_question_is_answered_through_the_websocket(served: Served) -> None:
    async with shop(served) as (_, platform):
        await platform.connect()
        await platform.tell(heartbeat())
        await platform.tell(private(text(QUESTION)))
        [call] = await platform.called()
    assert call[0] == "send_private_msg"
    assert call[1]["user_id"] == CUSTOMER
    assert said(call).startswith(ANSWER)


async def test_a_member_of_a_group_is_answered_by_name_in_chinese(served: Served) -> None:
    async with shop(served) as (_, platform):
        await platform.connect()
        await platform.tell(grouped(text("午饭吃什么？"), message_id=1))
        await platform.tell(grouped(at(ME), text(" 运费是多少"), message_id=2))
        [call] = await platform.called()
    name, params = call
    assert (name, params["group_id"]) == ("send_group_msg", GROUP)
    assert [one["type"] for one in params["message"]] == ["reply", "at", "text"]
    assert params["message"][0]["data"]["id"] == "2"
    assert params["message"][1]["data"]["qq"] == str(CUSTOMER)


async def test_a_reply_to_the_bot_in_a_group_is_for_the_bot(served: Served) -> None:
    async with shop(served) as (_, platform):
        await platform.connect()
        await platform.tell(grouped(at(ME), text(QUESTION), message_id=1))
        await platform.called()
        await platform.tell(grouped(reply(500), text("How do I return an item?"), message_id=2))
        calls = await platform.called(2)
    assert "Open the order" in said(calls[1])


async def test_what_is_told_twice_is_answered_once(served: Served) -> None:
    async with shop(served) as (_, platform):
        await platform.connect()
        for _ in range(2):
            await platform.tell(private(text(QUESTION)))
        await platform.tell(private(text("How do I return an item?"), message_id=2))
        calls = await platform.called(2)
        assert [said(call)[:4] for call in calls] == [ANSWER[:4], "Open"]


async def test_an_answer_waits_for_an_implementation_that_comes_back(served: Served) -> None:
    async with shop(served) as (_, platform):
        platform.is_mute = True
        await platform.connect()
        await platform.tell(private(text(QUESTION)))
        await platform.called()
        await platform.disconnect()
        platform.is_mute = False
        await platform.connect()
        calls = await platform.called(2)
        # Nobody knows whether the first one went out: OneBot has no key for repeats.
        assert said(calls[0]) == said(calls[1])


@pytest.mark.parametrize("token", ["", "another", TOKEN + "x"])
async def test_a_websocket_without_the_token_is_not_opened(served: Served, token: str) -> None:
    async with shop(served) as (_, platform):
        platform.token = token
        with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
            await platform.connect()
        assert raised.value.status == 401


async def test_the_token_may_stand_in_the_address(served: Served) -> None:
    async with shop(served) as (_, platform):
        platform.token, platform.url = "", f"{platform.url}?access_token={TOKEN}"
        await platform.connect()
        await platform.tell(private(text(QUESTION)))
        assert ANSWER in said((await platform.called())[0])


async def test_a_websocket_for_events_alone_is_not_called_through(served: Served) -> None:
    async with (
        shop(served) as (_, events),
        OneBotStandIn(url=events.url, token=TOKEN, role="API") as calls,
    ):
        events.role = "Event"
        await calls.connect()
        await events.connect()
        await events.tell(private(text(QUESTION)))
        await calls.called()
        assert events.calls == []


async def test_a_platform_that_opens_no_websockets_opens_none(served: Served) -> None:
    async with served() as bot, aiohttp.ClientSession() as http:
        for channel in ("web", "nowhere"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
                await http.ws_connect(f"{bot.url}/webhooks/{channel}")
            assert raised.value.status == 404


async def test_garbage_through_the_websocket_stops_nothing(served: Served) -> None:
    async with shop(served) as (_, platform):
        await platform.connect()
        for junk in ("", "{", "[]", "7", '{"retcode": 0, "echo": "x"}', "[" * 10_000, "null"):
            await platform._socket.send_str(junk)
        await platform.tell(private(text(QUESTION)))
        assert ANSWER in said((await platform.called())[0])


async def test_posts_are_answered_over_the_http_api(served: Served) -> None:
    async with shop(served, secret=SECRET) as (_, platform):
        assert await platform.post(private(text(QUESTION))) == 204
        [call] = await platform.called()
        assert ANSWER in said(call)
        assert platform.shown == [f"Bearer {TOKEN}"]
        assert await platform.post(private(text(QUESTION)), secret="another") == 401


class Door:
    """Before the inbox of a bot: while it is shut the store takes nothing."""

    def __init__(self, bot: ServedBot, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.knocked = asyncio.Event(), asyncio.Event()
        self._accept = bot.application.inbox.accept
        monkeypatch.setattr(bot.application.inbox, "accept", self._pass)

    async def _pass(self, event: InboundEvent) -> Accepted:
        self.knocked.set()
        await self.open.wait()
        return await self._accept(event)


async def test_while_the_store_is_away_calls_are_answered_and_what_is_told_waits_in_order(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(served, timeout_seconds=5) as (bot, platform):
        await platform.connect()
        door = Door(bot, monkeypatch)
        await platform.tell(private(text(QUESTION), message_id=1))
        async with asyncio.timeout(60):
            await door.knocked.wait()
        await platform.tell(private(text("How do I return an item?"), message_id=2))
        receipt = await bot.application.channels["qq"].send(hello())
        assert receipt.platform_ids == ("500",)
        door.open.set()
        calls = await platform.called(3)
        assert [said(call)[:4] for call in calls] == ["hell", ANSWER[:4], "Open"]


async def test_what_was_told_before_the_websocket_closed_is_stored_when_the_store_is_back(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(served) as (bot, platform):
        await platform.connect()
        door = Door(bot, monkeypatch)
        await platform.tell(private(text(QUESTION), message_id=1))
        await platform.tell(private(text("How do I return an item?"), message_id=2, user=7))
        await platform.disconnect()
        await platform.connect()
        door.open.set()
        calls = await platform.called(2)
        assert {said(call)[:4] for call in calls} == {ANSWER[:4], "Open"}


class Telling:
    """A WebSocket with texts to be read, then closed."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self.unread = [json.dumps(event) for event in events]

    async def receive(self) -> str | None:
        return self.unread.pop(0) if self.unread else None

    async def send(self, _: str) -> None: ...


async def test_no_more_is_read_than_can_wait_and_what_is_left_at_the_end_is_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("adapters.onebot.adapter._MOST_UNSTORED", 2)
    settings = OneBotSettings(platform="onebot", access_token=TOKEN)  # type: ignore[arg-type]
    telling = Telling(*(private(text("hi"), message_id=number) for number in range(1, 7)))
    async with OneBotAdapter("qq", settings) as adapter:
        reading = asyncio.create_task(adapter._read(telling, takes_calls=True))
        async with aclosing(adapter.listen()) as heard:  # type: ignore[type-var]
            for number in range(1, 4):
                event = await anext(heard)
                assert isinstance(event, MessageReceived)
                assert event.message_id == str(number)
                # One is being stored, two wait, and for one there is no room.
                assert 6 - len(telling.unread) <= number + 3
        await asyncio.wait([reading], timeout=0)
        assert not reading.done()
        reading.cancel()
    assert "events are not stored" in caplog.text


@asynccontextmanager
async def told(*events: dict[str, Any]) -> AsyncIterator[OneBotAdapter]:
    """An adapter that has read these events from a WebSocket, which then closed."""
    settings = OneBotSettings(platform="onebot", access_token=TOKEN)  # type: ignore[arg-type]
    async with OneBotAdapter("qq", settings) as adapter:
        reading = asyncio.create_task(adapter._read(Telling(*events), takes_calls=True))
        yield adapter
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_what_could_not_be_stored_is_told_again_before_the_rest() -> None:
    async with told(*(private(text("hi"), message_id=number) for number in (1, 2))) as adapter:
        async with aclosing(adapter.listen()) as heard:  # type: ignore[type-var]
            failed = await anext(heard)
        # The core opens the channel anew.
        await adapter.close()
        await adapter.open()
        async with aclosing(adapter.listen()) as heard:  # type: ignore[type-var]
            assert await anext(heard) == failed
            second = await anext(heard)
        assert isinstance(second, MessageReceived)
        assert second.message_id == "2"


async def test_what_is_being_stored_at_the_end_counts_as_not_stored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        told(private(text("hi"), message_id=1)) as adapter,
        aclosing(adapter.listen()) as heard,  # type: ignore[type-var]
    ):
        await anext(heard)
    assert "1 events are not stored" in caplog.text


async def test_the_server_stops_though_a_websocket_is_open(served: Served) -> None:
    async with asyncio.timeout(60), shop(served) as (_, platform):
        await platform.connect()


async def test_an_api_base_that_leads_nowhere_rejects_no_message() -> None:
    async with OneBotStandIn() as platform:
        settings = OneBotSettings(
            platform="onebot",
            access_token=TOKEN,
            api_base=f"{platform.api_base}/of/nobody",  # type: ignore[arg-type]
        )
        message = hello()
        async with OneBotAdapter("qq", settings) as adapter:
            with pytest.raises(ChannelUnavailable, match="api_base"):
                await adapter.send(message)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"status": "failed", "retcode": 1400, "message": "bad"}, MessageRejected),
        ({"status": "failed", "retcode": 1404}, MessageRejected),
        ({"status": "failed", "retcode": 1403}, ChannelUnauthorized),
        ({"status": "failed", "retcode": 100, "wording": "\u9650\u5236"}, ChannelUnavailable),
        ({"status": "failed", "retcode": -1}, ChannelUnavailable),
        ({}, ChannelUnavailable),
    ],
)
async def test_what_an_implementation_refuses_is_one_of_the_three_errors(
    answer: dict[str, Any], kind: type[Exception]
) -> None:
    async with OneBotStandIn(answers=[answer]) as platform:
        settings = OneBotSettings(
            platform="onebot",
            access_token=TOKEN,
            api_base=platform.api_base,  # type: ignore[arg-type]
        )
        message = hello()
        async with OneBotAdapter("qq", settings) as adapter:
            with pytest.raises(kind) as raised:
                await adapter.send(message)
            assert TOKEN not in str(raised.value)
            platform.answers = []
            assert (await adapter.send(message)).platform_ids == ("500",)
            assert await adapter.check() == f"Shop ({ME})"
