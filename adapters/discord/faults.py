"""What Discord's refusals mean, of a call and of a connection.

https://discord.com/developers/docs/topics/opcodes-and-status-codes
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from adapters.rest import LONGEST_RETRY_AFTER_SECONDS, fault_of_status
from kfbot.errors import ChannelError, ChannelUnauthorized, ChannelUnavailable, MessageRejected

#: "Cannot reply without permission to read message history".
MAY_NOT_REPLY = 160002
#: "Missing Access", "Missing Permissions".
MAY_NOT_WRITE = (50001, 50013)
#: "Unknown Message", "Unknown Webhook": Discord knows no answer to a command, yet or any more.
NOT_SHOWN = (10008, 10015)
#: "Invalid Webhook Token": an interaction's is over.
_TOKEN_OVER = 50027
_PORTAL = "https://discord.com/developers/applications → your app → Bot"
TOKEN_REFUSED = f"Discord refuses the token: reset and copy it at {_PORTAL}"
CONTENT_REFUSED = f"switch on Message Content Intent at {_PORTAL}, or set message_content = false"
#: Close codes after which connecting again cannot help.
_FINAL = {
    4004: TOKEN_REFUSED,
    4010: "Discord knows no such shard",
    4011: "the bot is in too many servers for one connection",
    4012: "Discord has ended this version of its gateway",
    4013: "Discord knows no such intents",
    4014: CONTENT_REFUSED,
}


def fault_of_answer(
    channel: str, status: int, headers: Mapping[str, str], raw: bytes
) -> ChannelError:
    """The error for an answer that is not 2xx; `headers` have names in lower case."""
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        answer = None
    fields = answer if isinstance(answer, dict) else {}
    code, said, wait = (fields.get(name) for name in ("code", "message", "retry_after"))
    shown = "".join(one if one.isprintable() else " " for one in str(said or "")[:200])
    reason = f"Discord answers {status} {code if isinstance(code, int) else ''}: {shown}"
    if status == 401 and code == _TOKEN_OVER:
        return MessageRejected(channel, reason)
    if status == 401:
        return ChannelUnauthorized(channel, TOKEN_REFUSED)
    if status == 403:
        # With a code it is about this place or person; without one Cloudflare stands before it.
        missing = isinstance(code, int) and code > 0
        return (MessageRejected if missing else ChannelUnavailable)(channel, reason)
    if status == 429 and isinstance(wait, int | float):
        seconds = min(max(float(wait), 0.0), LONGEST_RETRY_AFTER_SECONDS)
        return ChannelUnavailable(channel, reason, retry_after_seconds=seconds)
    return fault_of_status(channel, status, headers, reason) or ChannelUnavailable(channel, reason)


def has_code(error: MessageRejected, *codes: int) -> bool:
    """Whether it is one of Discord's codes that a call was refused with."""
    return any(f" {code}:" in str(error) for code in codes)


def fault_of_close(channel: str, code: int | None) -> ChannelUnauthorized | None:
    """The error for a connection that Discord closed for good; None: it may be opened again."""
    reason = _FINAL.get(code or 0)
    return None if reason is None else ChannelUnauthorized(channel, f"{reason} ({code})")
