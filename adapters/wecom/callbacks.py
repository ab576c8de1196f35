"""What WeCom posts to us: signed, encrypted XML.

The format is that of developer.work.weixin.qq.com/document/path/90968: the signature is the SHA-1
of token, timestamp, nonce and ciphertext, sorted and joined; the ciphertext is AES-256-CBC, its
vector the first half of the key, padded to 32 bytes; inside are 16 random bytes, the length of the
message, the message and the id of the corporation that it is for.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Mapping

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from lxml import etree

from kfbot.errors import WebhookRejected

#: Farther from our clock a callback is not taken; WeCom repeats one within 20 seconds.
WINDOW_SECONDS = 300
_BLOCK = 32
_HEAD = 16 + 4
_DIGITS = re.compile(r"[0-9]{1,12}", re.ASCII)


def key_of(encoding_aes_key: str) -> bytes:
    """The 32 bytes that an EncodingAESKey stands for.

    Raises:
        ValueError: It is none.
    """
    if re.fullmatch(r"[0-9A-Za-z+/]{43}", encoding_aes_key) is None:
        raise ValueError("must be the 43 letters and digits of EncodingAESKey")
    return base64.b64decode(encoding_aes_key + "=")


class Callbacks:
    """Opens what is signed with one token and encrypted with one key for one corporation."""

    def __init__(self, channel: str, corp_id: str, token: str, encoding_aes_key: str) -> None:
        self._channel = channel
        self._corp_id = corp_id.encode()
        self._token = token
        self._key = key_of(encoding_aes_key)

    def open_echo(self, query: Mapping[str, str]) -> bytes:
        """What WeCom wants to see when the address is entered.

        Raises:
            WebhookRejected: 401: it is not from WeCom, or not for us; 400: there is none.
        """
        if not (echo := query.get("echostr", "")):
            raise WebhookRejected(self._channel, "echostr is missing", status=400)
        return self._open(query, echo)

    def open_message(self, query: Mapping[str, str], body: bytes) -> dict[str, str]:
        """The fields of a message or an event.

        Raises:
            WebhookRejected: 401: it is not from WeCom, or not for us; 400: it is no such XML.
        """
        sealed = read_fields(self._channel, body).get("Encrypt", "")
        return read_fields(self._channel, self._open(query, sealed))

    def _open(self, query: Mapping[str, str], sealed: str) -> bytes:
        timestamp, nonce = query.get("timestamp", ""), query.get("nonce", "")
        joined = "".join(sorted((self._token, timestamp, nonce, sealed)))
        # SHA-1 is WeCom's choice.
        expected = hashlib.sha1(joined.encode(errors="replace")).hexdigest()  # noqa: S324
        given = query.get("msg_signature", "").encode(errors="replace")
        if not hmac.compare_digest(expected.encode(), given):
            raise self._refused("the signature is not ours: token is that of another app")
        # Only what is signed is looked at any further: a time, a padding tell nobody else anything.
        if not _DIGITS.fullmatch(timestamp) or abs(time.time() - int(timestamp)) > WINDOW_SECONDS:
            raise self._refused(
                f"the timestamp is over {WINDOW_SECONDS} s off: it is old, or this clock is wrong"
            )
        return self._decrypted(sealed)

    def _decrypted(self, sealed: str) -> bytes:
        try:
            cipher = base64.b64decode(sealed, validate=True)
            # The vector is the start of the key by WeCom's format.
            opener = Cipher(algorithms.AES(self._key), modes.CBC(self._key[:16])).decryptor()
            padded = opener.update(cipher) + opener.finalize()
        except (binascii.Error, ValueError):
            raise self._refused("it cannot be decrypted with encoding_aes_key") from None
        padding = padded[-1] if padded else 0
        if not 1 <= padding <= _BLOCK or padded[-padding:] != bytes([padding]) * padding:
            raise self._refused("it cannot be decrypted with encoding_aes_key")
        content = padded[:-padding]
        end = _HEAD + int.from_bytes(content[16:_HEAD], "big")
        # What is too short for its length has nothing left that could be the id.
        if not hmac.compare_digest(content[end:], self._corp_id):
            raise self._refused("it is for another corporation than corp_id")
        return content[_HEAD:end]

    def _refused(self, reason: str) -> WebhookRejected:
        return WebhookRejected(self._channel, reason, status=401)


def read_fields(channel: str, body: bytes) -> dict[str, str]:
    """The elements below the root of an XML document, those that hold nothing but text.

    Raises:
        WebhookRejected: 400: it is no XML, or declares entities.
    """
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=False
    )
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise WebhookRejected(channel, "body: is not XML", status=400) from None
    if root.getroottree().docinfo.doctype:
        raise WebhookRejected(channel, "body: declares a document type", status=400)
    if root.tag != "xml":
        raise WebhookRejected(channel, "body: is not a message of WeCom", status=400)
    return {one.tag: one.text or "" for one in root if isinstance(one.tag, str) and not len(one)}
