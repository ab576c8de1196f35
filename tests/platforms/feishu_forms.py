"""How Feishu seals what it sends, and what can be seen of a message that a bot wrote."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from time import time
from typing import Any

from Crypto.Cipher import AES

Answer = dict[str, Any]


def sealed(event: Mapping[str, Any], key: str, *, at: float | None = None) -> tuple[bytes, Answer]:
    """Body and headers of a request: encrypted with a key, and signed unless it is a trial."""
    plain = json.dumps(event, ensure_ascii=False).encode()
    if not key:
        return plain, {"content-type": "application/json; charset=utf-8"}
    return seal(plain, key, is_trial=event.get("type") == "url_verification", at=at)


def seal(
    plain: bytes, key: str, *, is_trial: bool = False, at: float | None = None
) -> tuple[bytes, Answer]:
    """Body and headers of an encrypted request; `at`: seconds since 1970, now if left out."""
    headers = {"content-type": "application/json; charset=utf-8"}
    body = json.dumps({"encrypt": encrypt(plain, key)}).encode()
    if is_trial:
        return body, headers
    timestamp, nonce = str(int(time() if at is None else at)), os.urandom(4).hex()
    signature = hashlib.sha256((timestamp + nonce + key).encode() + body).hexdigest()
    return body, headers | {
        "x-lark-request-timestamp": timestamp,
        "x-lark-request-nonce": nonce,
        "x-lark-signature": signature,
    }


def encrypt(plain: bytes, key: str) -> str:
    """AES-256-CBC with the SHA-256 of the key, behind its random first block, in base64."""
    iv, rest = os.urandom(16), 16 - len(plain) % 16
    cipher = AES.new(hashlib.sha256(key.encode()).digest(), AES.MODE_CBC, iv)
    return base64.b64encode(iv + cipher.encrypt(plain + bytes([rest]) * rest)).decode()


def card_of(message: Mapping[str, Any]) -> Answer:
    """The card that a message is."""
    assert message["msg_type"] == "interactive"
    card: Answer = json.loads(message["content"])
    return card


def words_of(message: Mapping[str, Any]) -> str:
    """The words of a message: of a card its first element's."""
    if message["msg_type"] == "text":
        return str(json.loads(message["content"])["text"])
    first = card_of(message)["elements"][0]
    return str(first["text"]["content"] if first["tag"] == "div" else first["content"])


def buttons_of(message: Mapping[str, Any]) -> Sequence[Answer]:
    """The buttons of a card."""
    rows = [one["actions"] for one in card_of(message)["elements"] if one["tag"] == "action"]
    return [button for row in rows for button in row]
