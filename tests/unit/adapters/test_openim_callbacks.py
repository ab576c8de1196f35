"""OpenIM's callbacks: who may call, what is answered, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.openim import OpenImAdapter
from adapters.openim.adapter import OpenImSettings
from adapters.requests import BODY_BYTES
from kfbot.adapter import WebhookReply, WebhookRequest
from kfbot.errors import WebhookRejected
from kfbot.messages import ConversationId, MessageReceived
from tests.platforms.openim import ALLOWED, BOT, SECRET, WEBHOOK_SECRET, OpenImServer

pytestmark = pytest.mark.asyncio

SINGLE = "callbackAfterSendSingleMsgCommand"
GROUP = "callbackAfterSendGroupMsgCommand"
SERVER = OpenImServer()


def made(**settings: Any) -> OpenImAdapter:
    given = {
        "platform": "openim",
        "api_base": "http://127.0.0.1:9",
        "secret": SECRET,
        "bot_id": BOT,
        "webhook_secret": WEBHOOK_SECRET,
    }
    return OpenImAdapter("shop", OpenImSettings.model_validate(given | settings))


async def take(
    body: Any,
    *,
    path: str = f"{WEBHOOK_SECRET}/{SINGLE}",
    query: dict[str, str] | None = None,
    method: str = "POST",
    **settings: Any,
) -> WebhookReply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = WebhookRequest(method=method, query=query or {}, headers={}, body=raw, path=path)
    return await made(**settings).receive_webhook(request)


async def event_of(**fields: Any) -> MessageReceived:
    body = SERVER.message(**fields)
    reply = await take(body, path=f"{WEBHOOK_SECRET}/{body['callbackCommand']}", agents=["staff1"])
    [event] = reply.events
    assert isinstance(event, MessageReceived)
    return event


async def test_every_callback_is_answered_in_the_form_that_the_server_reads() -> None:
    for body in (SERVER.message(), {"callbackCommand": "callbackUserOnlineCommand"}):
        reply = await take(body, path=f"{WEBHOOK_SECRET}/{body['callbackCommand']}")
        assert (reply.status, json.loads(reply.body)) == (200, ALLOWED)
        assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (f"{WEBHOOK_SECRET}/{SINGLE}", {}),
        (f"{WEBHOOK_SECRET}/", {"command": SINGLE}),
        (WEBHOOK_SECRET, {"command": SINGLE}),
        (WEBHOOK_SECRET, {}),
        (SINGLE, {"secret": WEBHOOK_SECRET}),
        ("", {"secret": WEBHOOK_SECRET, "command": SINGLE}),
        # The address that the server was given ends in ?secret=…, and it appends to that.
        ("", {"secret": f"{WEBHOOK_SECRET}/{SINGLE}"}),
        ("", {"secret": f"{WEBHOOK_SECRET}?command={SINGLE}"}),
    ],
)
async def test_the_secret_stands_where_an_address_can_hold_it(
    path: str, query: dict[str, str]
) -> None:
    assert len((await take(SERVER.message(), path=path, query=query)).events) == 1


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("", {}),
        (SINGLE, {}),
        (f"{WEBHOOK_SECRET}x/{SINGLE}", {}),
        (WEBHOOK_SECRET[:-1], {}),
        (WEBHOOK_SECRET.upper(), {}),
        (f"x/{WEBHOOK_SECRET}", {}),
        ("", {"secret": ""}),
        (WEBHOOK_SECRET, {"secret": "wrong"}),
        ("\ud83d", {}),
        ("é", {"secret": "é"}),
    ],
)
async def test_without_the_secret_nothing_is_even_read(path: str, query: dict[str, str]) -> None:
    with pytest.raises(WebhookRejected) as raised:
        await take(b"no JSON", path=path, query=query)
    assert raised.value.status == 401
    assert WEBHOOK_SECRET not in str(raised.value)


async def test_below_the_command_there_is_nothing() -> None:
    with pytest.raises(WebhookRejected) as raised:
        await take(SERVER.message(), path=f"{WEBHOOK_SECRET}/{SINGLE}/more")
    assert raised.value.status == 404


@pytest.mark.parametrize("query", [{}, {"command": GROUP}])
async def test_address_and_body_must_name_one_command(query: dict[str, str]) -> None:
    path = WEBHOOK_SECRET if query else f"{WEBHOOK_SECRET}/{GROUP}"
    with pytest.raises(WebhookRejected) as raised:
        await take(SERVER.message(), path=path, query=query)
    assert raised.value.status == 400


async def test_a_body_without_a_command_has_that_of_its_address() -> None:
    body = SERVER.message()
    del body["callbackCommand"]
    assert len((await take(body)).events) == 1
    with pytest.raises(WebhookRejected, match="callbackCommand is missing"):
        await take(body, path=WEBHOOK_SECRET)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"\xff", 400),
        (b"[" * 100_000, 400),
        (b"[]", 400),
        (b'{"callbackCommand": 7}', 400),
        (b" " * (BODY_BYTES + 1), 413),
        ({"callbackCommand": SINGLE}, 400),
        (SERVER.message(sendID=""), 400),
        (SERVER.message(sendID="a\nb"), 400),
        (SERVER.message(sendID=7), 400),
        (SERVER.message(sendID="x" * 256), 400),
        (SERVER.message(recvID=None), 400),
        (SERVER.message(serverMsgID="", clientMsgID=""), 400),
    ],
    ids=range(13),
)
async def test_what_is_malformed_is_refused(body: Any, status: int) -> None:
    with pytest.raises(WebhookRejected) as raised:
        await take(body)
    assert raised.value.status == status


async def test_only_post_is_answered() -> None:
    with pytest.raises(WebhookRejected) as raised:
        await take(SERVER.message(), method="GET")
    assert raised.value.status == 405


@pytest.mark.parametrize(
    "fields",
    [
        {"content": None},
        {"content": "[]"},
        {"content": ["a"]},
        {"content": {"content": {"content": "a"}}},
        {"content": "[" * 100_000},
        {"contentType": "101"},
        {"contentType": None},
        {"sessionType": None},
        {"sessionType": [1]},
        {"sessionType": "1"},
        {"senderNickname": None},
        {"createTime": "soon"},
        {"createTime": 10**40},
        {"createTime": -1, "sendTime": True},
        {"atUserList": None},
        {"atUserList": [None, 7]},
        {"contentType": 102, "content": '{"sourcePicture": 7}'},
        {"contentType": 105, "content": "no JSON"},
        {"contentType": 106, "content": '{"text": 7, "atUserList": 7, "atUsersInfo": [7]}'},
        {"contentType": 106, "content": '{"text": "a", "atUsersInfo": 7}'},
        {"contentType": 114, "content": '{"text": "a", "quoteMessage": 7}'},
    ],
    ids=range(21),
)
async def test_what_no_client_sends_breaks_nothing(fields: dict[str, Any]) -> None:
    reply = await take(SERVER.message(**fields))
    assert json.loads(reply.body) == ALLOWED
    assert all(event.sent_at.tzinfo for event in reply.events)


async def test_a_redelivery_has_the_same_event_id_and_another_message_another_one() -> None:
    body = SERVER.message()
    once, twice = (await take(body)).events[0], (await take(body)).events[0]
    assert once.event_id == twice.event_id == body["serverMsgID"]
    assert (await take(SERVER.message())).events[0].event_id != once.event_id


async def test_the_servers_clock_comes_before_the_clients() -> None:
    event = await event_of(createTime=1000, sendTime=1717171200500)
    assert event.sent_at == datetime(2024, 5, 31, 16, 0, 0, 500_000, tzinfo=UTC)
    event = await event_of(createTime=0)
    assert datetime.now(UTC) - event.sent_at < timedelta(minutes=1)


async def test_a_text_may_be_wrapped_three_times_and_stays_what_it_is() -> None:
    def wrapped(text: str, times: int) -> str:
        for _ in range(times):
            text = json.dumps({"content": text})
        return text

    for times in range(4):
        assert (await event_of(content=wrapped("hi", times))).text == "hi"
    assert (await event_of(content=wrapped('{"a": 1}', 1))).text == '{"a": 1}'
    assert (await event_of(content=wrapped("[1, 2]", 1))).text == "[1, 2]"
    assert (await event_of(content='{"text": "hi"}')).text == "hi"
    assert (await event_of(content={"content": "hi"})).text == "hi"


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("@bot1 hello", "hello"),
        ("hello @bot1", "hello"),
        ("hello @bot1, there", "hello , there"),
        ("@bot1运费", "运费"),
        ("@Shop\u2005运费", "运费"),
        ("@bot12 hello", "@bot12 hello"),
        ("mail me@bot1-shop.example", "mail me@bot1-shop.example"),
        ("@bot1", ""),
    ],
)
async def test_the_mention_of_the_bot_is_no_part_of_the_question(text: str, heard: str) -> None:
    content = {"text": text, "atUsersInfo": [{"atUserID": BOT, "groupNickname": "Shop"}]}
    event = await event_of(
        groupID="g1", contentType=106, content=json.dumps(content), atUserList=[BOT]
    )
    assert (event.text, event.addressed_to_bot) == (heard, True)


async def test_a_private_text_keeps_what_looks_like_a_mention() -> None:
    assert (await event_of(text="@bot1 hello")).text == "@bot1 hello"


async def test_members_of_a_group_have_conversations_of_their_own() -> None:
    ann = await event_of(sender="u1", groupID="g1", atUserList=[BOT])
    bo = await event_of(sender="u2", groupID="g1", atUserList=[BOT])
    assert ann.conversation == ConversationId("shop", "sg_g1", member="u1")
    assert bo.conversation == ConversationId("shop", "sg_g1", member="u2")


async def test_an_agent_who_asks_the_bot_in_a_group_is_answered_as_anybody() -> None:
    event = await event_of(sender="staff1", groupID="g1", atUserList=[BOT])
    assert (event.sender.role, event.conversation.member) == ("customer", "staff1")


@pytest.mark.parametrize("named", [["u1", "u2"], ["AtAllTag", "u1"], ["staff1"], []])
async def test_an_agent_who_speaks_to_several_takes_over_nobody(named: list[str]) -> None:
    body = SERVER.message("hi", "staff1", groupID="g1", atUserList=named)
    reply = await take(body, path=f"{WEBHOOK_SECRET}/{GROUP}", agents=["staff1"])
    assert reply.events == ()


async def test_a_person_who_writes_with_the_bots_account_is_an_agent_where_configured() -> None:
    by_hand = SERVER.message("I will look.", BOT, recvID="u1", msgFrom=100)
    [event] = (await take(by_hand, agents=[BOT])).events
    assert isinstance(event, MessageReceived)
    assert event.conversation == ConversationId("shop", "u1")
    assert (event.sender.id, event.sender.role) == (BOT, "agent")
    assert (await take(by_hand)).events == ()
    ours = SERVER.message("Five days.", BOT, recvID="u1", msgFrom=200)
    assert (await take(ours, agents=[BOT])).events == ()


@pytest.mark.parametrize(
    "secret", ["", "short", "with a blank in it", "slash/slash/slash/s", "x" * 256]
)
async def test_a_secret_that_fits_no_address_is_refused_unseen(secret: str) -> None:
    with pytest.raises(ValidationError) as raised:
        made(webhook_secret=secret)
    assert "16 to 255" in str(raised.value)
    assert not secret or secret not in str(raised.value)
