"""What in a customer's words calls for a person, whatever the bot knows: pure rules, no I/O.

All of it takes time in proportion to the text, and reads no more than its beginning.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import get_args

from kfbot.conversation import Language, Turn
from kfbot.texts import anger_words, complaint

#: Of a longer message only so much is looked at.
READ_LENGTH = 10_000
#: Who asks again before has not read the answer: a message sent twice, impatience.
SHORTEST_PAUSE = timedelta(seconds=5)
#: Who asks again after so long has forgotten the answer.
LONGEST_PAUSE = timedelta(minutes=30)
#: The share of words that two questions have in common, of all that they have.
ALIKE = 0.8

_WORD = re.compile(r"\w+")
#: Scripts that are written without spaces between words, and Korean, whose endings stick to them.
_UNSPACED = re.compile(r"[㐀-鿿豈-﫿぀-ヿ가-힯฀-๿]")
_TOKEN = re.compile(r"[㐀-鿿豈-﫿]|[^\W\d_㐀-鿿豈-﫿]+|\d+")
#: Shouting: so many words of so many letters, all in capitals, with two marks at least.
_SHOUTED_WORDS = 4
_MARKS = re.compile(r"[!！]\s*[!！?？]|[?？]\s*[!！]")


@dataclass(frozen=True, slots=True)
class LastTurn:
    """What the customer asked last, and what the bot made of it."""

    question: str
    decision: str
    reason: str | None
    #: Ids of the documents that the answer named.
    cited: tuple[str, ...]
    at: datetime


def has_keyword(text: str, keywords: Iterable[str]) -> bool:
    """True where one of the words or phrases stands in the text, however it is written.

    Whole words count, or parts of the text in languages that are written without spaces.
    """
    folded = _folded(text[:READ_LENGTH])
    spaced, joined = f" {' '.join(_WORD.findall(folded))} ", "".join(folded.split())
    for keyword in keywords:
        wanted = _folded(keyword)
        if _UNSPACED.search(wanted):
            if "".join(wanted.split()) in joined:
                return True
        elif (words := _WORD.findall(wanted)) and f" {' '.join(words)} " in spaced:
            return True
    return False


def is_angry(text: str) -> bool:
    """True for insults and swearing, and for shouting."""
    return any(
        has_keyword(text, anger_words(language)) for language in get_args(Language)
    ) or _shouts(text[:READ_LENGTH])


def complains(text: str) -> bool:
    """True for a message that says as a whole that what was said before did not help."""
    return any(complaint(language, text) for language in get_args(Language))


def asks_again(question: str, turn: Turn | None, last: LastTurn | None, now: datetime) -> bool:
    """True where the customer asks what was just answered, or just asked back about.

    In the same words; or nearly so, where the same document answers it, once `turn` says which.
    """
    if last is None or last.decision not in ("answer", "clarify"):
        return False
    if not SHORTEST_PAUSE <= now - last.at <= LONGEST_PAUSE:
        return False
    # Before a follow-up stands what it was joined with, each in a line.
    before = last.question.rsplit("\n", 1)[-1]
    one, other = (_TOKEN.findall(_folded(text[:READ_LENGTH])) for text in (question, before))
    if one == other:
        return bool(one)
    if turn is None or turn.decision != "answer" or not turn.citations:
        return False
    return turn.citations[0].id in last.cited and _alike(one, other)


def _alike(one: Sequence[str], other: Sequence[str]) -> bool:
    """Most of the words are the same, and all of the numbers."""
    first, second = set(one), set(other)
    if {word for word in first ^ second if word.isdecimal()}:
        return False
    return len(first & second) >= ALIKE * len(first | second)


def _shouts(text: str) -> bool:
    words = [word for word in _WORD.findall(text) if word.isalpha() and len(word) > 1]
    cased = [word for word in words if word.upper() != word.lower()]
    return (
        len(cased) >= _SHOUTED_WORDS
        and all(word.isupper() for word in cased)
        and _MARKS.search(text) is not None
    )


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
