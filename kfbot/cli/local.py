"""A server for one command, where no other owns the data folder."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from kfbot.adapter import ChannelAdapter
from kfbot.application import API_CHANNEL, Application
from kfbot.bootstrap import build
from kfbot.channels import open_channels, open_own_channel
from kfbot.cli.client import Address
from kfbot.cli.output import one_line, progress_bar, report
from kfbot.errors import ChannelUnavailable
from kfbot.knowledge_base import KnowledgeBase
from kfbot.messages import DeliveryReceipt, OutboundMessage
from kfbot.observability.logs import Discreet
from kfbot.places import owning
from kfbot.settings import Settings, WebSettings
from kfbot.web.server import read_server_file, serving


class ParkedChannel(ChannelAdapter):
    """Stands for a channel that a command does not serve: its conversations wait for `serve`."""

    parked = True

    def __init__(self, channel: ChannelAdapter) -> None:
        super().__init__(channel.channel, channel.settings)
        self.capabilities = channel.capabilities

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        """Not to be called: nothing of a parked channel is worked on.

        Raises:
            ChannelUnavailable: Always.
        """
        raise ChannelUnavailable(self.channel, "only `kfbot serve` sends here")


class _OneLine(logging.Formatter):
    """A record for the person at the terminal; what went wrong inside is for the file."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def format(self, record: logging.LogRecord) -> str:
        details = f" (details in {self._file})" if record.exc_info else ""
        return f"kfbot: {one_line(record.getMessage(), 300)}{details}"


@asynccontextmanager
async def local_server(
    settings: Settings, *, talks: bool, publish: bool, load: bool
) -> AsyncIterator[Address]:
    """Own a place and serve it on a free port of this machine; see `session.reach`."""
    with owning(settings) as place, TemporaryDirectory(prefix="kfbot-") as private:
        _log_to(place / "command.log")
        # What is asked without a conversation is answered by the rules of the API's channel.
        alone = {API_CHANNEL: open_own_channel(API_CHANNEL, settings)}
        channels = _parked(settings) if talks else alone
        async with build(settings, place=place, report=report, channels=channels) as application:
            if load:
                await load_if_empty(application.knowledge)
            folder = place if publish else Path(private)
            async with _working(application, talks=talks), _serving(application, folder) as own:
                yield own


async def load_if_empty(knowledge: KnowledgeBase) -> bool:
    """Load all sources, with a progress bar, where nothing was loaded ever; True if it did so."""
    if any(state.generation for state in await knowledge.status()):
        return False
    report("Loading the knowledge base for the first time…")
    with progress_bar() as progress:
        reports = await knowledge.load(progress=progress)
    for line in (line for one in reports for line in one.unreadable):
        report(f"left out: {line}")
    return True


def _log_to(file: Path) -> None:
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(_OneLine(file))
    kept = logging.FileHandler(file, encoding="utf-8", delay=True)
    kept.setLevel(logging.ERROR)
    kept.setFormatter(Discreet("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[terminal, kept], force=True)


def _parked(settings: Settings) -> dict[str, ChannelAdapter]:
    """All channels, of which only the one that commands talk through is served.

    Replicas on other machines may be serving the rest; what a command took from them would wait
    until it ends.
    """
    return {
        name: channel if name == API_CHANNEL else ParkedChannel(channel)
        for name, channel in open_channels(settings).items()
    }


@asynccontextmanager
async def _working(application: Application, *, talks: bool) -> AsyncIterator[None]:
    """Take turns while the block runs."""
    if not talks:
        yield
        return
    running = asyncio.create_task(application.run(), name="application")
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def _serving(application: Application, folder: Path) -> AsyncIterator[Address]:
    """Serve at the loopback address, with server.json in `folder`."""
    web = WebSettings(host="127.0.0.1", port=0, tokens=application.settings.web.tokens)
    settings = application.settings.model_copy(update={"web": web})
    async with serving(replace(application, settings=settings, place=folder)):
        found = read_server_file(folder)
        assert found is not None
        yield Address(*found)
