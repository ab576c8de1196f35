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
from kfbot.model import in_process
from kfbot.model.in_process import InProcess
from kfbot.model.tuning.record import write_record
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


@pytest.mark.asyncio
async def test_its_first_customer_does_not_wait_for_its_cache(model: InProcess) -> None:
    loaded = await asyncio.wrap_future(model._loaded)
    assert loaded.manager.batch_processor is not None
    assert loaded.manager.current_batch >= 2


@pytest.mark.asyncio
async def test_a_model_that_cannot_answer_once_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Named: for a model that cannot leave logits out, much more is set aside.
    def fail(*_: Any, logits_to_keep: int = 0, **__: Any) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr("transformers.LlamaForCausalLM.forward", fail)
    model = InProcess(ChatModelSettings(model=str(tiny_llama(tmp_path / "tiny"))))
    with pytest.raises(ChatModelUnavailable, match="out of memory: a smaller model"):
        await _said(model)
    await model.aclose()


@pytest.mark.asyncio
async def test_a_machine_without_room_for_keys_and_values_is_out_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfbot.model.in_process.CPU_CACHE", 0.0001)
    model = InProcess(ChatModelSettings(model=str(tiny_llama(tmp_path / "tiny"))))
    with pytest.raises(ChatModelUnavailable, match="out of memory: a smaller model"):
        await _said(model)
    await model.aclose()


@pytest.mark.asyncio
async def test_a_model_that_says_nothing_has_completed_nothing(model: InProcess) -> None:
    loaded = await asyncio.wrap_future(model._loaded)
    step, end = loaded.model.forward, loaded.model.generation_config.eos_token_id

    def ends(**given: Any) -> Any:
        found = step(**given)
        found.logits[..., end] = 1e4
        return found

    loaded.model.forward = ends
    with pytest.raises(CompletionInvalid, match="completed nothing"):
        await _said(model)


@pytest.mark.asyncio
async def test_an_adapter_that_got_worse_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_record(tmp_path, {"base_sha256": "", "finished": True, "verdict": "worse"})
    monkeypatch.setattr(in_process, "check_adapter", lambda *given: "")
    folder = tiny_llama(tmp_path / "tiny")
    await InProcess(ChatModelSettings(model=str(folder), adapter=str(tmp_path))).aclose()
    (record,) = [one for one in caplog.records if one.__dict__.get("event") == "adapter_not_fit"]
    assert f"{tmp_path} is NOT FIT to answer customers" in record.message


def test_a_folder_that_does_not_exist_stops_the_start() -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        InProcess(ChatModelSettings(model="/nowhere/model"))
