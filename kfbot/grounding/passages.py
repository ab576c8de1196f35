"""What a passage states, sentence by sentence, and which of it only to say that it is not so.
Pure, no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from kfbot.grounding.sentences import sentences
from kfbot.grounding.vocabulary import disputes

#: Leans on the sentence before it.
PRONOUN = re.compile(
    r"\s*(?:it|they|this|that|these|those|he|she|its|their|his|her|the (?:former|latter|same)"
    r"|该|此|这|那|其|它|他|她|同时|此外|另外)",
    re.IGNORECASE,
)
_ITEM = re.compile(r"(?:[-*+•·]|\d{1,2}[.)、])\s*")
_HEADING_LENGTH = 60


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of a passage."""

    text: str
    #: What it is about, where it does not say so: title, heading, the line that leads to it.
    about: str
    #: The sentence that its pronoun points to; "": it has none.
    leant: str = ""
    is_heading: bool = False
    #: It stands there to say that it is not so.
    is_doubted: bool = False

    @property
    def context(self) -> str:
        """All that it is about."""
        return f"{self.about}\n{self.leant}"


@lru_cache(maxsize=256)
def sentences_of(text: str) -> Sequence[Sentence]:
    """The sentences of a passage; list items also together, with the line that leads to them."""
    found: list[Sentence] = []
    items: list[str] = []
    title, heading, lead, before = "", "", "", ""
    for number, line in enumerate([*text.split("\n"), ""]):
        words = line.strip()
        if not _ITEM.match(words) and items:
            found.append(Sentence(f"{lead.rstrip(':：')} {', '.join(items)}", title))
            items = []
        if not words:
            continue
        is_heading = _is_heading(words, number)
        if is_heading:
            title, heading, lead = (title, words, "") if number else (words, "", "")
        elif lead and (item := _ITEM.match(words)):
            items.append(words[item.end() :])
        for one in sentences(words):
            leant = before if PRONOUN.match(one) else ""
            about = "\n".join((title, heading, lead))
            found.append(Sentence(one, about, leant, is_heading))
            before = one
        lead = _leading(words, lead)
    return _doubted(found)


def is_disputing(text: str) -> bool:
    """Whether a text says of something that it is not so, or only what people believe."""
    return disputes("says").search(text) is not None


def _doubted(found: Sequence[Sentence]) -> Sequence[Sentence]:
    """The sentences, with those marked that stand there as a myth, a rumour or a mistake.

    A word in the sentence says so, a label before it ("Myth:"), a heading above it, or the
    sentence behind it ("This is wrong."). Where truth has a label too ("Fact:"), all that stands
    between the two is doubted.
    """
    told = any(disputes("truth").match(one.text) for one in found)
    marked: list[Sentence] = []
    lasting = False
    for at, one in enumerate(found):
        behind = found[at + 1].text if at + 1 < len(found) else ""
        is_label = disputes("label").match(one.text) is not None
        if one.is_heading:
            lasting = disputes("heading").search(one.text) is not None
        elif disputes("truth").match(one.text):
            lasting = False
        elif is_label:
            lasting = lasting or told
        taken_back = PRONOUN.match(behind) and is_disputing(behind)
        doubted = lasting or is_label or is_disputing(one.text)
        doubted = doubted or bool(taken_back or disputes("behind").match(behind))
        marked.append(replace(one, is_doubted=doubted))
    return marked


def _leading(line: str, lead: str) -> str:
    """The line that leads to the next one: "We accept:", the head of a table."""
    in_table = line.startswith("|")
    if line[-1] in ":：" or (in_table and not lead.startswith("|")):
        return line
    return lead if in_table or _ITEM.match(line) else ""


def _is_heading(line: str, number: int) -> bool:
    ends = line[-1] in "。.!！?？;；:：|,，"
    return line.startswith("#") or (len(line) < _HEADING_LENGTH and not ends and number < 2)
