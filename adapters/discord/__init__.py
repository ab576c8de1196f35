"""Discord: a bot in direct messages, server channels and threads, through the gateway.

https://discord.com/developers/docs/events/gateway
"""

from adapters.discord.adapter import DiscordAdapter

__all__ = ["DiscordAdapter"]

ADAPTER = DiscordAdapter
