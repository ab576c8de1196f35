"""What Feishu answers instead of doing it → the three errors of the contract.

The codes are those of https://open.feishu.cn/document/ "Server error codes" and of the pages of
the single methods; they come with HTTP 200, 400 or 403.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from adapters.rest import fault_of_status, read_retry_after
from kfbot.errors import ChannelError, ChannelUnauthorized, ChannelUnavailable, MessageRejected

#: The token is missing, wrong or no longer good.
_TOKEN = {99991661, 99991663, 99991664, 99991665, 99991668, 99991671}
#: 99991400: the app calls too often. 230020: too much in one chat. 11232: Feishu is busy. 230049:
#: the same message is being sent by an earlier call.
_LATER = {99991400, 230020, 11232, 230049}
_SCOPES = {99991672, 99991679, 230027}
_CONSOLE = {
    99991662: "the app is not in use: enable it in the admin console",
    99991673: "the app is not in use: enable it in the admin console",
    230006: "turn on the bot under Add Features and publish a version",
}
#: The card, or the text, is not taken in this form.
_FORM = {230001, 230025, 230054, 230099, 11310}
#: The message that was to be replied to, or its topic, is there no more.
_GONE = {230011, 230019, 230050, 230110, 231003}
#: Of 230001, which stands for many faults: "ext=invalid message_id".
_TARGET = "message_id"
_ADVICE = {
    230002: "the bot is not in this chat: add it",
    230013: "widen the availability of the app to this person",
    230018: "the settings of the group forbid it",
    230022: "Feishu finds something sensitive in the text",
    230028: "the organisation's data protection stopped it",
    230029: "the person has left the organisation",
    230031: "messages can be changed for 14 days",
    230053: "this person has stopped messages of the bot",
}
_SCOPE = re.compile(r"\b[a-z][a-z_]*:[a-z][a-z0-9_.:]*[a-z0-9]")
_SHOWN_SCOPES = 4


class TokenRefused(ChannelUnauthorized):
    """The tenant access token is not good; another may be."""


class FormRefused(MessageRejected):
    """The message may be taken in a plainer form."""


class TargetGone(MessageRejected):
    """The message may be taken if it replies to nothing."""


def fault_of_answer(
    channel: str, status: int, headers: Mapping[str, str], raw: bytes
) -> ChannelError:
    """The error for an answer that is not 2xx; `headers` have names in lower case."""
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        answer = None
    fields = answer if isinstance(answer, dict) else {}
    code = code_of(fields)
    if status == 429 or status >= 500 or not code:
        reset = headers.get("x-ogw-ratelimit-reset", headers.get("retry-after"))
        reason = f"Feishu answers {status}" + (f", {code}" if code else "")
        found = fault_of_status(channel, status, {"retry-after": reset} if reset else {}, reason)
        return found or ChannelUnavailable(channel, reason)
    wait = read_retry_after(headers.get("x-ogw-ratelimit-reset"), datetime.now(UTC))
    return fault(channel, code, said(fields), wait=wait)


def code_of(answer: Mapping[str, Any]) -> int:
    """0: done."""
    code = answer.get("code", 0)
    return code if isinstance(code, int) else -1


def said(answer: Mapping[str, Any]) -> str:
    """Feishu's own words, fit for one line."""
    msg = answer.get("msg")
    text = msg if isinstance(msg, str) else ""
    return "".join(one if one.isprintable() else " " for one in text[:300])


def fault(channel: str, code: int, words: str, *, wait: float | None = None) -> ChannelError:
    """The error for a code.

    Args:
        words: What Feishu says about it.
        wait: Seconds that it asks us to wait.
    """
    if code in _LATER:
        return ChannelUnavailable(channel, f"Feishu answers {code}", retry_after_seconds=wait)
    if code in _TOKEN:
        advice = "copy app_id and app_secret again"
        return TokenRefused(channel, f"Feishu answers {code}: {advice}")
    if code in _SCOPES:
        return ChannelUnauthorized(channel, f"Feishu answers {code}: {_scope_advice(words)}")
    if code in _CONSOLE:
        return ChannelUnauthorized(channel, f"Feishu answers {code}: {_CONSOLE[code]}")
    kind = FormRefused if code in _FORM else TargetGone if code in _GONE else MessageRejected
    if kind is FormRefused and _TARGET in words:
        kind = TargetGone
    reason = _ADVICE.get(code) or words
    return kind(channel, f"Feishu answers {code}" + (f": {reason}" if reason else ""))


def _scope_advice(words: str) -> str:
    named = list(dict.fromkeys(_SCOPE.findall(words)))[:_SHOWN_SCOPES]
    scope = f"the scope {' or '.join(named)}" if named else "the missing scope"
    return f"add {scope} under Permissions & Scopes, then publish a version"
