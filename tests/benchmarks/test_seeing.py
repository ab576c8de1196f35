"""What being watched costs: turns with metrics, and with traces, against turns without either."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kfbot.messages import ConversationId, MessageReceived, Sender
from kfbot.observability import metrics, tracing
from kfbot.settings import TracingSettings
from kfbot.testing import FakeAdapter
from tests.conftest import Clock
from tests.integration.conftest import ServedBot, serving_bot

pytestmark = [pytest.mark.asyncio, pytest.mark.benchmark]

#: Turns in a round of a kind, one after another; rounds of the kinds take turns.
TURNS, ROUNDS = 25, 8
COUNTED = (
    *("accepted", "turn_taken", "handed_off", "replied", "sent", "answered_request", "loaded"),
    *("store_failed", "postponed"),
)


async def _round(bot: ServedBot, shop: FakeAdapter, clock: Clock, name: str) -> float:
    """Milliseconds a turn, from the event to its delivered answer."""
    took = []
    for number in range(TURNS):
        event = MessageReceived(
            event_id=f"{name}-{number}",
            conversation=ConversationId("shop", f"{name}-{number}"),
            message_id=f"{name}-{number}",
            sender=Sender("customer"),
            sent_at=clock(),
            text="When will my refund arrive?",
        )
        before, began = len(shop.sent), time.perf_counter()
        await bot.application.inbox.accept(event)
        bot.application.inbox.wake()
        while len(shop.sent) == before:  # noqa: ASYNC110  # what is timed is not to be told
            await asyncio.sleep(0)
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def _nothing(*_: Any, **__: Any) -> None:
    return None


async def test_being_watched_costs_little(
    tmp_path: Path, template_database: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: dict[str, Callable[..., Any]] = {name: getattr(metrics, name) for name in COUNTED}
    stage = metrics.stage
    shop = FakeAdapter("shop")
    found: dict[str, list[float]] = {"bare": [], "metrics": [], "metrics and traces": []}
    async with serving_bot(
        tmp_path, template_database, channels={"shop": shop}, clock=clock
    ) as bot:
        await _round(bot, shop, clock, "warm-up")
        for number in range(ROUNDS):
            for kind, times in found.items():
                async with AsyncExitStack() as stack:
                    for name, function in real.items():
                        bare = kind == "bare"
                        monkeypatch.setattr(metrics, name, _nothing if bare else function)
                    monkeypatch.setattr(
                        metrics, "stage", (lambda _: nullcontext()) if kind == "bare" else stage
                    )
                    if kind == "metrics and traces":
                        kept = InMemorySpanExporter()
                        traces = tracing.exporting(TracingSettings(), exporter=kept)
                        await stack.enter_async_context(traces)
                    times.append(await _round(bot, shop, clock, f"{kind}-{number}"))
    bare = statistics.median(found["bare"])
    for kind, times in found.items():
        middle = statistics.median(times)
        print(f"\n{kind}: {middle:.2f} ms a turn, {middle / bare:.3f} x bare")
    assert len(shop.sent) == (1 + len(found) * ROUNDS) * TURNS
