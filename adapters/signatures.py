"""Signatures by the Standard Webhooks spec, for requests that we get and that we send."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime

from standardwebhooks import Webhook, WebhookVerificationError

_PREFIX = "whsec_"
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


class StandardWebhook:
    """Signs and verifies with one secret, `whsec_` and base64.

    Raises:
        ValueError: The secret is malformed; the text says how and does not hold it.
    """

    def __init__(self, secret: str) -> None:
        encoded = secret.removeprefix(_PREFIX)
        # The library drops what is not base64 and signs with what is left, whatever that is.
        if not secret.startswith(_PREFIX) or not _BASE64.fullmatch(encoded):
            raise ValueError(f"must be {_PREFIX} followed by base64")
        self._key = base64.b64decode(encoded + "==")
        if not self._key:
            raise ValueError(f"needs a key behind {_PREFIX}")
        self._library = Webhook(self._key)

    def headers(self, message_id: str, body: str, now: datetime) -> dict[str, str]:
        """The three headers to send a body with; `now` is aware."""
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._library.sign(message_id, now, body),
        }

    def fault(self, headers: Mapping[str, str], body: bytes) -> str | None:
        """Why the request is not to be trusted, or None if it is.

        The timestamp may be five minutes old, or early, and any of several signatures will do.
        """
        try:
            self._library.verify(body, dict(headers), json_parse=False)
        except WebhookVerificationError as error:
            return str(error)
        except UnicodeDecodeError:
            return None if self._signed_as_bytes(headers, body) else "No matching signature found"
        except ValueError:
            return "The signature headers are malformed"
        return None

    def _signed_as_bytes(self, headers: Mapping[str, str], body: bytes) -> bool:
        # The library reads only UTF-8. Who signed another encoding shall be told that, not that
        # the signature is wrong; such a body is refused all the same.
        signed = f"{headers.get('webhook-id')}.{headers.get('webhook-timestamp')}.".encode(
            errors="replace"
        )
        digest = hmac.new(self._key, signed + body, hashlib.sha256).digest()
        expected = b"v1," + base64.b64encode(digest)
        given = headers.get("webhook-signature", "").encode(errors="replace")
        return any(hmac.compare_digest(expected, one) for one in given.split())
