"""Fields that the path of a file tells: "{product}/{version}/" says so of kettle/2.0/manual.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from kfbot.errors import DocumentUnreadable
from knowledge.documents import SourceFile

_FIELD = re.compile(r"\{([^{}]*)\}")


def fields_of(pattern: str, path: str) -> dict[str, str]:
    """What a path tells by a pattern; nothing where it does not fit.

    The pattern begins where the source does. One that ends in "/" leaves open what lies in the
    folder, any other is of the whole path; "*" stands for anything within one name.
    """
    match = re.fullmatch(_expression(pattern), path)
    if match is None:
        return {}
    return dict(zip(_FIELD.findall(pattern), match.groups(), strict=True))


def tell_fields(
    found: Iterable[SourceFile | DocumentUnreadable], pattern: str
) -> Iterator[SourceFile | DocumentUnreadable]:
    """The same files with the fields that their paths tell; what else is known of them wins."""
    for one in found:
        if pattern and isinstance(one, SourceFile):
            yield replace(one, metadata=fields_of(pattern, one.name) | dict(one.metadata))
        else:
            yield one


def _expression(pattern: str) -> str:
    literals = [re.escape(part).replace(r"\*", "[^/]*") for part in _FIELD.split(pattern)[::2]]
    return "([^/]+?)".join(literals) + (".+" if pattern.endswith("/") else "")
