"""The words of a text as the index counts them: Chinese and English, for BM25 and for quotes."""

from __future__ import annotations

import re
import threading
import unicodedata
import zlib
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise

import rjieba
import snowballstemmer

#: Raise it when the same text gives other terms: stored chunks are then counted again.
VERSION = 3
#: How soon a repeated term stops to count, and how much long chunks are held back (BM25).
K1 = 0.9
B = 0.4

# Kana and hangul are cut like Han characters: one at a time where the dictionary knows none.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af"
_RUN = re.compile(rf"(?P<cjk>[{_CJK}]+)|(?P<word>[^\W{_CJK}]+)")
_ELISION = re.compile(r"(?<=[a-z])['’](?:s|m|d|t|re|ve|ll)\b")

#: Words that nearly every question has; they say nothing about what is asked.
_STOP_WORDS = """
a an the and or but if of at by for with about to from in on is are was were be been being
am do does did doing have has had having i me my we us our you your he him his she her it
its they them their this that these those what which who whom whose when where why how can
could will would should shall may might must so as than then there here also just any some
的 了 是 在 吗 呢 啊 吧 我 你 您 他 她 它 们 我们 你们 他们 这 那 这个 那个 哪 哪个 哪些
什么 怎么 怎样 如何 为什么 为何 谁 和 与 及 或 也 都 就 有 被 把 对 从 到 于 而 之 以 为
其 此 该 请 问 请问 一个 可以 能 会 要 么 着 过 得 地 是否
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


class _Stemmers(threading.local):
    """One stemmer a thread: it keeps the word that it works on."""

    def __init__(self) -> None:
        self.english = snowballstemmer.stemmer("english")


_stemmers = _Stemmers()


@lru_cache(maxsize=65_536)
def _stem(word: str) -> str:
    # Part numbers and names with digits are asked for as they are written.
    if len(word) <= 3 or not word.isascii() or not word.isalpha():
        return word
    stem: str = _stemmers.english.stemWord(word)
    return stem


def tokenise(text: str) -> list[str]:
    """The terms of a text, in order and with repeats.

    Width and case are folded, Chinese is cut as for a search engine (long words and the
    words inside them), English is stemmed; punctuation and function words are left out.
    """
    folded = _ELISION.sub("", unicodedata.normalize("NFKC", text).lower())
    terms: list[str] = []
    for run in _RUN.finditer(folded):
        if run["word"] is not None:
            if run["word"] not in STOP_WORDS:
                terms.append(_stem(run["word"]))
        else:
            terms += _chinese(run["cjk"])
    return terms


def _chinese(run: str) -> list[str]:
    """Words of the dictionary; what it does not know (names, brands) as pairs of characters.

    Guessed words would be another guess in every sentence, and never be found again.
    """
    terms: list[str] = []
    single = ""
    for word in [*rjieba.cut_for_search(run, False), ""]:
        if len(word) == 1 and word not in STOP_WORDS:
            single += word
            continue
        terms += [single] if len(single) == 1 else map("".join, pairwise(single))
        single = ""
        if word and word not in STOP_WORDS:
            terms.append(word)
    return terms


def counts(text: str) -> dict[str, int]:
    """How often each term occurs in a text."""
    return dict(Counter(tokenise(text)))


def term_id(term: str) -> int:
    """The number that stands for a term in the index: 32 bits, the same on every machine."""
    return zlib.crc32(term.encode())


def weights(
    terms: Mapping[str, int], average_length: float, *, k1: float = K1, b: float = B
) -> dict[int, float]:
    """A chunk's side of BM25, by term number; the index multiplies it by the term's IDF."""
    length = sum(terms.values())
    norm = k1 * (1 - b + b * length / max(average_length, 1.0))
    weighed: dict[int, float] = {}
    for term, count in terms.items():
        # Two terms may share a number, about one pair in 100,000 terms; the index takes one.
        number = term_id(term)
        weighed[number] = max(weighed.get(number, 0.0), count * (k1 + 1) / (count + norm))
    return weighed
