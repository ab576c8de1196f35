"""The lists of `words.toml`, in the form in which texts are compared with them."""

from __future__ import annotations

import re
import threading
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import opencc
import snowballstemmer


@cache
def _lists() -> Mapping[str, Any]:
    return tomllib.loads(files(__package__).joinpath("words.toml").read_text("utf-8"))


class _Stemmers(threading.local):
    """One stemmer a thread: it keeps the word that it works on."""

    def __init__(self) -> None:
        self.english = snowballstemmer.stemmer("english")


_stemmers = _Stemmers()


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """What the forms of an English word in lower case have in common."""
    if len(word) <= 3 or not word.isascii() or not word.isalpha():
        return word
    found: str = _stemmers.english.stemWord(word)
    return found


@cache
def _simplifier() -> opencc.OpenCC:
    return opencc.OpenCC("t2s")


def folded(text: str) -> str:
    """A text in half width and simplified characters; capitals stay."""
    text = unicodedata.normalize("NFKC", text).replace("’", "'").replace("‘", "'")
    if text.isascii():
        return text
    simplified: str = _simplifier().convert(text)
    return simplified


def _either(words: Iterable[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


@cache
def units() -> Mapping[str, str]:
    """The name of the unit that a spelling, in lower case, stands for."""
    return {
        spelling: name for name, spellings in _lists()["units"].items() for spelling in spellings
    }


@cache
def bounds(place: str) -> Sequence[tuple[str, re.Pattern[str]]]:
    """What stands "before" or "after" a number, and what it makes of it; the longest first."""
    every = [(word, name) for name, words in _lists()["bounds"][place].items() for word in words]
    found = []
    for word, name in sorted(every, key=lambda one: -len(one[0])):
        latin = word[0].isascii() and word[0].isalpha()
        written = (
            rf"{r'(?<![a-z])' if latin else ''}{word}\s*$"
            if place == "before"
            else rf"^\s*{word}{r'(?![a-z])' if latin else ''}"
        )
        found.append((name, re.compile(written, re.IGNORECASE)))
    return found


@cache
def markers() -> Mapping[str, re.Pattern[str]]:
    """What to look for in a clause, by what it does to it: "negation", "only", …"""
    lists = _lists()["markers"]
    return {
        name: re.compile(
            rf"(?<![A-Za-z])(?:{_either(words)})(?![A-Za-z])|n't\b|"
            rf"{_either(lists['zh'][name])}"
            if name == "negation"
            else rf"(?<![A-Za-z])(?:{_either(words)})(?![A-Za-z])|{_either(lists['zh'][name])}",
            re.IGNORECASE,
        )
        for name, words in lists["en"].items()
    }


@cache
def disputes(place: str) -> re.Pattern[str]:
    """What says that something is not so: it "says" so, or is a "label", a "heading", …"""
    lists = _lists()["disputed"]
    latin = rf"(?<![A-Za-z])(?:{'|'.join(lists['en'][place])})(?![A-Za-z])"
    written = f"(?:{latin}|{'|'.join(lists['zh'][place])})"
    if place in ("label", "truth"):
        # Alone or with a number, before a colon: "Myth 1:", "误区一：".
        written = rf"[\W_]*(?:the |常见)?{written}[\s\d一二三四五六七八九十#]*[:：]"
    elif place == "behind":
        written = rf"[\W_]*(?:that is |这是)?{written}[\W_]*$"
    return re.compile(written, re.IGNORECASE)


@cache
def innocent() -> re.Pattern[str]:
    """Chinese words in which a marker marks nothing."""
    return re.compile(_either(_lists()["innocent"]["zh"]))


@cache
def opposites() -> Sequence[tuple[frozenset[str], frozenset[str]]]:
    """Two groups of words each, stemmed, of which one takes back what the other says."""
    found = []
    for pair in _lists()["opposites"]:
        one, other = (frozenset(stem(word) for word in side.split("|")) for side in pair.split())
        found += [(one, other), (other, one)]
    return found


@cache
def same_english() -> Mapping[str, str]:
    """For the stem of a word the stem that stands for all that mean the same."""
    found: dict[str, str] = {}
    for group in _lists()["same"]["en"]:
        first, *others = (stem(word) for word in group.split())
        found |= {other: found.get(first, first) for other in others if other not in found}
    return found


@cache
def same_chinese() -> tuple[re.Pattern[str], Mapping[str, str]]:
    """What finds Chinese words of two or more characters, and the one to read in their place."""
    found: dict[str, str] = {}
    for group in _lists()["same"]["zh"]:
        first, *others = group.split()
        found |= {other: first for other in others if len(other) > 1 and first not in other}
    return re.compile(_either(found)), found


@cache
def plain_english() -> frozenset[str]:
    """Stems that state nothing of their own."""
    return frozenset(stem(word) for word in _lists()["plain"]["en"].split())


@cache
def plain_chinese() -> frozenset[str]:
    """Words that state nothing of their own."""
    return frozenset(_lists()["plain"]["zh"].split())


@cache
def nothing() -> re.Pattern[str]:
    """Whole sentences that state nothing."""
    lists = _lists()["nothing"]
    return re.compile("|".join(f"(?:{one})" for one in (*lists["en"], *lists["zh"])), re.IGNORECASE)
