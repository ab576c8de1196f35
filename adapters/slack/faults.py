"""What goes wrong when we call Slack → the three errors of the contract."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError

from kfbot.errors import ChannelError, ChannelUnauthorized, ChannelUnavailable, MessageRejected

#: Slack asks for seconds; who asks for more is asked again after a day.
LONGEST_RETRY_AFTER_SECONDS = 86_400.0
_TOKENS = "copy the token again from api.slack.com/apps"
_INSTALL = "install the app in the workspace again (api.slack.com/apps)"
#: A person has to do something, and nothing can be sent until then.
_UNAUTHORIZED = {
    "invalid_auth": _TOKENS,
    "not_authed": _TOKENS,
    "not_allowed_token_type": f"this kind of token cannot do that: {_TOKENS}",
    "token_expired": _INSTALL,
    "token_revoked": _INSTALL,
    "account_inactive": _INSTALL,
    "app_uninstalled": _INSTALL,
    "missing_scope": "add the scope under OAuth & Permissions, then install the app again",
    "no_permission": "give the app the scopes of its manifest, then install it again",
    "access_denied": "an administrator of the workspace has to approve the app",
    "org_login_required": "the workspace is being moved into an organisation; install again",
    "team_access_not_granted": "the organisation has to give the app this workspace",
    "ekm_access_denied": "an administrator of the organisation has stopped access",
    "two_factor_setup_required": "the app's owner has to set up two-factor authentication",
    "link_disabled": "turn on Socket Mode (api.slack.com/apps)",
    "socket_mode_disabled": "turn on Socket Mode (api.slack.com/apps)",
}
_UNAVAILABLE = {
    "ratelimited",
    "rate_limited",
    "message_limit_exceeded",
    "service_unavailable",
    "internal_error",
    "fatal_error",
    "request_timeout",
    "team_added_to_org",
    "accesslimited",
}
#: Of the rest, what a person can do about it.
_ADVICE = {
    "channel_not_found": "the bot does not see this channel: invite it",
    "not_in_channel": "the bot is not in this channel: invite it",
    "is_archived": "the channel is archived",
    "msg_too_long": "the text is too long for Slack",
    "restricted_action": "the workspace forbids posting here",
    "user_is_bot": "bots cannot be written to",
}
#: TimeoutError is an OSError; the last three: what answers is not Slack.
_NO_ANSWER = (
    SlackClientError,
    aiohttp.ClientError,
    OSError,
    ValueError,
    AttributeError,
    TypeError,
)
_CODE = re.compile(r"[a-z0-9_]{1,60}")


@contextmanager
def mapped(channel: str, *, setting: str = "bot_token") -> Iterator[None]:
    """What Slack's SDK raises inside comes out as an error of the contract.

    Args:
        setting: What to name where a token is refused.

    Raises:
        ChannelUnavailable: Not now: no answer, a limit, a fault of Slack's own.
        ChannelUnauthorized: A person has to mend the token, the scopes or the app.
        MessageRejected: Never.
    """
    try:
        yield
    except SlackApiError as error:
        # Neither the error nor its text goes on: they hold the request, and so the token.
        raise fault(channel, error, setting=setting) from None
    except _NO_ANSWER as error:
        reason = f"Slack did not answer ({type(error).__name__})"
        raise ChannelUnavailable(channel, reason) from None


def is_elsewhere(error: MessageRejected) -> bool:
    """True where the bot is not in the channel."""
    return any(code in str(error) for code in ("not_in_channel", "channel_not_found"))


def code_of(error: SlackApiError) -> str:
    """Slack's word for what went wrong; empty where it has none."""
    answer = _answer(error)
    code = answer.get("error")
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""


def fault(channel: str, error: SlackApiError, *, setting: str = "bot_token") -> ChannelError:
    """The error of the contract for an answer that is not ok; `setting` holds the token."""
    code, answer = code_of(error), error.response
    status = getattr(answer, "status_code", 0) or getattr(answer, "status", 0)
    wait = _wait(getattr(answer, "headers", {}))
    if status == 429 or code in _UNAVAILABLE or status >= 500:
        reason = f"Slack answers {code or status}"
        return ChannelUnavailable(channel, reason, retry_after_seconds=wait)
    if code in _UNAUTHORIZED or status in (401, 403):
        needed = str(_answer(error).get("needed", ""))[:100]
        what = f"{code} ({needed})" if needed and needed.isprintable() else code or str(status)
        return ChannelUnauthorized(
            channel, f"{setting}: Slack answers {what}: {_UNAUTHORIZED.get(code, _TOKENS)}"
        )
    if not code:
        # No Web API answers like this: something stands between it and us.
        return ChannelUnavailable(channel, f"Slack answers {status} without a reason")
    advice = _ADVICE.get(code)
    return MessageRejected(channel, f"Slack answers {code}" + (f": {advice}" if advice else ""))


def _answer(error: SlackApiError) -> Mapping[str, Any]:
    answer = getattr(error.response, "data", error.response)
    return answer if isinstance(answer, Mapping) else {}


def _wait(headers: Mapping[str, str]) -> float | None:
    found = {name.lower(): value for name, value in (headers or {}).items()}.get("retry-after")
    if isinstance(found, list):
        found = found[0]
    value = str(found or "").strip()
    if not (value.isascii() and value.isdigit()):
        return None
    return min(float(value[:12]), LONGEST_RETRY_AFTER_SECONDS)
