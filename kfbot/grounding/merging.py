"""Passages that say the same, as one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from kfbot.knowledge_base import Passage

#: No difference in what is said: space, case, the marks of Markdown.
_FORM = re.compile(r"[\s*_#`]+")


def merged(passages: Sequence[Passage]) -> tuple[Passage, ...]:
    """The passages without those whose text another one before them holds, in their order.

    What is left out stays as a title of that other one, since it may say whom the text is about.
    """
    kept: list[Passage] = []
    for passage in passages:
        said = _form(passage.text)
        for place, other in enumerate(kept):
            if said in _form(other.text):
                kept[place] = _named_too(other, passage)
                break
        else:
            kept.append(passage)
    return tuple(kept)


def _named_too(one: Passage, other: Passage) -> Passage:
    if not other.title or other.title in one.title:
        return one
    return replace(one, title=f"{one.title} / {other.title}" if one.title else other.title)


def _form(text: str) -> str:
    return _FORM.sub("", text).casefold()
