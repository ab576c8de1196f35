"""Interactions by HTTP: whether a request is Discord's, and what Discord is answered at once.

https://discord.com/developers/docs/interactions/receiving-and-responding
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from adapters.discord.reading import is_press, question_of
from adapters.discord.rendering import quoted
from kfbot.adapter import WebhookRequest
from kfbot.errors import WebhookRejected

#: A request may be so old, or early.
_AGE_SECONDS = 300
PING = 1
_COMMAND, _COMPONENT, _COMPLETION, _FORM = 2, 3, 4, 5
_PONG, _MESSAGE, _TAKEN_LATER, _CHOICES = 1, 4, 6, 8
#: Seen by whoever asked alone.
_EPHEMERAL = 1 << 6
_SUPPRESS_EMBEDS = 1 << 2


def check_signature(channel: str, public_key: str, request: WebhookRequest, now: float) -> None:
    """Check that Discord sent a request, just now.

    Args:
        public_key: Of the app, 32 bytes in hex.
        now: Seconds since 1970.

    Raises:
        WebhookRejected: 401; Discord itself probes an address with wrong signatures.
    """
    stamp = request.headers.get("x-signature-timestamp", "")
    signature = request.headers.get("x-signature-ed25519", "")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(signature), stamp.encode() + request.body)
    except (InvalidSignature, ValueError):
        reason = "the signature is wrong: is public_key that of the app?"
        raise WebhookRejected(channel, reason, status=401) from None
    if not (stamp.isascii() and stamp.isdigit()) or abs(now - int(stamp[:12])) > _AGE_SECONDS:
        raise WebhookRejected(channel, "the request is not of now: is the clock right?", status=401)


def answer_to(data: Mapping[str, Any], *, is_heard: bool) -> dict[str, Any] | None:
    """What Discord is answered within 3 s, once all is stored; None: it is nothing we know of.

    A question is repeated for all to see, under "Ann used /ask": the answer comes as a message of
    its own, whenever and from whomever. Nothing that has to be filled in later is left behind.

    Args:
        is_heard: It was an event; what was none is not repeated as if it had been.
    """
    kind = data.get("type")
    if not isinstance(kind, int):
        return None
    if kind == PING:
        return {"type": _PONG}
    if kind == _COMPONENT and is_press(data):
        return {"type": _TAKEN_LATER}
    if kind == _COMMAND and is_heard and (question := question_of(data)):
        return {"type": _MESSAGE, "data": _said(quoted(question), _SUPPRESS_EMBEDS)}
    if kind == _COMPLETION:
        return {"type": _CHOICES, "data": {"choices": []}}
    if kind in {_COMMAND, _COMPONENT, _FORM}:
        language = "zh" if str(data.get("locale", "")).startswith("zh") else "en"
        return {"type": _MESSAGE, "data": _said(wording()["hint"][language], _EPHEMERAL)}
    return None


def _said(content: str, flags: int) -> dict[str, Any]:
    return {"content": content, "flags": flags, "allowed_mentions": {"parse": []}}


@cache
def wording() -> dict[str, Any]:
    """The command, and the bot's own words."""
    return tomllib.loads(files(__package__).joinpath("wording.toml").read_text("utf-8"))
