"""The embedder over an OpenAI-compatible endpoint, against a stand-in on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from aiohttp import web

from kfbot.errors import KnowledgeBaseUnavailable
from knowledge.embedding import EndpointEmbedder

KEY = "sk-very-secret"


class StandIn:
    """Answers `/v1/embeddings`; `replies` are statuses or bodies to give first."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[dict[str, Any]] = []
        self.authorisation: list[str | None] = []
        self.replies: list[int | dict[str, Any]] = []

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests.append(body)
        self.authorisation.append(request.headers.get("Authorization"))
        reply = self.replies.pop(0) if self.replies else 200
        if isinstance(reply, dict):
            return web.json_response(reply)
        if reply != 200:
            return web.json_response({"error": f"key {KEY}"}, status=reply)
        rows = [
            {"index": index, "embedding": [3.0, 4.0, float(len(text))]}
            for index, text in enumerate(body["input"])
        ]
        return web.json_response({"data": rows[::-1]})


@pytest_asyncio.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    stand_in = StandIn()
    application = web.Application()
    application.router.add_post("/v1/embeddings", stand_in.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    stand_in.url = f"http://{host}:{port}/v1"
    yield stand_in
    await runner.cleanup()


async def use(url: str, action: Callable[[EndpointEmbedder], Any], **options: Any) -> Any:
    """Open the embedder off the loop, do one thing with it, close it."""

    def run() -> Any:
        embedder = EndpointEmbedder(url, **options)
        try:
            return action(embedder)
        finally:
            embedder.close()

    return await asyncio.to_thread(run)


@pytest.mark.asyncio
async def test_vectors_come_in_order_and_normalised(stand_in: StandIn) -> None:
    vectors = await use(
        stand_in.url + "#bge-m3", lambda it: it.embed_queries(["", "ab", "abcd"]), api_key=KEY
    )
    expected = np.array([[3, 4, 1], [3, 4, 2], [3, 4, 4]], np.float32)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, expected, rtol=1e-6)
    assert stand_in.requests[-1]["model"] == "bge-m3"
    assert set(stand_in.authorisation) == {f"Bearer {KEY}"}


@pytest.mark.asyncio
async def test_many_texts_go_in_batches(stand_in: StandIn) -> None:
    vectors = await use(stand_in.url, lambda it: it.embed_passages(["x"] * 70))
    assert vectors.shape == (70, 3)
    assert [len(body["input"]) for body in stand_in.requests[1:]] == [32, 32, 6]
    assert "model" not in stand_in.requests[0]


@pytest.mark.asyncio
async def test_e5_model_gets_its_prefixes(stand_in: StandIn) -> None:
    await use(
        stand_in.url + "#multilingual-e5-large",
        lambda it: (it.embed_queries(["a"]), it.embed_passages(["b"])),
    )
    assert [body["input"] for body in stand_in.requests[1:]] == [["query: a"], ["passage: b"]]


@pytest.mark.asyncio
async def test_key_holds_model_and_dimensions_but_no_secret(stand_in: StandIn) -> None:
    url = stand_in.url.replace("http://", f"http://user:{KEY}@")
    key = await use(url + "#m", lambda it: it.key, api_key=KEY)
    assert key == f"{stand_in.url}#m:3"


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_passing_failure_is_tried_three_times(stand_in: StandIn, status: int) -> None:
    pauses: list[float] = []
    stand_in.replies = [status, status]
    assert await use(stand_in.url, lambda it: it.dimensions, pause=pauses.append) == 3
    assert len(stand_in.requests) == 3
    assert 0.25 <= pauses[0] <= 0.75
    assert 0.5 <= pauses[1] <= 1.5


@pytest.mark.asyncio
async def test_endpoint_that_stays_down_is_unavailable(stand_in: StandIn) -> None:
    stand_in.replies = [503] * 3
    with pytest.raises(KnowledgeBaseUnavailable, match="HTTP 503") as caught:
        await use(stand_in.url, lambda it: it.key, api_key=KEY, pause=lambda _: None)
    assert KEY not in str(caught.value)
    assert len(stand_in.requests) == 3


@pytest.mark.asyncio
async def test_refused_key_is_not_tried_again(stand_in: StandIn) -> None:
    stand_in.replies = [401]
    with pytest.raises(KnowledgeBaseUnavailable, match="HTTP 401") as caught:
        await use(stand_in.url, lambda it: it.key, api_key=KEY)
    assert KEY not in str(caught.value)
    assert len(stand_in.requests) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "reply",
    [{}, {"data": "no"}, {"data": []}, {"data": [{"index": 0}]}, {"data": [{"embedding": [1]}]}],
)
async def test_reply_without_vectors_is_unavailable(
    stand_in: StandIn, reply: dict[str, Any]
) -> None:
    stand_in.replies = [reply]
    with pytest.raises(KnowledgeBaseUnavailable, match=r"vectors?"):
        await use(stand_in.url, lambda it: it.key)


@pytest.mark.asyncio
async def test_changed_length_is_refused(stand_in: StandIn) -> None:
    stand_in.replies = [200, {"data": [{"index": 0, "embedding": [1.0]}]}]
    with pytest.raises(KnowledgeBaseUnavailable, match="changed their length"):
        await use(stand_in.url, lambda it: it.embed_queries(["a"]))


def test_nobody_listening_is_unavailable() -> None:
    with pytest.raises(KnowledgeBaseUnavailable, match="ConnectError"):
        EndpointEmbedder("http://127.0.0.1:9/v1", pause=lambda _: None)


def test_broken_url_is_refused() -> None:
    with pytest.raises(KnowledgeBaseUnavailable, match="not a URL"):
        EndpointEmbedder("http://host:port/v1")
