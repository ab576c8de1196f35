"""No adapter takes what its platform did not send: a true request is changed in every place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from kfbot.adapter import ChannelAdapter, WebhookRequest
from kfbot.channels import platforms
from kfbot.errors import WebhookRejected
from tests.contract.test_adapters import (
    ADAPTERS,
    CHANNEL,
    RECORDED,
    Payload,
    given_settings,
    make,
    make_request,
    make_settings,
)

pytestmark = pytest.mark.asyncio

#: Behind the visitor's cookie, which `test_routes.py` forges.
OWN = {"web"}
#: What vouches for a request is a secret in a header or an address: TLS alone keeps the body.
BEARERS = {"telegram", "openim"}
PAYLOADS = [payload for payload in RECORDED if payload.platform not in OWN]
CALLED = sorted({payload.platform for payload in PAYLOADS})
#: Nothing is listened to at /webhooks/<channel>: we call them.
CALLING = {"console", "dingtalk", "discord", "matrix"}


def true_request(payload: Payload) -> WebhookRequest:
    """As the platform sends it now."""
    recorded = json.loads(payload.path.read_text("utf-8"))
    return make_request(payload.platform, recorded["request"])


async def is_taken(adapter: ChannelAdapter, request: WebhookRequest) -> bool:
    """Whether anything comes of a request."""
    try:
        reply = await adapter.receive_webhook(request)
    except WebhookRejected as refused:
        return refused.status < 400
    return reply.status < 400


def forgeries(payload: Payload, request: WebhookRequest) -> Iterator[tuple[str, WebhookRequest]]:
    """What somebody sends who saw a true request, or none."""
    # Feishu's trial of an address is vouched for by being sealed at all.
    if any(map(_vouches, request.headers)) or request.query or request.path:
        yield "nothing that vouches", replace(request, headers={}, query={}, path="")
    if request.path:
        yield "another path", replace(request, path=f"x{request.path[1:]}")
    for name, value in request.headers.items():
        if _vouches(name):
            yield f"another {name}", replace(request, headers=request.headers | {name: value[:-1]})
            yield f"an empty {name}", replace(request, headers=request.headers | {name: ""})
            yield (
                f"a {name} of odd bytes",
                replace(request, headers=request.headers | {name: "\udcff" + value}),
            )
            without = {one: other for one, other in request.headers.items() if one != name}
            yield f"no {name}", replace(request, headers=without)
    for name, value in request.query.items():
        yield f"another ?{name}", replace(request, query=request.query | {name: f"{value}0"})
    if payload.platform not in BEARERS and request.body:
        place = len(request.body) // 2
        other = bytes([request.body[place] ^ 1])
        changed = request.body[:place] + other + request.body[place + 1 :]
        yield "another body", replace(request, body=changed)


def _vouches(name: str) -> bool:
    return any(word in name for word in ("sign", "token", "secret", "authorization", "timestamp"))


async def test_every_platform_that_calls_us_is_forged_here() -> None:
    assert set(CALLED) | CALLING | OWN == set(platforms())


@pytest.mark.parametrize(
    "payload", PAYLOADS, ids=lambda payload: f"{payload.platform}-{payload.path.stem}"
)
async def test_a_true_request_is_taken_and_its_forgeries_are_not(payload: Payload) -> None:
    request = true_request(payload)
    if not await is_taken(make(payload.platform), request):
        pytest.fail("the recorded request is refused: forgeries of it show nothing")
    for what, forged in forgeries(payload, request):
        assert not await is_taken(make(payload.platform), forged), what


@pytest.mark.parametrize("platform", CALLED)
async def test_what_another_secret_signed_is_refused(platform: str) -> None:
    settings = make_settings(platform)
    payloads = [payload for payload in PAYLOADS if payload.platform == platform]
    changed: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        text = given_settings(platform).get(name)
        if text and (isinstance(value, SecretStr) or name == "public_key"):
            # Of the same form and length: some are checked.
            place = len(text) // 2
            other = "B" if text[place] != "B" else "C"
            changed[name] = text[:place] + other + text[place + 1 :]
    adapter = ADAPTERS[platform](CHANNEL, make_settings(platform, **changed))
    for payload in payloads:
        assert not await is_taken(adapter, true_request(payload)), payload.path.name
