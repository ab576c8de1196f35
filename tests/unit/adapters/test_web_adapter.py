"""What a visitor's page posts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.web import WebAdapter, WebSettings
from kfbot.adapter import WebhookReply, WebhookRequest
from kfbot.errors import WebhookRejected
from kfbot.messages import ButtonPressed, ConversationId, MessageReceived, OutboundMessage

VISITOR = "v7Qd-_x.1"
POST: dict[str, Any] = {"conversation": VISITOR, "message_id": "0b5c", "text": "退款多久到账？"}


async def receive(body: object, *, method: str = "POST", **query: str) -> WebhookReply:
    adapter = WebAdapter("web", WebSettings(platform="web"))
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = WebhookRequest(method=method, query=query, headers={}, body=raw)
    return await adapter.receive_webhook(request)


async def refused(body: object, **query: str) -> tuple[int, str]:
    with pytest.raises(WebhookRejected) as raised:
        await receive(body, **query)
    return raised.value.status, str(raised.value)


@pytest.mark.asyncio
async def test_text_becomes_a_message_and_is_accepted() -> None:
    reply = await receive(POST)
    (event,) = reply.events
    assert isinstance(event, MessageReceived)
    assert event.conversation == ConversationId("web", VISITOR)
    assert (event.event_id, event.message_id) == (f"{VISITOR}:0b5c", "0b5c")
    assert (event.text, event.sender.id, event.sender.role) == (POST["text"], VISITOR, "customer")
    assert event.sent_at.tzinfo is not None
    assert (reply.status, json.loads(reply.body)) == (202, {"accepted": True})


@pytest.mark.asyncio
async def test_press_becomes_a_pressed_button() -> None:
    (event,) = (await receive({"message_id": "1", "press": "tok"}, conversation=VISITOR)).events
    assert isinstance(event, ButtonPressed)
    assert (event.token, event.event_id) == ("tok", f"{VISITOR}:1")


@pytest.mark.asyncio
async def test_same_message_has_the_same_event_id() -> None:
    first, second = await receive(POST), await receive(POST)
    assert first.events[0].event_id == second.events[0].event_id


@pytest.mark.asyncio
async def test_the_word_press_is_only_a_text() -> None:
    (event,) = (await receive(POST | {"text": '"press"'})).events
    assert isinstance(event, MessageReceived)


@pytest.mark.asyncio
async def test_page_cannot_speak_for_another_visitor() -> None:
    status, message = await refused(POST | {"conversation": "somebody"}, conversation=VISITOR)
    assert (status, "conversation" in message) == (400, True)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"message_id": 7}, "message_id"),
        ({"message_id": ""}, "message_id"),
        ({"message_id": "a:b"}, "message_id"),
        ({"message_id": "a" * 65}, "message_id"),
        ({"text": 7}, "text"),
        ({"text": None}, "text"),
        ({"text": " \n"}, "text"),
        ({"press": "t"}, "press"),
        ({"press": "x" * 33, "text": None}, "press"),
        ({"conversation": "a\nb"}, "conversation"),
        ({"conversation": None}, "conversation"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_malformed_field_is_named(change: dict[str, Any], field: str) -> None:
    status, message = await refused(POST | change)
    assert (status, field in message) == (400, True)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{", b"\xff", "退款".encode("gbk"), b"[" * 9000, b'{"text":"\\ud83d"}'],
)
async def test_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    assert (await refused(body))[0] == 400


@pytest.mark.asyncio
async def test_longest_text_is_taken_and_a_longer_one_refused() -> None:
    assert (await receive(POST | {"text": "字" * 20_000})).events
    assert (await refused(POST | {"text": "字" * 20_001}))[0] == 413


@pytest.mark.asyncio
async def test_nul_is_replaced_because_postgresql_keeps_none() -> None:
    (event,) = (await receive(POST | {"text": "a\0b"})).events
    assert isinstance(event, MessageReceived)
    assert event.text == "a\ufffdb"


@pytest.mark.asyncio
async def test_only_post_is_answered() -> None:
    with pytest.raises(WebhookRejected) as raised:
        await receive(POST, method="GET")
    assert raised.value.status == 405


@pytest.mark.asyncio
async def test_sending_has_nothing_to_do() -> None:
    adapter = WebAdapter("web", WebSettings(platform="web"))
    message = OutboundMessage(conversation=ConversationId("web", VISITOR), id="1", text="hi")
    assert (await adapter.send(message)).platform_ids == ()
    assert adapter.capabilities.pulls_replies
