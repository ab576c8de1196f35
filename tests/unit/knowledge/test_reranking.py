"""A reranker that is slow, down or wrong: questions go on without it, and it is tried again."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from kfbot.errors import KnowledgeBaseUnavailable
from knowledge.reranking import PAUSE_SECONDS, READ_LENGTH, Reranking, open_reranker

DOWN = KnowledgeBaseUnavailable("The reranker x failed: ConnectError.")


class Scripted:
    """Gives what it is told to: scores, an error to raise, or something to wait for."""

    key = "scripted"

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)
        self.asked: list[tuple[str, list[str]]] = []

    async def score(self, question: str, texts: Sequence[str]) -> list[float]:
        self.asked.append((question, list(texts)))
        reply = self.replies.pop(0) if self.replies else [0.0] * len(texts)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, asyncio.Event):
            await reply.wait()
            return [0.0] * len(texts)
        return reply  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        """Nothing to let go of."""


class Time:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def front(
    reranker: Scripted, clock: Callable[[], float] = lambda: 0.0, *, timeout: float = 5.0
) -> Reranking:
    return Reranking(reranker, candidates=10, timeout_seconds=timeout, clock=clock)


def test_scores_are_given_on_and_long_texts_are_cut() -> None:
    reranker = Scripted([1.0, 2.0])
    found = asyncio.run(front(reranker).scores("q", ["a" * 2 * READ_LENGTH, "b"]))
    assert found == [1.0, 2.0]
    assert reranker.asked == [("q", ["a" * READ_LENGTH, "b"])]


@pytest.mark.parametrize(
    "reply", [DOWN, [1.0], [1.0, 2.0, 3.0], [1.0, math.nan], [math.inf, 1.0], [1e308, -1e308], []]
)
def test_what_fails_or_gives_no_scores_is_done_without(reply: object) -> None:
    assert asyncio.run(front(Scripted(reply)).scores("q", ["a", "b"])) is None


def test_one_that_is_late_is_not_waited_for() -> None:
    never = asyncio.Event()
    assert asyncio.run(front(Scripted(never), timeout=0.01).scores("q", ["a", "b"])) is None


def test_after_a_failure_it_is_left_alone_for_a_while_and_then_one_question_tries() -> None:
    async def run() -> None:
        gate = asyncio.Event()
        time, reranker = Time(), Scripted(DOWN, gate)
        reranking = front(reranker, time)
        assert await reranking.scores("1", ["a"]) is None
        time.now += PAUSE_SECONDS - 1
        assert await reranking.scores("2", ["a"]) is None
        time.now += 1
        trying = asyncio.create_task(reranking.scores("3", ["a"]))
        await asyncio.sleep(0)
        assert len(reranker.asked) == 2
        # Nobody else waits for what may be down still.
        assert await reranking.scores("4", ["a"]) is None
        gate.set()
        assert await trying == [0.0]
        assert await reranking.scores("5", ["a"]) == [0.0]
        assert [question for question, _ in reranker.asked] == ["1", "3", "5"]

    asyncio.run(run())


def test_the_log_says_once_that_it_fails_and_once_that_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        time = Time()
        reranking = front(Scripted(DOWN, DOWN), time)
        for _ in range(4):
            await reranking.scores("q", ["a"])
            time.now += PAUSE_SECONDS

    with caplog.at_level(logging.INFO, "knowledge.reranking"):
        asyncio.run(run())
    events = [record.event for record in caplog.records]  # type: ignore[attr-defined]
    assert events == ["reranker_failed", "reranker_back"]
    assert "ConnectError" in caplog.text


@pytest.mark.parametrize("reply", [DOWN, [1.0], [math.nan, 0.0]])
def test_trying_it_out_says_what_is_wrong(reply: object) -> None:
    with pytest.raises(KnowledgeBaseUnavailable):
        asyncio.run(front(Scripted(reply)).try_out())


def test_a_url_that_is_none_is_refused_in_one_line() -> None:
    with pytest.raises(KnowledgeBaseUnavailable, match=r"write https://host/v1#model-name"):
        open_reranker("http://host:port/v1")
