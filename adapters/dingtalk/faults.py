"""What DingTalk's refusals mean for a message.

https://open.dingtalk.com/document/development/api-call-throttling
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from adapters.rest import fault_of_status
from kfbot.errors import ChannelError, ChannelUnavailable, MessageRejected

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
    later = ChannelUnavailable(channel, reason)
    if _TOO_MANY.search(str(fields.get("code", ""))):
        return later
    return fault_of_status(channel, status, headers, reason) or later


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
