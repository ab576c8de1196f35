"""One contract, every chat model: the fake, endpoints, a budget before them, a model in here."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import cache
from typing import Any

import pytest

from kfbot.chat_model import ChatMessage, ChatModel, Usage
from kfbot.errors import ChatModelUnavailable
from kfbot.model.endpoint import Endpoint
from kfbot.model.in_process import InProcess
from kfbot.model.opening import open_chat_model
from kfbot.model_settings import ChatModelSettings
from kfbot.store.engine import Database
from kfbot.store.token_use import TokenUse
from kfbot.testing import FakeChatModel
from tests.platforms.openai_stand_in import OpenAiStandIn
from tests.small_model import tiny_llama

pytestmark = pytest.mark.asyncio

#: A model in this process: one for all tests, for it takes seconds to open.
Here = Callable[[], InProcess]

TEXT = "Returns take two days. 退货需要两天。\n\nBring the receipt."
PROMPT = (ChatMessage("system", "Be brief."), ChatMessage("user", "How long do returns take?"))


@asynccontextmanager
async def fake(texts: list[str], database: Database, here: Here) -> AsyncIterator[ChatModel]:
    yield FakeChatModel(texts)


@asynccontextmanager
async def endpoint(texts: list[str], database: Database, here: Here) -> AsyncIterator[ChatModel]:
    async with OpenAiStandIn(texts) as stand_in:
        settings = ChatModelSettings(base_url=stand_in.url)
        model = Endpoint(settings, settings)
        yield model
        await model.aclose()


@asynccontextmanager
async def opened(texts: list[str], database: Database, here: Here) -> AsyncIterator[ChatModel]:
    async with OpenAiStandIn(texts) as stand_in:
        settings = ChatModelSettings(base_url=stand_in.url, tokens_per_day=10_000)
        model = open_chat_model(settings, use=TokenUse(database))
        assert model is not None
        yield model
        await model.aclose()


@asynccontextmanager
async def in_process(texts: list[str], database: Database, here: Here) -> AsyncIterator[ChatModel]:
    model = here()
    loaded = await asyncio.wrap_future(model._loaded)
    # The test before may have ended its loop.
    await asyncio.to_thread(loaded.start)
    step = loaded.model.forward
    loaded.model.forward = _saying(texts, loaded)
    yield model
    loaded.model.forward = step


def _saying(texts: list[str], loaded: Any) -> Callable[..., Any]:
    """A step of a model that says the next text behind each `PROMPT`: random weights have none."""
    step, prompt, left = loaded.model.forward, loaded.tokens_of(PROMPT), list(texts)
    end: int = loaded.model.generation_config.eos_token_id
    said: list[int] = []

    def forward(**given: Any) -> Any:
        places = given["position_ids"][0].tolist()
        if len(prompt) - 1 in places:
            if not left:
                raise RuntimeError("nothing left to say")
            said[:] = [*loaded.tokenizer(left.pop(0))["input_ids"], end]
        found = step(**given)
        for row, place in enumerate(given["logits_indices"].tolist()):
            wanted = said[places[place] + 1 - len(prompt)]
            found.logits[0, row if "logits_to_keep" in given else place, wanted] = 1e4
        return found

    return forward


IN_PROCESS = pytest.param(
    in_process,
    marks=[
        pytest.mark.slow,
        pytest.mark.filterwarnings("ignore::FutureWarning"),
        pytest.mark.filterwarnings("ignore::DeprecationWarning"),
        pytest.mark.filterwarnings("ignore::UserWarning"),
    ],
)
MODELS = [fake, endpoint, opened, IN_PROCESS]


@pytest.fixture(params=MODELS, ids=lambda one: one.__name__)
def opening(request: pytest.FixtureRequest, database: Database, here: Here) -> Any:
    """Texts → a chat model that completes with them, and then with nothing more."""
    return lambda *texts: request.param(list(texts), database, here)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    @cache
    def one() -> InProcess:
        folder = tiny_llama(tmp_path_factory.mktemp("models") / "tiny")
        return InProcess(ChatModelSettings(model=str(folder), first_token_seconds=120.0))

    yield one
    if one.cache_info().currsize:
        asyncio.run(one().aclose())


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


async def test_one_who_stops_listening_leaves_nothing_to_the_garbage_collector(
    opening: Opening,
) -> None:
    left: list[Any] = []
    async with opening(TEXT) as model:
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=None, finalizer=left.append)
        async with aclosing(model.complete(PROMPT, max_tokens=100, usage=Usage())) as pieces:
            await anext(pieces)
        gc.collect()
        sys.set_asyncgen_hooks(*hooks)
    # The SDK of endpoints leaves its own behind; their connection is closed all the same.
    assert [one for one in left if "/kfbot/" in one.ag_code.co_filename] == []


async def test_it_tells_its_context(opening: Opening) -> None:
    async with opening() as model:
        assert model.context_tokens >= 512
