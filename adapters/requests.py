"""What a platform's request holds: JSON within limits, texts that a database takes."""

from __future__ import annotations

import json
from typing import Any

from kfbot.adapter import WebhookRequest
from kfbot.errors import WebhookRejected

#: Longest body.
BODY_BYTES = 256 * 1024
#: Longest id, in characters: PostgreSQL's indexes take 2,700 bytes.
ID_LENGTH = 255
#: Longest text of one message, in characters.
TEXT_LENGTH = 200_000


def check_form(channel: str, request: WebhookRequest, *, most_bytes: int = BODY_BYTES) -> None:
    """Check what can be seen before the signature.

    Raises:
        WebhookRejected: 405 not a POST, 413 too long.
    """
    if request.method != "POST":
        raise WebhookRejected(channel, "only POST is answered", status=405)
    if len(request.body) > most_bytes:
        raise WebhookRejected(channel, f"body: over {most_bytes} bytes", status=413)


def read_json(channel: str, body: bytes | str) -> Any:
    """The value that a body holds.

    Raises:
        WebhookRejected: 400: no UTF-8, no JSON, or none that can be read.
    """
    try:
        return json.loads(body if isinstance(body, str) else body.decode("utf-8"))
    except UnicodeDecodeError:
        raise WebhookRejected(channel, "body: is not UTF-8", status=400) from None
    except json.JSONDecodeError as error:
        raise WebhookRejected(channel, f"body: is not JSON: {error}", status=400) from None
    except (RecursionError, ValueError):  # ValueError: a number of thousands of digits.
        raise WebhookRejected(channel, "body: is not JSON that can be read", status=400) from None


def read_object(channel: str, body: bytes | str) -> dict[str, Any]:
    """The JSON object that a body is.

    Raises:
        WebhookRejected: 400: it is none.
    """
    value = read_json(channel, body)
    if not isinstance(value, dict):
        raise WebhookRejected(channel, "body: is not a JSON object", status=400)
    return value


def whole(text: object) -> object:
    """A text without what SQL refuses: halves of characters and NUL; anything else as it is.

    Half an emoji, cut off by the sender, is no reason to refuse a customer's message.
    """
    if not isinstance(text, str):
        return text
    return (
        text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
    )
