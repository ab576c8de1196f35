"""The adapter contract, over every adapter in `adapters/` and in other packages that are installed.

A platform brings `payloads/<platform>/settings.json` and, if it calls us, recorded requests, each
beside the event that it means: `{"request": {method, query, headers, body}, "event": {…}}`, with
the request's `path` where the adapter has `webhook_paths`. Another package's lie in
`<platform>/` of the folder that KFBOT_TEST_PAYLOADS names.
Fields that the event leaves out are not compared. A platform whose requests bear a time signs
them afresh by a function in SIGNERS.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest
from pydantic import SecretStr, ValidationError
from slack_sdk.signature import SignatureVerifier
from standardwebhooks import Webhook
from wechatpy.enterprise.crypto import WeChatCrypto

from kfbot.adapter import (
    AdapterSettings,
    AgentsChatSettings,
    Capabilities,
    ChannelAdapter,
    WebhookRequest,
)
from kfbot.channels import adapter_type, platforms
from kfbot.errors import (
    ChannelError,
    ChannelUnauthorized,
    ChannelUnavailable,
    MessageRejected,
    WebhookRejected,
)
from kfbot.messages import (
    Button,
    Citation,
    ConversationId,
    DeliveryReceipt,
    OutboundMessage,
    Sender,
)
from tests.platforms.discord_interactions import KEY as DISCORD_KEY
from tests.platforms.discord_interactions import signed as sign_discord
from tests.platforms.feishu_forms import seal as seal_feishu

PAYLOADS = Path(__file__).parent / "payloads"
CHANNEL = "shop"
WECOM_PARTS = ("Encrypt", "MsgSignature", "TimeStamp", "Nonce")


ADAPTERS = {platform: adapter_type(platform) for platform in platforms()}


def payloads_of(platform: str) -> Path:
    ours = PAYLOADS / platform
    return ours if ours.is_dir() else Path(os.environ.get("KFBOT_TEST_PAYLOADS", ".")) / platform


def _sign_standard(request: dict[str, Any], settings: dict[str, Any]) -> None:
    now = datetime.now(UTC)
    headers = request["headers"]
    webhook_id = headers.setdefault("webhook-id", "junk")
    headers["webhook-timestamp"] = str(int(now.timestamp()))
    headers["webhook-signature"] = Webhook(settings["secret"]).sign(
        webhook_id, now, request["body"]
    )


def _sign_onebot(request: dict[str, Any], settings: dict[str, Any]) -> None:
    body, key = request["body"].encode(), settings["secret"].encode()
    request["headers"]["x-signature"] = f"sha1={hmac.new(key, body, hashlib.sha1).hexdigest()}"


def _sign_slack(request: dict[str, Any], settings: dict[str, Any]) -> None:
    timestamp = str(int(datetime.now(UTC).timestamp()))
    signature = SignatureVerifier(settings["signing_secret"]).generate_signature(
        timestamp=timestamp, body=request["body"]
    )
    request["headers"] |= {
        "x-slack-request-timestamp": timestamp,
        "x-slack-signature": signature,
    }


def _sign_chatwoot(request: dict[str, Any], settings: dict[str, Any]) -> None:
    timestamp = str(int(datetime.now(UTC).timestamp()))
    signed = f"{timestamp}.{request['body']}".encode()
    digest = hmac.new(settings["webhook_secret"].encode(), signed, hashlib.sha256).hexdigest()
    request["headers"] |= {
        "x-chatwoot-timestamp": timestamp,
        "x-chatwoot-signature": f"sha256={digest}",
    }


def _sign_wecom(request: dict[str, Any], settings: dict[str, Any]) -> None:
    crypto = WeChatCrypto(settings["token"], settings["encoding_aes_key"], settings["corp_id"])
    plain = request["query"].get("echostr", request["body"])
    sealed = crypto.encrypt_message(plain, "1372623149")
    found = {name: ElementTree.fromstring(sealed).findtext(name) or "" for name in WECOM_PARTS}
    request["query"] |= {
        "msg_signature": found["MsgSignature"],
        "timestamp": found["TimeStamp"],
        "nonce": found["Nonce"],
    }
    if "echostr" in request["query"]:
        request["query"]["echostr"] = found["Encrypt"]
    else:
        request["body"] = sealed


def _sign_feishu(request: dict[str, Any], settings: dict[str, Any]) -> None:
    body, headers = seal_feishu(
        request["body"].encode(),
        settings["encrypt_key"],
        is_trial="url_verification" in request["body"],
    )
    request["body"] = body.decode()
    request["headers"] |= headers


def _sign_discord(request: dict[str, Any], settings: dict[str, Any]) -> None:
    assert settings["public_key"] == DISCORD_KEY.verify_key.encode().hex()
    request["headers"] |= sign_discord(request["body"].encode())


#: Platform → puts what ages (time, signature) into a recorded request.
SIGNERS: dict[str, Callable[[dict[str, Any], dict[str, Any]], None]] = {
    "chatwoot": _sign_chatwoot,
    "discord": _sign_discord,
    "feishu": _sign_feishu,
    "onebot": _sign_onebot,
    "slack": _sign_slack,
    "webhook": _sign_standard,
    "wecom": _sign_wecom,
}


class Payload(NamedTuple):
    platform: str
    path: Path


RECORDED = [
    Payload(platform, path)
    for platform in ADAPTERS
    for path in sorted(payloads_of(platform).glob("*.json"))
    if path.name != "settings.json"
]


def given_settings(platform: str) -> dict[str, Any]:
    given: dict[str, Any] = json.loads((payloads_of(platform) / "settings.json").read_text("utf-8"))
    return given


def make_settings(platform: str, **change: Any) -> AdapterSettings:
    return ADAPTERS[platform].settings_type.model_validate(given_settings(platform) | change)


def make(platform: str) -> ChannelAdapter:
    return ADAPTERS[platform](CHANNEL, make_settings(platform))


def make_request(platform: str, recorded: dict[str, Any]) -> WebhookRequest:
    request = json.loads(json.dumps(recorded))
    if signer := SIGNERS.get(platform):
        signer(request, given_settings(platform))
    return WebhookRequest(
        method=request["method"],
        query=request["query"],
        headers=request["headers"],
        body=request["body"].encode(),
        path=request.get("path", ""),
    )


def takes_webhooks(platform: str) -> bool:
    return ADAPTERS[platform].receive_webhook is not ChannelAdapter.receive_webhook


every_platform = pytest.mark.parametrize("platform", ADAPTERS)
every_caller = pytest.mark.parametrize(
    "platform", [platform for platform in ADAPTERS if takes_webhooks(platform)]
)


def test_the_adapters_of_this_repository_are_found() -> None:
    assert {"console", "web", "webhook"} <= set(ADAPTERS)


@every_platform
def test_only_a_platform_that_opens_threads_has_a_chat_for_agents(platform: str) -> None:
    kind = ADAPTERS[platform]
    opens = kind.open_thread is not ChannelAdapter.open_thread
    assert issubclass(kind.settings_type, AgentsChatSettings) == opens
    assert not opens or kind.capabilities.threads


@every_platform
def test_adapter_can_send_and_receive(platform: str) -> None:
    kind = ADAPTERS[platform]
    assert issubclass(kind, ChannelAdapter)
    assert issubclass(kind.settings_type, AdapterSettings)
    assert takes_webhooks(platform) or kind.listen is not ChannelAdapter.listen
    assert isinstance(make(platform).capabilities, Capabilities)
    assert make(platform).channel == CHANNEL


@every_platform
def test_unknown_setting_is_refused(platform: str) -> None:
    with pytest.raises(ValidationError, match="colour"):
        make_settings(platform, colour="red")


@every_platform
def test_settings_cannot_be_changed(platform: str) -> None:
    settings = make_settings(platform)
    with pytest.raises(ValidationError):
        settings.platform = "other"  # type: ignore[misc]


@every_platform
def test_secrets_do_not_print(platform: str) -> None:
    settings = make_settings(platform)
    shown = f"{settings!r} {settings} {make(platform)!r} {make(platform)}"
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr) and value.get_secret_value():
            assert value.get_secret_value() not in shown


@every_platform
def test_what_is_called_secret_is_a_secret(platform: str) -> None:
    for name, field in ADAPTERS[platform].settings_type.model_fields.items():
        # tokens_per_day counts those of a chat model; a public_key is for anybody to know.
        if re.search("(secret|token|password|(?<!public_)key)(_|$)", name):
            assert "SecretStr" in str(field.annotation), name


HOSTILE = [
    pytest.param("hello", id="plain"),
    pytest.param("", id="empty"),
    pytest.param("退款 **五天** 😀\n- a\n- b", id="zh"),
    pytest.param("\x00\x1b[2J\r\n\u202e", id="control"),
    pytest.param("half \ud83d an emoji", id="surrogate"),
    pytest.param("<b>&amp;</b> [x](javascript:1) `", id="markup"),
    pytest.param("长" * 100_000, id="long"),
]


@every_platform
@pytest.mark.asyncio
@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("message_id", ["msg_1", "a\r\nb: c", "\ud83d"])
async def test_send_raises_only_the_three_errors(
    platform: str, text: str, message_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message = OutboundMessage(
        conversation=ConversationId(CHANNEL, "chat", "thread", "member"),
        id=message_id,
        text=text,
        sender=Sender("7", "agent", text[:100]),
        citations=(Citation(id="doc", title=text[:100], url="https://a.example/", score=0.5),),
        buttons=(Button("tok", text[:100]),),
    )
    async with make(platform) as adapter:
        try:
            receipt = await adapter.send(message)
        except (ChannelUnavailable, ChannelUnauthorized, MessageRejected) as error:
            assert error.channel == CHANNEL  # noqa: PT017 - which of the three does not matter
        else:
            assert isinstance(receipt, DeliveryReceipt)


@every_platform
@pytest.mark.asyncio
async def test_typing_never_stops_an_answer(platform: str) -> None:
    async with make(platform) as adapter:
        await adapter.show_typing(ConversationId(CHANNEL, "chat"))


@every_caller
def test_platform_that_calls_us_brings_recorded_payloads(platform: str) -> None:
    assert any(payload.platform == platform for payload in RECORDED)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "payload", RECORDED, ids=[f"{one.platform}/{one.path.stem}" for one in RECORDED]
)
async def test_recorded_payload_means_its_event(payload: Payload) -> None:
    recorded = json.loads(payload.path.read_text("utf-8"))
    request = make_request(payload.platform, recorded["request"])
    reply = await make(payload.platform).receive_webhook(request)
    expected = recorded["event"]
    assert len(reply.events) == (0 if expected is None else 1)
    for event in reply.events:
        assert event.sent_at.tzinfo is not None
        found = _as_json(event)
        assert found == found | expected
    again = await make(payload.platform).receive_webhook(request)
    assert [one.event_id for one in again.events] == [one.event_id for one in reply.events]


def _as_json(event: Any) -> dict[str, Any]:
    named = {"type": type(event).__name__} | asdict(event)
    plain: dict[str, Any] = json.loads(json.dumps(named, default=lambda moment: moment.isoformat()))
    return plain


JUNK = ["", "null", "[]", "{", "7", "{}", '{"a": NaN}', "[" * 20_000, '"\\ud800"', "\x00", "a=b"]


@every_caller
@pytest.mark.asyncio
@pytest.mark.parametrize("body", JUNK, ids=range(len(JUNK)))
async def test_junk_is_refused_with_a_4xx(platform: str, body: str) -> None:
    junk = {"method": "POST", "query": {}, "headers": {}, "body": body}
    with pytest.raises(WebhookRejected) as raised:
        await make(platform).receive_webhook(make_request(platform, junk))
    assert 400 <= raised.value.status < 500
    assert isinstance(raised.value, ChannelError)


@every_caller
@pytest.mark.asyncio
async def test_bytes_that_are_no_text_are_refused_with_a_4xx(platform: str) -> None:
    request = WebhookRequest(method="POST", query={}, headers={}, body=b"\xff\x00\xfe")
    with pytest.raises(WebhookRejected) as raised:
        await make(platform).receive_webhook(request)
    assert 400 <= raised.value.status < 500
