"""How a command reaches the bot: the running server, else a small one for this command alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from kfbot.cli.client import Client, find_server

if TYPE_CHECKING:
    from kfbot.settings import Settings


@asynccontextmanager
async def reach(
    settings: Settings, *, talks: bool = False, publish: bool = False, load: bool = False
) -> AsyncIterator[Client]:
    """A client of the server that owns the data folder, else of one that lives in the block.

    Args:
        talks: Conversations will be read or changed, not only knowledge.
        publish: Let other commands find the server that lives in the block.
        load: Load the configured sources first where nothing was loaded ever.

    Raises:
        AlreadyRunning: Another command is working in the data folder.
    """
    address = await find_server(settings.data_dir)
    if address is not None:
        async with Client(address) as client:
            yield client
        return
    # The database takes a second to import; a command to a running server does without.
    from kfbot.cli.local import local_server

    async with (
        local_server(settings, talks=talks, publish=publish, load=load) as own,
        Client(own) as client,
    ):
        yield client
