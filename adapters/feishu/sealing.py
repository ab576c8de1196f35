"""How Feishu proves that a request is its own, and how it hides what is in it.

From https://open.feishu.cn/document/ "Receive events": with an Encrypt Key the body is
`{"encrypt": base64(iv + AES-256-CBC)}` and signed in X-Lark-Signature. Only the request that
tries the address out, of type url_verification, is not signed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from adapters.feishu.settings import FeishuSettings
from adapters.requests import check_form, read_object
from kfbot.adapter import WebhookRequest
from kfbot.errors import WebhookRejected

#: The longest text is 150 KB; encrypted and escaped it grows.
BODY_BYTES = 1024 * 1024
#: What is not acknowledged comes again after 15 s, 5 min, 1 h and 6 h: a bot that was down must
#: not refuse it. A replay within this time is known by its event id and stored once.
OLDEST_SECONDS = 8 * 3600
EARLIEST_SECONDS = 300
_BLOCK_BYTES = 16


class Seal:
    """Opens what Feishu sends to one channel."""

    def __init__(
        self, channel: str, settings: FeishuSettings, now: Callable[[], float] = time.time
    ) -> None:
        """`now` tells seconds since 1970."""
        self._channel = channel
        self._key = settings.encrypt_key
        self._token = settings.verification_token
        self._now = now

    def open(self, request: WebhookRequest) -> dict[str, Any]:
        """What a request holds.

        Raises:
            WebhookRejected: 400 malformed, 401 not Feishu's or too old, 405 not a POST, 413 too
                long.
        """
        check_form(self._channel, request, most_bytes=BODY_BYTES)
        is_signed = "x-lark-signature" in request.headers
        if self._key is not None and is_signed:
            self._check_signature(self._key.get_secret_value(), request)
        outer = read_object(self._channel, request.body)
        sealed = outer.get("encrypt")
        payload = outer if sealed is None else self._decrypted(sealed, is_signed=is_signed)
        if self._key is not None and not is_signed and (sealed is None or not is_trial(payload)):
            raise self._refused("is not signed with encrypt_key")
        if self._token is not None and not _same(token_of(payload), self._token.get_secret_value()):
            raise self._refused("does not hold verification_token")
        return payload

    def _check_signature(self, key: str, request: WebhookRequest) -> None:
        headers = request.headers
        timestamp = headers.get("x-lark-request-timestamp", "")
        nonce = headers.get("x-lark-request-nonce", "")
        expected = sign(key, timestamp, nonce, request.body)
        if not _same(headers["x-lark-signature"], expected):
            raise self._refused("is not signed with encrypt_key")
        # The time is signed with the rest, so it is looked at afterwards.
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 13):
            raise self._refused("has no time")
        if not -EARLIEST_SECONDS <= self._now() - int(timestamp) <= OLDEST_SECONDS:
            raise self._refused("is too old, or this machine's clock is wrong")

    def _decrypted(self, sealed: object, *, is_signed: bool) -> dict[str, Any]:
        if self._key is None:
            raise self._refused("is encrypted: set encrypt_key to Feishu's Encrypt Key")
        try:
            body = decrypt(self._key.get_secret_value(), sealed if isinstance(sealed, str) else "")
            return read_object(self._channel, body)
        except (ValueError, WebhookRejected):
            # Who cannot sign learns nothing about what is inside.
            status = 400 if is_signed else 401
            message = "encrypt: cannot be opened with encrypt_key"
            raise WebhookRejected(self._channel, message, status=status) from None

    def _refused(self, what: str) -> WebhookRejected:
        return WebhookRejected(self._channel, f"the request {what}", status=401)


def is_trial(payload: Mapping[str, Any]) -> bool:
    """True for the request with which Feishu tries the address out."""
    return payload.get("type") == "url_verification"


def token_of(payload: Mapping[str, Any]) -> str:
    """The verification token in a request; "" where there is none."""
    header = payload.get("header")
    token = (header if isinstance(header, dict) else payload).get("token")
    return token if isinstance(token, str) else ""


def sign(key: str, timestamp: str, nonce: str, body: bytes) -> str:
    """What X-Lark-Signature holds."""
    return hashlib.sha256(f"{timestamp}{nonce}{key}".encode(errors="replace") + body).hexdigest()


def decrypt(key: str, sealed: str) -> bytes:
    """What was encrypted.

    Raises:
        ValueError: Not with this key.
    """
    raw = base64.b64decode(sealed, validate=True)
    iv, encrypted = raw[:_BLOCK_BYTES], raw[_BLOCK_BYTES:]
    if not encrypted or len(raw) % _BLOCK_BYTES:
        raise ValueError("not whole blocks")
    decryptor = Cipher(AES(hashlib.sha256(key.encode()).digest()), CBC(iv)).decryptor()
    unpadder = PKCS7(AES.block_size).unpadder()
    padded = decryptor.update(encrypted) + decryptor.finalize()
    return unpadder.update(padded) + unpadder.finalize()


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode(errors="replace"))
