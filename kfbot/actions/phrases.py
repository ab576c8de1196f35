"""Which action a message asks for: by its phrases, never by a single word in common; pure rules.

A question that merely mentions an order is for the documents. So a clause of the message must say
what a phrase says, and nothing more than politeness beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import get_args

from kfbot.actions.settings import ActionSettings
from kfbot.conversation import Language
from kfbot.grounding.vocabulary import folded, stem
from kfbot.texts import action_texts

#: Longer messages are stories: a person, or the documents, may make something of them.
LONGEST = 500
#: A wish is no longer than this, in a message that merely holds the words of a phrase.
_LONGEST_LOOSE = 120

_CLAUSE = re.compile(r"[^?？!！。；;,，、\n.]+[?？!！。；;,，、\n.]*|\.")
_TOKEN = re.compile(r"[^\W\d_㐀-鿿]+|\d+|[㐀-鿿]")
_HAN = re.compile(r"[㐀-鿿]")
#: Stands before a value: "number is", "号是".
_LABEL = r"(?:(?:\b(?:number|no|nr|id)\b\.?|#|号码?|编号)\s*)?(?:(?:\bis\b|是|为|[:：=])\s*)?"
_MINE = "my"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a message asks for."""

    action: str
    #: What else is in the message; "": nothing that asks for anything.
    rest: str = ""


class Phrases:
    """The phrases of all actions, ready to be looked for."""

    def __init__(self, actions: Mapping[str, ActionSettings]) -> None:
        self._exact = {
            meaning_of(phrase): name for name, one in actions.items() for phrase in one.phrases
        }

    def find(self, text: str, values: Sequence[re.Pattern[str]] = ()) -> Wish | None:
        """The action that a clause of the message asks for.

        Args:
            values: Of what the customer may name in the same breath, as an order number.
        """
        if len(text) > LONGEST or not self._exact:
            return None
        for clauses in ((text,), _clauses(text)):
            for place, clause in enumerate(clauses):
                meaning = meaning_of(clause, values)
                if (name := self._asked(meaning)) is not None:
                    rest = (*clauses[:place], *clauses[place + 1 :])
                    return Wish(name, " ".join(one.strip() for one in rest).strip())
        return None

    def near(self, text: str) -> str | None:
        """The action all of whose words are in a message, among others; None for too few words."""
        if len(text) > _LONGEST_LOOSE:
            return None
        meaning = meaning_of(text)
        fitting = [
            (len(phrase), name)
            for phrase, name in self._exact.items()
            if len(words := phrase - {_MINE}) >= _least(words) and words <= meaning
        ]
        return max(fitting)[1] if fitting else None

    def is_part(self, text: str, action: str) -> bool:
        """True where a message says part of a phrase of this action, and nothing else."""
        meaning = meaning_of(text)
        return bool(meaning) and any(
            meaning <= phrase for phrase, name in self._exact.items() if name == action
        )

    def _asked(self, meaning: frozenset[str]) -> str | None:
        for said in (meaning, meaning - {_MINE}):
            if (name := self._exact.get(said)) is not None:
                return name
        return next(
            (name for phrase, name in self._exact.items() if _mistyped(phrase, meaning)), None
        )


def meaning_of(text: str, values: Sequence[re.Pattern[str]] = ()) -> frozenset[str]:
    """The words of a text that count: stems and Han characters, without politeness and values."""
    return _meaning(without(text, values))


def without(text: str, values: Sequence[re.Pattern[str]]) -> str:
    """A text without the values in it and what introduces them."""
    for value in values:
        text = re.sub(_LABEL + value.pattern, " ", text, flags=re.IGNORECASE)
    return text


def says_nothing_more(text: str, values: Sequence[re.Pattern[str]]) -> bool:
    """True where a message is a value, and at most "and what about" before it."""
    rest = _meaning(without(text, values))
    return not rest - _small_words()


def _meaning(text: str) -> frozenset[str]:
    words = folded(text).casefold().replace("'s ", " is ").replace("'", "")
    for pattern in _politeness():
        words = pattern.sub(" ", words)
    found = (_counted(token) for token in _TOKEN.findall(words))
    return frozenset(token for token in found if token)


def _counted(token: str) -> str:
    if _HAN.match(token):
        return token
    if token in _list("mine"):
        return _MINE
    return "" if token in _list("empty") else stem(token)


def _least(words: Iterable[str]) -> int:
    """Fewer words than this have nearly every message in common with a phrase."""
    return 3 if any(_HAN.match(word) for word in words) else 2


@cache
def _politeness() -> tuple[re.Pattern[str], ...]:
    english = "|".join(action_texts("en").polite)
    chinese = "|".join(action_texts("zh").polite)
    return re.compile(rf"\b(?:{english})\b"), re.compile(f"(?:{chinese})")


@cache
def _list(kind: str) -> frozenset[str]:
    return frozenset(getattr(action_texts("en"), kind))


@cache
def _small_words() -> frozenset[str]:
    words = (word for language in get_args(Language) for word in action_texts(language).more)
    return frozenset(word for one in words for word in _meaning(one)) | {_MINE}


def _clauses(text: str) -> tuple[str, ...]:
    return tuple(one for one in _CLAUSE.findall(text) if one.strip())


def _mistyped(phrase: frozenset[str], meaning: frozenset[str]) -> bool:
    """True where the only difference is a letter that is missing, doubled or swapped in a word."""
    missing, extra = phrase - meaning, meaning - phrase
    if len(missing) != 1 or len(extra) != 1:
        return False
    [right], [typed] = missing, extra
    if min(len(right), len(typed)) < 4 or _HAN.search(right + typed):
        return False
    return typed in set(_slips(right)) or right in set(_slips(typed))


def _slips(word: str) -> Iterator[str]:
    """The word with a letter left out, or two neighbours swapped."""
    for place in range(len(word)):
        yield word[:place] + word[place + 1 :]
        yield word[:place] + word[place : place + 2][::-1] + word[place + 2 :]
