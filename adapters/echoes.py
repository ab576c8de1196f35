"""What a platform says of a refused request, without what it repeats of the request."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

#: So many characters in a row are no chance, of words, of digits, and of Chinese; adapters know
#: some faults by shorter phrases of the platform's own, which a message may hold too.
_LATIN, _DIGITS, _OTHER = 24, 8, 3
#: Shorter keys are none.
_KEY = 8
#: Stands for what was repeated.
_GONE = "…"
#: Of one text so much is read, since a fault is one line; a longer answer is none that tells why.
_READ, _LONGEST = 1000, 16_384


def unechoed(raw: bytes, keys: Sequence[object], body: object) -> bytes:
    """An answer without anything in it that was sent: words, keys, tokens.

    A platform that quotes the request in its fault would put a customer's words, or the channel's
    secret, into a log. What is JSON in the answer stays JSON.

    Texts are cut; nothing is left of an answer over 16 KiB.

    Args:
        keys: What proves who we are: query and headers.
        body: What was sent beside them.
    """
    if len(raw) > _LONGEST:
        return b""
    said, known = raw.decode("utf-8", "replace"), "\n".join(_texts(body))
    for key in (piece for text in _texts(keys) for piece in text.split()):
        said = said.replace(key, _GONE) if len(key) >= _KEY else said
    try:
        return json.dumps(_cleaned(json.loads(said), known)).encode()
    except (ValueError, RecursionError):
        return _without(said, known).encode()


def _cleaned(part: Any, sent: str) -> Any:
    """A part of an answer; its names and numbers are the platform's own."""
    if isinstance(part, str):
        return _without(part, sent)
    if isinstance(part, dict):
        return {name: _cleaned(one, sent) for name, one in part.items()}
    return [_cleaned(one, sent) for one in part] if isinstance(part, list) else part


def _without(said: str, sent: str) -> str:
    said = said[:_READ]
    kept: list[str] = []
    at = 0
    while at < len(said):
        length = _repeated(said, at, sent)
        kept.append(_GONE if length else said[at])
        at += length or 1
    return "".join(kept)


def _repeated(said: str, at: int, sent: str) -> int:
    """So many characters from a place on were sent; 0: too few to tell."""
    least = _LATIN if said[at : at + _OTHER].isascii() else _OTHER
    least = _DIGITS if said[at : at + _DIGITS].isdigit() else least
    length = least
    if len(said) - at < least or said[at : at + length] not in sent:
        return 0
    while at + length < len(said) and said[at : at + length + 1] in sent:
        length += 1
    return length


def _texts(part: object) -> Iterator[str]:
    if isinstance(part, Mapping):
        for one in part.values():
            yield from _texts(one)
    elif isinstance(part, list | tuple):
        for one in part:
            yield from _texts(one)
    elif part is not None:
        yield str(part)
        yield unquote(str(part))
