"""What goes out to OpenIM, and what the adapter makes of the server's answers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
import pytest_asyncio
from aiohttp import web

from adapters.openim import OpenImAdapter
from adapters.openim.adapter import OpenImSettings
from kfbot.errors import ChannelError, ChannelUnauthorized, ChannelUnavailable, MessageRejected
from kfbot.messages import Citation, ConversationId, OutboundMessage
from tests.platforms.openim import (
    ADMIN,
    BOT,
    EXPIRED,
    NO_PERMISSION,
    SECRET,
    WEBHOOK_SECRET,
    OpenImServer,
)

pytestmark = pytest.mark.asyncio

ANN = ConversationId("shop", "u1")


@pytest_asyncio.fixture
async def server() -> AsyncIterator[OpenImServer]:
    async with OpenImServer() as opened:
        yield opened


@pytest_asyncio.fixture
async def adapter(server: OpenImServer) -> AsyncIterator[OpenImAdapter]:
    async with made(server) as opened:
        yield opened


def made(server: OpenImServer, **settings: Any) -> OpenImAdapter:
    given = {
        "platform": "openim",
        "api_base": server.url,
        "secret": SECRET,
        "bot_id": BOT,
        "webhook_secret": WEBHOOK_SECRET,
    }
    return OpenImAdapter("shop", OpenImSettings.model_validate(given | settings))


def message(
    text: str = "**Hi**", conversation: ConversationId = ANN, **fields: Any
) -> OutboundMessage:
    return OutboundMessage(**({"conversation": conversation, "id": "msg_7", "text": text} | fields))


async def fault_of(adapter: OpenImAdapter, **fields: Any) -> ChannelError:
    with pytest.raises(ChannelError) as raised:
        await adapter.send(message(**fields))
    assert SECRET not in str(raised.value)
    assert "token-" not in str(raised.value)
    return raised.value


async def test_an_answer_goes_to_the_customer_as_plain_text_with_its_sources(
    server: OpenImServer, adapter: OpenImAdapter
) -> None:
    citation = Citation(id="r", title="Returns", url="https://shop.example/r")
    receipt = await adapter.send(message("Within **5** days. [1]", citations=(citation,)))
    [sent] = server.sent
    assert sent.text == "Within 5 days. [1]\n\n[1] Returns https://shop.example/r"
    assert receipt.platform_ids == (sent.server_id, sent.server_id.replace("server", "client"))
    given = {name: value for name, value in sent.body.items() if name != "content"}
    assert given == {
        "sendID": BOT,
        "recvID": "u1",
        "groupID": "",
        "senderNickname": "",
        "senderFaceURL": "",
        "senderPlatformID": 5,
        "contentType": 101,
        "sessionType": 1,
        "isOnlineOnly": False,
        "notOfflinePush": False,
    }


@pytest.mark.parametrize(("chat", "session"), [("sg_g1", 3), ("g_g1", 2)])
async def test_a_group_is_answered_in_the_kind_that_it_is_of(
    server: OpenImServer, adapter: OpenImAdapter, chat: str, session: int
) -> None:
    await adapter.send(message(conversation=ConversationId("shop", chat, member="u1")))
    [sent] = server.sent
    assert (sent.body["sessionType"], sent.body["groupID"]) == (session, "g1")
    assert sent.body["recvID"] == ""


async def test_ids_with_underscores_are_whole(server: OpenImServer, adapter: OpenImAdapter) -> None:
    server.users["sg_x_1"] = "Eve"
    server.groups["a_b_c"] = {BOT}
    await adapter.send(message(conversation=ConversationId("shop", "sg_x_1")))
    await adapter.send(message(conversation=ConversationId("shop", "sg_a_b_c", member="u1")))
    assert [(sent.body["recvID"], sent.body["groupID"]) for sent in server.sent] == [
        ("sg_x_1", ""),
        ("", "a_b_c"),
    ]


async def test_the_name_and_the_picture_of_the_settings_go_along(server: OpenImServer) -> None:
    async with made(server, nickname="小助手", face_url="https://a.example/f.png") as adapter:
        await adapter.send(message())
    assert server.sent[0].body["senderNickname"] == "小助手"
    assert server.sent[0].body["senderFaceURL"] == "https://a.example/f.png"


@pytest.mark.parametrize("generation", ["new", "old"])
async def test_one_token_is_lent_for_all_messages_by_servers_of_both_generations(
    generation: Literal["new", "old"],
) -> None:
    async with OpenImServer(generation) as server, made(server) as adapter:
        await adapter.send(message())
        await adapter.send(message())
        assert (len(server.sent), len(server.lent)) == (2, 1)


async def test_a_time_that_is_written_as_a_text_is_read() -> None:
    async with OpenImServer(expire_seconds="7776000") as server, made(server) as adapter:
        await adapter.send(message())
        await adapter.send(message())
        assert len(server.lent) == 1


async def test_a_token_that_has_no_time_left_is_renewed() -> None:
    async with OpenImServer(expire_seconds=0) as server, made(server) as adapter:
        await adapter.send(message())
        await adapter.send(message())
        assert len(server.lent) == 2


async def test_a_token_that_the_server_forgot_is_renewed_and_the_message_sent_once(
    server: OpenImServer, adapter: OpenImAdapter
) -> None:
    await adapter.send(message())
    server.expire()
    await adapter.send(message())
    assert server.tokens == ["token-1", "token-1", server.lent[1]]
    assert len(server.sent) == 2


@pytest.mark.parametrize("code", range(1501, 1508))
async def test_a_token_that_is_refused_twice_stops_the_channel(
    server: OpenImServer, adapter: OpenImAdapter, code: int
) -> None:
    server.instead += [code, code]
    assert isinstance(await fault_of(adapter), ChannelUnauthorized)
    assert len(server.tokens) == 2
    await adapter.send(message())


async def test_a_proxy_that_says_401_is_a_refused_token(
    server: OpenImServer, adapter: OpenImAdapter
) -> None:
    server.instead += [web.Response(status=401)]
    await adapter.send(message())
    assert len(server.lent) == 2


async def test_each_try_has_an_operation_of_its_own_that_names_the_message(
    server: OpenImServer, adapter: OpenImAdapter
) -> None:
    await adapter.send(message())
    await adapter.send(message())
    await adapter.send(message(id="a\r\nb: c\ud83d"))
    first, second, third = (sent.operation_id for sent in server.sent)
    assert first != second
    assert re.fullmatch(r"kfbot-msg_7-[0-9a-f]{12}", first)
    assert re.fullmatch(r"kfbot-a__b__c_-[0-9a-f]{12}", third)


@pytest.mark.parametrize(
    "code", [1001, 1004, 1101, 1201, 1203, 1204, 1205, 1302, 1303, 1402, 1403, 20001, 29999]
)
async def test_what_the_server_will_never_take_is_rejected(
    server: OpenImServer, adapter: OpenImAdapter, code: int
) -> None:
    server.instead += [code]
    fault = await fault_of(adapter)
    assert isinstance(fault, MessageRejected)
    assert str(code) in str(fault)


@pytest.mark.parametrize("code", [500, 1000, 80000, 90002, 90004, 777])
async def test_a_fault_of_the_server_is_for_later(
    server: OpenImServer, adapter: OpenImAdapter, code: int
) -> None:
    server.instead += [code]
    assert isinstance(await fault_of(adapter), ChannelUnavailable)


async def test_an_admin_who_is_none_is_named(server: OpenImServer, adapter: OpenImAdapter) -> None:
    server.instead += [NO_PERMISSION]
    fault = await fault_of(adapter)
    assert isinstance(fault, ChannelUnauthorized)
    assert f"admin_id {ADMIN} must be an administrator" in str(fault)


@pytest.mark.parametrize("answer", [{}, {"errCode": "0"}, {"ok": True}])
async def test_an_answer_of_something_else_is_no_delivery(
    server: OpenImServer, adapter: OpenImAdapter, answer: dict[str, Any]
) -> None:
    server.instead += [web.json_response(answer)]
    fault = await fault_of(adapter)
    assert isinstance(fault, ChannelUnavailable)
    assert "no OpenIM server" in str(fault)


async def test_a_busy_gateway_is_given_time(server: OpenImServer, adapter: OpenImAdapter) -> None:
    server.instead += [web.Response(status=503, headers={"Retry-After": "9"})]
    fault = await fault_of(adapter)
    assert isinstance(fault, ChannelUnavailable)
    assert fault.retry_after_seconds == 9


async def test_a_message_in_which_nothing_can_be_seen_is_not_sent(
    server: OpenImServer, adapter: OpenImAdapter
) -> None:
    assert isinstance(await fault_of(adapter, text=" \n"), MessageRejected)
    assert server.tokens == []


@pytest.mark.parametrize("generation", ["new", "old"])
@pytest.mark.parametrize("wrong", [{"secret": "wrong"}, {"admin_id": "nobody"}])
async def test_a_wrong_secret_or_admin_is_said_so(
    generation: Literal["new", "old"], wrong: dict[str, str]
) -> None:
    async with OpenImServer(generation) as server, made(server, **wrong) as adapter:
        fault = await fault_of(adapter)
    assert isinstance(fault, ChannelUnauthorized)
    assert "correct secret and admin_id" in str(fault)


async def test_an_address_that_leads_elsewhere_stops_no_channel() -> None:
    async with OpenImServer() as server, made(server, api_base=f"{server.url}/im") as adapter:
        fault = await fault_of(adapter)
    assert isinstance(fault, ChannelUnavailable)
    assert "api_base leads to no OpenIM server" in str(fault)


async def test_check_says_who_the_bot_is(server: OpenImServer, adapter: OpenImAdapter) -> None:
    assert await adapter.check() == "bot1 (Shop), sends by imAdmin"


async def test_check_names_a_user_that_is_not_there(server: OpenImServer) -> None:
    async with made(server, bot_id="bot9") as adapter:
        with pytest.raises(ChannelUnauthorized, match="there is no user bot9"):
            await adapter.check()


async def test_the_stand_in_forgets_and_expires_as_the_server_does(server: OpenImServer) -> None:
    async with made(server) as adapter:
        await adapter.send(message())
        server.expire()
        server.instead += [EXPIRED]
        await adapter.send(message())
    assert len(server.lent) == 2
