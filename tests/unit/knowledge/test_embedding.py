"""The asynchronous front of an embedder, and what happens without torch."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from kfbot.errors import KnowledgeBaseUnavailable
from knowledge.embedding import BatchingEmbedder, open_embedder


class FakeEmbedder:
    """Remembers its batches; the vector of a text is its length. Can be held back."""

    key = "fake"
    dimensions = 1

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.started = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.batches.append(list(texts))
        self.started.set()
        assert self.gate.wait(60)
        if self.error:
            raise self.error
        return np.array([[len(text)] for text in texts], np.float32)

    embed_passages = embed_queries


@pytest.fixture
def fake() -> FakeEmbedder:
    return FakeEmbedder()


@pytest_asyncio.fixture
async def front(fake: FakeEmbedder) -> AsyncIterator[BatchingEmbedder]:
    front = BatchingEmbedder(fake)
    yield front
    fake.gate.set()
    await front.aclose()


async def hold(fake: FakeEmbedder, front: BatchingEmbedder) -> asyncio.Task[NDArray[np.float32]]:
    """Start one question and keep the thread busy with it."""
    fake.gate.clear()
    first = asyncio.create_task(front.embed_query("first"))
    await asyncio.to_thread(fake.started.wait, 5)
    return first


@pytest.mark.asyncio
async def test_lonely_question_goes_at_once(fake: FakeEmbedder, front: BatchingEmbedder) -> None:
    assert (await front.embed_query("four")).tolist() == [4]
    assert fake.batches == [["four"]]


@pytest.mark.asyncio
async def test_questions_that_arrive_together_are_one_batch(
    fake: FakeEmbedder, front: BatchingEmbedder
) -> None:
    vectors = await asyncio.gather(*(front.embed_query("x" * size) for size in range(5)))
    assert [vector.tolist() for vector in vectors] == [[0], [1], [2], [3], [4]]
    assert len(fake.batches) == 1


@pytest.mark.asyncio
async def test_questions_that_wait_are_batched_by_sixteen(
    fake: FakeEmbedder, front: BatchingEmbedder
) -> None:
    first = await hold(fake, front)
    waiting = [asyncio.create_task(front.embed_query("x" * size)) for size in range(20)]
    await asyncio.sleep(0)
    fake.gate.set()
    await asyncio.gather(first, *waiting)
    assert [len(batch) for batch in fake.batches] == [1, 16, 4]
    assert [task.result().tolist() for task in waiting] == [[size] for size in range(20)]


@pytest.mark.asyncio
async def test_loop_turns_while_the_model_works(
    fake: FakeEmbedder, front: BatchingEmbedder
) -> None:
    first = await hold(fake, front)
    await asyncio.sleep(0)  # would never be reached if the model worked on the loop
    assert not first.done()
    fake.gate.set()
    await first


@pytest.mark.asyncio
async def test_cancelled_caller_does_not_break_the_batch(
    fake: FakeEmbedder, front: BatchingEmbedder
) -> None:
    first = await hold(fake, front)
    gone, waiting, stays = (
        asyncio.create_task(front.embed_query(text)) for text in ("a", "bb", "ccc")
    )
    await asyncio.sleep(0)
    first.cancel()
    gone.cancel()
    await asyncio.sleep(0)
    fake.gate.set()
    assert (await waiting).tolist() == [2]
    assert (await stays).tolist() == [3]
    assert fake.batches == [["first"], ["bb", "ccc"]]
    assert first.cancelled()


@pytest.mark.asyncio
async def test_failure_reaches_everyone_and_the_next_batch_works(
    fake: FakeEmbedder, front: BatchingEmbedder
) -> None:
    fake.error = KnowledgeBaseUnavailable("down")
    results: Sequence[object] = await asyncio.gather(
        front.embed_query("a"), front.embed_query("b"), return_exceptions=True
    )
    assert list(results) == [fake.error, fake.error]
    fake.error = None
    assert (await front.embed_query("c")).tolist() == [1]


@pytest.mark.asyncio
async def test_between_two_who_asked_together_others_have_their_turn(
    fake: FakeEmbedder, front: BatchingEmbedder
) -> None:
    happened: list[str] = []

    async def ask(text: str) -> None:
        await front.embed_query(text)
        asyncio.get_running_loop().call_soon(happened.append, "others")
        happened.append(text)

    first = await hold(fake, front)
    asking = [asyncio.create_task(ask(text)) for text in ("a", "bb", "ccc")]
    await asyncio.sleep(0)
    fake.gate.set()
    await asyncio.gather(first, *asking)
    await asyncio.sleep(0)
    assert happened == ["a", "others", "bb", "others", "ccc", "others"]


@pytest.mark.asyncio
async def test_who_asks_while_the_last_are_woken_is_not_forgotten(
    fake: FakeEmbedder, front: BatchingEmbedder
) -> None:
    async def ask_again(times: int) -> None:
        for number in range(times):
            await front.embed_query(f"{times}: {number}")

    await asyncio.wait_for(asyncio.gather(*(ask_again(n) for n in range(1, 8))), 60)
    assert sum(map(len, fake.batches)) == 28


@pytest.mark.asyncio
async def test_what_was_asked_lately_is_not_embedded_again(
    fake: FakeEmbedder, front: BatchingEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("knowledge.embedding.REMEMBERED", 2)
    for text in ("a", "bb", "a", "ccc", "a", "bb"):
        assert (await front.embed_query(text)).tolist() == [len(text)]
    assert fake.batches == [["a"], ["bb"], ["ccc"], ["bb"]]


@pytest.mark.asyncio
async def test_closing_ends_the_thread_and_refuses_who_waits(fake: FakeEmbedder) -> None:
    front = BatchingEmbedder(fake)
    first = await hold(fake, front)
    waiting = asyncio.create_task(front.embed_query("late"))
    await asyncio.sleep(0)
    closing = asyncio.create_task(front.aclose())
    await asyncio.sleep(0)
    fake.gate.set()
    await closing
    assert (await first).tolist() == [5]
    with pytest.raises(KnowledgeBaseUnavailable, match="closed"):
        await waiting
    with pytest.raises(KnowledgeBaseUnavailable, match="closed"):
        await front.embed_query("later")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("embedding")]


@pytest.mark.asyncio
async def test_closing_an_unused_front_does_nothing(fake: FakeEmbedder) -> None:
    await BatchingEmbedder(fake).aclose()
    assert fake.batches == []


def test_model_without_torch_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(KnowledgeBaseUnavailable, match=r"pip install .*\[model\]"):
        open_embedder("BAAI/bge-m3", tmp_path)
