"""How much kfbot adds to its bare parts: ratios taken in one run, so that any machine will do."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from kfbot.application import Application
from kfbot.bootstrap import wire
from kfbot.channels import open_channels
from kfbot.settings import load_settings
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.engine import Database
from kfbot.web.server import serving
from knowledge.embedding import Embedder, open_embedder
from knowledge.index import Index, folder_of
from knowledge.intake import Intake
from knowledge.load import Knowledge
from knowledge.ranking import Question
from tests.cache import MODEL_CACHE

pytestmark = [pytest.mark.asyncio, pytest.mark.benchmark]

SAMPLES = Path(__file__).parents[2] / "knowledge" / "samples"
QUESTIONS = [
    json.loads(line)["text"]
    for line in (Path(__file__).parents[1] / "evaluation/sample_everyday.jsonl")
    .read_text("utf-8")
    .splitlines()
]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return open_embedder("bundled", MODEL_CACHE)


@asynccontextmanager
async def served(
    folder: Path, embedder: Embedder, sources: list[str]
) -> AsyncIterator[tuple[Application, str]]:
    settings = load_settings(
        overrides={"data_dir": folder, "knowledge": {"samples": {"sources": sources}}}
    )
    async with Database(f"sqlite:///{folder / 'bench.sqlite3'}") as database:
        await database.upgrade()
        found = {name: Intake(section.sources) for name, section in settings.knowledge.items()}
        async with Knowledge(found, KnowledgeStore(database), embedder, folder) as knowledge:
            await knowledge.load()
            application = wire(settings, database, knowledge, channels=open_channels(settings))
            running = asyncio.create_task(application.run())
            async with serving(application, port=0) as url:
                yield application, url
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def _median_ms(times: int, call: Callable[[int], Awaitable[object]]) -> float:
    spent = []
    for number in range(times):
        began = time.perf_counter()
        await call(number)
        spent.append((time.perf_counter() - began) * 1000)
    return statistics.median(spent)


async def test_a_question_over_http_costs_little_more_than_its_bare_parts(
    tmp_path: Path, embedder: Embedder, measured: list[str]
) -> None:
    async with served(tmp_path, embedder, [str(SAMPLES)]) as (_, url):
        [folder] = [one for one in folder_of(tmp_path, "samples").iterdir() if one.is_dir()]
        stamp = json.loads((folder / "stamp.json").read_text("utf-8"))
        index = Index.open(folder, _stamp(stamp))
        vectors = embedder.embed_queries(QUESTIONS)

        async def bare_embedding(number: int) -> None:
            embedder.embed_queries([QUESTIONS[number]])

        async def bare_search(number: int) -> None:
            question = Question.of(QUESTIONS[number], vectors[number])
            await index.search(vectors[number], question.term_ids.tolist(), 50)

        async with aiohttp.ClientSession(url) as client:

            async def ask(number: int) -> None:
                body = {"query": QUESTIONS[number]}
                async with client.post("/api/v1/ask", json=body) as response:
                    assert (await response.json())["code"] == 200

            await _median_ms(20, ask)
            embedding = await _median_ms(200, bare_embedding)
            search = await _median_ms(200, bare_search)
            asked = await _median_ms(200, ask)
        index.close()
    ratio = asked / (embedding + search)
    measured.append(
        f"one question over HTTP: p50 {asked:.1f} ms = {ratio:.2f} × (bare embedding"
        f" {embedding:.1f} + bare index call {search:.1f} ms); must be ≤ 3"
    )
    assert ratio <= 3


async def test_loading_is_nearly_as_fast_as_bare_embedding(
    tmp_path: Path, embedder: Embedder, measured: list[str]
) -> None:
    passages = _passages(240)
    texts = [f"{row['title']}\n{row['text']}" for row in passages]
    source = tmp_path / "passages.jsonl"
    source.write_text("\n".join(json.dumps(row) for row in passages), encoding="utf-8")
    began = time.perf_counter()
    embedder.embed_passages(texts)
    bare = len(texts) / (time.perf_counter() - began)
    async with Database(f"sqlite:///{tmp_path / 'bench.sqlite3'}") as database:
        await database.upgrade()
        knowledge = Knowledge(
            {"k": Intake((str(source),))}, KnowledgeStore(database), embedder, tmp_path
        )
        async with knowledge:
            began = time.perf_counter()
            await knowledge.load()
            loaded = len(texts) / (time.perf_counter() - began)
    measured.append(
        f"loading: {loaded:.1f} passages/s = {loaded / bare:.2f} × bare embedding"
        f" ({bare:.1f}/s); must be ≥ 0.8"
    )
    assert loaded / bare >= 0.8


async def test_the_event_loop_is_never_blocked(
    tmp_path: Path, embedder: Embedder, measured: list[str]
) -> None:
    source = tmp_path / "more.jsonl"
    source.write_text("\n".join(json.dumps(row) for row in _passages(50)), encoding="utf-8")
    async with served(tmp_path, embedder, [str(SAMPLES), str(source)]) as (application, url):
        for name, during in (("asking", None), ("asking while knowledge reloads", source)):
            lags: list[float] = []
            watching = asyncio.create_task(_watch(lags))
            if during is not None:
                rows = _passages(150, seed=2)
                during.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
                reloading = asyncio.create_task(application.knowledge.load())
            latencies = await _conversations(url, 50, turns=4)
            if during is not None:
                await reloading
            watching.cancel()
            p99, most = np.percentile(lags, 99), max(lags)
            measured.append(
                f"event-loop lag, 50 conversations {name}: p99 {p99:.0f} ms (must be ≤ 50),"
                f" max {most:.0f} ms (must be ≤ 250);"
                f" turn p50 {statistics.median(latencies):.0f} ms"
            )
            assert p99 <= 50
            assert most <= 250


async def test_memory_stays_small_with_5000_passages(tmp_path: Path, measured: list[str]) -> None:
    megabytes = (await serve_many(tmp_path, 5000))["rss_mb"]
    measured.append(f"RSS after 5,000 passages: {megabytes:.0f} MB; must be ≤ 900")
    assert megabytes <= 900


async def serve_many(folder: Path, passages: int) -> dict[str, Any]:
    """What `memory.py` prints."""
    script = Path(__file__).parent / "memory.py"
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        str(folder),
        str(MODEL_CACHE),
        str(passages),
        stdout=subprocess.PIPE,
    )
    said, _ = await asyncio.wait_for(child.communicate(), 1800)
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


async def _watch(lags: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + 0.005
        await asyncio.sleep(0.005)
        lags.append((loop.time() - due) * 1000)


async def _conversations(url: str, count: int, *, turns: int) -> list[float]:
    """`count` customers, each asking one question after the other."""
    numbers, latencies = itertools.count(), []

    async def talk(client: aiohttp.ClientSession) -> None:
        for _ in range(turns):
            number = next(numbers)
            body = {
                "query": QUESTIONS[number % len(QUESTIONS)],
                "conversation": f"bench-{number}",
            }
            began = time.perf_counter()
            async with client.post("/api/v1/ask", json=body) as response:
                assert response.status == 200, await response.text()
            latencies.append((time.perf_counter() - began) * 1000)

    async with aiohttp.ClientSession(url) as client:
        await asyncio.gather(*(talk(client) for _ in range(count)))
    return latencies


def _stamp(fields: dict[str, object]) -> object:
    from knowledge.index import Stamp

    return Stamp(**{name: value for name, value in fields.items() if name != "sizes"})


def _passages(count: int, *, seed: int = 1) -> list[dict[str, str]]:
    """Passages of about 130 tokens, cut from the sample documents and shuffled."""
    chance = random.Random(seed)
    texts = [path.read_text("utf-8") for path in sorted(SAMPLES.glob("en/*.md"))]
    sentences = [line for text in texts for line in text.replace(". ", ".\n").splitlines() if line]
    return [
        {
            "id": f"{seed}-{number}",
            "title": f"Part {number}",
            "text": " ".join(chance.sample(sentences, 7)),
        }
        for number in range(count)
    ]
