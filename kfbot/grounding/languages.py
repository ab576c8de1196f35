"""Whether a sentence is written in the language that it should be in. Pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from kfbot.conversation import Language
from kfbot.grounding.vocabulary import folded, plain_english, stem
from kfbot.language import language_of

_HAN = re.compile("[㐀-鿿豈-﫿]")
#: What stands in quotation marks, code and addresses may be in any language. Each begins where
#: nothing of its kind stands before it and quotations end soon: a customer's 100,000 letters
#: without a space are looked at once, not once for each letter.
_AS_IT_IS = re.compile(
    r"`[^`\n]{0,200}`|“[^”\n]{0,200}”|\"[^\"\n]{0,200}\"|「[^」\n]{0,200}」|『[^』\n]{0,200}』"
    r"|《[^》\n]{0,200}》|https?://[^\s㐀-鿿]+|(?<!\S)\S+@\S+|(?<![\w-])[\w-]+(?:[./]\w+)+"
)
#: Units, product names as iPhone and parts of codes are no words.
_WORD = re.compile(r"(?<![\w-])[a-z]{3,}(?![\w-])")


@lru_cache(maxsize=4096)
def is_in(sentence: str, language: Language) -> bool:
    """Whether a customer who reads this language can read a sentence.

    Names, numbers, quotations, code and addresses are in every language; so are a few Latin words
    in a Chinese sentence.
    """
    words = _AS_IT_IS.sub(" ", folded(sentence))
    if language == "en":
        return language_of(words, "en") == "en"
    latin = _WORD.findall(words)
    content = [word for word in latin if stem(word) not in plain_english()]
    if _HAN.search(words) is None:
        return not content
    return len(content) < 2 or len(content) == len(latin)


def languages_of(sentence: str) -> Sequence[Language]:
    """The languages that a sentence may be compared in; both, where it has nothing but names."""
    if _HAN.search(sentence) is not None:
        return ("zh",)
    return ("en", "zh") if is_in(sentence, "zh") else ("en",)
