"""How much kfbot adds to a chat model's endpoint: ratios taken in one run."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import psutil
import pytest

from kfbot.chat_model import ChatMessage, Usage
from kfbot.grounding.writing import Writer
from kfbot.knowledge_base import Passage
from kfbot.model.opening import open_chat_model
from kfbot.model_settings import ChatModelSettings
from tests.platforms.openai_stand_in import MODEL, OpenAiStandIn

pytestmark = [pytest.mark.asyncio, pytest.mark.benchmark]

PARALLEL, ROUNDS, TOKEN_SECONDS = 32, 2, 0.03
#: Twenty sentences that the passage says; about 170 tokens.
TEXT = " ".join(
    f"Parcels to zone {number} arrive within {number + 2} business days." for number in range(20)
)
PASSAGE = Passage(
    knowledge_base="fake", document_id="d", chunk_id="c", kind="document",
    title="Shipping", text=TEXT, question="", score=0.9,
)  # fmt: skip


@asynccontextmanager
async def endpoint(token_seconds: float) -> AsyncIterator[str]:
    """The stand-in in a process of its own: it shares no event loop with what is measured."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.platforms.openai_stand_in", "0", str(token_seconds), TEXT),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.wait()


async def _seconds(once: Callable[[], Awaitable[object]]) -> float:
    """For `PARALLEL` at the same time, `ROUNDS` one after another each."""

    async def rounds() -> None:
        for _ in range(ROUNDS):
            await once()

    began = time.perf_counter()
    await asyncio.gather(*(rounds() for _ in range(PARALLEL)))
    return time.perf_counter() - began


async def _bare(client: httpx.AsyncClient, url: str) -> int:
    """Read a stream as plainly as can be; returns its characters."""
    body = {
        "model": MODEL, "stream": True, "max_tokens": 512,
        "messages": [{"role": "user", "content": TEXT}],
    }  # fmt: skip
    read = 0
    async with client.stream("POST", f"{url}/chat/completions", json=body) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    read += len(choice["delta"].get("content", ""))
    return read


class _Arrivals:
    """When the last piece of each sentence came in, and when `on_text` had it."""

    def __init__(self, model: object) -> None:
        self._model = model
        self.context_tokens = 8192
        self.delays: list[float] = []

    async def complete(self, *given: object, **fields: object) -> AsyncIterator[str]:
        async for piece in self._model.complete(*given, **fields):  # type: ignore[attr-defined]
            # A sentence is whole with the piece behind it; that one's arrival is what counts.
            _last.set(time.perf_counter())
            yield piece

    async def aclose(self) -> None:
        pass


class _Last:
    """The arrival of the last piece, by task."""

    def __init__(self) -> None:
        self._at: dict[object, float] = {}

    def set(self, at: float) -> None:
        self._at[asyncio.current_task()] = at

    def get(self) -> float:
        return self._at[asyncio.current_task()]


_last = _Last()


async def test_throughput_of_32_parallel_answers_and_how_soon_sentences_come(
    measured: list[str],
) -> None:
    async with (
        endpoint(TOKEN_SECONDS) as url,
        httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as client,
    ):
        settings = ChatModelSettings(base_url=url, parallel=PARALLEL)
        model = open_chat_model(settings)
        assert model is not None
        arrivals = _Arrivals(model)
        writer = Writer(arrivals, settings)

        async def on_text(_: str) -> None:
            arrivals.delays.append(time.perf_counter() - _last.get())

        async def written() -> None:
            answer = await writer.write(
                "How long do parcels take?", [PASSAGE], language="en", usage=Usage(),
                on_text=on_text,
            )  # fmt: skip
            assert answer is not None

        async def completed() -> None:
            prompt = [ChatMessage("user", TEXT)]
            async for _ in model.complete(prompt, max_tokens=512, usage=Usage()):
                pass

        assert await _bare(client, url) > len(TEXT)
        await written()
        arrivals.delays.clear()
        ratios: dict[str, list[float]] = {"endpoint": [], "writer": []}
        for _ in range(3):
            bare = await _seconds(lambda: _bare(client, url))
            ratios["endpoint"].append(await _seconds(completed) / bare)
            ratios["writer"].append(await _seconds(written) / bare)
        await model.aclose()
    p99 = statistics.quantiles(arrivals.delays, n=100)[98] * 1000
    for name, found in ratios.items():
        measured.append(
            f"{PARALLEL} parallel answers at {TOKEN_SECONDS * 1000:.0f} ms a token, time over a "
            f"bare client's, {name}: {statistics.median(found):.3f} (each: "
            + ", ".join(f"{one:.3f}" for one in found) + ")"
        )  # fmt: skip
    measured.append(
        f"a checked sentence reaches on_text after its last token: p50 "
        f"{statistics.median(arrivals.delays) * 1000:.1f} ms, p99 {p99:.1f} ms "
        f"({len(arrivals.delays)} sentences)"
    )


async def test_cost_of_a_chunk(measured: list[str]) -> None:
    async with endpoint(0.0) as url, httpx.AsyncClient(timeout=60) as client:
        model = open_chat_model(ChatModelSettings(base_url=url))
        assert model is not None
        prompt, process = [ChatMessage("user", TEXT)], psutil.Process()

        async def cpu(once: Callable[[], Awaitable[object]]) -> float:
            await once()
            before = sum(process.cpu_times()[:2])
            for _ in range(30):
                await once()
            return (sum(process.cpu_times()[:2]) - before) / 30

        async def completed() -> None:
            async for _ in model.complete(prompt, max_tokens=512, usage=Usage()):
                pass

        bare, ours = await cpu(lambda: _bare(client, url)), await cpu(completed)
        await model.aclose()
    chunks = len(re.findall(r"\S+", TEXT))
    measured.append(
        f"CPU for a completion of {chunks} chunks over a bare client's: {ours / bare:.1f} "
        f"({ours / chunks * 1e6:.0f} us against {bare / chunks * 1e6:.0f} us a chunk)"
    )


async def test_memory_is_steady_over_a_thousand_answers(measured: list[str]) -> None:
    process = psutil.Process()
    async with OpenAiStandIn(lambda _: f"{TEXT[:55]}[1]") as stand_in:
        settings = ChatModelSettings(base_url=stand_in.url)
        model = open_chat_model(settings)
        assert model is not None
        writer = Writer(model, settings)

        async def write(times: int) -> None:
            for _ in range(times // 10):
                await asyncio.gather(*(one() for _ in range(10)))
            stand_in.requests.clear()
            gc.collect()

        async def one() -> None:
            await writer.write("How long?", [PASSAGE], language="en", usage=Usage())

        await write(200)
        objects, memory = len(gc.get_objects()), process.memory_info().rss
        await write(1000)
        measured.append(
            f"1,000 answers: objects {len(gc.get_objects()) / objects:.3f} of before, memory "
            f"{process.memory_info().rss / memory:.3f} of before"
        )
        await model.aclose()
