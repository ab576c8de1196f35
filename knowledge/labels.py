"""What a document's fields come to for filters: short labels that the engine compares.

A filter asks for `product = "kettle"`. A document matches that says so, alone or in a list, and
one that says nothing of its product: it is taken to be about all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

_BETWEEN_VALUES = re.compile(r"[,;|，、；]")


def labels_of(fields: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """The labels of a document: one for each value, and for each of the names that it lacks.

    Args:
        names: Of all fields that any document of the knowledge base has.
    """
    held = {_fold(name): value for name, value in fields.items()}
    labels: list[str] = []
    for name in names:
        labels += [f"{name}={value}" for value in _values(held.get(name, ""))]
    return labels


def names_of(many: Iterable[Mapping[str, str]]) -> list[str]:
    """The names of all fields, folded and sorted."""
    return sorted({_fold(name) for fields in many for name in fields})


def groups_of(where: Mapping[str, str], names: Sequence[str]) -> list[list[str]]:
    """Labels of which a document must have one of each group, to match a filter.

    Args:
        names: As for `labels_of`; what no document has, none can fail.
    """
    asked = {_fold(name): _fold(value) for name, value in where.items()}
    return [[f"{name}={value}", f"{name}="] for name, value in asked.items() if name in names]


def matches(fields: Mapping[str, str], where: Mapping[str, str]) -> bool:
    """Whether a document with these fields matches a filter."""
    names = names_of([fields])
    labels = set(labels_of(fields, names))
    return all(labels & set(group) for group in groups_of(where, names))


def language_label(number: int) -> str:
    """The label of a text in a language, by the language's place in `geometry.LANGUAGES`."""
    return f"@language {number}"


def _values(text: str) -> list[str]:
    """The whole, and its parts where it is a list; "" where there is nothing."""
    parts = [_fold(text), *(_fold(part) for part in _BETWEEN_VALUES.split(text))]
    return list(dict.fromkeys(part for part in parts if part)) or [""]


def _fold(text: str) -> str:
    return " ".join(text.split()).casefold()
