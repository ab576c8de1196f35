"""Does a question lean on what was asked before: pure rules, for want of a model that reads."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kfbot.conversation import HistoryMessage
from kfbot.texts import small_talk

#: A question is joined with so many earlier ones of the customer, at most.
CARRIED_QUESTIONS = 3

_LEANS = re.compile(
    r"^\s*(and|or|but|also|so|then|what about|how about|what if|why not|for)\b"
    r"|\b(it|its|that|those|these|them|they|this|one|ones|there|then|instead|same)\b\W*(\s|$)"
    r"|^\s*(那么?|还有|然后|所以|如果|要是|同样)|[它其]|[这那](个|些|种|样|里|儿|款|件|家)|刚才|上面|呢\s*[?？]?\s*$",
    re.IGNORECASE,
)
_HAN = re.compile(r"[㐀-鿿]")


def leans(question: str) -> bool:
    """True for words that point back, and for scraps that are no question of their own."""
    if _LEANS.search(question):
        return True
    han = len(_HAN.findall(question))
    return han <= 3 if han else len(question.split()) <= 2


def carried(question: str, history: Sequence[HistoryMessage]) -> str:
    """The question behind the customer's last ones, if it leans on them; else as it is."""
    if not leans(question):
        return question
    earlier = [
        message.text
        for message in history
        if message.role == "customer" and not small_talk(message.text)
    ]
    return "\n".join([*earlier[-CARRIED_QUESTIONS:], question])
