"""How WeCom signs and encrypts what it posts; wechatpy vouches for it."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

CORP = "ww0123456789abcdef"
TOKEN = "QDG6eK0stand1n"
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"


@dataclass(frozen=True)
class Sealed:
    """A callback, or the question whether an address is ours."""

    query: dict[str, str]
    body: bytes


def encrypt(
    message: bytes, *, corp: str = CORP, padding: bytes | None = None, length: int | None = None
) -> str:
    """The ciphertext of a message; `padding` and `length` take the place of the right ones."""
    key = base64.b64decode(AES_KEY + "=")
    said = len(message) if length is None else length
    content = os.urandom(16) + said.to_bytes(4, "big") + message + corp.encode()
    missing = 32 - len(content) % 32
    padded = content + (bytes([missing]) * missing if padding is None else padding)
    sealer = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
    return base64.b64encode(sealer.update(padded) + sealer.finalize()).decode()


def sign(sealed: str, *, token: str = TOKEN, at: float | None = None) -> dict[str, str]:
    """What stands in the address of a callback."""
    timestamp, nonce = str(int(time.time() if at is None else at)), "1372623149"
    joined = "".join(sorted((token, timestamp, nonce, sealed)))
    signature = hashlib.sha1(joined.encode()).hexdigest()
    return {"msg_signature": signature, "timestamp": timestamp, "nonce": nonce}


def seal(message: str, *, at: float | None = None, **changes: Any) -> Sealed:
    """A message as it is posted; the changes are those of `encrypt`."""
    sealed = encrypt(message.encode(), **changes)
    body = (
        f"<xml><ToUserName><![CDATA[{CORP}]]></ToUserName>"
        f"<Encrypt><![CDATA[{sealed}]]></Encrypt><AgentID><![CDATA[]]></AgentID></xml>"
    )
    return Sealed(sign(sealed, at=at), body.encode())


def xml(**fields: object) -> str:
    """A message or an event, before it is sealed."""
    return "<xml>{}</xml>".format(
        "".join(
            f"<{name}>{value}</{name}>"
            if isinstance(value, int)
            else f"<{name}><![CDATA[{value}]]></{name}>"
            for name, value in fields.items()
        )
    )
