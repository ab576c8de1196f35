"""Recognises a customer who corrects the question before: "no, I meant…", "不是退货，是换货"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kfbot.conversation import HistoryMessage

#: Longer messages say more than what was wrong.
LONGEST = 200
_MEANT = (
    r"(?:what )?i (?:actually |really )?(?:mean|meant|was asking(?: about)?|am asking(?: about)?"
    r"|asked(?: about| for)?|said)(?: is| was)?|i'm asking(?: about)?|i want to know(?: about)?"
)
_NO = r"(?:(?:what|sorry|wait|oh|hm+)\W+){0,2}(?:no|nope|not that)\s*[,.;:!—–-]+\s*"
_ASKED = (
    r"(?:我(?:刚才)?(?:问的|说的|要的|想问的|想要的|指的|的意思|想问|是问|是说|是想问))是?"
    r"|(?:而|应该|其实)是"
)
_ENGLISH = (
    # "not returns, exchanges", "no, not the red one but the blue one"
    rf"(?P<sure>{_NO})?not (?P<rejected>[^,;.?!]{{1,60}}?)(?:\s*[,;]\s*(?:but )?|\s+but )"
    rf"(?:{_MEANT}\s+)?(?P<meant>\S.*)",
    # "I meant exchanges, not returns"
    rf"(?:{_NO})?(?:{_MEANT})\W+(?P<meant>\S.*?),?\s+not (?P<rejected>[^,;.?!]{{1,60}})[.!?]*",
    rf"(?:{_NO})?(?:{_MEANT})\W+(?P<meant>\S.*)",
    # "no, the blue one"; whoever says "no, thanks" or "no, it is still broken" corrects nothing.
    rf"{_NO}(?P<meant>(?:(?:about|for|from|to|with) )?(?:the|an?|my) \S.*)",
)
_BEFORE = r"(?:[啊哦噢嗯呃诶]|抱歉|不好意思)?[，,。！!、\s]*"
_CHINESE = (
    # 不是退货，是换货; 不是退货而是换货; 我问的不是退货，是换货
    rf"{_BEFORE}(?:我(?:问|说|要|指)的)?(?:不是|不要)(?:问|说)?(?P<rejected>[^，,。；;、\s?？]{{1,20}}?)"
    rf"(?:[，,。；;、\s]+(?:{_ASKED}|我?是|我?要)|而是)[：:，,\s]*(?P<meant>\S.*)",
    # 不是，我问的是国际运费; 不对，是换货
    rf"{_BEFORE}(?:不是的?|不对|错了|弄错了|搞错了)[，,。；;！!、\s]+(?:{_ASKED}|是)[：:，,\s]*(?P<meant>\S.*)",
    rf"{_BEFORE}我(?:刚才)?(?:问的|说的|指的|的意思)是[：:，,\s]*(?P<meant>\S.*)",
)
_PATTERNS = tuple(re.compile(one, re.IGNORECASE | re.DOTALL) for one in (*_ENGLISH, *_CHINESE))
_ARTICLE = re.compile(r"^(?:about |for |the |an? )+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Correction:
    """What the customer means, and the words that were wrong ("" where they do not say)."""

    meant: str
    rejected: str = ""

    def rejects_of(self, text: str) -> bool:
        """True where a text has the words that were wrong."""
        return self.without_rejected(text) != text

    def without_rejected(self, text: str) -> str:
        """A text without the words that were wrong, whatever their case."""
        wrong = _ARTICLE.sub("", self.rejected).strip()
        if not wrong:
            return text
        edge = r"\b" if wrong.isascii() else ""
        return re.sub(rf"{edge}{re.escape(wrong)}{edge}", " ", text, flags=re.IGNORECASE)


def correction(text: str, history: Sequence[HistoryMessage]) -> Correction | None:
    """The correction that a whole message is; None where it is none, or nothing to correct."""
    stripped = text.strip()
    if len(stripped) > LONGEST or not history:
        return None
    for pattern in _PATTERNS:
        if found := pattern.fullmatch(stripped):
            parts = found.groupdict(default="")
            made = Correction(parts["meant"].strip(), parts.get("rejected", "").strip())
            # "Not working, what now?" corrects nothing: nobody said that it works.
            if parts.get("sure", "?") or any(made.rejects_of(one.text) for one in history[-2:]):
                return made
    return None
