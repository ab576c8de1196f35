"""What DingTalk's refusals mean for a message.

https://open.dingtalk.com/document/development/api-call-throttling
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from adapters.rest import fault_of_status
from kfbot.errors import ChannelError, ChannelUnauthorized, ChannelUnavailable, MessageRejected

#: "invalidClientIdOrSecret" comes with 400, "authFailed" with 401.
_CREDENTIALS = re.compile(r"invalidClient|authFailed")
_WHAT_TO_DO = "copy Client ID and Client Secret again from open-dev.dingtalk.com"
#: "Forbidden.AccessDenied.QpsLimitForApi", "…QpmLimitForAppkeyAndApi": too many calls, though
#: the status is 403.
_TOO_MANY = re.compile(r"\.Qp[a-z]Limit")


def fault_of_answer(
    channel: str, status: int, headers: Mapping[str, str], raw: bytes
) -> ChannelError:
    """The error for an answer that is not 2xx; `headers` have names in lower case."""
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        answer = None
    fields = answer if isinstance(answer, dict) else {}
    said = ": ".join(str(fields[name]) for name in ("code", "message") if fields.get(name))
    shown = "".join(one if one.isprintable() else " " for one in said[:200])
    reason = f"DingTalk answers {status}" + (f": {shown}" if shown else "")
    busy = ChannelUnavailable(channel, reason)
    if _TOO_MANY.search(str(fields.get("code", ""))):
        return busy
    if _CREDENTIALS.match(str(fields.get("code", ""))):
        return ChannelUnauthorized(channel, f"{reason}: {_WHAT_TO_DO}")
    return fault_of_status(channel, status, headers, reason) or busy


def later(error: MessageRejected) -> ChannelUnavailable:
    """The same refusal where it is no customer's message that is refused.

    DingTalk answers 400 to faults of its own, too ("systemError"), and an app can be mended there.
    """
    return ChannelUnavailable(error.channel, str(error).removeprefix(f"channel {error.channel}: "))


def check_taken(channel: str, user: str, answer: Mapping[str, Any]) -> None:
    """Look whether DingTalk, which answers 200 all the same, has left a person out.

    Raises:
        ChannelUnavailable: They get too many messages now.
        MessageRejected: There is no such person in the company.
    """
    if _names(answer, "flowControlledStaffIdList", user):
        raise ChannelUnavailable(channel, "DingTalk slows this person's messages down")
    if _names(answer, "invalidStaffIdList", user):
        raise MessageRejected(channel, "DingTalk knows no such person in the company")


def _names(answer: Mapping[str, Any], field: str, user: str) -> bool:
    found = answer.get(field)
    return isinstance(found, list) and user in found
