"""Which texts say the same as an earlier one: exact, and nearly so, in one pass."""

from __future__ import annotations

import re
import unicodedata
import zlib
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

#: Characters of a shingle: Chinese has about two a word, and words in English five.
_SHINGLE = 4
_BANDS = 16
_ROWS = 4
#: Share of their shingles that near duplicates have in common, as MinHash estimates it.
_ALIKE = 0.85
_NUMBER = re.compile(r"\d+")
_PRIME = np.uint64((1 << 61) - 1)
#: Where every second example of one machine looks alike, later ones are compared with the first.
_MOST_IN_BUCKET = 50


class Seen:
    """Texts so far. Its size grows with them; a look-up does not.

    MinHash with banding: A. Broder, "On the resemblance and containment of documents", 1997.
    Two texts with different numbers are never the same.
    """

    def __init__(self) -> None:
        generator = np.random.Generator(np.random.PCG64(20))
        size = _BANDS * _ROWS
        self._factors = generator.integers(1, 1 << 31, size, dtype=np.uint64)
        self._addends = generator.integers(0, 1 << 31, size, dtype=np.uint64)
        self._exact: set[bytes] = set()
        self._buckets: dict[tuple[int, bytes], list[int]] = {}
        self._signatures: list[tuple[tuple[str, ...], NDArray[np.uint32]]] = []

    def is_new(self, text: str) -> bool:
        """True for a text that is like none before; it is remembered then."""
        normal = "".join(
            one for one in unicodedata.normalize("NFKC", text).casefold() if one.isalnum()
        )
        digest = blake2b(normal.encode("utf-8", "replace"), digest_size=16).digest()
        if digest in self._exact:
            return False
        numbers = tuple(sorted(_NUMBER.findall(text)))
        signature = self._signature(normal)
        keys = [
            (band, signature[band * _ROWS : (band + 1) * _ROWS].tobytes()) for band in range(_BANDS)
        ]
        for key in keys:
            for place in self._buckets.get(key, ()):
                other_numbers, other = self._signatures[place]
                if numbers == other_numbers and np.mean(signature == other) >= _ALIKE:
                    return False
        self._remember(digest, keys, numbers, signature)
        return True

    def _remember(
        self,
        digest: bytes,
        keys: list[tuple[int, bytes]],
        numbers: tuple[str, ...],
        signature: NDArray[np.uint32],
    ) -> None:
        self._exact.add(digest)
        place = len(self._signatures)
        self._signatures.append((numbers, signature))
        for key in keys:
            bucket = self._buckets.setdefault(key, [])
            if len(bucket) < _MOST_IN_BUCKET:
                bucket.append(place)

    def _signature(self, normal: str) -> NDArray[np.uint32]:
        pieces = {normal[at : at + _SHINGLE] for at in range(max(1, len(normal) - _SHINGLE + 1))}
        hashes = np.fromiter(
            (zlib.crc32(piece.encode("utf-8", "replace")) for piece in pieces), np.uint64
        )
        mixed = (hashes[:, None] * self._factors + self._addends) % _PRIME
        return np.asarray((mixed & np.uint64(0xFFFFFFFF)).min(axis=0), dtype=np.uint32)
