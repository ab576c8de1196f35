"""What customers see of a model that lies: through the HTTP API, and in bulk on public texts."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from kfbot.grounding.support import check
from kfbot.grounding.writing import Writer
from kfbot.model.opening import open_chat_model
from kfbot.model_settings import ChatModelSettings
from kfbot.understanding.several_questions import questions_in
from tests.adversarial.cases import TRUE, UNTRUE, Case
from tests.adversarial.mutations import true_sentences, untrue_sentences
from tests.integration.conftest import Served, ServedBot
from tests.platforms.openai_stand_in import OpenAiStandIn

#: Every so many of the cases go through HTTP; all of them go through the writer.
_SHARE = 5
_SETS = {
    "docs_en_squad2/passages.jsonl": "en",
    "docs_zh_cmrc2018/passages.jsonl": "zh",
    "crosslingual_xquad/passages_en.jsonl": "en",
    "crosslingual_xquad/passages_zh.jsonl": "zh",
}
_PASSAGES = 60


@pytest_asyncio.fixture
async def endpoint() -> AsyncIterator[OpenAiStandIn]:
    async with OpenAiStandIn([]) as opened:
        yield opened


@pytest_asyncio.fixture
async def shop(served: Served, endpoint: OpenAiStandIn) -> AsyncIterator[ServedBot]:
    settings = ChatModelSettings(base_url=endpoint.url)
    model = open_chat_model(settings)
    assert model is not None
    entries = {case.question: case.document for case in (*TRUE, *UNTRUE)}
    async with served(entries=entries, writer=Writer(model, settings)) as bot:
        bot.knowledge.kind = "document"
        yield bot
    await model.aclose()


def asked_over_http(cases: Sequence[Case]) -> list[Case]:
    """Every so many; several questions in one are searched for apart, and are no entry here."""
    return [case for case in cases if len(questions_in(case.question)) == 1][::_SHARE]


async def answer(shop: ServedBot, endpoint: OpenAiStandIn, case: Case) -> tuple[str, str]:
    """Decision and text for a case."""
    endpoint.answer = lambda _: f"{case.sentence}[1]"
    before = len(endpoint.requests)
    status, body = await shop.post("/api/v1/ask", {"query": case.question})
    assert status == 200, body
    assert len(endpoint.requests) > before, "the model was not asked"
    return body["data"]["decision"], body["data"]["text"]


@pytest.mark.slow
@pytest.mark.asyncio
async def test_over_http_a_lie_becomes_the_quoted_passage_or_a_person(
    shop: ServedBot, endpoint: OpenAiStandIn
) -> None:
    for case in asked_over_http(UNTRUE):
        decision, text = await answer(shop, endpoint, case)
        assert decision == "handoff" or text == case.document, case


@pytest.mark.slow
@pytest.mark.asyncio
async def test_over_http_a_true_paraphrase_is_the_answer(
    shop: ServedBot, endpoint: OpenAiStandIn
) -> None:
    told = [await answer(shop, endpoint, case) for case in asked_over_http(TRUE)]
    written = [text for _, text in told if text.endswith("[1]")]
    assert len(written) / len(told) >= 0.8


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", _SETS)
def test_of_public_texts_hardly_a_changed_sentence_passes_and_few_true_ones_fail(
    shared_data: Path, name: str
) -> None:
    chance = random.Random(8)
    rows = [json.loads(line) for line in (shared_data / name).read_text("utf-8").splitlines()]
    made: Counter[str] = Counter()
    passed: defaultdict[str, list[str]] = defaultdict(list)
    for row in chance.sample(rows, _PASSAGES):
        whole = f"{row['title']}\n{row['text']}"
        for kind, sentence in true_sentences(row["text"]):
            made[kind] += 1
            if check(sentence, whole) == "supported":
                passed[kind].append(sentence)
            if kind == "whole":
                for change, untrue in untrue_sentences(sentence, row["text"], chance):
                    made[change] += 1
                    if check(untrue, whole) in ("supported", "nothing"):
                        passed[change].append(untrue)
    shares = {kind: len(passed[kind]) / count for kind, count in made.items()}
    assert shares["whole"] >= 0.97, shares
    assert shares["shortened"] >= 0.88, shares
    changed = sum(made.values()) - made["whole"] - made["shortened"]
    accepted = {kind: told for kind, told in passed.items() if kind not in ("whole", "shortened")}
    assert sum(map(len, accepted.values())) / changed <= 0.015, accepted
    assert shares["number"] <= 0.02, accepted
    assert shares["negation"] <= 0.01, accepted
    assert shares.get("unit", 0.0) == 0.0, accepted
