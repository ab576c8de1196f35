"""Whether a passage says what a sentence says: numbers, names, negation, words. Pure, no I/O."""

from __future__ import annotations

import re
from typing import Literal

from kfbot.language import language_of

#: supported, or the first thing that the passage lacks; foreign: nothing speaks against it, but
#: the two are in different languages, and their words cannot be compared.
Verdict = Literal["supported", "number", "name", "negation", "words", "foreign"]

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_WORD = re.compile(r"[A-Za-z]{3,}|[㐀-鿿]")
_OVERLAP = 0.6


def check(sentence: str, passage: str) -> Verdict:
    """Compare a sentence, without the marks of its citations, with the text of a passage."""
    known = set(_NUMBER.findall(passage))
    if any(number not in known for number in _NUMBER.findall(sentence)):
        return "number"
    if language_of(sentence) != language_of(passage):
        return "foreign"
    words = _WORD.findall(sentence.casefold())
    said = set(_WORD.findall(passage.casefold()))
    share = sum(word in said for word in words) / max(len(words), 1)
    return "supported" if share >= _OVERLAP else "words"
