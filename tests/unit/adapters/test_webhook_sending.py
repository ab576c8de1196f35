"""The generic channel: what goes out, against a real receiver on loopback."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest
import pytest_asyncio

from adapters.rest import read_retry_after
from adapters.webhook import WebhookAdapter, WebhookSettings
from kfbot.errors import ChannelUnauthorized, ChannelUnavailable, MessageRejected
from kfbot.messages import Button, Citation, ConversationId, DeliveryReceipt, OutboundMessage
from tests.platforms.webhook_receiver import Answer, WebhookReceiver

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
MESSAGE = OutboundMessage(
    conversation=ConversationId("shop", "order-7"),
    id="msg_1",
    text="**五个**工作日。",
    kind="handoff",
    citations=(Citation(id="r", title="Returns", quote="five days", score=0.5),),
    buttons=(Button("tok", "Card"), Button("tok2", "Helpful", "helpful")),
)


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver(SECRET) as receiver:
        yield receiver


def adapter(url: str, *, timeout_seconds: float = 10.0, secret: str = SECRET) -> WebhookAdapter:
    settings = WebhookSettings.model_validate(
        {
            "platform": "webhook",
            "secret": secret,
            "callback_url": url,
            "timeout_seconds": timeout_seconds,
        }
    )
    return WebhookAdapter("shop", settings)


async def send(receiver: WebhookReceiver, *answers: Answer, **settings: float) -> DeliveryReceipt:
    receiver.answers.extend(answers)
    async with adapter(receiver.url, **settings) as channel:  # type: ignore[arg-type]
        return await channel.send(MESSAGE)


@pytest.mark.asyncio
async def test_message_arrives_signed_and_complete(receiver: WebhookReceiver) -> None:
    receipt = await send(receiver)
    assert receipt.platform_ids == ("msg_1",)
    assert receiver.webhook_ids == ["msg_1"]
    assert receiver.requests == [
        {
            "type": "handoff",
            "conversation": "order-7",
            "message_id": "msg_1",
            "text": "**五个**工作日。",
            "citations": [
                {
                    "id": "r",
                    "title": "Returns",
                    "heading": "",
                    "url": "",
                    "quote": "five days",
                    "score": 0.5,
                }
            ],
            "choices": [{"id": "tok", "label": "Card"}],
        }
    ]


@pytest.mark.asyncio
async def test_second_try_bears_the_same_id(receiver: WebhookReceiver) -> None:
    with pytest.raises(ChannelUnavailable):
        await send(receiver, Answer(500))
    await send(receiver)
    assert receiver.webhook_ids == ["msg_1", "msg_1"]
    assert list(receiver.kept) == ["msg_1"]


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_any_2xx_is_delivered(receiver: WebhookReceiver, status: int) -> None:
    assert (await send(receiver, Answer(status))).platform_ids == ("msg_1",)


@pytest.mark.asyncio
async def test_long_answer_is_not_waited_for(receiver: WebhookReceiver) -> None:
    assert (await send(receiver, Answer(200, body=b"x" * 20_000_000))).platform_ids


@pytest.mark.asyncio
async def test_too_many_requests_says_when_to_come_back(receiver: WebhookReceiver) -> None:
    with pytest.raises(ChannelUnavailable) as raised:
        await send(receiver, Answer(429, {"Retry-After": "17"}))
    assert raised.value.retry_after_seconds == 17


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_later_is_later(receiver: WebhookReceiver, status: int) -> None:
    with pytest.raises(ChannelUnavailable) as raised:
        await send(receiver, Answer(status))
    assert raised.value.retry_after_seconds is None


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_are_unauthorised(receiver: WebhookReceiver, status: int) -> None:
    with pytest.raises(ChannelUnauthorized):
        await send(receiver, Answer(status))


@pytest.mark.asyncio
async def test_receiver_with_another_secret_is_unauthorised(receiver: WebhookReceiver) -> None:
    async with adapter(receiver.url, secret=OTHER) as channel:
        with pytest.raises(ChannelUnauthorized):
            await channel.send(MESSAGE)
    assert receiver.requests == []


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [400, 404, 410, 413, 422])
async def test_any_other_4xx_is_rejected(receiver: WebhookReceiver, status: int) -> None:
    with pytest.raises(MessageRejected, match=str(status)):
        await send(receiver, Answer(status))


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed(receiver: WebhookReceiver, status: int) -> None:
    with pytest.raises(ChannelUnavailable, match=str(status)):
        await send(receiver, Answer(status, {"Location": "/elsewhere"}))
    assert receiver.elsewhere == 0


@pytest.mark.asyncio
async def test_hanging_receiver_is_given_up(receiver: WebhookReceiver) -> None:
    with pytest.raises(ChannelUnavailable, match="Timeout"):
        await send(receiver, Answer(hangs=True), timeout_seconds=0.2)


@pytest.mark.asyncio
async def test_nobody_there_is_unavailable_and_shows_no_password(
    receiver: WebhookReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with adapter("http://user:hunter2@127.0.0.1:1/hook?key=hunter3") as channel:
        with pytest.raises(ChannelUnavailable) as raised:
            await channel.send(MESSAGE)
    assert "hunter" not in str(raised.value) + caplog.text
    assert raised.value.__cause__ is None


@pytest.mark.asyncio
async def test_channel_that_is_not_open_is_unavailable(receiver: WebhookReceiver) -> None:
    with pytest.raises(ChannelUnavailable):
        await adapter(receiver.url).send(MESSAGE)


@pytest.mark.asyncio
async def test_agents_message_without_an_address_is_rejected() -> None:
    settings = WebhookSettings.model_validate(
        {"platform": "webhook", "secret": SECRET, "reply": "response"}
    )
    async with WebhookAdapter("shop", settings) as channel:
        with pytest.raises(MessageRejected, match="callback_url"):
            await channel.send(MESSAGE)


def _errors(root: type[BaseException]) -> set[type[BaseException]]:
    return {root}.union(*(_errors(one) for one in root.__subclasses__()))


def _instance(kind: type[BaseException]) -> BaseException:
    # Their constructors want connection keys and requests; the mapping reads only the type.
    return kind.__new__(kind)


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", sorted(_errors(aiohttp.ClientError), key=str))
async def test_every_error_of_aiohttp_is_mapped(
    kind: type[BaseException], receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise _instance(kind)

    # No real server produces all of them.
    monkeypatch.setattr(aiohttp.ClientSession, "post", fail)
    with pytest.raises(ChannelUnavailable):
        await send(receiver)


NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("0", 0.0),
        (" 30 ", 30.0),
        ("9" * 5000, 86_400.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(hours=1), usegmt=True), 0.0),
        ("Sun, 22 Nov 2026 08:01:00 -0000", 60.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
        ("Fri, 99 Xyz 2026 08:01:00 GMT", None),
    ],
)
def test_retry_after_is_read(value: str | None, seconds: float | None) -> None:
    assert read_retry_after(value, NOW) == seconds
