"""One contract, every chat model: the fake, one endpoint, and endpoints behind a budget."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any

import pytest

from kfbot.chat_model import ChatMessage, ChatModel, Usage
from kfbot.errors import ChatModelUnavailable
from kfbot.model.endpoint import Endpoint
from kfbot.model.opening import open_chat_model
from kfbot.model_settings import ChatModelSettings
from kfbot.store.engine import Database
from kfbot.store.token_use import TokenUse
from kfbot.testing import FakeChatModel
from tests.platforms.openai_stand_in import OpenAiStandIn

pytestmark = pytest.mark.asyncio

TEXT = "Returns take two days. 退货需要两天。\n\nBring the receipt."
PROMPT = (ChatMessage("system", "Be brief."), ChatMessage("user", "How long do returns take?"))


@asynccontextmanager
async def fake(texts: list[str], database: Database) -> AsyncIterator[ChatModel]:
    yield FakeChatModel(texts)


@asynccontextmanager
async def endpoint(texts: list[str], database: Database) -> AsyncIterator[ChatModel]:
    async with OpenAiStandIn(texts) as stand_in:
        settings = ChatModelSettings(base_url=stand_in.url)
        model = Endpoint(settings, settings)
        yield model
        await model.aclose()


@asynccontextmanager
async def opened(texts: list[str], database: Database) -> AsyncIterator[ChatModel]:
    async with OpenAiStandIn(texts) as stand_in:
        settings = ChatModelSettings(base_url=stand_in.url, tokens_per_day=10_000)
        model = open_chat_model(settings, use=TokenUse(database))
        assert model is not None
        yield model
        await model.aclose()


MODELS = [fake, endpoint, opened]


@pytest.fixture(params=MODELS, ids=lambda one: one.__name__)
def opening(request: pytest.FixtureRequest, database: Database) -> Any:
    """Texts → a chat model that completes with them, and then with nothing more."""
    return lambda *texts: request.param(list(texts), database)


Opening = Any


async def completed(model: ChatModel, usage: Usage, max_tokens: int = 100) -> list[str]:
    return [piece async for piece in model.complete(PROMPT, max_tokens=max_tokens, usage=usage)]


async def test_pieces_together_are_the_text_and_none_is_empty(opening: Opening) -> None:
    opened_: AbstractAsyncContextManager[ChatModel] = opening(TEXT)
    async with opened_ as model:
        pieces = await completed(model, Usage())
    assert "".join(pieces) == TEXT
    assert len(pieces) > 3
    assert all(pieces)


async def test_no_more_tokens_come_than_were_asked_for(opening: Opening) -> None:
    async with opening(TEXT) as model:
        pieces = await completed(model, Usage(), max_tokens=3)
    assert len(pieces) == 3


async def test_what_it_took_is_added_up(opening: Opening) -> None:
    usage = Usage()
    async with opening(TEXT, TEXT) as model:
        await completed(model, usage)
        once = usage.completion_tokens
        await completed(model, usage)
    assert usage.requests == 2
    assert usage.model
    assert once > 3
    assert usage.completion_tokens == 2 * once


async def test_a_model_that_says_nothing_more_is_unavailable(opening: Opening) -> None:
    usage = Usage()
    async with opening() as model:
        with pytest.raises(ChatModelUnavailable):
            await completed(model, usage)
    assert usage.requests >= 1


async def test_one_who_stops_listening_leaves_the_model_usable(opening: Opening) -> None:
    async with opening(TEXT, TEXT) as model:
        async with aclosing(model.complete(PROMPT, max_tokens=100, usage=Usage())) as pieces:
            async for _ in pieces:
                break
        assert "".join(await completed(model, Usage())) == TEXT


async def test_it_tells_its_context(opening: Opening) -> None:
    async with opening() as model:
        assert model.context_tokens >= 512
