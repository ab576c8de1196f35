# ruff: noqa: PT017 - to take the input is right, too
"""Recorded webhook requests, with faults, signed as their platform signs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlencode

from kfbot.adapter import WebhookReply, WebhookRequest
from kfbot.errors import WebhookRejected
from kfbot.messages import InboundEvent
from kfbot.store.events import decode_event, encode_event, storable_event
from tests.contract.test_adapters import RECORDED, make, make_request, takes_webhooks
from tests.fuzz.mutation import HOSTILE, Pick, mutated_json, mutated_text

#: Those of whom requests are recorded; the contract demands some of every one that calls us.
PLATFORMS = tuple(sorted({one.platform for one in RECORDED if takes_webhooks(one.platform)}))
#: PostgreSQL's indexes take 2,700 bytes of all columns together.
_LONGEST_ID = 800
#: In no index.
_LONG_FIELDS = {"text", "display_name", "url", "name", "media_type", "in_reply_to"}
_TEXTS = tuple(one for one in HOSTILE if isinstance(one, str) and not one.startswith("@raw"))


@cache
def recorded(platform: str) -> tuple[str, ...]:
    """The recorded requests of a platform, as JSON."""
    paths = [one.path for one in RECORDED if one.platform == platform]
    return tuple(json.dumps(json.loads(path.read_text("utf-8"))["request"]) for path in paths)


def mutated_request(platform: str, pick: Pick) -> WebhookRequest:
    """One of a platform's requests with faults in its body, and seldom in what signs it."""
    examples = recorded(platform)
    request: dict[str, Any] = json.loads(examples[pick(len(examples))])
    request["body"] = mutated_body(request["body"], pick)
    # A platform signs what it sends, whatever that is, and sends bytes.
    request["body"] = request["body"].encode("utf-8", "replace").decode()
    signed = make_request(platform, request)
    return replace(
        signed, query=_mutated_map(signed.query, pick), headers=_mutated_map(signed.headers, pick)
    )


def _mutated_map(given: Mapping[str, str], pick: Pick) -> Mapping[str, str]:
    """Query or headers, seldom with one value replaced, read as a server reads any bytes."""
    if not given or pick(10):
        return given
    name = list(given)[pick(len(given))]
    sent = _TEXTS[pick(len(_TEXTS))].encode("utf-8", "surrogatepass")
    return {**given, name: sent.decode("utf-8", "surrogateescape")}


def mutated_body(body: str, pick: Pick) -> str:
    """A body of JSON, a form that holds JSON, or XML, with faults."""
    try:
        return mutated_json(body, pick)
    except ValueError:
        pass
    form = parse_qsl(body, keep_blank_values=True)
    if form and not body.startswith("<"):
        place = pick(len(form))
        name, value = form[place]
        try:
            form[place] = name, mutated_json(value, pick)
        except ValueError:
            form[place] = name, mutated_text(value, pick, 2)
        return urlencode(form, errors="replace")
    return mutated_text(body, pick)


def check_received(platform: str, request: WebhookRequest) -> None:
    """A request is refused with a 4xx, or means events that can be stored.

    Raises:
        AssertionError: Neither; any other error is the adapter's fault, too.
    """
    try:
        reply = asyncio.run(make(platform).receive_webhook(request))
    except WebhookRejected as error:
        assert 400 <= error.status < 500
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
    else:
        check_reply(reply)


def check_reply(reply: WebhookReply) -> None:
    """An answer that a server can give, of events that a store can keep."""
    assert isinstance(reply, WebhookReply)
    # 503: the platform is asked to send it again.
    assert 200 <= reply.status < 300 or (reply.status == 503 and not reply.events)
    assert len(reply.events) < 100
    for event in reply.events:
        check_event(event)


def check_event(event: InboundEvent) -> None:
    """An event as every database takes it, and as it is when it is read again."""
    assert event.event_id
    assert event.sent_at.tzinfo is not None
    assert event.conversation.chat
    kept = storable_event(event)
    encoded = encode_event(kept)
    # Neither the halves of characters nor NaN are JSON; PostgreSQL keeps no NUL either.
    written = json.dumps(encoded, ensure_ascii=False, allow_nan=False)
    written.encode("utf-8")
    assert decode_event(json.loads(written)) == kept
    for name, text in _texts(kept):
        assert "\0" not in text
        assert name in _LONG_FIELDS or (len(text) <= _LONGEST_ID), (
            f"{name} is {len(text)} characters long"
        )


def _texts(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Every text inside of an event, by the name of its field."""
    if isinstance(value, str):
        return [(name, value)]
    if isinstance(value, tuple):
        return [found for one in value for found in _texts(one, name)]
    if is_dataclass(value):
        parts = [one.name for one in fields(value) if one.name != "raw"]
        return [found for part in parts for found in _texts(getattr(value, part), part)]
    return []
