"""The reranker behind an endpoint, against a stand-in on loopback that also fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from kfbot.errors import KnowledgeBaseUnavailable
from knowledge.reranking import RerankEndpoint, Reranking

pytestmark = pytest.mark.asyncio

KEY = "sk-very-secret"
TEXTS = ["ab", "abcd", "a"]

Answer = Callable[[dict[str, Any]], Awaitable[web.StreamResponse]]


class StandIn:
    """Answers `POST /v1/rerank` as it is told to, by default with the lengths of the texts."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[dict[str, Any]] = []
        self.authorisation: list[str | None] = []
        self.answers: list[Answer] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(await request.json())
        self.authorisation.append(request.headers.get("Authorization"))
        return await (self.answers.pop(0) if self.answers else lengths)(self.requests[-1])


async def lengths(body: dict[str, Any]) -> web.Response:
    rows = [
        {"index": at, "relevance_score": len(text) / 10, "document": {"text": text}}
        for at, text in enumerate(body["documents"])
    ]
    best_first = sorted(rows, key=lambda row: -row["relevance_score"])
    return web.json_response({"id": "1", "results": best_first, "usage": {"total_tokens": 3}})


def status(code: int) -> Answer:
    async def answer(_: dict[str, Any]) -> web.Response:
        return web.json_response({"error": f"key {KEY}"}, status=code)

    return answer


def text(body: str) -> Answer:
    async def answer(_: dict[str, Any]) -> web.Response:
        return web.Response(text=body, content_type="application/json")

    return answer


@pytest_asyncio.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    stand_in = StandIn()
    application = web.Application()
    application.router.add_post("/v1/rerank", stand_in.answer)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    stand_in.url = f"http://{host}:{port}/v1"
    yield stand_in
    await runner.cleanup()


@pytest_asyncio.fixture
async def reranker(stand_in: StandIn) -> AsyncIterator[RerankEndpoint]:
    opened = RerankEndpoint(f"{stand_in.url}#bge-reranker-v2-m3", api_key=KEY)
    yield opened
    await opened.aclose()


async def test_scores_come_in_the_order_of_the_texts(
    reranker: RerankEndpoint, stand_in: StandIn
) -> None:
    assert await reranker.score("q", TEXTS) == [0.2, 0.4, 0.1]
    assert stand_in.requests == [
        {"model": "bge-reranker-v2-m3", "query": "q", "documents": TEXTS, "top_n": 3}
    ]
    assert stand_in.authorisation == [f"Bearer {KEY}"]


async def test_the_address_may_name_the_path_and_no_model(stand_in: StandIn) -> None:
    opened = RerankEndpoint(f"{stand_in.url}/rerank")
    assert await opened.score("q", TEXTS) == [0.2, 0.4, 0.1]
    assert "model" not in stand_in.requests[0]
    await opened.aclose()


async def test_its_key_names_address_and_model_but_no_secret(stand_in: StandIn) -> None:
    with_password = stand_in.url.replace("http://", f"http://user:{KEY}@")
    opened = RerankEndpoint(f"{with_password}#m", api_key=KEY)
    assert opened.key == f"{stand_in.url}#m"
    await opened.aclose()


@pytest.mark.parametrize("refused", [400, 422])
async def test_a_server_of_the_plain_form_is_recognised_and_remembered(
    reranker: RerankEndpoint, stand_in: StandIn, refused: int
) -> None:
    async def plain(body: dict[str, Any]) -> web.Response:
        rows = [{"index": at, "score": len(one)} for at, one in enumerate(body["texts"])]
        return web.json_response(rows[::-1])

    stand_in.answers = [status(refused), plain, plain]
    assert await reranker.score("q", TEXTS) == [2.0, 4.0, 1.0]
    assert await reranker.score("q", TEXTS) == [2.0, 4.0, 1.0]
    assert ["documents" in body for body in stand_in.requests] == [True, False, False]


@pytest.mark.parametrize("code", [401, 404, 429, 500, 503])
async def test_a_failure_is_named_without_the_key(
    reranker: RerankEndpoint, stand_in: StandIn, code: int
) -> None:
    stand_in.answers = [status(code)]
    with pytest.raises(KnowledgeBaseUnavailable, match=f"HTTP {code}") as caught:
        await reranker.score("q", TEXTS)
    assert KEY not in str(caught.value)
    assert len(stand_in.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        "", "no json", "null", "7", "{}", "[" * 100_000, '{"results": 1}', '{"results": []}',
        '{"results": [{"index": 0, "relevance_score": 1}]}',
        '[{"index":0,"score":1},{"index":0,"score":1},{"index":1,"score":1}]',
        '[{"index":0,"score":1},{"index":1,"score":1},{"index":2,"score":1},{"index":3,"score":1}]',
        '[{"index":0,"score":1},{"index":1,"score":1},{"index":9,"score":1}]',
        '[{"index":0,"score":1},{"index":1,"score":1},{"index":2,"score":"high"}]',
        '[{"index":0,"score":1},{"index":1,"score":1},{"index":[2],"score":1}]',
        f'[{{"index":0,"score":1}},{{"index":1,"score":1}},{{"index":2,"score":{10**400}}}]',
    ],
)  # fmt: skip
async def test_a_reply_without_a_score_for_each_text_is_refused(
    reranker: RerankEndpoint, stand_in: StandIn, body: str
) -> None:
    stand_in.answers = [text(body)]
    with pytest.raises(KnowledgeBaseUnavailable, match="not one score a text"):
        await reranker.score("q", TEXTS)


async def test_scores_that_are_no_numbers_are_done_without(
    reranker: RerankEndpoint, stand_in: StandIn
) -> None:
    stand_in.answers = [text('[{"index":0,"score":NaN},{"index":1,"score":1}]')]
    reranking = Reranking(reranker, candidates=10, timeout_seconds=5)
    assert await reranking.scores("q", ["a", "b"]) is None


async def test_one_that_is_slow_is_left_and_answers_later(
    reranker: RerankEndpoint, stand_in: StandIn
) -> None:
    gate = asyncio.Event()

    async def slow(body: dict[str, Any]) -> web.Response:
        await gate.wait()
        return await lengths(body)

    stand_in.answers = [slow]
    now = 0.0
    reranking = Reranking(reranker, candidates=10, timeout_seconds=0.05, clock=lambda: now)
    assert await reranking.scores("q", TEXTS) is None
    gate.set()
    now = 60.0
    patient = Reranking(reranker, candidates=10, timeout_seconds=30, clock=lambda: now)
    assert await patient.scores("q", TEXTS) == [0.2, 0.4, 0.1]


async def test_a_server_that_hangs_up_is_unavailable(
    reranker: RerankEndpoint, stand_in: StandIn
) -> None:
    async def hang_up(_: dict[str, Any]) -> web.StreamResponse:
        raise ConnectionResetError

    stand_in.answers = [hang_up]
    with pytest.raises(KnowledgeBaseUnavailable):
        await reranker.score("q", TEXTS)


async def test_nobody_listening_is_unavailable() -> None:
    opened = RerankEndpoint("http://127.0.0.1:9/v1")
    with pytest.raises(KnowledgeBaseUnavailable, match="ConnectError"):
        await opened.score("q", TEXTS)
    await opened.aclose()
