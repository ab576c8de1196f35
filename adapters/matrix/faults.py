"""What goes wrong when we call a homeserver → the three errors of the contract."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp
from nio.exceptions import (
    EncryptionError,
    GroupEncryptionError,
    OlmTrustError,
    ProtocolError,
    TransferCancelledError,
    VerificationError,
)

from adapters.rest import LONGEST_RETRY_AFTER_SECONDS, fault_of_status
from kfbot.errors import ChannelError, ChannelUnauthorized, ChannelUnavailable, MessageRejected

_LOGIN = "log in as the bot again and set the new access_token"
#: A person has to do something, and nothing can be sent until then.
_UNAUTHORIZED = {
    "M_UNKNOWN_TOKEN": _LOGIN,
    "M_MISSING_TOKEN": _LOGIN,
    "M_USER_DEACTIVATED": "the bot's account was deactivated: take another one",
    "M_USER_LOCKED": "the bot's account is locked: ask the homeserver's administrator",
    "M_USER_SUSPENDED": "the bot's account is suspended: ask the homeserver's administrator",
    "M_CONSENT_NOT_GIVEN": "log in as the bot once and accept the homeserver's terms",
    "M_EXCLUSIVE": "the account belongs to an application service: take another one",
}
_UNAVAILABLE = {"M_LIMIT_EXCEEDED", "M_RESOURCE_LIMIT_EXCEEDED"}
#: Of what is refused for good, what a person can do about it.
_ADVICE = {
    "M_FORBIDDEN": "the bot is not in the room, or may not write there: invite it again",
    "M_TOO_LARGE": "the message is too long for Matrix",
}
#: TimeoutError is an OSError.
_NO_ANSWER = (
    aiohttp.ClientError,
    OSError,
    ProtocolError,
    EncryptionError,
    GroupEncryptionError,
    OlmTrustError,
    TransferCancelledError,
    VerificationError,
)
_CODE = re.compile(r"[A-Z][A-Z0-9_.]{1,80}")


class NotThere(MessageRejected):
    """The homeserver does not know what was asked for."""


@contextmanager
def mapped(channel: str) -> Iterator[None]:
    """What nio and aiohttp raise inside comes out as an error of the contract.

    Raises:
        ChannelUnavailable: The homeserver did not answer.
        MessageRejected: It cannot be sent by HTTP.
    """
    try:
        yield
    except _NO_ANSWER as error:
        # The text of the error may hold the address.
        reason = f"the homeserver did not answer ({type(error).__name__})"
        raise ChannelUnavailable(channel, reason) from None
    except ValueError:
        # A line break in a header, or half a character in an address.
        raise MessageRejected(channel, "it cannot be sent by HTTP") from None


def fault_of(
    channel: str, status: int, headers: Mapping[str, str], fields: Mapping[str, Any] | None
) -> ChannelError | None:
    """The error of the contract for an answer; None for 2xx.

    Args:
        headers: Names in lower case.
        fields: What the answer holds; None: it is no JSON object.
    """
    if 200 <= status < 300:
        return None
    code = _code(fields or {})
    reason = f"the homeserver answers {status} {code}".rstrip()
    if advice := _UNAUTHORIZED.get(code) or (_LOGIN if status == 401 else None):
        return ChannelUnauthorized(channel, f"{reason}: {advice}")
    if code in _UNAVAILABLE:
        return ChannelUnavailable(channel, reason, retry_after_seconds=_wait(fields or {}))
    if 400 <= status < 500 and (not code or code == "M_UNRECOGNIZED"):
        # A proxy, or another service: the homeserver itself gives a reason.
        reason = f"{reason}: what answers at `homeserver` is no homeserver"
        return ChannelUnavailable(channel, reason)
    if code == "M_NOT_FOUND":
        return NotThere(channel, reason)
    if status == 403:
        return MessageRejected(channel, f"{reason}: {_ADVICE['M_FORBIDDEN']}")
    return fault_of_status(channel, status, headers, _advised(reason, code))


def _advised(reason: str, code: str) -> str:
    return f"{reason}: {_ADVICE[code]}" if code in _ADVICE else reason


def _code(fields: Mapping[str, Any]) -> str:
    code = fields.get("errcode")
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""


def _wait(fields: Mapping[str, Any]) -> float | None:
    wait = fields.get("retry_after_ms")
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not wait >= 0:
        return None
    return min(wait / 1000, LONGEST_RETRY_AFTER_SECONDS)
