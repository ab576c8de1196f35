"""Which words of a text come from others: content words, numbers and negations, zh and en. Pure.

Words are compared by their stems. Chinese is compared without cutting it into words: what is left
between function words must be made of pieces of two characters and more that are in the sources.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_LATIN = re.compile(r"[^\W\d_㐀-鿿]+(?:['’][^\W\d_㐀-鿿]+)?")
_HAN = re.compile(r"[㐀-鿿]+")
_NEGATIONS = frozenset(("no", "not", "never", "none", "nor", "neither", "without", "cannot"))
#: Says nothing by itself, or points to what was said.
_FUNCTION_WORD = re.compile(
    r"a|about|again|all|also|am|an|and|any|anything|are|as|aside|asides|at|be|because|been|"
    r"being|besides|both|but|by|can|cool|could|did|do|does|doing|done|due|each|either|else|"
    r"first|for|former|from|get|gets|got|had|has|have|having|he|hear|heard|help|her|here|hers|"
    r"him|his|hmm|how|however|i|if|in|into|is|it|its|itself|just|kind|kinds|know|last|latter|"
    r"let|like|many|may|me|mean|meant|mention|mentioned|might|more|most|much|must|my|need|next|"
    r"of|off|oh|ok|okay|on|once|one|ones|only|or|other|others|our|ours|out|own|please|really|"
    r"regarding|said|same|say|second|shall|she|should|so|some|somebody|someone|something|sort|"
    r"sorts|such|talk|talked|tell|than|thank|thanks|that|the|their|theirs|them|then|there|these|"
    r"they|think|third|this|those|though|thought|to|too|toward|towards|two|type|types|up|upon|"
    r"us|use|very|want|was|way|ways|we|well|were|what|whats|when|where|whether|which|while|who|"
    r"whom|whose|why|will|with|would|wow|you|your|yours"
)
#: Longer ones first, so that none is cut in two.
_FUNCTION_HAN = re.compile(
    r"(.)[不没]\1|为什么|怎么样|什么样|什么|怎么|怎样|如何|多少|多久|多长|多大|多远|哪里|哪儿|哪些|哪个"
    r"|是否|能否|可否|可以|请问|我们|你们|您们|他们|她们|它们|这个|那个|这些|那些|这里|那里|这边|那边"
    r"|这种|那种|这样|那样|还有|以及|或者|关于|对于|需要|应该|的话|一下|其中|如果|要是|另外|刚才|上面"
    r"|[的地得了着过吗呢吧啊呀哦么和与及或是在于从到由把被给向往以为而且但且我你您他她它能会要想可请"
    r"也还都就又再这那哪谁几个些种位件款只]"
)
_NOT_HAN = re.compile(r"[不没无未非别]")


def adds_nothing(text: str, sources: Sequence[str]) -> bool:
    """True where every number, negation and content word of a text is in one of the sources."""
    known_stems = set().union(*(_stems(one) for one in sources))
    known_han = [run for one in sources for run in _HAN.findall(one)]
    return _stems(text) <= known_stems and all(_is_made_of(run, known_han) for run in _runs(text))


def holds(text: str, question: str) -> bool:
    """True where nothing that a question says is missing in a text."""
    if not _stems(question) <= _stems(text):
        return False
    said = "".join(_HAN.findall(text))
    return all(character in said for run in _runs(question) for character in run)


def repeats(text: str, other: str) -> bool:
    """True where two texts have the same content."""
    return _stems(text) == _stems(other) and sorted("".join(_runs(text))) == sorted(
        "".join(_runs(other))
    )


def _stems(text: str) -> set[str]:
    """Numbers, and the stems of what is written in letters; every negation is "not"."""
    words = (word.casefold().replace("’", "'") for word in _LATIN.findall(text))
    stems = {stem for word in words if (stem := _stem(word))}
    return stems | set(_NUMBER.findall(text))


def _stem(word: str) -> str:
    """A word without its ending; "" for a function word."""
    if word in _NEGATIONS or word.endswith("n't"):
        return "not"
    word = word.partition("'")[0]
    if len(word) == 1 or _FUNCTION_WORD.fullmatch(word):
        return ""
    for ending in ("ing", "ies", "ied", "es", "ed", "s", "y", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


def _runs(text: str) -> list[str]:
    """What stands in Chinese between function words."""
    return [run for whole in _HAN.findall(text) for run in _between(whole)]


def _between(whole: str) -> list[str]:
    return [run for run in _FUNCTION_HAN.sub(" ", whole).split() if run]


def _is_made_of(run: str, sources: Sequence[str]) -> bool:
    """True where known pairs of characters cover a run, known single ones between them."""
    known = "\n".join(sources)
    covered = [False] * len(run)
    for place in range(len(run) - 1):
        if run[place : place + 2] in known:
            covered[place] = covered[place + 1] = True
    for place, character in enumerate(run):
        beside = place + 1 < len(run) and not covered[place] and not covered[place + 1]
        if character not in known or beside:
            return False
    return True
