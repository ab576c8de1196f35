"""How the bot stands at this moment: read when somebody asks, seldom enough to cost little."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from kfbot.application import Application
from kfbot.errors import KfbotError
from kfbot.knowledge_base import KnowledgeStatus
from kfbot.store.gauges import Standing

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

#: What is older is read again, if anybody asks.
STANDING_SECONDS = 2.0
KNOWLEDGE_SECONDS = 15.0
DISK_SECONDS = 5.0
#: Nobody waits longer for a reading, which goes on.
WAIT_SECONDS = 2.0
#: Of all time a reading may take this share.
_SHARE = 0.05


class Disk(NamedTuple):
    """The file system of the data folder, in bytes."""

    total: int
    used: int
    free: int


class _Fresh(Generic[Result]):
    """A reading that is taken again only once it is old; several who ask share one."""

    def __init__(self, read: Callable[[], Awaitable[Result]], seconds: float) -> None:
        self._read = read
        self._seconds = seconds
        self._due = float("-inf")
        self._result: Result | None = None
        self._reading: asyncio.Task[None] | None = None

    async def get(self) -> Result | None:
        """The reading; None: it failed, or takes too long."""
        if self._reading is None and time.monotonic() >= self._due:
            self._reading = asyncio.create_task(self._read_once(), name="vitals")
        if (reading := self._reading) is not None:
            done, _ = await asyncio.wait([reading], timeout=WAIT_SECONDS)
            if not done:
                return None
        return self._result

    async def close(self) -> None:
        """Break off what is being read."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _read_once(self) -> None:
        began = time.monotonic()
        share = _SHARE
        try:
            self._result = await self._read()
        except Exception as error:
            # A database that is back must not be thought away for long: that it took its time
            # to fail is no reason to spare it.
            share, self._result = 1.0, None
            if isinstance(error, KfbotError):
                logger.warning("not read: %s", error, extra={"event": "vitals_unread"})
            else:
                logger.exception("not read", extra={"event": "vitals_unread"})
        finally:
            now = time.monotonic()
            self._due = now + max(self._seconds, (now - began) / share)
            self._reading = None


class Vitals:
    """What is not counted but read: the store, the knowledge, the disk, the channels."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._standing = _Fresh(application.gauges.standing, STANDING_SECONDS)
        self._knowledge = _Fresh(application.knowledge.status, KNOWLEDGE_SECONDS)
        self._disk = _Fresh(self._read_disk, DISK_SECONDS)

    async def close(self) -> None:
        """Read nothing any more."""
        for one in (self._standing, self._knowledge, self._disk):
            await one.close()

    async def standing(self) -> Standing | None:
        """What waits in the database; None: it does not answer."""
        return await self._standing.get()

    async def knowledge(self) -> tuple[KnowledgeStatus, ...] | None:
        """The state of every knowledge base; None: the database does not answer."""
        return await self._knowledge.get()

    async def disk(self) -> Disk | None:
        """The file system of the data folder; None: it does not answer."""
        return await self._disk.get()

    def channels_down(self) -> dict[str, str]:
        """The channels that do not work, and why."""
        return dict(self._application.outbox.stopped)

    def chat_model_fault(self) -> str | None:
        """Why no chat model can be asked now; "": one can; None: there is none."""
        writer = self._application.answering.writer
        return None if writer is None else writer.model.fault

    async def families(self) -> list[Metric]:
        """All of it as gauges; what cannot be read is left out."""
        standing, knowledge, disk = await asyncio.gather(
            self.standing(), self.knowledge(), self.disk()
        )
        found = [_gauge("store_up", "0: the database does not answer", standing is not None)]
        if standing is not None:
            found += _of_standing(standing, self._application.settings.event_webhooks)
        if knowledge is not None:
            found += _of_knowledge(knowledge)
        if disk is not None:
            found.append(_gauge("data_dir_bytes", "Size of the data folder's disk", disk.total))
            found.append(_gauge("data_dir_free_bytes", "Room left there", disk.free))
        return [*found, *self._of_others()]

    def _of_others(self) -> Iterator[Metric]:
        down = self.channels_down()
        up = {name: name not in down for name in self._application.channels}
        yield _labelled("channel_up", "0: the channel does not work", "channel", up)
        fault = self.chat_model_fault()
        text = "0: no chat model can be asked; absent: there is none"
        yield _gauge("chat_model_up", text, None if fault is None else not fault)

    async def _read_disk(self) -> Disk:
        # A network file system that is away would block the loop.
        return Disk(*await asyncio.to_thread(shutil.disk_usage, self._application.place))


def _of_standing(standing: Standing, webhooks: Iterable[str]) -> Iterator[Metric]:
    def age(since: datetime | None) -> float:
        return 0.0 if since is None else max((standing.at - since).total_seconds(), 0.0)

    yield _gauge("outbox_messages", "Messages that are still to be sent", standing.unsent)
    yield _gauge("outbox_age_seconds", "Age of the oldest", age(standing.unsent_since))
    text = "Age of the oldest that neither a failed try nor a rate holds back"
    yield _gauge("outbox_due_age_seconds", text, age(standing.due_since))
    letters = {"event": standing.dead.inbox, "message": standing.dead.outbox}
    yield _labelled("dead_letters", "Dead letters, each kind up to 10000", "kind", letters)
    lanes = {"working": standing.lanes_working, "ready": standing.lanes_ready}
    yield _labelled("lanes", "Conversations in work, and waiting for it", "state", lanes)
    yield _gauge("handoffs_waiting", "Customers who wait for a person", standing.waiting)
    text = "How long the first of them has waited"
    yield _gauge("handoff_longest_wait_seconds", text, age(standing.waiting_since))
    pending = {name: standing.deliveries.get(name, 0) for name in webhooks}
    text = "What is still to be told"
    yield _labelled("event_deliveries_pending", text, "webhook", pending)


def _of_knowledge(states: tuple[KnowledgeStatus, ...]) -> Iterator[Metric]:
    def each(name: str, text: str, value: Callable[[KnowledgeStatus], float]) -> Metric:
        values = {one.name: value(one) for one in states}
        return _labelled(f"knowledge_{name}", text, "knowledge_base", values)

    yield each("documents", "Documents and entries", lambda one: one.documents)
    yield each("chunks", "Searchable pieces", lambda one: one.chunks)
    yield each("generation", "Generation in force", lambda one: one.generation)
    yield each("unreadable", "Documents that could not be read", lambda one: len(one.unreadable))
    yield each("load_failed", "1: this process's last load failed", lambda one: bool(one.fault))
    loaded = {one.name: one.loaded_at.timestamp() for one in states if one.loaded_at}
    text = "When it was loaded last, in Unix time"
    yield _labelled("knowledge_loaded_timestamp_seconds", text, "knowledge_base", loaded)


def _gauge(name: str, text: str, value: float | None) -> Metric:
    return GaugeMetricFamily(f"kfbot_{name}", text, None if value is None else float(value))


def _labelled(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"kfbot_{name}", text, labels=[label])
    for given, value in values.items():
        family.add_metric([given], float(value))
    return family
