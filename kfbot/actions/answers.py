"""What is said of the answer of an operator's system: templates, filled as plain text; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from kfbot.actions.settings import FIELD, SLOT
from kfbot.markup import plain

#: Of a field so many characters are shown.
LONGEST = 1000

_IN_ADDRESS = re.compile(r"https?://[^\s()<>]*$")
_IS_ADDRESS = re.compile(r"\]\(\s*$")


class FieldMissing(ValueError):
    """The answer has no such field, or nothing in it that can be shown; the text names it."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A template with its values."""

    text: str
    #: The fields that were shown.
    fields: Mapping[str, str]


def filled_with(template: str, answer: Any, slots: Mapping[str, str]) -> Filled:
    """The template with fields of the answer and values of slots in it, as plain text.

    Raises:
        FieldMissing: A field that is needed is not there.
    """
    shown: dict[str, str] = {}
    parts: list[str] = []
    end = 0
    for match in re.finditer(f"{SLOT.pattern}|{FIELD.pattern}", template):
        parts.append(template[end : match.start()])
        end = match.end()
        if match[1] is not None:
            value = slots[match[1]]
        else:
            value = shown[match[2]] = field_of(answer, match[2])
        parts.append(_written(value, "".join(parts), match[2] or match[1]))
    return Filled("".join((*parts, template[end:])), shown)


def field_of(answer: Any, name: str) -> str:
    """A field by its dotted name; numbers between dots are places in a list, from 0.

    Raises:
        FieldMissing: There is none, or it is no text and no number.
    """
    found = answer
    for part in name.split("."):
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif _is_list(found) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            raise FieldMissing(name)
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        raise FieldMissing(name)
    # No database takes half a character, and PostgreSQL no NUL.
    whole = str(found).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = " ".join(whole.replace("\0", " ").split())
    if not text:
        raise FieldMissing(name)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def is_nothing(answer: Any) -> bool:
    """True for an answer that says that nothing was found: null, {}, []."""
    return answer is None or answer in ({}, [])


def _is_list(found: Any) -> bool:
    return isinstance(found, Sequence) and not isinstance(found, str)


def _written(value: str, before: str, name: str) -> str:
    """The value as it may stand behind what is written already."""
    if _IS_ADDRESS.search(before):
        if not _is_web_address(value):
            raise FieldMissing(name)
        return quote(value, safe=":/?#[]@!$&'*+,;=%-._~")
    if _IN_ADDRESS.search(before):
        return quote(value, safe="")
    if _is_web_address(value):
        return f"<{value}>"
    return plain(value)


def _is_web_address(value: str) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and not re.search(r"[\s<>\\]", value)
