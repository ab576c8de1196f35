"""Whoever asks a chat model and is cut off ends the completion at once, and frees its place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import pytest

from kfbot.chat_model import ChatMessage, Usage
from kfbot.conversation import HistoryMessage
from kfbot.grounding.judging import judged
from kfbot.grounding.rewriting import rewritten
from kfbot.grounding.summaries import summarised

SAID = (HistoryMessage("customer", "How long do returns take?"),)
ASKS: dict[str, Callable[[Any], Coroutine[Any, Any, object]]] = {
    "judged": lambda model: judged("It takes two days.", "Two days.", model, usage=Usage()),
    "rewritten": lambda model: rewritten(model, "And refunds?", SAID, language="en", usage=Usage()),
    "summarised": lambda model: summarised(model, SAID, language="en", usage=Usage()),
}


class Hanging:
    """Completes one sentence, and then no more."""

    context_tokens = 4096

    def __init__(self) -> None:
        self.waits = asyncio.Event()
        self.is_open = False

    async def complete(self, prompt: Sequence[ChatMessage], **_: object) -> AsyncIterator[str]:
        self.is_open = True
        try:
            yield "The customer asks how long returns take. "
            self.waits.set()
            await asyncio.Event().wait()
        finally:
            self.is_open = False


@pytest.mark.asyncio
@pytest.mark.parametrize("asks", ASKS.values(), ids=ASKS)
async def test_who_is_cut_off_ends_the_completion(
    asks: Callable[[Any], Coroutine[Any, Any, object]],
) -> None:
    model = Hanging()
    asking = asyncio.create_task(asks(model))
    await model.waits.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not model.is_open
