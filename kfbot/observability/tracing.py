"""Traces of turns by OpenTelemetry, where the settings name a receiver; else they cost nothing.

One inbound event is one trace: accepted, turned into a decision, answered. Its ids are made of the
event's own, so that whatever process goes on with it adds to the same trace. Attributes are ids,
decisions and counts; never what anybody wrote.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import version
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kfbot.errors import SettingsError
from kfbot.extras import how_to_install
from kfbot.messages import InboundEvent

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from kfbot.settings import TracingSettings

logger = logging.getLogger(__name__)

#: The receiver has so long for a batch; nobody waits for it.
EXPORT_SECONDS = 5.0
#: What is not sent yet has so long when the process stops.
CLOSE_SECONDS = 2.0
#: That nothing can be sent is said so often, at most.
SAID_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class EventKey:
    """Whose trace it is: a channel and the platform's id of an event."""

    channel: str
    event_id: str

    @classmethod
    def of(cls, event: InboundEvent) -> EventKey:
        """The key of an event."""
        return cls(event.conversation.channel, event.event_id)

    def ids(self) -> tuple[int, int]:
        """Trace and first span, the same in every process."""
        digest = hashlib.sha256(f"{self.channel}\0{self.event_id}".encode()).digest()
        return int.from_bytes(digest[:16]), int.from_bytes(digest[16:24])


class Span:
    """A part of a trace that is under way; this one is nobody's, and costs nothing."""

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def note(self, **attributes: str | float | bool | None) -> None:
        """Add what is known by now; None is left out."""


_NOBODYS = Span()
_tracer: Any = None
#: Trace and span that the next root gets.
_given: ContextVar[tuple[int, int] | None] = ContextVar("kfbot_trace_ids", default=None)


def span(name: str, **attributes: str | float | bool | None) -> Span:
    """A part of the trace that is current, or a trace of its own; to be entered."""
    return _NOBODYS if _tracer is None else _Recorded(name, attributes)


def first_span(name: str, key: EventKey, **attributes: str | float | bool | None) -> Span:
    """The span with which the trace of an event begins; to be entered."""
    return _NOBODYS if _tracer is None else _Recorded(name, attributes, key)


def following(key: EventKey | None) -> AbstractContextManager[object]:
    """What is inside belongs to the trace of an event; None: to that which is current."""
    return _NOBODYS if _tracer is None or key is None else _follow(key)


@asynccontextmanager
async def exporting(
    settings: TracingSettings, *, exporter: SpanExporter | None = None
) -> AsyncIterator[None]:
    """Record and send as long as the block runs; does nothing where no endpoint is set.

    A receiver that hangs or is away costs spans and never time: they are sent by a thread, which
    keeps 2048 of them, and has 2 s at the end.

    Args:
        exporter: Instead of the receiver of the settings.

    Raises:
        SettingsError: The extra is not installed.
    """
    global _tracer
    if not settings.endpoint and exporter is None:
        yield
        return
    provider = _provider(settings, exporter or _exporter(settings))
    _tracer = provider.get_tracer("kfbot")
    try:
        yield
    finally:
        _tracer = None
        # A thread that is no daemon would hold up the end of the process.
        closing = threading.Thread(target=provider.shutdown, name="traces-close", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSE_SECONDS)


class _Recorded(Span):
    """A span that is recorded, unless the sampling leaves its trace out."""

    def __init__(
        self,
        name: str,
        attributes: dict[str, str | float | bool | None],
        root: EventKey | None = None,
    ) -> None:
        self._name = name
        self._attributes = attributes
        self._root = root

    def __enter__(self) -> Span:
        from opentelemetry import context, trace

        if _tracer is None:
            self._span, self._token = trace.INVALID_SPAN, None
            return self
        parent = None if self._root is None else context.Context()
        given = _given.set(None if self._root is None else self._root.ids())
        try:
            self._span = _tracer.start_span(self._name, context=parent)
        finally:
            _given.reset(given)
        self.note(**self._attributes)
        self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        from opentelemetry import context
        from opentelemetry.trace import Status, StatusCode

        if self._token is not None:
            context.detach(self._token)
        if exc is not None:
            # Its text may hold what somebody wrote.
            self._span.set_status(Status(StatusCode.ERROR, type(exc).__name__))
        self._span.end()

    def note(self, **attributes: str | float | bool | None) -> None:
        for name, value in attributes.items():
            if value is not None:
                self._span.set_attribute(f"kfbot.{name}", value)


@contextmanager
def _follow(key: EventKey) -> Iterator[None]:
    from opentelemetry import context, trace

    trace_id, span_id = key.ids()
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    begun = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags)
    token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(begun)))
    try:
        yield
    finally:
        context.detach(token)


def _exporter(settings: TracingSettings) -> SpanExporter:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        how = how_to_install("otel")
        raise SettingsError(f"[tracing] needs OpenTelemetry: {how}") from None
    return OTLPSpanExporter(endpoint=f"{settings.endpoint}/v1/traces", timeout=EXPORT_SECONDS)


def _provider(settings: TracingSettings, exporter: SpanExporter) -> Any:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

    class Ids(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            given = _given.get()
            return super().generate_trace_id() if given is None else given[0]

        def generate_span_id(self) -> int:
            given = _given.get()
            return super().generate_span_id() if given is None else given[1]

    # By the id of the trace alone: all processes decide alike, and no span misses its parent.
    provider = TracerProvider(
        sampler=TraceIdRatioBased(settings.sample_ratio),
        resource=Resource({"service.name": "kfbot", "service.version": version("kfbot")}),
        id_generator=Ids(),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(_telling(exporter)))
    return provider


def _telling(exporter: SpanExporter) -> SpanExporter:
    """The exporter, with one line of ours for what it cannot send."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    # It writes a line for each try, with the address, which may hold a key.
    for name in ("opentelemetry.exporter", "opentelemetry.sdk"):
        logging.getLogger(name).setLevel(logging.CRITICAL)

    class Telling(SpanExporter):
        def __init__(self) -> None:
            self._silent_until = float("-inf")

        def export(self, spans: Any) -> SpanExportResult:
            batch: tuple[ReadableSpan, ...] = tuple(spans)
            try:
                result = exporter.export(batch)
            except Exception:
                result = SpanExportResult.FAILURE
            if result is not SpanExportResult.SUCCESS and time.monotonic() >= self._silent_until:
                self._silent_until = time.monotonic() + SAID_SECONDS
                logger.warning(
                    "%d spans were not taken: look at [tracing] endpoint",
                    len(batch),
                    extra={"event": "traces_not_sent"},
                )
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

    return Telling()
