"""Tells a sound text layer from a broken one, which is better read by OCR."""

from __future__ import annotations

import re
from collections.abc import Sequence

from knowledge.formats.pdf.content import Word
from knowledge.sentences import CJK

# Below this many characters chance decides.
_LEAST_CHARS = 40
_LEAST_LETTERS = 200
_MOST_BROKEN = 0.15
_MOST_ACCENTED = 0.35
_MOST_RARE = 0.5
_MOST_SINGLE = 0.6
_LEAST_VOWELS, _MOST_VOWELS = 0.2, 0.62

_CID = re.compile(r"\(cid:\d+\)|[\ufffd\ue000-\uf8ff\x00-\x08\x0e-\x1f\U000f0000-\U0010ffff]")
_CJK_CHARACTER = re.compile(f"[{CJK}]")
_ACCENTED = re.compile("[\u00a1-\u00ff]")
_LATIN = re.compile("[A-Za-z]")
_VOWEL = re.compile("[AEIOUYaeiouy]")


def is_broken(words: Sequence[Word], unmapped: int = 0) -> bool:
    """Whether the text of a page is not what its reader sees.

    So it is with characters that mean nothing, Chinese decoded as Latin, Chinese of rare
    characters only, Latin without vowels, and letters that stand apart.
    """
    text = " ".join(word.text for word in words)
    chars = len(text.replace(" ", ""))
    if not chars:
        return False
    broken = sum(len(match) for match in _CID.findall(text))
    if max(broken, unmapped) > _MOST_BROKEN * chars:
        return True
    if chars < _LEAST_CHARS:
        return False
    return is_mojibake(text) or _is_rare(text) or _is_cipher(text) or is_spaced_out(words)


def is_mojibake(text: str, *, least: int = 20) -> bool:
    """Whether most letters are accented, at least so many: Chinese that was decoded as Latin."""
    accented = len(_ACCENTED.findall(text))
    share = accented / max(1, accented + len(_LATIN.findall(text)))
    return accented >= least and share > _MOST_ACCENTED


def _is_rare(text: str) -> bool:
    chinese = _CJK_CHARACTER.findall(text)
    han = [character for character in chinese if "\u3400" <= character <= "\u9fff"]
    if len(han) < _LEAST_CHARS:
        return False
    return sum(_is_uncommon(character) for character in han) > _MOST_RARE * len(han)


def _is_uncommon(character: str) -> bool:
    """Neither in the first level of GB 2312 nor in that of Big 5."""
    simplified = character.encode("gb2312", "ignore")
    traditional = character.encode("big5", "ignore")
    common = bool(simplified) and 0xB0 <= simplified[0] <= 0xD7
    return not common and not (traditional and 0xA4 <= traditional[0] <= 0xC6)


def _is_cipher(text: str) -> bool:
    letters = len(_LATIN.findall(text))
    if letters < _LEAST_LETTERS or letters < 0.5 * len(text.replace(" ", "")):
        return False
    share = len(_VOWEL.findall(text)) / letters
    return not _LEAST_VOWELS < share < _MOST_VOWELS


def is_spaced_out(words: Sequence[Word]) -> bool:
    """Whether most letters stand alone, as "c o n t r a c t"."""
    latin = [word.text for word in words if _LATIN.search(word.text)]
    single = sum(len(text) == 1 for text in latin)
    return len(latin) >= _LEAST_CHARS and single > _MOST_SINGLE * len(latin)
