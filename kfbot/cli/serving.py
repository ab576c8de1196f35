"""`kfbot serve`: the bot itself, from its start to a graceful stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from pathlib import Path

from kfbot.application import Application
from kfbot.bootstrap import build
from kfbot.cli.local import load_if_empty
from kfbot.cli.output import report, say
from kfbot.errors import KfbotError
from kfbot.knowledge_base import KnowledgeBase
from kfbot.observability.logs import configure_logging
from kfbot.observability.tracing import exporting
from kfbot.places import owning
from kfbot.settings import Settings
from kfbot.web.server import serving, try_address

logger = logging.getLogger(__name__)

#: A model behind an endpoint may be away; channels do not wait for it.
WARM_UP_SECONDS = 10.0


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; a second signal stops at once.

    Raises:
        AlreadyRunning: Another process owns the data folder, and the database is SQLite.
        SettingsError: The port is taken, a channel's section is wrong, …
    """
    configure_logging(settings.log_format)
    with owning(settings) as place:
        working = asyncio.create_task(_serve(settings, place), name="serve")
        stop_on_signals(working)
        with suppress(asyncio.CancelledError):
            await working


def stop_on_signals(working: asyncio.Task[None]) -> None:
    """Cancel a task at the first SIGTERM or SIGINT; a second one is not caught any more."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)

    def stop() -> None:
        for number in signals:
            loop.remove_signal_handler(number)
        working.cancel()

    for number in signals:
        loop.add_signal_handler(number, stop)


async def _serve(settings: Settings, place: Path) -> None:
    await try_address(settings)
    async with (
        exporting(settings.tracing),
        build(settings, place=place, report=report) as application,
    ):
        fresh = await load_if_empty(application.knowledge)
        await _warm_up(application.knowledge)
        tasks = [asyncio.create_task(application.run(), name="application")]
        if not fresh:
            tasks.append(asyncio.create_task(_load(application.knowledge), name="load"))
        try:
            async with serving(application) as url:
                await _announce(application, url)
                await _until_broken(tasks[0])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _warm_up(knowledge: KnowledgeBase) -> None:
    """Search once, so that the first customer does not wait for what the first search loads."""
    with suppress(KfbotError, TimeoutError):
        async with asyncio.timeout(WARM_UP_SECONDS):
            await knowledge.search("kfbot", limit=1)


async def _until_broken(running: asyncio.Task[None]) -> None:
    # Waited for, not awaited: the server closes its doors before the work is broken off.
    await asyncio.wait([running])
    running.result()


async def _load(knowledge: KnowledgeBase) -> None:
    """Take up what changed in the sources while no server was running; customers do not wait."""
    try:
        for one in await knowledge.load():
            for line in one.unreadable:
                logger.warning("left out: %s", line, extra={"event": "document_unreadable"})
    except KfbotError as error:
        logger.error("sources not loaded: %s", error, extra={"event": "load_failed"})


async def _announce(application: Application, url: str) -> None:
    states = await application.knowledge.status()
    known = ", ".join(f"{state.name} ({state.documents})" for state in states)
    port = url.rsplit(":", 1)[1]
    say(f"kfbot is ready. Stop with Ctrl-C.\n  Chat       {url}/chat")
    is_new = not await application.desk.agents.has_any()
    how = (
        "open it on this machine to make the first admin" if is_new else "in a terminal: kfbot desk"
    )
    say(f"  Desk       {url}/desk    (who waits for a person; {how})")
    say(f"  API        {url}/api/v1/ask    (described at {url}/api/v1/openapi.json)")
    say(f"  Knowledge  {known}")
    logger.info("serving at port %s", port, extra={"event": "serving"})
