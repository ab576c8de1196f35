"""Which language a text is in, as far as the bot has texts of its own for it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kfbot.conversation import Language

_HAN = re.compile(r"[㐀-鿿豈-﫿]")
_LATIN_WORD = re.compile(r"[A-Za-zÀ-ɏ]+")
#: X200-B, 5GB: in every language.
_CODE = re.compile(r"(?<![A-Za-z])[A-Za-z]*\d[A-Za-z\d]*(?:-[A-Za-z\d]+)*")


def last_spoken(newest_first: Iterable[str]) -> Language | None:
    """The language of the newest text that has one; None for numbers, emoji, nothing."""
    for text in newest_first:
        if (language := language_of(text, "en")) == language_of(text, "zh"):
            return language
    return None


def language_of(text: str, default: Language = "en") -> Language:
    """Chinese where Han characters weigh at least as much as Latin words; else English.

    A text with neither (numbers, codes, emoji) gets `default`.
    """
    han, latin = len(_HAN.findall(text)), len(_LATIN_WORD.findall(_CODE.sub(" ", text)))
    if han == latin == 0:
        return default
    # A Chinese word has about two characters.
    return "zh" if han >= 2 * latin or (han >= 4 and han >= latin) else "en"
