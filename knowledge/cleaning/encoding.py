"""Turns the bytes of a file into text: finds its encoding, drops what nobody can see."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from charset_normalizer import from_bytes

from knowledge.cleaning.repair import ONE_BYTE

_BLOCK_BYTES = 1 << 20
# Enough to tell an encoding from another.
_SAMPLE_BYTES = 1 << 18
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    # The mark of UTF-32 begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Guessing among all codecs that Python has takes French for Czech and noise for Cherokee.
_OTHER_ENCODINGS = ["big5", "cp932", "euc_jp", "euc_kr", "cp1252", "cp1251", "koi8_r"]
_CONTROL_BYTES = re.compile(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f]")
_MOST_CONTROL_SHARE = 0.05
# Of real Chinese most characters are among the 3755 of GB 2312's first level, and in every
# longer text some of the commonest ones; of other encodings misread as GB 18030 few are.
_LEAST_COMMON_SHARE = 0.6
_LONG_TEXT_CHARS = 200
_LEAST_COMMONEST_SHARE = 0.01
_COMMONEST = frozenset("的一是不了在有人")

# 85 ends a line too, unless it is part of a character that was read in the wrong encoding.
_LINE_BREAKS = re.compile("\r\n?|[\x0b\x0c\u2028\u2029]|(?<![\x80-\xff\u0152-\u2122])\x85")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u200b\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff"
    "\ud800-\udfff]"
)


def clean(text: str) -> str:
    r"""The text as it is shown: NFC, lines ended by "\n", no control or invisible characters.

    Those that are half of a character read in the wrong encoding stay, for `repair` to join.
    """
    lines = _LINE_BREAKS.sub("\n", text)
    return unicodedata.normalize("NFC", drop_invisible(lines))


def drop_invisible(text: str, *, broken: bool = False) -> str:
    """The text without control and invisible characters; with `broken`, those of `clean` too."""
    if broken or not ONE_BYTE.search(text):
        return _INVISIBLE.sub("", text)
    parts, end = [], 0
    for match in ONE_BYTE.finditer(text):
        parts += [_INVISIBLE.sub("", text[end : match.start()]), match[0]]
        end = match.end()
    return "".join(parts) + _INVISIBLE.sub("", text[end:])


@dataclass(frozen=True, slots=True)
class Encoding:
    """How to decode a file."""

    name: str
    errors: str = "strict"

    def open(self, path: Path, *, newline: str | None = None) -> TextIO:
        """Open a text file for reading."""
        return path.open(encoding=self.name, errors=self.errors, newline=newline)


def find_encoding(path: Path) -> Encoding | None:
    """How the file's bytes are text; None when they are not.

    UTF-8 first, then UTF-16 and UTF-32 with their mark, then GB 18030 where that gives plausible
    Chinese, else the likeliest of the other usual encodings. Reads the file in blocks.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        sample = file.read(_SAMPLE_BYTES)
    for mark, name in _BYTE_ORDER_MARKS:
        if sample.startswith(mark):
            return Encoding(name) if _decodes(path, name) else _nearly_utf8(sample)
    controls = sum(1 for _ in _CONTROL_BYTES.finditer(sample))
    if _has_nul(path) or controls > len(sample) * _MOST_CONTROL_SHARE:
        return None
    if _decodes(path, "utf-8"):
        return Encoding("utf-8")
    if _decodes(path, "gb18030") and _is_plausible_chinese(_whole_lines(sample)):
        return Encoding("gb18030")
    return _nearly_utf8(sample) or _guess(path, sample)


def _has_nul(path: Path) -> bool:
    with path.open("rb") as file:
        return any(b"\0" in block for block in iter(lambda: file.read(_BLOCK_BYTES), b""))


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _whole_lines(sample: bytes) -> bytes:
    """The sample without its last line when that may be cut inside a character."""
    if len(sample) < _SAMPLE_BYTES:
        return sample
    return sample[: sample.rfind(b"\n") + 1] or sample


def _is_plausible_chinese(sample: bytes) -> bool:
    counts = Counter(
        character for character in sample.decode("gb18030", "ignore") if not character.isascii()
    )
    total = counts.total()
    common = sum(count for character, count in counts.items() if _is_common(character))
    if not total or common < total * _LEAST_COMMON_SHARE:
        return False
    commonest = sum(counts[character] for character in _COMMONEST)
    return total < _LONG_TEXT_CHARS or commonest >= total * _LEAST_COMMONEST_SHARE


def _is_common(character: str) -> bool:
    encoded = character.encode("gb2312", "ignore")
    # Rows A1 to A3 hold punctuation, B0 to D7 the first level.
    return bool(encoded) and (0xA1 <= encoded[0] <= 0xA3 or 0xB0 <= encoded[0] <= 0xD7)


def _nearly_utf8(sample: bytes) -> Encoding | None:
    """UTF-8 with a few broken bytes, which are shown as U+FFFD."""
    text = sample.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    sound = sum(1 for character in text if not character.isascii()) - broken
    return Encoding("utf-8", "replace") if broken * 20 <= sound else None


def _guess(path: Path, sample: bytes) -> Encoding | None:
    best = from_bytes(_whole_lines(sample), cp_isolation=_OTHER_ENCODINGS).best()
    if best is None or not _decodes(path, best.encoding):
        return None
    return Encoding(best.encoding)
