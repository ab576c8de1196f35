"""Which passages together answer a question that asks for two things at once."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kfbot.knowledge_base import Passage

#: Passages among which the other thing is looked for.
LOOKED_AT = 3
#: So much behind the first, by rank score, a passage may be.
NEAR = 0.06
#: Longer questions are stories.
LONGEST = 500
#: Words are known by their beginning: "costs" and "cost", "times" and "time".
_STEM = 4

_JOINED = re.compile(
    r"\b(?P<x>[A-Za-z][\w'-]{2,40}),? (?:and|or|as well as) (?:the |an? |your |my )?"
    r"(?P<y>[A-Za-z][\w'-]{2,})"
    r"|(?P<x_zh>[㐀-鿿]{2,4}?)(?:和|与|跟|以及|还有|、)(?P<y_zh>[㐀-鿿]{2})"
)
#: One thing is asked of two, not two things.
_COMPARED = re.compile(
    r"\b(between|differ\w*|versus|vs|better|both)\b|区别|不同|差别|比较|哪个好", re.I
)


def knowledge_points(question: str, passages: Sequence[Passage]) -> tuple[Passage, ...]:
    """The passages to answer with, the first one first.

    Another is added where the question joins two things ("costs and times", "运费和时效"), the
    first passage says nothing of one of them, and the other, which ranks close behind, does.
    """
    first = passages[0]
    if len(question) > LONGEST or _COMPARED.search(question):
        return (first,)
    points = [first]
    for word in _joined_words(question):
        if any(_says(point, word) for point in points):
            continue
        close = (p for p in passages[1:LOOKED_AT] if p.score >= first.score - NEAR)
        if (more := next((p for p in close if _says(p, word)), None)) is not None:
            points.append(more)
    return _without_repeats(points)


def _joined_words(question: str) -> list[str]:
    words = []
    for found in _JOINED.finditer(question):
        words += [word for word in found.groups() if word]
    return words


def _says(passage: Passage, word: str) -> bool:
    text = f"{passage.question} {passage.title} {passage.heading} {passage.text}".casefold()
    if word[0].isascii():
        return re.search(rf"\b{re.escape(word.casefold()[:_STEM])}", text) is not None
    return word in text


def _without_repeats(points: Sequence[Passage]) -> tuple[Passage, ...]:
    """Without those whose text another one holds."""
    kept: list[Passage] = []
    for point in points:
        if all(_shown(point) not in _shown(other) for other in kept):
            kept.append(point)
    return tuple(kept)


def _shown(passage: Passage) -> str:
    return " ".join((passage.quote or passage.text).split())
