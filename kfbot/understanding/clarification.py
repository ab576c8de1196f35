"""Which of the offered choices a customer means who writes instead of pressing a button."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from kfbot.conversation import Choice

#: Longer messages are more than a choice; labels may be as long.
LONGEST = 200

_ENGLISH = {
    "1": ("first", "one", "1st"),
    "2": ("second", "two", "2nd"),
    "3": ("third", "three", "3rd"),
    "-1": ("last", "latter", "bottom"),
}
_CHINESE = {"1": "一1前", "2": "二2后", "3": "三3"}
_POLITE = (
    r"(?:i (?:mean|meant|choose|pick)|its|it is|that is|thats|please|the"
    r"|option|number|choice|answer)"
)
_NUMBER = re.compile(
    rf"(?:{_POLITE} |no (?=\d))*"
    r"(?:(?P<which>first|1st|second|2nd|third|3rd|last|latter|bottom)"
    r"(?: (?:one|option|choice|question))?|(?P<figure>\d|one|two|three))"
    r"(?: (?:please|thanks|thank you))*"
)
_NUMBER_ZH = re.compile(
    # "3个" may be three of something.
    r"[我想问选要说的是就]*(?:第(?P<which>[一二三123])[个条项号种]?|(?P<figure>[123])[条项号]?"
    r"|(?P<last>最后一?)[个条项号种]?)(?:问题|选项)?(?:[吧啊谢的]|那个)*"
)
_THAT_ONE_ZH = re.compile(r"(?P<which>前|后|最后)(?:面)?(?:那|一)?(?:那一)?个")
_NEITHER = re.compile(
    r"(?:no |sorry )*(?:none|neither|no one|not (?:any|one)|no(?:ne)? of (?:the|these|those|them))"
    r"(?: of (?:the |these|those|them)?(?:above|two|three)?)?(?: please| thanks| thank you)*"
    r"|都不是|都不对|没有一个(?:是|对)?的?|不是这些|以上都不是|全都?不是"
)


def chosen(text: str, offered: Sequence[Choice]) -> Choice | Literal["none"] | None:
    """The choice that a message names: by its place, its words, or a word that only it has.

    Returns:
        "none" where the customer says that it is none of them; None where the message says
        nothing about the choices.
    """
    if not offered or len(text) > LONGEST:
        return None
    words = _plain(text)
    for number, choice in enumerate(offered, start=1):
        if words.replace(" ", "") in (str(number), _plain(choice.label).replace(" ", "")):
            return choice
    if _NEITHER.fullmatch(words) or _NEITHER.fullmatch(words.replace(" ", "")):
        return "none"
    place = _place(words)
    if place is not None and place <= len(offered):
        return offered[place - 1 if place > 0 else place]
    return _by_word(words, offered)


def _place(words: str) -> int | None:
    """The place that is named, from 1 on; -1 for the last."""
    if found := _NUMBER.fullmatch(words):
        which = found["which"] or found["figure"]
        if which.isdigit():
            return int(which) or None
        return next(int(place) for place, names in _ENGLISH.items() if which in names)
    joined = words.replace(" ", "")
    found = _NUMBER_ZH.fullmatch(joined) or _THAT_ONE_ZH.fullmatch(joined)
    if found is None:
        return None
    named = found.groupdict()
    if named.get("last") or named["which"] == "最后":
        return -1
    which = named["which"] or named["figure"]
    return next(int(place) for place, names in _CHINESE.items() if which in names)


def _by_word(words: str, offered: Sequence[Choice]) -> Choice | None:
    """The only choice with all the words of "the … one", "the one about …", "…那个", "…的那个"."""
    found = re.fullmatch(
        r"(?:i mean(?:t)? )?the (?P<en>.{2,40}?) one(?: please)?"
        r"|(?:i mean(?:t)? )?the one (?:about|with|for|on) (?:the )?(?P<about>.{2,40}?)(?: please)?"
        r"|(?:我?(?:说|问)的?是)?(?P<zh>[^ ]{1,12}?)的?那一?(?:个|种|条)(?:问题)?",
        words,
    )
    if found is None:
        return None
    wanted = found["en"] or found["about"] or found["zh"]
    having = [choice for choice in offered if _holds(_plain(choice.label), wanted)]
    return having[0] if len(having) == 1 else None


def _holds(label: str, wanted: str) -> bool:
    if re.search(r"[㐀-鿿]", wanted):
        return wanted in label.replace(" ", "")
    return set(wanted.split()) <= set(label.split())


def _plain(text: str) -> str:
    """Letters and digits in lower case, with single spaces."""
    return " ".join(re.sub(r"[\W_]+", " ", text.replace("'", "").casefold()).split())
