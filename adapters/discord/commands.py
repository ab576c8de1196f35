"""The slash command, as Discord knows it.

https://discord.com/developers/docs/interactions/application-commands
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.discord.api import DiscordApi
from adapters.discord.interactions import wording

_LOCALIZED = {"with_localizations": "true"}


async def register(api: DiscordApi, app: str) -> bool:
    """Have Discord offer the command, unless it does; other commands of the app stay.

    Returns:
        True if that was news for Discord.

    Raises:
        ChannelUnavailable, ChannelUnauthorized, MessageRejected: As the API's calls do.
    """
    if await is_registered(api, app):
        return False
    # One of the same name is replaced.
    await api.call("POST", f"/applications/{app}/commands", wording()["command"])
    return True


async def is_registered(api: DiscordApi, app: str) -> bool:
    """Whether Discord offers the command just as we have it.

    Raises:
        ChannelUnavailable, ChannelUnauthorized, MessageRejected: As the API's calls do.
    """
    offered = await api.listed(f"/applications/{app}/commands", _LOCALIZED)
    return any(_holds(one, wording()["command"]) for one in offered)


def _holds(found: object, wanted: object) -> bool:
    """Whether all that is wanted is there; Discord adds fields of its own."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            _holds(found.get(name), value) for name, value in wanted.items()
        )
    if isinstance(wanted, list) and isinstance(found, list):
        return len(found) == len(wanted) and all(map(_holds, found, wanted))
    return bool(found == wanted)


def fault_of_address(app: Mapping[str, Any], channel: str, public_key: str, mode: str) -> str:
    """What is wrong with where Discord posts interactions, and what to do; "": nothing."""
    address, key = app.get("interactions_endpoint_url") or "", str(app.get("verify_key") or "")
    ours = f"/webhooks/{channel}"
    if address and not public_key:
        return "clear Interactions Endpoint URL in the developer portal, or set public_key"
    if public_key and key and key.lower() != public_key.lower():
        return "public_key is not the app's: copy it from General Information in the portal"
    if address and not str(address).rstrip("/").endswith(ours):
        return f"Interactions Endpoint URL in the developer portal has to end with {ours}"
    if not address and mode == "interactions":
        return f"set Interactions Endpoint URL in the developer portal: https://…{ours}"
    return ""
