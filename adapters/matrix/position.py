"""Where the adapter is in what the homeserver has to tell, kept with the account itself."""

from __future__ import annotations

import asyncio

from adapters.matrix.events import Event, text_of
from adapters.matrix.homeserver import Homeserver

#: Type of the account's data.
KIND = "kfbot.position"


class Position:
    """What a homeserver has told is confirmed to nobody: it is the client that remembers.

    We remember at the homeserver, so that whoever takes up the account goes on where it was left.
    """

    def __init__(self, server: Homeserver, me: str) -> None:
        self._server = server
        self._me = me
        self.since = ""
        #: Rooms whose invitation we accept, and of which we have read nothing yet.
        self.joining: set[str] = set()
        self._keeping = asyncio.Lock()

    async def load(self, now: Event) -> None:
        """Take up what was kept; without that we begin now.

        Raises:
            ChannelUnavailable, ChannelUnauthorized: As the homeserver's methods do.
        """
        kept = await self._server.load(self._me, KIND)
        joining = kept.get("joining")
        listed = joining if isinstance(joining, list) else []
        self.joining = {one for one in listed if isinstance(one, str)}
        self.since = text_of(kept.get("since"))
        if not self.since:
            self.since = text_of(now.get("next_batch"))
            await self.keep()

    async def advance(self, batch: Event, *, is_news: bool) -> None:
        """All that a sync told has been stored.

        Raises:
            ChannelUnavailable, ChannelUnauthorized: As the homeserver's methods do.
        """
        self.since = text_of(batch.get("next_batch")) or self.since
        if is_news:
            await self.keep()

    async def keep(self) -> None:
        """Keep it with the account.

        Raises:
            ChannelError: As the homeserver's methods do.
        """
        # The last to be kept has to be the newest.
        async with self._keeping:
            kept = {"since": self.since, "joining": sorted(self.joining)}
            await self._server.keep(self._me, KIND, kept)
