"""One endpoint against the stand-in: dialects, usage, what is sent, and what is let go of."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio

from kfbot.chat_model import ChatMessage, Usage
from kfbot.errors import ChatModelError, CompletionInvalid
from kfbot.model.endpoint import Endpoint
from kfbot.model.faults import EndpointUnavailable, NoCompletion
from kfbot.model_settings import ChatModelSettings, EndpointSettings
from tests.platforms.openai_stand_in import (
    FOREIGN,
    GARBAGE,
    HTML,
    MODEL,
    NO_CHOICES,
    TOO_LONG,
    OpenAiStandIn,
    Reply,
    refused_url,
)

pytestmark = pytest.mark.asyncio
PROMPT = (ChatMessage("user", "我住在榆树街 5 号"),)


@pytest_asyncio.fixture
async def stand_in() -> AsyncIterator[OpenAiStandIn]:
    async with OpenAiStandIn([]) as opened:
        yield opened


async def ask(
    stand_in: OpenAiStandIn, *replies: Reply | str, usage: Usage | None = None, **fields: Any
) -> str:
    """The text of the last of so many completions by one endpoint."""
    stand_in.replies += replies
    settings = ChatModelSettings(base_url=stand_in.url, **fields)
    endpoint, text = Endpoint(settings, settings), ""
    try:
        for _ in replies:
            pieces = endpoint.complete(PROMPT, max_tokens=50, usage=usage or Usage())
            text = "".join([piece async for piece in pieces])
    finally:
        await endpoint.aclose()
    return text


async def test_tokens_are_counted_as_the_endpoint_counts(stand_in: OpenAiStandIn) -> None:
    usage = Usage()
    await ask(stand_in, "one two three", usage=usage)
    assert (usage.prompt_tokens, usage.completion_tokens) == (9, 3)
    assert usage.model == MODEL
    assert usage.first_token_ms > 0


async def test_tokens_are_estimated_where_the_endpoint_does_not_count(
    stand_in: OpenAiStandIn,
) -> None:
    stand_in.knows_usage = False
    usage = Usage()
    assert await ask(stand_in, "one two three", "four", usage=usage) == "four"
    assert usage.completion_tokens == 7
    assert usage.prompt_tokens > 16
    # Refused once, not asked for any more.
    asked = ["stream_options" in one.body for one in stand_in.requests]
    assert asked == [True, False, False]


async def test_a_completion_that_broke_off_is_counted_too(stand_in: OpenAiStandIn) -> None:
    usage = Usage()
    with pytest.raises(EndpointUnavailable):
        await ask(stand_in, Reply(text="one two three", cut_after=2), usage=usage)
    assert usage.completion_tokens == 3


async def test_thoughts_never_come_as_text(stand_in: OpenAiStandIn) -> None:
    reply = Reply(text="<think>secret</think>Two days.", reasoning="very secret")
    assert await ask(stand_in, reply) == "Two days."


async def test_a_model_that_thinks_without_a_tag_is_understood_the_second_time(
    stand_in: OpenAiStandIn,
) -> None:
    reply = "secret secret</think>Two days."
    settings = ChatModelSettings(base_url=stand_in.url)
    endpoint = Endpoint(settings, settings)
    stand_in.replies = [reply, reply]
    with pytest.raises(CompletionInvalid):
        async for _ in endpoint.complete(PROMPT, max_tokens=50, usage=Usage()):
            pass
    pieces = endpoint.complete(PROMPT, max_tokens=50, usage=Usage())
    assert "".join([piece async for piece in pieces]) == "Two days."
    await endpoint.aclose()


async def test_an_endpoint_that_does_not_stream_is_read(stand_in: OpenAiStandIn) -> None:
    usage = Usage()
    assert await ask(stand_in, Reply(text="Two days.", plain=True), usage=usage) == "Two days."
    assert usage.completion_tokens == 2


@pytest.mark.parametrize(
    ("reply", "kind", "told"),
    [
        (HTML, NoCompletion, "base_url"),
        (GARBAGE, NoCompletion, "no completion"),
        (FOREIGN, NoCompletion, "no completion"),
        (NO_CHOICES, NoCompletion, "completed nothing"),
        (Reply(text=""), NoCompletion, "completed nothing"),
        (Reply(body='{"error": "x"}', content_type="application/json"), NoCompletion, "base_url"),
        (Reply(body='data: {"error": {"message": "sk-1"}}\n\n'), EndpointUnavailable, "broke off"),
        (Reply(text="a b c", cut_after=0), EndpointUnavailable, "connection"),
        (Reply(text="a b c", cut_after=2), EndpointUnavailable, "connection"),
        (Reply(text="a b c", ends_after=2), EndpointUnavailable, "in the middle"),
        (Reply(hangs=True), EndpointUnavailable, "too long"),
        (Reply(text="a b c", first_token_seconds=9), EndpointUnavailable, "too long"),
        (Reply(text="a b c", token_seconds=9), EndpointUnavailable, "too long"),
        (TOO_LONG, CompletionInvalid, "context_tokens"),
        (Reply(text="a", finish_reason="content_filter"), CompletionInvalid, "filter"),
        (Reply(text="<think>a", finish_reason="length"), CompletionInvalid, "answer_tokens"),
        (Reply(status=401), EndpointUnavailable, "api_key"),
        (Reply(status=404), EndpointUnavailable, "base_url"),
        (Reply(status=429), EndpointUnavailable, "busy"),
        (Reply(status=500), EndpointUnavailable, "failed"),
        (Reply(status=307, headers={"Location": "http://10.1.2.3/"}), EndpointUnavailable, "moved"),
    ],
)
async def test_every_fault_is_one_line_that_says_what_to_do(
    stand_in: OpenAiStandIn, reply: Reply, kind: type[ChatModelError], told: str
) -> None:
    with pytest.raises(ChatModelError) as raised:
        await ask(stand_in, reply, api_key="sk-1", first_token_seconds=0.3)
    assert type(raised.value) is kind
    text = str(raised.value)
    assert told in text
    assert "\n" not in text
    assert "sk-1" not in text
    assert "榆树" not in text


async def test_a_server_that_is_not_there_is_named(stand_in: OpenAiStandIn) -> None:
    settings = ChatModelSettings(base_url=await refused_url(), model="qwen")
    endpoint = Endpoint(settings, settings)
    with pytest.raises(EndpointUnavailable, match="qwen cannot be reached") as raised:
        await endpoint.check()
    assert raised.value.kind == "dead"
    await endpoint.aclose()


async def test_a_completion_ends_in_its_time_though_tokens_come(stand_in: OpenAiStandIn) -> None:
    slow = Reply(text="so " * 1000, token_seconds=0.01)
    with pytest.raises(EndpointUnavailable, match="did not finish") as raised:
        await ask(stand_in, slow, timeout_seconds=0.3)
    # Others may still be served in time.
    assert raised.value.kind == "passing"


async def test_a_model_is_named_by_the_settings_or_is_the_only_one(
    stand_in: OpenAiStandIn,
) -> None:
    stand_in.models = ["qwen-7b"]
    await ask(stand_in, "a", "b")
    assert stand_in.requests[-1].body["model"] == "qwen-7b"
    assert stand_in.probes == 1
    stand_in.models = ["qwen-7b", "qwen-32b"]
    with pytest.raises(EndpointUnavailable, match="qwen-7b, qwen-32b"):
        await ask(stand_in, "a")
    assert await ask(stand_in, model="qwen-32b") == ""


async def test_every_request_has_an_id_of_its_own_and_the_log_tells_it(
    stand_in: OpenAiStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "kfbot"):
        await ask(stand_in, "a", "b")
    ids = [one.headers["X-Request-Id"] for one in stand_in.requests]
    assert len(set(ids)) == 2
    assert all(one in caplog.text for one in ids)


async def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    stand_in: OpenAiStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert await ask(stand_in, "Two days.") == "Two days."


async def test_the_key_goes_to_its_own_endpoint(stand_in: OpenAiStandIn) -> None:
    stand_in.key = "sk-1"
    assert await ask(stand_in, "a", api_key="sk-1") == "a"
    with pytest.raises(EndpointUnavailable, match="api_key"):
        await ask(stand_in, "a", api_key="sk-2")


async def test_a_customer_who_leaves_ends_the_request(stand_in: OpenAiStandIn) -> None:
    stand_in.replies = [Reply(text="a b c", holds_after=1)]
    settings = ChatModelSettings(base_url=stand_in.url)
    endpoint = Endpoint(EndpointSettings(base_url=stand_in.url), settings)
    pieces = endpoint.complete(PROMPT, max_tokens=50, usage=Usage())
    async with aclosing(pieces):
        assert await anext(pieces) == "a"
    async with asyncio.timeout(60):
        while stand_in.open:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)
    assert stand_in.abandoned == 1
    await endpoint.aclose()


@pytest.mark.parametrize("plain", [True, False])
async def test_half_a_character_waits_for_its_other_half_and_is_no_text_alone(
    stand_in: OpenAiStandIn, plain: bool
) -> None:
    pieces = ["a\ud83d\ude00b\ud83dc"] if plain else ["a\ud83d", "\ude00b", "\ud83d", "c"]
    said = [{"content": piece} for piece in pieces]
    if plain:
        body = json.dumps({"choices": [{"message": said[0], "finish_reason": "stop"}]})
        halves = Reply(body=body, content_type="application/json")
    else:
        chunks = [{"choices": [{"index": 0, "delta": one}]} for one in said]
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
        halves = Reply(body=f"{body}data: [DONE]\n\n")
    assert await ask(stand_in, halves) == "a😀b\ufffdc"
