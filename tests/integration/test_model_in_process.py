"""A chat model in this process: a tiny one, with everything that a large one does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kfbot.chat_model import ChatMessage, Usage
from kfbot.errors import ChatModelUnavailable, CompletionInvalid, SettingsError
from kfbot.model.in_process import InProcess
from kfbot.model_settings import ChatModelSettings
from tests.small_model import tiny_llama

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
HELLO = (ChatMessage("system", "You are kind."), ChatMessage("user", "Hello"))


@pytest_asyncio.fixture
async def model(tmp_path: Path) -> AsyncIterator[InProcess]:
    folder = tiny_llama(tmp_path / "tiny")
    opened = InProcess(ChatModelSettings(model=str(folder), first_token_seconds=120.0))
    yield opened
    await opened.aclose()


async def _said(model: InProcess, max_tokens: int = 8) -> tuple[str, Usage]:
    usage = Usage()
    pieces = model.complete(HELLO, max_tokens=max_tokens, usage=usage)
    return "".join([piece async for piece in pieces]), usage


@pytest.mark.asyncio
async def test_the_same_prompt_gets_the_same_text_alone_and_together(model: InProcess) -> None:
    alone, usage = await _said(model)
    assert (usage.completion_tokens, usage.requests, usage.model) == (8, 1, "tiny")
    assert usage.prompt_tokens > 0
    together = await asyncio.gather(*(_said(model) for _ in range(4)))
    assert [text for text, _ in together] == [alone] * 4


@pytest.mark.asyncio
async def test_a_prompt_without_room_for_its_answer_is_invalid(model: InProcess) -> None:
    await _said(model, 1)
    with pytest.raises(CompletionInvalid, match="too long"):
        await _said(model, model.context_tokens)


@pytest.mark.asyncio
async def test_who_stops_reading_stops_the_generation(model: InProcess) -> None:
    async with aclosing(model.complete(HELLO, max_tokens=4000, usage=Usage())) as pieces:
        await anext(pieces)
    manager = model._loaded.result().manager
    assert not manager.output_router.result_handlers
    # What was cancelled takes no step of those who come after.
    async with asyncio.timeout(60):
        await _said(model)
    assert not manager.batch_processor.has_pending_requests()


@pytest.mark.asyncio
async def test_it_goes_on_after_memory_ran_out(model: InProcess) -> None:
    text, _ = await _said(model)
    loaded = model._loaded.result()
    step = loaded.model.forward

    def fail(*_: Any, **__: Any) -> None:
        loaded.model.forward = step
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    loaded.model.forward = fail
    with pytest.raises(ChatModelUnavailable, match="out of memory: a smaller model"):
        await _said(model)
    # Requests fail a moment before the loop says that it is dead.
    await asyncio.to_thread(loaded.manager._generation_thread.join)
    assert (await _said(model))[0] == text


@pytest.mark.asyncio
async def test_nothing_is_completed_once_it_is_closed(tmp_path: Path) -> None:
    model = InProcess(ChatModelSettings(model=str(tiny_llama(tmp_path / "tiny"))))
    await model.aclose()
    with pytest.raises(ChatModelUnavailable, match="not loaded any more"):
        await _said(model)


def test_a_folder_that_does_not_exist_stops_the_start() -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        InProcess(ChatModelSettings(model="/nowhere/model"))
