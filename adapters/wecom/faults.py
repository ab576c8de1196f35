"""WeCom's error codes, as the errors of the contract, with what an operator does about them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kfbot.errors import ChannelError, ChannelUnauthorized, ChannelUnavailable, MessageRejected

#: The access token is out of date, or another process renewed it.
STALE_TOKEN = frozenset({40014, 41001, 42001})
#: The token of a callback is older than ten minutes.
STALE_CALLBACK = 95007
#: The state of the session forbids it: people have it, or it is over.
NOT_OURS = frozenset({95013, 95016, 95018})

_LATER: Mapping[int, float | None] = {-1: None, 6000: None, 45009: 60.0, 45033: 10.0}
_UNAUTHORIZED: Mapping[int, str] = {
    40001: "secret is wrong: copy the app's Secret",
    40013: "corp_id is wrong: 我的企业 → 企业信息 → 企业ID",
    40056: "agent_id is wrong: copy the app's AgentId",
    40091: "secret is wrong: copy the app's Secret",
    41004: "secret is wrong: copy the app's Secret",
    48002: "the app may not call this: 微信客服 → 可调用接口的应用",
    60011: "the app may not do this: look at its 可见范围",
    60020: "add the server's address to the app's 企业可信IP",
    301002: "the secret is that of another app than agent_id",
    95000: "kf_accounts names an account that there is not",
    95004: "kf_accounts names an account that there is not",
    95017: "the API of this account is off: 微信客服 → 通过API管理微信客服账号",
}
_REJECTED: Mapping[int, str] = {
    45002: "the text is too long",
    60111: "there is no such user",
    81013: "the user is not in the app's 可见范围",
    95001: "WeCom allows 5 messages until the customer writes again",
    95002: "WeCom allows no message 48 hours after the customer wrote",
    95013: "the session is over until the customer writes again",
    95014: "kf_servicer is nobody who serves this account",
    95016: "the session cannot be moved there",
    95018: "people of the account have the session, or it is over",
}
_IP = re.compile(r"from ip: ?([0-9a-fA-F.:]{2,45})")


def code_of(answer: Mapping[str, Any]) -> int:
    """The errcode of an answer; 0: it was done."""
    code = answer.get("errcode", 0)
    return code if isinstance(code, int) else -1


class Refused(MessageRejected):
    """The platform will never take this message; with its code."""

    def __init__(self, channel: str, message: str, *, code: int) -> None:
        super().__init__(channel, message)
        self.code = code


def fault_of(channel: str, answer: Mapping[str, Any]) -> ChannelError | None:
    """The error of the contract for an answer; None: it was done."""
    if not (code := code_of(answer)):
        return None
    said = str(answer.get("errmsg", ""))
    if code in _LATER:
        reason = f"WeCom answers {code}: {_first_words(said)}"
        return ChannelUnavailable(channel, reason, retry_after_seconds=_LATER[code])
    if code in _UNAUTHORIZED or code in STALE_TOKEN:
        hint = _UNAUTHORIZED.get(code, "the access token is refused; is the clock right?")
        address = _IP.search(said) if code == 60020 else None
        here = f" ({address[1].rstrip('.:')})" if address else ""
        return ChannelUnauthorized(channel, f"WeCom answers {code}: {hint}{here}")
    return Refused(
        channel, f"WeCom answers {code}: {_REJECTED.get(code) or _first_words(said)}", code=code
    )


def _first_words(said: str) -> str:
    """What WeCom says, without the hint, the addresses and links that follow it."""
    words = re.split(r", (?:hint|from ip|more info)", said)[0]
    return (
        "".join(one if one.isprintable() else " " for one in words[:100]) or "it does not say why"
    )
