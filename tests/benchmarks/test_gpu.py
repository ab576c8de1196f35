"""Continuous batching against plain `generate`, on the GPU: `make bench`, or the commands in
docs/chat-model.md; KFBOT_TEST_MODEL names a folder, else it is SmolLM2.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import pytest

from kfbot.chat_model import ChatMessage, Usage
from kfbot.model.in_process import InProcess
from kfbot.model_settings import ChatModelSettings
from tests.small_model import smollm2

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.filterwarnings("ignore"),
]
_TOKENS = 128
_PROMPT = (ChatMessage("system", "You are kind."), ChatMessage("user", "Count to 1000 in words."))


def _plain(loaded: Any) -> float:
    """Tokens a second of `generate`, one prompt after the other."""
    import torch

    tokens = torch.tensor([loaded.tokens_of(_PROMPT)], device=loaded.model.device)
    options = {"max_new_tokens": _TOKENS, "min_new_tokens": _TOKENS, "use_cache": True}
    loaded.model.generate(tokens, **options)
    began = time.monotonic()
    loaded.model.generate(tokens, **options)
    return _TOKENS / (time.monotonic() - began)


async def _together(model: InProcess, count: int) -> float:
    usage = Usage()

    async def say() -> None:
        async for _ in model.complete(_PROMPT, max_tokens=_TOKENS, usage=usage):
            pass

    began = time.monotonic()
    await asyncio.gather(*(say() for _ in range(count)))
    return usage.completion_tokens / (time.monotonic() - began)


@pytest.mark.asyncio
async def test_questions_together_take_less_than_one_after_the_other() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("NO CUDA: nothing was measured on a GPU")
    folder = os.environ.get("KFBOT_TEST_MODEL") or str(smollm2())
    model = InProcess(ChatModelSettings(model=folder, first_token_seconds=600.0))
    try:
        await _together(model, 1)
        speeds = {count: await _together(model, count) for count in (1, 8, 32)}
        loaded = model._loaded.result()
        name, kind = torch.cuda.get_device_name(), loaded.model.dtype
        peak = torch.cuda.max_memory_allocated() / 2**30
        loaded.end_loop()
        plain = _plain(loaded)
    finally:
        await model.aclose()
    print(f"\n{name}, {kind}: {peak:.1f} GiB with its cache; plain {plain:.1f} tokens/s")
    for count, speed in speeds.items():
        print(f"  {count:>2} at once: {speed:.1f} tokens/s, {speed / plain:.2f} of plain generate")
