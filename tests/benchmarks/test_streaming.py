"""How long after its last token a checked sentence is in the chat."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from kfbot.adapter import Capabilities
from kfbot.messages import ConversationId, DeliveryReceipt, MessageReceived, OutboundMessage, Sender
from kfbot.testing import FakeAdapter
from tests.dialogues.writing import QUESTION, HeldWriter, documents
from tests.integration.conftest import ServedBot, serving_bot
from tests.integration.test_web_chat import visit

pytestmark = [pytest.mark.asyncio, pytest.mark.benchmark]

STREAMS, SENTENCES, APART_SECONDS = 32, 20, 0.4


class Timed(FakeAdapter):
    """Notes when a text arrived."""

    def __init__(self) -> None:
        super().__init__(capabilities=Capabilities(edit=True, edit_interval_seconds=0))
        self.at: dict[str, float] = {}

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        self.at.setdefault(message.text, time.perf_counter())
        return await super().send(message)

    async def edit(self, receipt: DeliveryReceipt, message: OutboundMessage) -> None:
        self.at.setdefault(message.text, time.perf_counter())
        await super().edit(receipt, message)


class PacedWriter(HeldWriter):
    """Every answer says something of its own, a sentence at a time."""

    async def write(self, question: str, passages: object, **given: object) -> None:
        on_text = given["on_text"]
        number = len(self.asked)
        self.asked.append(question)
        await asyncio.sleep(number / STREAMS * APART_SECONDS)
        text = f"{number}:"
        for place in range(SENTENCES):
            text += f" Sentence {place}."
            SAID[text] = time.perf_counter()
            await on_text(text)  # type: ignore[operator]
            await asyncio.sleep(APART_SECONDS)


SAID: dict[str, float] = {}


@pytest_asyncio.fixture
async def channel() -> Timed:
    return Timed()


@pytest_asyncio.fixture
async def bot(tmp_path: Path, template_database: Path, channel: Timed) -> AsyncIterator[ServedBot]:
    SAID.clear()
    async with serving_bot(
        tmp_path,
        template_database,
        channels={"shop": channel},
        base=documents(),
        writer=PacedWriter(),
    ) as opened:
        yield opened


def line(name: str, at: dict[str, float]) -> str:
    late = sorted((at[text] - said) * 1000 for text, said in SAID.items() if text in at)
    p99 = late[int(len(late) * 0.99)]
    shown = f"{len(late)} of {len(SAID)} texts"
    return f"{name}: p50 {statistics.median(late):.0f} ms, p99 {p99:.0f} ms, {shown}"


async def test_sentences_reach_open_pages(bot: ServedBot, measured: list[str]) -> None:
    at: dict[str, float] = {}
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        for _ in range(STREAMS):
            visitor = await visit(bot)
            page = await stack.enter_async_context(visitor.page())
            await page.until("ready")
            await visitor.says(QUESTION)

            async def read(page: object = page) -> None:
                while (event := await page.next()) is not None:  # type: ignore[attr-defined]
                    if event.name == "draft":
                        at[event.data["text"]] = time.perf_counter()
                    if event.data.get("kind") == "handoff":
                        return

            group.create_task(read())
    measured.append(line(f"{STREAMS} streams, on_text → SSE line at the client", at))


async def test_sentences_reach_a_platform(
    bot: ServedBot, channel: Timed, measured: list[str]
) -> None:
    for number in range(STREAMS):
        event = MessageReceived(
            event_id=f"e{number}",
            conversation=ConversationId("shop", f"chat-{number}"),
            message_id=f"m{number}",
            sender=Sender(f"c{number}"),
            sent_at=bot.clock(),
            text=QUESTION,
        )
        await bot.application.inbox.accept(event)
    while sum(message.kind == "handoff" for _, message in channel.edited) < STREAMS:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    measured.append(line(f"{STREAMS} streams, on_text → adapter.send/edit", channel.at))
