"""Which language a text is in, as far as the bot has texts of its own for it."""

from __future__ import annotations

import re

from kfbot.conversation import Language

_HAN = re.compile(r"[㐀-鿿豈-﫿]")
_LATIN_WORD = re.compile(r"[A-Za-zÀ-ɏ]+")


def language_of(text: str, default: Language = "en") -> Language:
    """Chinese where Han characters weigh at least as much as Latin words; else English.

    A text with neither (numbers, emoji) gets `default`.
    """
    han, latin = len(_HAN.findall(text)), len(_LATIN_WORD.findall(text))
    if han == latin == 0:
        return default
    # A Chinese word has about two characters.
    return "zh" if han >= 2 * latin or (han >= 4 and han >= latin) else "en"
