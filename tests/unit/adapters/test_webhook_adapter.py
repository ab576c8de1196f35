"""The generic channel: its settings, and what comes in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from standardwebhooks import Webhook

from adapters.webhook import WebhookAdapter, WebhookSettings
from kfbot.adapter import WebhookReply, WebhookRequest
from kfbot.errors import WebhookRejected
from kfbot.messages import (
    Attachment,
    Button,
    Citation,
    ConversationId,
    MessageReceived,
    OutboundMessage,
    Sender,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CALLBACK = "http://user:hunter2@127.0.0.1:9/hook?key=hunter3"
MESSAGE: dict[str, Any] = {
    "conversation": "order-7",
    "message_id": "m1",
    "text": "退款多久到账？",
    "sender": {"id": "c9", "name": "王芳", "role": "customer"},
}


def settings(**change: Any) -> WebhookSettings:
    given = {"platform": "webhook", "secret": SECRET, "callback_url": CALLBACK} | change
    return WebhookSettings(**given)


def signed(
    body: bytes,
    *,
    age: timedelta = timedelta(0),
    webhook_id: str = "w1",
    at: datetime | None = None,
) -> dict[str, str]:
    # Now is when the test runs: the signature is good for five minutes.
    then = (at or datetime.now(UTC)) - age
    try:
        signature = Webhook(SECRET).sign(webhook_id, then, body.decode())
    except UnicodeDecodeError:
        signature = "v1,AAAA"
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(then.timestamp())),
        "webhook-signature": signature,
    }


async def receive(
    body: object,
    *,
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
    **change: Any,
) -> WebhookReply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await WebhookAdapter("shop", settings(**change)).receive_webhook(
        WebhookRequest(
            method=method,
            query={},
            headers=signed(raw) if headers is None else headers,
            body=raw,
        )
    )


async def event_of(body: object, **more: Any) -> MessageReceived:
    (event,) = (await receive(body, **more)).events
    assert isinstance(event, MessageReceived)
    return event


async def refused(body: object, **more: Any) -> tuple[int, str]:
    with pytest.raises(WebhookRejected) as raised:
        await receive(body, **more)
    return raised.value.status, str(raised.value)


@pytest.mark.asyncio
async def test_message_is_read_and_accepted() -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    reply = await receive(MESSAGE, headers=signed(json.dumps(MESSAGE).encode(), at=now))
    assert reply.events == (
        MessageReceived(
            event_id="w1",
            conversation=ConversationId("shop", "order-7"),
            message_id="m1",
            sender=Sender("c9", "customer", "王芳"),
            sent_at=now,
            text="退款多久到账？",
        ),
    )
    assert (reply.status, json.loads(reply.body)) == (202, {"accepted": True})
    assert reply.respond is None


@pytest.mark.asyncio
async def test_agent_of_the_other_side_is_an_agent() -> None:
    event = await event_of(MESSAGE | {"sender": {"id": "a", "name": "Li", "role": "agent"}})
    assert event.sender == Sender("a", "agent", "Li")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "sent_at", ["2026-11-22T16:00:00+08:00", "2026-11-22T08:00:00Z", "2026-11-22T08:00:00"]
)
async def test_time_is_read_as_utc_unless_it_says_otherwise(sent_at: str) -> None:
    event = await event_of(MESSAGE | {"sent_at": sent_at})
    assert event.sent_at == datetime(2026, 11, 22, 8, tzinfo=UTC)


@pytest.mark.asyncio
async def test_attachments_are_kept_and_text_may_be_empty() -> None:
    one = {"url": "https://a.example/p.png", "media_type": "image/png", "name": "p.png"}
    event = await event_of(MESSAGE | {"text": "", "attachments": [one]})
    assert (event.text, event.attachments) == ("", (Attachment(**one),))


@pytest.mark.asyncio
async def test_fields_of_the_callers_own_are_passed_over() -> None:
    event = await event_of(MESSAGE | {"shop": 7, "sent_at": None, "attachments": None})
    assert (event.text, event.attachments) == (MESSAGE["text"], ())


@pytest.mark.asyncio
async def test_text_of_100_kb_is_taken() -> None:
    text = "word " * 20_000
    assert (await event_of(MESSAGE | {"text": text})).text == text


@pytest.mark.asyncio
async def test_text_of_200001_characters_is_too_long() -> None:
    assert (await receive(MESSAGE | {"text": "x" * 200_000})).events
    assert (await refused(MESSAGE | {"text": "x" * 200_001}))[0] == 413


@pytest.mark.asyncio
async def test_body_over_256_kib_is_too_long() -> None:
    padded = json.dumps(MESSAGE).encode()
    padded += b" " * (256 * 1024 - len(padded))
    assert (await receive(padded)).events
    assert (await refused(padded + b" "))[0] == 413


@pytest.mark.asyncio
async def test_half_an_emoji_and_nul_are_replaced() -> None:
    body = json.dumps(MESSAGE | {"text": "TEXT"}).replace("TEXT", r"a\ud83d b\u0000 \ud83d\ude00")
    assert (await event_of(body.encode())).text == "a\ufffd b\ufffd 😀"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"conversation": None}, "conversation"),
        ({"conversation": 7}, "conversation"),
        ({"conversation": ""}, "conversation"),
        ({"conversation": "x" * 256}, "conversation"),
        ({"conversation": "a\0b"}, "conversation"),
        ({"conversation": "\ud83d"}, "conversation"),
        ({"message_id": 12.5}, "message_id"),
        ({"text": None}, "text"),
        ({"text": 7}, "text"),
        ({"text": ["a"]}, "text"),
        ({"sender": "c9"}, "sender"),
        ({"sender": {"id": 9, "name": "x", "role": "customer"}}, "sender.id"),
        ({"sender": {"id": "9", "name": None, "role": "customer"}}, "sender.name"),
        ({"sender": {"id": "9", "name": "x", "role": "bot"}}, "sender.role"),
        ({"sender": {"id": "9", "name": "x"}}, "sender.role"),
        ({"sent_at": 1700000000}, "sent_at"),
        ({"sent_at": "yesterday"}, "sent_at"),
        ({"sent_at": "0001-01-01T00:00:00+08:00"}, "sent_at"),
        ({"attachments": {}}, "attachments"),
    ],
)
async def test_malformed_field_is_named(change: dict[str, Any], field: str) -> None:
    status, message = await refused(MESSAGE | change)
    assert (status, f" {field}: " in message) == (400, True)


@pytest.mark.asyncio
@pytest.mark.parametrize("field", list(MESSAGE))
async def test_missing_field_is_named(field: str) -> None:
    status, message = await refused({name: MESSAGE[name] for name in MESSAGE if name != field})
    assert (status, f" {field}: " in message) == (400, True)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "body",
    [b"{", b"null", b"[]", b'"text"', b"[" * 60_000, b'{"a":' * 40_000, b"9" * 9000],
    ids=["cut", "null", "list", "text", "deep-list", "deep-object", "long-number"],
)
async def test_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    status, message = await refused(body)
    assert (status, " body: " in message) == (400, True)


@pytest.mark.asyncio
@pytest.mark.parametrize("body", ["{}退款".encode("gbk"), b'{"text":"\xff"}'])
async def test_unsigned_body_in_another_encoding_is_unauthorised(body: bytes) -> None:
    assert (await refused(body))[0] == 401


@pytest.mark.asyncio
async def test_signature_is_checked_before_the_body() -> None:
    assert (await refused(b"{", headers={}))[0] == 401
    body = json.dumps(MESSAGE).encode()
    assert (await refused(body + b" ", headers=signed(body)))[0] == 401
    assert (await refused(body, headers=signed(body, age=timedelta(minutes=6))))[0] == 401


@pytest.mark.asyncio
async def test_id_that_no_index_can_hold_is_refused() -> None:
    body = json.dumps(MESSAGE).encode()
    status, message = await refused(body, headers=signed(body, webhook_id="w" * 256))
    assert (status, "webhook-id" in message) == (400, True)


@pytest.mark.asyncio
async def test_only_post_is_answered() -> None:
    assert (await refused(MESSAGE, method="GET"))[0] == 405


@pytest.mark.asyncio
async def test_reply_in_the_response_holds_the_messages() -> None:
    reply = await receive(MESSAGE, reply="response", callback_url=None)
    assert reply.respond is not None
    answer = reply.respond(
        [
            OutboundMessage(
                conversation=ConversationId("shop", "order-7"),
                id="msg_1",
                text="五个工作日。",
                citations=(Citation(id="r", title="Returns", score=0.9),),
                buttons=(Button("tok", "Card"),),
            )
        ]
    )
    assert (answer.status, json.loads(answer.body)) == (
        200,
        {
            "messages": [
                {
                    "type": "message",
                    "conversation": "order-7",
                    "message_id": "msg_1",
                    "text": "五个工作日。",
                    "citations": [
                        {
                            "id": "r",
                            "title": "Returns",
                            "heading": "",
                            "url": "",
                            "quote": "",
                            "score": 0.9,
                        }
                    ],
                    "choices": [{"id": "tok", "label": "Card"}],
                }
            ]
        },
    )
    assert json.loads(reply.respond([]).body) == {"messages": []}


@pytest.mark.parametrize(("reply", "pulls"), [("callback", False), ("response", True)])
def test_replies_are_pulled_only_in_the_response(reply: str, pulls: bool) -> None:
    assert WebhookAdapter("shop", settings(reply=reply)).capabilities.pulls_replies is pulls


@pytest.mark.parametrize(
    "change",
    [
        {"secret": "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
        {"secret": "whsec_not base64"},
        {"callback_url": None},
        {"callback_url": "ftp://a.example/hook"},
        {"callback_url": "/hook"},
        {"callback_url": "http://"},
        {"callback_url": "http://a:b:c/"},
        {"reply": "mail"},
        {"timeout_seconds": 0},
        {"secrte": SECRET},
    ],
)
def test_faulty_settings_are_refused_without_showing_secrets(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        settings(**change)
    assert "MfKQ" not in str(raised.value)
    assert "hunter" not in str(raised.value)


def test_nothing_shows_the_secret_or_the_address() -> None:
    shown = f"{settings()!r} {settings()} {WebhookAdapter('shop', settings())!r}"
    assert "MfKQ" not in shown
    assert "hunter" not in shown
