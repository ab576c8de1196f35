"""Which questions lean on what was said before, and on what of it: pure rules and one small fit.

A question that stands on its own must be answered by itself: what was talked about before would
be offered again. One that leans ("and to Canada?", "那国际的呢？") is nothing by itself. Words say
which it is, and how much of the question the knowledge base knows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import get_args

from kfbot.conversation import HistoryMessage, Language
from kfbot.texts import small_talk, texts, waiting_texts, wants_person
from kfbot.understanding.correction import Correction

#: A question is shown behind so many earlier ones of the customer, at most.
CARRIED_QUESTIONS = 3
#: Earlier messages that may be carried.
CARRIED_MESSAGES = 6

#: Log-odds that a question leans, fitted by `python -m knowledge.fit_follow_up`: for words that
#: point back, for every unit of the logarithm of one plus its words, and for the share of its
#: words that the knowledge base does not know.
_BIAS, _POINTS_BACK, _LENGTH, _UNKNOWN = 0.88, 1.46, -0.94, -0.71
#: What they are where nothing was found.
_USUAL = {"length": 1.8, "unknown": 0.3}
#: So much more often than in that fit, a message behind others leans on them.
_PRIOR = 3.0

#: From this probability on, passages found with what was said before may be offered.
LEANS_FROM = 0.5
#: The share of the dial that the answer to a leaning question is held to.
LEANING_DIAL = 0.5

_LEANS = re.compile(
    r"^\s*(and|or|but|also|so|then|what about|how about|what if|why not|for)\b"
    r"|\b(it|its|that|those|these|them|they|their|this|one|ones|there|then|instead|same)\b\W*(\s|$)"
    r"|\b(he|him|his|she|her)\b"
    r"|^\s*(那么?|还有|然后|所以|如果|要是|同样|另外)|[它其]|[这那](个|些|种|样|里|儿|款|件|家)"
    r"|刚才|上面|呢\s*[?？]?\s*$",
    re.IGNORECASE,
)
_HAN = re.compile(r"[㐀-鿿]")


def leans(question: str) -> bool:
    """True for words that point back, and for scraps that are no question of their own."""
    if _LEANS.search(question):
        return True
    han = len(_HAN.findall(question))
    return han <= 3 if han else len(question.split()) <= 2


def leaning(question: str, evidence: Mapping[str, float]) -> float:
    """The probability, 0 to 1, that a question leans on what was said before it.

    Args:
        evidence: On the first passage that was found for the question alone.
    """
    length, unknown = (evidence.get(name, usual) for name, usual in _USUAL.items())
    odds = _BIAS + _POINTS_BACK * leans(question) + _LENGTH * length + _UNKNOWN * unknown
    return 1 / (1 + math.exp(-odds))


def better_joined(leaning: float, alone: float, joined: float) -> bool:
    """Whether the passages found with what was said before are the better ones to list.

    Args:
        leaning: That the question leans.
        alone: That the first passage for the question alone answers it.
        joined: That the first passage found with what was said before does, if it leans.
    """
    return _PRIOR * leaning * joined > alone


def context(
    history: Sequence[HistoryMessage], correction: Correction | None = None
) -> tuple[str, ...]:
    """What was said before that a question may lean on, oldest first.

    Small talk, the wish for a person and the bot's own phrases are left out. What a correction
    takes back goes: the word it rejects, and what was answered to it.
    """
    spoken = [message for message in history if _says_something(message)]
    if correction is not None:
        while spoken and spoken[-1].role != "customer":
            spoken.pop()
    said = [message.text for message in spoken[-CARRIED_MESSAGES:]]
    if correction is not None:
        said = [correction.without_rejected(text) for text in said]
    return tuple(text for text in said if text.strip())


def carried(question: str, history: Sequence[HistoryMessage]) -> str:
    """The question in the last line, behind the customer's last ones."""
    earlier = [
        message.text
        for message in history
        if message.role == "customer" and _says_something(message)
    ]
    return "\n".join([*earlier[-CARRIED_QUESTIONS:], question])


def _says_something(message: HistoryMessage) -> bool:
    if message.role == "customer":
        return not small_talk(message.text) and not wants_person(message.text)
    return message.role != "bot" or not message.text.startswith(_phrases())


@cache
def _phrases() -> tuple[str, ...]:
    """What the bot says of its own, in every language."""
    found = []
    for language in get_args(Language):
        says = texts(language)
        found += [says.handoff, says.handoff_asked, says.handoff_error, says.clarify]
        found += [says.handback, says.resolved, says.thanks_for_feedback, says.sorry_not_helpful]
        found += [says.expired, says.empty, says.chat_greeting, *says.small_talk.values()]
        waits = waiting_texts(language)
        found += [waits.unsure, waits.error, waits.noted, waits.notice, waits.gave_up]
        found += [waits.not_helped, waits.closed.partition("{")[0], waits.closed_for_now]
    return tuple(found)
