"""What a question asks for and a passage on the same topic does not say.

A passage that answers mostly has one sentence with every word that bears meaning in the
question; one that is only about the same things lacks a word, has it in another sentence, or
says it the other way round (Rajpurkar et al. 2018 made such questions on purpose).
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from functools import cache

import numpy as np
from numpy.typing import NDArray

from knowledge import terms
from knowledge.contrasts import asks_for_what_is_not, says_the_opposite

#: Words that say what sort of thing is asked for: an answer names the thing and not its sort.
_FRAME = """
name named kind type sort called call known term word example many much number amount year date
day month time people person thing used use give given according one two did happen happened mean
form part place way occur found refer refers considered describe described long old often far say
said tell
名字 名称 叫做 称为 称作 种类 类型 多少 几个 时候 时间 地方 哪里 哪年 哪一年 何时 何处 何地 几 多 年
位 种 人 别称 简称 又 称 叫 做 名 属于 位于 指 原因 作用 主要 分别 包括 方面
"""


def unsaid(
    question: str,
    wanted: Sequence[str],
    weight: NDArray[np.float32],
    sentences: Sequence[str],
    said: Sequence[Sequence[str]],
    around: Set[str],
) -> dict[str, float]:
    """Signals on whether the sentences say what is asked.

    Args:
        question: In simplified characters, as the sentences.
        wanted: The terms of the question that `content_terms` gives.
        weight: The IDF of each of them.
        sentences: Of the passage, in order, one at least.
        said: The terms of each sentence.
        around: Those of the question in the title and heading: they hold for every sentence.

    Returns:
        `all_words`: 1 if one sentence carries every term, else 0. `far_apart`: logarithm of how
        many words of the passage there are for each term of the question in the shortest
        stretch with all that it has. `unsaid_negation`: 1 if the question denies something and
        the sentence that carries most does not, else 0. `opposite`: 1 if that sentence or one
        beside it has the opposite of a word that they lack, else 0.
    """
    held = np.array([[one in around or one in words for one in wanted] for words in said], np.bool_)
    best = int(np.argmax(held @ weight)) if wanted else 0
    nearby = " ".join(sentences[max(0, best - 1) : best + 2])
    return {
        "all_words": float(bool(wanted) and bool(held[best].all())),
        "far_apart": _far_apart(wanted, [word for words in said for word in words]),
        "unsaid_negation": float(asks_for_what_is_not(question, sentences[best])),
        "opposite": float(says_the_opposite(question, nearby)),
    }


def content_terms(asked: Sequence[str]) -> list[str]:
    """The distinct terms of a question that an answer should say, in order."""
    return [term for term in dict.fromkeys(asked) if term not in _frame()]


@cache
def _frame() -> frozenset[str]:
    return frozenset(terms.tokenise(_FRAME))


def _far_apart(wanted: Sequence[str], said: Sequence[str]) -> float:
    looked_for = set(wanted) & set(said)
    if len(looked_for) < 2:
        return 0.0
    counts = dict.fromkeys(looked_for, 0)
    lacking, start, shortest = len(looked_for), 0, len(said)
    for end, word in enumerate(said, 1):
        if word not in counts:
            continue
        lacking -= counts[word] == 0
        counts[word] += 1
        while not lacking:
            shortest = min(shortest, end - start)
            first = said[start]
            if first in counts:
                counts[first] -= 1
                lacking += counts[first] == 0
            start += 1
    return math.log(shortest / len(looked_for))
