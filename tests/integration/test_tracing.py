"""Traces: one for each event, without anybody's words, and never in anybody's way."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import ValidationError

from kfbot.errors import SettingsError
from kfbot.grounding.writing import Writer
from kfbot.messages import ConversationId, MessageReceived, Sender
from kfbot.observability import tracing
from kfbot.observability.tracing import EventKey
from kfbot.settings import TracingSettings
from kfbot.testing import FakeAdapter, FakeChatModel, FakeKnowledgeBase
from tests.conftest import Clock
from tests.integration.conftest import ENTRIES, Served, ServedBot

pytestmark = pytest.mark.asyncio
QUESTION = "When will my refund arrive?"


def said(text: str, clock: Clock, number: int = 1) -> MessageReceived:
    return MessageReceived(
        event_id=f"e-{number}",
        conversation=ConversationId("shop", "chat-1"),
        message_id=f"m-{number}",
        sender=Sender("customer-1", display_name="Kimberley"),
        sent_at=clock(),
        text=text,
    )


@asynccontextmanager
async def traced(
    served: Served, clock: Clock, exporter: InMemorySpanExporter, ratio: float = 1.0, **given: Any
) -> AsyncIterator[ServedBot]:
    settings = TracingSettings(sample_ratio=ratio)
    async with (
        tracing.exporting(settings, exporter=exporter),
        served(channels={"shop": FakeAdapter("shop")}, clock=clock, **given) as bot,
    ):
        yield bot


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {one.name: one for one in exporter.get_finished_spans()}


def parent_of(one: ReadableSpan) -> int | None:
    return one.parent.span_id if one.parent else None


def id_of(one: ReadableSpan) -> int:
    return int(one.get_span_context().span_id)


async def test_an_event_is_one_trace_from_its_acceptance_to_the_reply(
    served: Served, clock: Clock
) -> None:
    exporter = InMemorySpanExporter()
    async with traced(served, clock, exporter) as bot:
        await bot.application.inbox.accept(said(QUESTION, clock))
        await bot.quiet()
    spans = by_name(exporter)
    assert set(spans) == {"accept", "turn", "decide", "search", "commit", "send"}
    assert len({one.get_span_context().trace_id for one in spans.values()}) == 1
    assert parent_of(spans["accept"]) is None
    assert parent_of(spans["turn"]) == id_of(spans["accept"])
    assert parent_of(spans["decide"]) == id_of(spans["turn"])
    assert parent_of(spans["search"]) == id_of(spans["decide"])
    assert parent_of(spans["commit"]) == id_of(spans["turn"])
    assert parent_of(spans["send"]) == id_of(spans["accept"])
    decided = dict(spans["decide"].attributes or {})
    assert decided["kfbot.decision"] == "answer"
    noted = dict(spans["turn"].attributes or {})
    assert decided["kfbot.confidence"] == noted["kfbot.confidence"]
    assert noted["kfbot.decision"] == "answer"
    assert noted["kfbot.knowledge_base"] == "fake"
    assert noted["kfbot.channel"] == "shop"
    ids = (spans["accept"].get_span_context().trace_id, id_of(spans["accept"]))
    assert ids == EventKey("shop", "e-1").ids()


async def test_a_chat_model_has_spans_of_its_own(served: Served, clock: Clock) -> None:
    exporter = InMemorySpanExporter()
    model = FakeChatModel(["The refund arrives within 2 business days. [1]"])
    base = FakeKnowledgeBase(ENTRIES)
    base.kind = "document"
    async with traced(served, clock, exporter, writer=Writer(model), base=base) as bot:
        await bot.application.inbox.accept(said(QUESTION, clock))
        await bot.quiet()
    spans = by_name(exporter)
    assert parent_of(spans["write"]) == id_of(spans["turn"])
    assert spans["decide"].end_time <= spans["write"].start_time


async def test_no_words_and_no_names_are_in_a_trace(served: Served, clock: Clock) -> None:
    exporter = InMemorySpanExporter()
    words = "My name is Kimberley, my card is 4711-0815."
    async with traced(served, clock, exporter) as bot:
        bot.knowledge.broken = True
        await bot.application.inbox.accept(said(words, clock))
        await bot.quiet()
    told = "".join(one.to_json() for one in exporter.get_finished_spans())
    assert "kfbot.reason" in told
    for private in ("Kimberley", "4711-0815", "customer-1"):
        assert private not in told


async def test_what_breaks_is_named_by_its_kind_alone() -> None:
    exporter = InMemorySpanExporter()
    async with tracing.exporting(TracingSettings(), exporter=exporter):
        with pytest.raises(ValueError, match="4711-0815"), tracing.span("turn"):
            raise ValueError("card 4711-0815")
    [span] = exporter.get_finished_spans()
    assert span.status.description == "ValueError"
    assert "4711-0815" not in span.to_json()


async def test_a_sampled_event_is_sampled_as_a_whole() -> None:
    exporter = InMemorySpanExporter()
    keys = [EventKey("shop", f"event-{number}") for number in range(200)]
    async with tracing.exporting(TracingSettings(sample_ratio=0.2), exporter=exporter):
        for key in keys:
            with tracing.first_span("accept", key):
                pass
            with tracing.following(key), tracing.span("turn"), tracing.span("search"):
                pass
    by_trace: dict[int, set[str]] = {}
    for one in exporter.get_finished_spans():
        by_trace.setdefault(one.get_span_context().trace_id, set()).add(one.name)
    assert 10 < len(by_trace) < 90
    assert all(names == {"accept", "turn", "search"} for names in by_trace.values())


class Receiver:
    """Takes OTLP over HTTP on loopback."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.hangs = asyncio.Event()
        self.hangs.set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.add_routes([web.post("/v1/traces", self._take)])
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            self.hangs.set()
            await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        await self.hangs.wait()
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {one.key: one.value.string_value for one in resource.resource.attributes}
            assert named["service.name"] == "kfbot"
            self.names += [span.name for scope in resource.scope_spans for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")


async def test_a_real_receiver_gets_the_spans() -> None:
    receiver = Receiver()
    async with (
        receiver.serving() as url,
        tracing.exporting(TracingSettings(endpoint=f"{url}/")),
    ):
        with tracing.first_span("accept", EventKey("shop", "e-1"), channel="shop"):
            pass
    assert receiver.names == ["accept"]


async def test_a_receiver_that_hangs_holds_up_neither_work_nor_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracing, "EXPORT_SECONDS", 600.0)
    monkeypatch.setattr(tracing, "CLOSE_SECONDS", 0.05)
    receiver = Receiver()
    receiver.hangs.clear()
    async with asyncio.timeout(60), receiver.serving() as url:
        async with tracing.exporting(TracingSettings(endpoint=url)):
            for number in range(5000):
                with tracing.span("turn", number=number):
                    pass
        assert receiver.names == []


async def test_a_receiver_that_is_away_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "EXPORT_SECONDS", 0.2)
    caplog.set_level(logging.INFO)
    async with tracing.exporting(TracingSettings(endpoint="http://127.0.0.1:9")):
        for _ in range(1500):
            with tracing.span("turn"):
                pass
    events = [getattr(record, "event", record.getMessage()) for record in caplog.records]
    assert events == ["traces_not_sent"]


async def test_without_an_endpoint_nothing_is_recorded_or_imported() -> None:
    async with tracing.exporting(TracingSettings()):
        one, other = tracing.span("turn"), tracing.first_span("accept", EventKey("a", "b"))
        assert one is other
    code = "import sys, kfbot.cli.serving; assert 'opentelemetry.sdk' not in sys.modules"
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], check=False)
    assert done.returncode == 0


async def test_without_the_extra_the_start_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SettingsError, match=r"\[tracing\].*otel"):
        async with tracing.exporting(TracingSettings(endpoint="http://127.0.0.1:9")):
            pass


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": "collector:4318"},
        {"endpoint": "http://kim:pass@collector"},
        {"sample_ratio": 0},
        {"sample_ratio": 1.1},
    ],
)
async def test_settings_that_trace_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TracingSettings(**wrong)


async def test_a_path_of_the_receiver_is_not_doubled() -> None:
    given = TracingSettings(endpoint="http://collector:4318/v1/traces")
    assert given.endpoint == "http://collector:4318"
