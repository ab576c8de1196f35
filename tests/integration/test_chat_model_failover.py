"""Endpoints that fail: who pays for it, who is asked instead, and how they come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio

from kfbot.chat_model import ChatMessage, ChatModel, Usage
from kfbot.cli.checking import _look_at_chat_model
from kfbot.errors import ChatModelError, ChatModelUnavailable, CompletionInvalid
from kfbot.model import breaker, failover
from kfbot.model.opening import check_endpoints, open_chat_model
from kfbot.model_settings import ChatModelSettings, EndpointSettings
from kfbot.settings import Settings
from tests.platforms.openai_stand_in import HTML, TOO_LONG, OpenAiStandIn, Reply, refused_url

pytestmark = pytest.mark.asyncio
PROMPT = (ChatMessage("user", "How long do returns take?"),)
HANGS = Reply(hangs=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that nobody needs to wait for."""
    monkeypatch.setattr(failover, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(breaker, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(breaker, "_LONGEST_PAUSE_SECONDS", 0.02)


@pytest_asyncio.fixture
async def first() -> AsyncIterator[OpenAiStandIn]:
    async with OpenAiStandIn(lambda _: "from the first") as opened:
        yield opened


@pytest_asyncio.fixture
async def second() -> AsyncIterator[OpenAiStandIn]:
    async with OpenAiStandIn(lambda _: "from the second") as opened:
        yield opened


Opened = Callable[..., ChatModel]


@pytest_asyncio.fixture
async def opened() -> AsyncIterator[Opened]:
    """Opens a model over endpoints, in their order."""
    models: list[ChatModel] = []

    def open_over(*urls: str, **fields: Any) -> ChatModel:
        settings = ChatModelSettings(
            base_url=urls[0],
            model="stand-in-1",
            fallbacks=tuple(EndpointSettings(base_url=one, model="stand-in-1") for one in urls[1:]),
            **{"first_token_seconds": 0.3, **fields},
        )
        model = open_chat_model(settings)
        assert model is not None
        models.append(model)
        return model

    yield open_over
    for model in models:
        await model.aclose()


async def ask(model: ChatModel, usage: Usage | None = None) -> str:
    pieces = model.complete(PROMPT, max_tokens=50, usage=usage or Usage())
    return "".join([piece async for piece in pieces])


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not happened():  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.005)


async def recovered(model: ChatModel) -> str:
    """What the model says once an endpoint is asked again."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await ask(model)
            except ChatModelUnavailable:
                await asyncio.sleep(0.005)


async def test_a_dead_endpoint_costs_one_timeout_and_is_then_left_alone(
    first: OpenAiStandIn, opened: Opened
) -> None:
    first.answer = lambda _: HANGS
    model = opened(first.url, first_token_seconds=0.2)
    with pytest.raises(ChatModelUnavailable, match="too long"):
        await ask(model)
    for _ in range(20):
        usage = Usage()
        with pytest.raises(ChatModelUnavailable, match="no endpoint answers"):
            await ask(model, usage)
        # Nobody was asked, so nothing was waited for.
        assert usage.requests == 0
    customers = [one for one in first.requests if one.body["max_tokens"] > 1]
    assert len(customers) == 1


async def test_turns_that_meet_a_dead_endpoint_together_wait_side_by_side(
    first: OpenAiStandIn, opened: Opened
) -> None:
    first.answer = lambda _: HANGS
    model = opened(first.url, parallel=16, queue_seconds=5)
    results = await asyncio.gather(*(ask(model) for _ in range(64)), return_exceptions=True)
    assert all(isinstance(one, ChatModelUnavailable) for one in results)
    customers = [one for one in first.requests if one.body["max_tokens"] > 1]
    # Those who waited for a place did not begin a timeout of their own.
    assert len(customers) == 16


async def test_an_endpoint_that_comes_back_is_taken_up_by_itself(
    first: OpenAiStandIn, opened: Opened
) -> None:
    model = opened(first.url)
    await first.stop()
    with pytest.raises(ChatModelUnavailable, match="is it running"):
        await ask(model)
    with pytest.raises(ChatModelUnavailable, match=r"no endpoint answers.*is it running"):
        await ask(model)
    await first.start()
    assert await recovered(model) == "from the first"


async def test_another_endpoint_answers_in_place_of_a_dead_one(
    first: OpenAiStandIn, second: OpenAiStandIn, opened: Opened
) -> None:
    first.replies = [HANGS] * 9
    model = opened(first.url, second.url)
    assert await ask(model) == "from the second"
    before = len([one for one in first.requests if one.body["max_tokens"] > 1])
    assert [await ask(model) for _ in range(5)] == ["from the second"] * 5
    assert len([one for one in first.requests if one.body["max_tokens"] > 1]) == before == 1


async def test_the_first_endpoint_is_asked_first_again_once_it_answers(
    first: OpenAiStandIn, second: OpenAiStandIn, opened: Opened
) -> None:
    model = opened(first.url, second.url)
    await first.stop()
    assert await ask(model) == "from the second"
    await first.start()
    await until(lambda: bool(first.requests))
    async with asyncio.timeout(60):
        while await ask(model) != "from the first":  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.005)


async def test_who_waits_for_a_short_time_of_their_own_asks_once_and_closes_nothing(
    first: OpenAiStandIn, second: OpenAiStandIn, opened: Opened
) -> None:
    first.replies = [HANGS]
    model = opened(first.url, second.url, first_token_seconds=5.0)
    with pytest.raises(ChatModelUnavailable, match="in time"):
        async for _ in model.complete(PROMPT, max_tokens=9, usage=Usage(), timeout_seconds=0.1):
            pass
    assert (len(first.requests), len(second.requests)) == (1, 0)
    assert await ask(model) == "from the first"


async def test_a_second_dead_endpoint_costs_no_second_timeout(
    first: OpenAiStandIn, second: OpenAiStandIn, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover, "_GLANCE_SECONDS", 0.05)
    first.answer = lambda _: HANGS
    await second.stop()
    model = opened(first.url, second.url)
    with pytest.raises(ChatModelUnavailable, match="too long"):
        await ask(model)
    assert not second.requests


@pytest.mark.parametrize("reply", [Reply(status=500), Reply(cut_after=0, text="a"), HTML])
async def test_what_may_pass_is_tried_again(
    first: OpenAiStandIn, opened: Opened, reply: Reply
) -> None:
    first.replies = [reply, reply]
    usage = Usage()
    assert await ask(opened(first.url), usage) == "from the first"
    assert usage.requests == 3


async def test_a_short_pause_that_is_asked_for_is_kept(
    first: OpenAiStandIn, opened: Opened
) -> None:
    first.replies = [Reply(status=429, headers={"Retry-After": "0.25"})]
    assert await ask(opened(first.url)) == "from the first"
    one, other = first.requests
    assert other.at - one.at >= 0.25


async def test_a_long_pause_is_left_to_the_endpoint_while_another_answers(
    first: OpenAiStandIn, second: OpenAiStandIn, opened: Opened
) -> None:
    first.replies = [Reply(status=429, headers={"Retry-After": "60"})]
    model = opened(first.url, second.url)
    assert [await ask(model) for _ in range(3)] == ["from the second"] * 3
    assert len(first.requests) == 1


async def test_nothing_is_tried_again_once_a_piece_has_come(
    first: OpenAiStandIn, second: OpenAiStandIn, opened: Opened
) -> None:
    first.replies = [Reply(text="one two three", cut_after=2)]
    pieces = opened(first.url, second.url).complete(PROMPT, max_tokens=50, usage=Usage())
    assert [await anext(pieces), await anext(pieces)] == ["one", " two"]
    with pytest.raises(ChatModelUnavailable):
        await anext(pieces)
    assert (len(first.requests), len(second.requests)) == (1, 0)


async def test_a_prompt_that_is_refused_does_not_close_the_endpoint_for_others(
    first: OpenAiStandIn, opened: Opened
) -> None:
    first.replies = [TOO_LONG] * 10
    model = opened(first.url)
    for _ in range(10):
        with pytest.raises(CompletionInvalid):
            await ask(model)
    assert await ask(model) == "from the first"
    assert len(first.requests) == 11


async def test_no_more_run_at_once_than_allowed_and_who_waits_too_long_is_told(
    first: OpenAiStandIn, opened: Opened
) -> None:
    first.answer = lambda _: Reply(text="a b", holds_after=1)
    model = opened(first.url, parallel=2, queue_seconds=0.1, first_token_seconds=5)
    running = [asyncio.create_task(ask(model)) for _ in range(2)]
    await until(lambda: first.open == 2)
    with pytest.raises(ChatModelUnavailable, match="parallel"):
        await ask(model)
    first.released.set()
    assert await asyncio.gather(*running) == ["a b", "a b"]
    assert first.most_open == 2


async def test_a_place_is_given_back_by_whoever_leaves(
    first: OpenAiStandIn, opened: Opened
) -> None:
    first.answer = lambda _: Reply(text="a b", holds_after=1)
    model = opened(first.url, parallel=1, queue_seconds=2, first_token_seconds=5)
    for leave in ("cancel", "break", "cut", "cancel while waiting"):
        first.busy.clear()
        if leave == "cut":
            first.replies = [Reply(text="a b", cut_after=1)]
            with pytest.raises(ChatModelError):
                await ask(model)
        elif leave == "break":
            async with aclosing(model.complete(PROMPT, max_tokens=9, usage=Usage())) as pieces:
                assert await anext(pieces) == "a"
        else:
            tasks = [asyncio.create_task(ask(model)) for _ in range(3)]
            await first.busy.wait()
            for task in reversed(tasks) if "waiting" in leave else tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    first.released.set()
    assert await ask(model) == "a b"


async def test_every_endpoint_is_checked_by_itself(first: OpenAiStandIn) -> None:
    dead = await refused_url()
    fallback = EndpointSettings(base_url=dead, model="qwen")
    states = await check_endpoints(
        ChatModelSettings(base_url=first.url, fallbacks=(fallback,), first_token_seconds=1)
    )
    assert [(one.address, one.model, bool(one.fault)) for one in states] == [
        (first.url, "stand-in-1", False),
        (dead, "", True),
    ]
    assert first.requests[0].body["max_tokens"] == 1


async def test_kfbot_check_tells_of_every_endpoint_and_is_content_with_one(
    first: OpenAiStandIn,
) -> None:
    dead = await refused_url()
    section = {
        "base_url": first.url,
        "first_token_seconds": 1,
        "fallbacks": [{"base_url": dead, "model": "qwen"}],
    }
    settings = Settings(chat_model=ChatModelSettings.model_validate(section))
    found = [(one.state, one.text) async for one in _look_at_chat_model(settings)]
    assert found == [
        ("ok", f"stand-in-1 answers at {first.url}"),
        ("note", "qwen cannot be reached: is it running?"),
    ]
    alone = Settings(chat_model=ChatModelSettings(base_url=dead, model="qwen"))
    assert [one.state async for one in _look_at_chat_model(alone)] == ["wrong"]
    assert [one async for one in _look_at_chat_model(Settings())] == []
