"""What this process counts and times, for Prometheus: each fact where it is committed.

Names follow https://prometheus.io/docs/practices/naming/. Values of labels are names of the
settings or of the code: never a customer's id, never a text that comes from outside. What the
shared store knows is no counter of a process: `vitals` reads it when it is asked for.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from kfbot.chat_model import Usage
from kfbot.conversation import Turn
from kfbot.errors import ChatModelError, CompletionInvalid
from kfbot.messages import InboundEvent

# A second series beside each counter, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

#: Ours alone: what a library registers by itself is not shown.
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
#: The lag of the event loop is looked at so often.
LAG_SECONDS = 0.25
#: So many models are told apart: endpoints say themselves what theirs is called.
MODELS = 20
_KINDS = {
    "MessageReceived": "message",
    "MessageEdited": "edit",
    "MessageDeleted": "deletion",
    "ButtonPressed": "button",
    "OwnershipChanged": "ownership",
    "ConversationMoved": "move",
}
_FINE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LONG = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 300, 1800, 7200)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"kfbot_{name}", text, labels, registry=REGISTRY)


def _histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...] = _FINE) -> Histogram:
    return Histogram(f"kfbot_{name}", text, labels, registry=REGISTRY, buckets=buckets)


_EVENTS = _counter("events_total", "Inbound events that were stored", "channel", "kind")
_REPEATED = _counter("events_repeated_total", "Events that were known already", "channel")
_ACCEPT = _histogram("accept_seconds", "Until an event was stored", "channel")
_TURNS = _counter(
    "turns_total", "Turns that were decided", "channel", "decision", "reason", "knowledge_base"
)
_CONFIDENCE = _histogram(
    "turn_confidence",
    "Probability, 0 to 1, that the best passage answers",
    "decision",
    buckets=(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 1.0),
)
_TURN = _histogram("turn_seconds", "From question to decision", "channel")
_STAGE = _histogram("turn_stage_seconds", "Stages of turns", "stage")
_WRITTEN = _counter("written_answers_total", "What came of having an answer written", "outcome")
_FIRST_REPLY = _histogram(
    "first_reply_seconds", "From the stored message to its first reply", "channel", buckets=_LONG
)
_HANDOFFS = _counter("handoffs_total", "Cases that turns opened", "channel", "reason")
_SENT = _counter("messages_sent_total", "Messages that a platform took", "channel")
_POSTPONED = _counter("messages_postponed_total", "Attempts to send that failed", "channel")
_DEAD = _counter("messages_dead_total", "Messages that were given up", "channel")
_SEND = _histogram("send_seconds", "Until a platform took a message", "channel")
_EVENT_DEAD = _counter("events_dead_total", "Inbound events that were given up")
_MODEL_REQUESTS = _counter(
    "chat_model_requests_total", "Requests to chat models by how they ended", "model", "result"
)
_MODEL_TOKENS = _counter("chat_model_tokens_total", "Tokens of chat models", "model", "kind")
_MODEL_FIRST = _histogram("chat_model_first_token_seconds", "Until the first token", "model")
_ACTIONS = _counter("action_calls_total", "Calls of actions by what came of them", "action", "came")
_ACTION = _histogram("action_seconds", "Calls of actions", "action")
_TOLD = _counter("event_deliveries_total", "Tries to tell a system", "webhook", "result")
_LOADS = _counter("knowledge_loads_total", "Loads of this process", "knowledge_base", "result")
_LOAD = _histogram(
    "knowledge_load_seconds", "Loads that ended well", "knowledge_base", buckets=_LONG
)
_STORE_ERRORS = _counter("store_errors_total", "Reads and writes that the database failed")
_LAG = _histogram(
    "event_loop_lag_seconds",
    "How much later than asked for the event loop came back",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
_REQUESTS = _counter("http_requests_total", "HTTP requests", "route", "method", "status")
_RECORDS = _counter("log_records_total", "Log records of WARNING and above", "level", "event")
_BUILD = Gauge("kfbot_build_info", "Always 1", ("version", "python"), registry=REGISTRY)
_BUILD.labels(version("kfbot"), platform.python_version()).set(1)
_models: set[str] = set()


def accepted(event: InboundEvent, *, repeated: bool, seconds: float) -> None:
    """An event is stored."""
    channel = event.conversation.channel
    if repeated:
        _REPEATED.labels(channel).inc()
        return
    _EVENTS.labels(channel, _KINDS.get(type(event).__name__, "other")).inc()
    _ACCEPT.labels(channel).observe(seconds)


def events_dead(count: int) -> None:
    """So many inbound events are given up."""
    _EVENT_DEAD.inc(count)


def turn_taken(channel: str, turn: Turn) -> None:
    """A turn is decided; of one that belongs to a conversation, once it is committed."""
    _TURNS.labels(channel, turn.decision, turn.reason or "", turn.knowledge_base).inc()
    if turn.decision != "silent":
        _CONFIDENCE.labels(turn.decision).observe(turn.confidence)
    for part, milliseconds in turn.timings_ms.items():
        if part == "total":
            _TURN.labels(channel).observe(milliseconds / 1000)
        else:
            _STAGE.labels(part).observe(milliseconds / 1000)
    if outcome := turn.usage.get("outcome"):
        _WRITTEN.labels(outcome).inc()


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Time a stage of a turn that its own `timings_ms` do not hold."""
    began = time.perf_counter()
    try:
        yield
    finally:
        _STAGE.labels(name).observe(time.perf_counter() - began)


def handed_off(channel: str, reason: str) -> None:
    """A turn has opened a case."""
    _HANDOFFS.labels(channel, reason).inc()


def replied(channel: str, seconds: float) -> None:
    """The first reply of the bot to what a customer wrote has reached the platform."""
    _FIRST_REPLY.labels(channel).observe(max(seconds, 0.0))


def sent(channel: str, seconds: float) -> None:
    """A platform took a message."""
    _SENT.labels(channel).inc()
    _SEND.labels(channel).observe(seconds)


def postponed(channel: str) -> None:
    """A platform did not take a message; it will be tried again."""
    _POSTPONED.labels(channel).inc()


def message_dead(channel: str) -> None:
    """A message is given up."""
    _DEAD.labels(channel).inc()


def action_called(action: str, came: str, seconds: float) -> None:
    """An action was called, or left alone."""
    _ACTIONS.labels(action, came).inc()
    _ACTION.labels(action).observe(seconds)


def told(webhook: str, result: str) -> None:
    """A system was told of an event: "delivered", "failed", or "dead" for the last time."""
    _TOLD.labels(webhook, result).inc()


def loaded(knowledge_base: str, seconds: float) -> None:
    """A load of a knowledge base ended well."""
    _LOADS.labels(knowledge_base, "done").inc()
    _LOAD.labels(knowledge_base).observe(seconds)


def load_failed(knowledge_base: str) -> None:
    """A load of a knowledge base failed; what was in service stays."""
    _LOADS.labels(knowledge_base, "failed").inc()


def store_failed() -> None:
    """The database failed a read or a write."""
    _STORE_ERRORS.inc()


def answered_request(route: str, method: str, status: int) -> None:
    """An HTTP request is answered.

    Args:
        route: The pattern that it matched, never the path that was asked for.
    """
    _REQUESTS.labels(route, method, str(status)).inc()


@contextmanager
def model_request(model: str, usage: Usage) -> Iterator[None]:
    """Count one request to a chat model by what it adds to a usage."""
    name, came = _known(model), "completed"
    prompt, completion, first = usage.prompt_tokens, usage.completion_tokens, usage.first_token_ms
    try:
        yield
    except BaseException as error:
        came = _result(error)
        raise
    finally:
        _MODEL_REQUESTS.labels(name, came).inc()
        _MODEL_TOKENS.labels(name, "prompt").inc(usage.prompt_tokens - prompt)
        _MODEL_TOKENS.labels(name, "completion").inc(usage.completion_tokens - completion)
        if usage.first_token_ms and not first:
            _MODEL_FIRST.labels(name).observe(usage.first_token_ms / 1000)


def _known(model: str) -> str:
    if len(_models) < MODELS:
        _models.add(model)
    return model if model in _models else "other"


def _result(error: BaseException) -> str:
    if isinstance(error, CompletionInvalid):
        return "invalid"
    # Whoever reads it has enough, or the process stops.
    return "unavailable" if isinstance(error, ChatModelError) else "broken_off"


async def watch_loop() -> None:
    """Time how late the event loop is, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_SECONDS
        await asyncio.sleep(LAG_SECONDS)
        _LAG.observe(max(loop.time() - due, 0.0))


class CountingHandler(logging.Handler):
    """Counts records of WARNING and above by their event."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        """Count a record; libraries' own have no event."""
        event = getattr(record, "event", "")
        _RECORDS.labels(record.levelname.lower(), event).inc()
