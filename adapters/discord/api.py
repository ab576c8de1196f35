"""Discord's HTTP API, called in the bot's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.discord.faults import fault_of_answer
from adapters.discord.settings import DiscordSettings
from adapters.rest import RestApi

#: Discord refuses calls of clients that do not name themselves so.
_AGENT = {"user-agent": "DiscordBot (https://discord.com/developers/docs, 1)"}


class DiscordApi:
    """Open it before the first call and close it at the end.

    Every call raises what `RestApi.call` does.
    """

    def __init__(self, channel: str, settings: DiscordSettings) -> None:
        self._headers = _AGENT | {"authorization": f"Bot {settings.token.get_secret_value()}"}
        self._rest = RestApi(
            channel,
            settings.api_base,
            timeout_seconds=settings.timeout_seconds,
            fault_of=lambda status, headers, raw: fault_of_answer(channel, status, headers, raw),
        )

    async def open(self) -> None:
        """Be ready for calls."""
        await self._rest.open()

    async def close(self) -> None:
        """Let go of connections."""
        await self._rest.close()

    async def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """The object that a call is answered with."""
        return await self._rest.call(method, path, body=body, headers=self._headers)

    async def listed(self, path: str, params: Mapping[str, str]) -> list[Any]:
        """The list that lies at a path."""
        return await self._rest.listed(path, params=params, headers=self._headers)

    async def call_by_token(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Call with what an interaction's token in the path allows, and no more."""
        return await self._rest.call(method, path, body=body, headers=_AGENT)

    async def download(self, address: str) -> bytes:
        """The bytes behind an address; it has no need of the token."""
        return await self._rest.download(address)
